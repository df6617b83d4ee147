// What moves in the web edition: panels, predictions, the presentation, light and dark. Nothing here fetches
// anything: a picture is shown by its name, and what is known of a panel stands in the page.
"use strict";

const NOT_DRAWN = "This position is not drawn here: run the page in JupyterLab to see this one.";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const find = (selector, root = document) => root.querySelector(selector);
const presenting = () => document.documentElement.classList.contains("presenting");

document.documentElement.classList.add("js"); // before the page is drawn: what is locked is never seen

// ---- what is kept: the theme for ever, choices until the tab is closed; where nothing may be kept, neither

function kept(place, name, value) {
  try {
    const store = window[place];
    if (value !== undefined) store.setItem(`lora-lab ${name}`, value);
    return store.getItem(`lora-lab ${name}`);
  } catch {
    return value === undefined ? null : value;
  }
}

// ---- light and dark

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  const dark = theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const button = find("#theme");
  if (button) button.textContent = dark ? "Light" : "Dark";
  return dark;
}

function startTheme() {
  setTheme(kept("localStorage", "theme"));
  find("#theme").addEventListener("click", (event) => {
    setTheme(kept("localStorage", "theme", event.target.textContent.toLowerCase()));
  });
}

// ---- panels

// The index of the position where a control stands, and how to put it elsewhere.
function positionOf(control) {
  if (control.type === "range") return Number(control.value);
  if (control.type === "checkbox") return Number(control.checked);
  return all("input", control).findIndex((choice) => choice.checked);
}

function place(control, position) {
  if (control.type === "range") control.value = position;
  else if (control.type === "checkbox") control.checked = position === 1;
  else all("input", control)[position].checked = true;
}

function startPanel(figure) {
  const panel = JSON.parse(find("script", figure).textContent);
  const controls = all("[data-control]", figure);
  const image = find("img", figure);
  const caption = find(".caption", figure);
  const loaded = new Map(); // pictures that are ready: a move to them shows at once

  const address = (state) => `pictures/${panel.files[state[0]]}.webp`;

  function load(position) {
    const state = panel.states[position.join()];
    if (!state || loaded.has(state[0])) return;
    const picture = new Image();
    picture.src = address(state);
    loaded.set(state[0], picture);
  }

  // Whatever one move can reach.
  function loadAhead() {
    const here = controls.map(positionOf);
    panel.controls.forEach((control, i) => control.options.forEach((_, k) => load(here.with(i, k))));
  }

  function show() {
    const here = controls.map(positionOf);
    controls.forEach((control, i) => {
      if (control.type !== "range") return;
      const words = panel.controls[i].options[here[i]];
      control.setAttribute("aria-valuetext", words);
      find("output", control.parentElement).textContent = words;
    });
    const state = panel.states[here.join()];
    figure.classList.toggle("not-drawn", !state);
    caption.textContent = state ? panel.captions[state[1]] : NOT_DRAWN;
    if (!state) return;
    image.src = address(state);
    image.alt = `${panel.name}: ${caption.textContent}`;
  }

  function toStart() {
    controls.forEach((control, i) => place(control, panel.controls[i].start));
    show();
  }

  controls.forEach((control, i) => control.addEventListener("input", () => {
    for (const other of panel.controls[i].back) place(controls[other], panel.controls[other].start);
    show();
    loadAhead();
  }));
  toStart(); // a browser that comes back to the page remembers where the sliders stood
  new IntersectionObserver((entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    loadAhead();
  }, { rootMargin: "300px" }).observe(figure);
  addEventListener("beforeprint", toStart);
}

// ---- predictions: what follows on the page is hidden until the reader has chosen, or skipped

function startPrediction(card) {
  const { number, right, found } = card.dataset;
  const answer = find(".answer", card);
  const compare = find(".compare", card);
  const button = (letter) => find(`[data-letter=${letter}]`, card);
  const quoted = (letter) => `${letter}, “${button(letter).dataset.text}”`;
  const name = `prediction ${number}`;
  let chosen = [];

  function open() {
    card.classList.add("open");
    find(".skip", card).hidden = true;
    letScroll();
  }

  function choose(letter) {
    if (chosen.at(-1) !== letter) chosen.push(letter);
    kept("sessionStorage", name, chosen.join(""));
    all("[data-letter]", card).forEach((b) => b.setAttribute("aria-pressed", b.dataset.letter === letter));
    answer.innerHTML = `<p><b>You chose ${letter}.</b> ${button(letter).dataset.said}</p>`;
    compare.hidden = card.told = false;
    open();
  }

  function show(text) {
    answer.innerHTML = `<p>${text}</p>`;
    compare.hidden = card.told = true;
    open();
  }

  card.tell = () => show(`<b>${quoted(right)}</b>: ${found}`); // while presenting, on a key
  all("[data-letter]", card).forEach((b) => b.addEventListener("click", () => choose(b.dataset.letter)));
  find(".skip", card).addEventListener("click", open);
  compare.addEventListener("click", () => {
    const [first, last] = [chosen[0], chosen.at(-1)];
    const then = first === last ? "" : `, and then ${quoted(last)}`;
    const verdict = last === right ? "So does the page" : `The page says ${quoted(right)}`;
    show(`You said ${quoted(first)}${then}. ${verdict}: ${found}`);
    kept("sessionStorage", name, last); // the vote is over
  });
  for (const letter of kept("sessionStorage", name) ?? "") choose(letter);
}

// Who follows a link to what is hidden skips the predictions above it.
function skipTo() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target || target.checkVisibility()) return;
  for (const card of all(".predict:not(.open)"))
    if (card.compareDocumentPosition(target) & Node.DOCUMENT_POSITION_FOLLOWING) find(".skip", card).click();
  target.scrollIntoView();
}

// ---- code

function addCopyButton(source) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    const code = find("pre", source);
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch { // not allowed here: the old way
      getSelection().selectAllChildren(code);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  source.append(button);
}

// Who has no mouse can scroll what is wider than the page.
function letScroll() {
  for (const box of all("pre, .wide")) {
    const wide = box.scrollWidth > box.clientWidth + 1;
    if (wide) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

// ---- presenting: one section a screen

let screen = 0;

function showScreen(number) {
  const screens = all("main > section");
  screen = Math.max(0, Math.min(number, screens.length - 1));
  screens.forEach((section, i) => section.classList.toggle("shown", i === screen));
  find("#bar span").textContent = `${screen + 1} of ${screens.length}`;
  scrollTo(0, 0);
  letScroll();
}

function present(on) {
  const screens = all("main > section");
  const top = (section) => (section.checkVisibility() ? section.getBoundingClientRect().top : Infinity);
  const before = screens.findLastIndex((section) => top(section) < innerHeight / 3);
  document.documentElement.classList.toggle("presenting", on);
  document.documentElement.classList.remove("with-code");
  find("#bar").hidden = !on;
  if (on) showScreen(before);
  else {
    screens[screen].scrollIntoView();
    letScroll();
  }
}

const ACTIONS = {
  p: () => present(!presenting()),
  Escape: () => present(false),
  ArrowRight: () => showScreen(screen + 1),
  PageDown: () => {
    const end = scrollY + innerHeight >= document.documentElement.scrollHeight - 2;
    if (end) showScreen(screen + 1);
    else scrollBy(0, 0.85 * innerHeight); // a clicker reads a long section to its end
  },
  ArrowLeft: () => showScreen(screen - 1),
  PageUp: () => showScreen(screen - 1),
  Home: () => showScreen(0),
  End: () => showScreen(Infinity),
  a: () => all(".shown .predict").find((card) => !card.told)?.tell(), // the first answer not yet shown
  c: () => {
    const on = document.documentElement.classList.toggle("with-code");
    for (const folded of all("details.code")) folded.open = on;
    letScroll();
  },
};

function startPresentation() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const moves = event.target.matches("input") && /^(Arrow|Home|End)/.test(key); // the slider in focus
    if (!(key in ACTIONS) || moves || !(presenting() || key === "p")) return;
    event.preventDefault();
    ACTIONS[key]();
  });
  for (const button of all("#bar button"))
    button.addEventListener("click", () => ACTIONS[button.dataset.key]());
  find("#present").addEventListener("click", () => present(true));
}

// ---- begin

setTheme(kept("localStorage", "theme"));
document.addEventListener("DOMContentLoaded", () => {
  startTheme();
  all(".panel").forEach(startPanel);
  all(".predict").forEach(startPrediction);
  all(".source").forEach(addCopyButton);
  startPresentation();
  skipTo();
  addEventListener("hashchange", skipTo);
  // On a phone a picture is small: pressed, it has its own size, in a box that scrolls.
  for (const image of all("figure img"))
    image.addEventListener("click", () => image.parentElement.classList.toggle("large"));
  const contents = find(".contents details");
  if (contents) contents.open = matchMedia("(min-width: 75rem)").matches;
  addEventListener("beforeprint", () => all("details.code").forEach((code) => { code.open = true; }));
  addEventListener("resize", letScroll);
  addEventListener("toggle", letScroll, true);
  letScroll();
});
