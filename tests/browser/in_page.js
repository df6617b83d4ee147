// Runs in every browser page before JupyterLab does: what the tests ask of the open notebook, as window.__lab.
// Cells are found through JupyterLab's own model (window.jupyterapp): what is in the DOM depends on the scrolling.
window.__lab = (() => {
  const WIDGET = "application/vnd.jupyter.widget-view+json";
  const shell = () => window.jupyterapp && window.jupyterapp.shell;
  const current = () => shell() && shell().currentWidget;
  const cells = () => current().content.widgets.filter((cell) => cell.model.type === "code");
  const trim = (node) => (node ? node.innerText.replaceAll("\u00a0", " ").trim() : "");

  const plain = (option) => option.text.replaceAll("\u00a0", " ");  // ipywidgets hardens the spaces of a menu

  function notebook() {
    const w = current();
    if (!w || !w.content || !w.content.model || !w.sessionContext) return null;
    const kernel = w.sessionContext.session && w.sessionContext.session.kernel;
    return {
      path: w.context.path, ready: w.context.isReady, dirty: w.context.model.dirty,
      kernel: kernel && kernel.connectionStatus === "connected" ? kernel.status : null, id: kernel && kernel.id,
      cells: cells().map((cell) => ({
        empty: !cell.model.sharedModel.getSource().trim(), count: cell.model.executionCount, state: cell.model.executionState,
        errors: cell.model.outputs.toJSON().filter((o) => o.output_type === "error").map((o) => `${o.ename}: ${o.evalue}`),
      })),
    };
  }

  // All outputs of the code cells, as they would be saved.
  const outputs = () => cells().map((cell) => cell.model.outputs.toJSON());

  // A panel is an output that has a live view and a still picture.
  async function panels() {
    const found = [];
    for (const [c, cell] of current().content.widgets.entries()) {
      if (cell.model.type !== "code") continue;
      for (const [o, output] of cell.model.outputs.toJSON().entries()) {
        if (!output.data || !(WIDGET in output.data && "image/png" in output.data)) continue;
        const id = output.data[WIDGET].model_id;
        await current().content.scrollToItem(c, "smart");
        root(id);
        found.push({ id, text: [].concat(output.data["text/plain"]).join("") });
      }
    }
    return found;
  }

  // Widgets without a still picture, such as the benchmark's peer.
  const others = () => outputs().flat().filter((o) => o.data && WIDGET in o.data && !("image/png" in o.data))
    .map((o) => o.data[WIDGET].model_id);

  // The node of a widget's output, marked for who looks for it; JupyterLab may have made a new one.
  function root(id) {
    for (const cell of cells())
      for (const [o, output] of cell.model.outputs.toJSON().entries())
        if (output.data && WIDGET in output.data && output.data[WIDGET].model_id === id) {
          const node = cell.outputArea.widgets[o].node;
          node.setAttribute("data-panel", id);
          return node;
        }
    return null;
  }

  const sha256 = async (bytes) =>
    [...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))].map((b) => b.toString(16).padStart(2, "0")).join("");

  // The output areas where something that cannot be shown has left a message, and the panels that are plain pictures.
  const dead = () => [...document.querySelectorAll(".jp-OutputArea-output")]
    .map((node) => node.textContent).filter((text) => /^(Error displaying widget|Loading widget|Error:)/.test(text));
  const still = (id) => !!root(id).querySelector("img") && !root(id).querySelector(".widget-image");

  // What a reader sees of a panel: the positions that its controls show, the caption, the picture's bytes.
  async function shown(id) {
    const node = root(id);
    if (!node || !node.isConnected) return null;
    if (!node.firstElementChild.checkVisibility({ contentVisibilityAuto: true })) {  // JupyterLab draws what is near
      node.scrollIntoView({ block: "center" });
      for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
    }
    const controls = {};
    for (const s of node.querySelectorAll(".widget-checkbox"))
      controls[trim(s)] = { kind: "check", value: s.querySelector("input").checked };
    for (const s of node.querySelectorAll(".widget-hslider")) {
      const handle = s.querySelector(".noUi-handle");
      const at = (name) => Number(handle.getAttribute(`aria-value${name}`));
      controls[trim(s.querySelector(".widget-label"))] =
        { kind: "slider", value: trim(s.querySelector(".widget-readout")), at: at("now"), min: at("min"), max: at("max") };
    }
    for (const s of node.querySelectorAll(".widget-dropdown")) {
      const select = s.querySelector("select");
      controls[trim(s.querySelector(".widget-label"))] = {
        kind: "menu", value: select.selectedOptions.length ? plain(select.selectedOptions[0]) : null,
        options: [...select.options].map(plain) };
    }
    const img = node.querySelector("img.widget-image");
    let picture = null;
    if (img && img.src) {
      await img.decode().catch(() => null);
      const box = img.getBoundingClientRect();
      const bytes = await fetch(img.src).then((r) => r.arrayBuffer()).catch(() => null);
      picture = { sha: bytes && await sha256(bytes), natural: img.naturalWidth, width: box.width, height: box.height,
                  visible: img.checkVisibility({ opacityProperty: true, visibilityProperty: true }) };
    }
    const note = node.querySelector(".lora-lab-asleep");
    const asleep = trim(note && note.checkVisibility() ? note : null);
    const caption = trim(node.querySelector(".widget-html-content")).replace(asleep, "").trim();
    return { controls, caption, asleep, picture };
  }

  // An expression in the page's kernel, through the page's own connection: its answer comes after all earlier events.
  async function ask(expression) {
    const kernel = current().sessionContext.session.kernel;
    let content;
    do {  // aborted: it was waiting behind a cell that failed
      content = (await kernel.requestExecute(
        { code: "", silent: true, store_history: false, user_expressions: { answer: expression } }).done).content;
    } while (content.status === "aborted");
    const answer = content.user_expressions && content.user_expressions.answer;
    if (!answer || answer.status !== "ok") throw new Error(JSON.stringify(answer || content));
    return answer.data["text/plain"];
  }

  // Every text that a button shows, from now on.
  function texts(button) {
    const seen = [button.innerText];
    new MutationObserver(() => { if (seen.at(-1) !== button.innerText) seen.push(button.innerText); })
      .observe(button, { childList: true, characterData: true, subtree: true });
    button.__texts = seen;
  }

  // The colours of the buttons in a field of buttons, "rgb(r, g, b)" each.
  const field = (id) => [...root(id).querySelectorAll(".widget-gridbox button")].map((b) => getComputedStyle(b).backgroundColor);

  return { notebook, outputs, panels, others, dead, still, shown, ask, texts, field };
})();
