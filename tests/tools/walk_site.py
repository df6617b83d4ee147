"""Use the whole web edition as a reader does: python tests/tools/walk_site.py site/ [PAGE ...]

Opens each page from its folder in Chromium with the network off, moves every control of every panel to each of its
positions, opens the predictions, presents, and looks for errors, requests, missing pictures and what is wider than a
phone. Prints a line per page; the exit status is 1 where something was found.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "browser")]

import lab  # noqa: E402

# Moves each control of a panel to each of its positions, the others where they start; returns what went wrong.
WALK = """async (figure) => {
  const panel = JSON.parse(figure.querySelector("script").textContent);
  const controls = [...figure.querySelectorAll("[data-control]")];
  const image = figure.querySelector("img"), caption = figure.querySelector(".caption");
  const wrong = [], pictures = new Set();
  function put(i, k) {
    const control = controls[i], boxes = control.querySelectorAll("input");
    if (boxes.length) { boxes[k].click(); return; }
    if (control.type === "checkbox") control.checked = k === 1; else control.value = k;
    control.dispatchEvent(new Event("input", { bubbles: true }));
  }
  for (const [i, control] of panel.controls.entries()) {
    for (const k of control.options.keys()) {
      put(i, k);
      await image.decode().catch(() => wrong.push(`no picture at ${control.label} = ${control.options[k]}`));
      if (figure.classList.contains("not-drawn")) wrong.push(`not drawn at ${control.label} = ${control.options[k]}`);
      pictures.add(image.src + caption.textContent);
    }
    put(i, control.start);
  }
  if (pictures.size < 2) wrong.push("does not move");
  return { name: panel.name, seen: pictures.size, drawn: Object.keys(panel.states).length, wrong };
}"""


def walk(page, tab) -> tuple[list[str], list[str]]:
    """(panels in words, what is wrong) of one page."""
    tab.goto(page.as_uri())
    for skip in tab.locator(".skip").all():
        skip.click()
    tab.evaluate("document.querySelectorAll('img').forEach(image => { image.loading = 'eager' })")
    wrong = tab.evaluate("""Promise.all([...document.images].map(image =>
        image.decode().then(() => 0, () => `no picture ${image.src}`))).then(found => found.filter(Boolean))""")
    panels = [tab.evaluate(WALK, panel) for panel in tab.locator(".panel").element_handles()]
    for panel in panels:
        wrong += [f"{panel['name']}: {what}" for what in panel["wrong"]]
    wide = tab.evaluate("document.documentElement.scrollWidth")
    wrong += [f"{wide} px wide on a phone of 360"] * (wide > 360)
    silent = tab.locator("img:not([alt]), img[alt='']").count()
    wrong += [f"{silent} pictures without alternative text"] * (silent > 0)
    tab.keyboard.press("p")
    wrong += ["does not present"] * (tab.locator("main > section:visible").count() != 1)
    return [f"{p['name']} ({p['drawn']} positions)" for p in panels], wrong


def main(folder: str, *names: str) -> int:
    found = []
    with lab.chromium(offline=True, viewport={"width": 360, "height": 740}) as context:
        for page in sorted(Path(folder).resolve().glob("*.html")):
            if names and not page.name.startswith(names):
                continue
            tab, asked, errors = context.new_page(), [], []
            tab.on("request", lambda request, asked=asked: asked.append(request.url))
            tab.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
            panels, wrong = walk(page, tab)
            wrong += errors + [url for url in asked if not url.startswith(("file:", "data:"))]
            print(f"{page.stem}: {', '.join(panels) or 'no panel'}", *wrong, sep="\n   ")
            found += wrong
            tab.close()
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
