// What the tests ask of the open notebook, as window.__lab. Cells are found through JupyterLab's own model
// (window.jupyterapp): what is in the DOM depends on the scrolling.
window.__lab = (() => {
  const WIDGET = "application/vnd.jupyter.widget-view+json";
  const current = () => window.jupyterapp && window.jupyterapp.shell && window.jupyterapp.shell.currentWidget;
  const cells = () => current().content.widgets.filter((cell) => cell.model.type === "code");
  const text = (node) => (node ? node.innerText.replaceAll("\u00a0", " ").split(/\s+/).join(" ").trim() : "");

  function notebook() {
    const page = current();
    if (!page || !page.content || !page.content.model || !page.sessionContext) return null;
    const kernel = page.sessionContext.session && page.sessionContext.session.kernel;
    return {
      path: page.context.path, ready: page.context.isReady, dirty: page.context.model.dirty,
      kernel: kernel && kernel.connectionStatus === "connected" ? kernel.status : null,
      cells: cells().map((cell) => ({
        count: cell.model.executionCount, state: cell.model.executionState,
        errors: cell.model.outputs.toJSON().filter((o) => o.output_type === "error").map((o) => `${o.ename}: ${o.evalue}`),
      })),
    };
  }

  // Every output with a live view and a still picture: its model's id.
  async function panels() {
    const found = [];
    for (const [i, cell] of current().content.widgets.entries()) {
      if (cell.model.type !== "code") continue;
      for (const output of cell.model.outputs.toJSON()) {
        if (!output.data || !(WIDGET in output.data && "image/png" in output.data)) continue;
        await current().content.scrollToItem(i, "smart");
        found.push(output.data[WIDGET].model_id);
        node(found.at(-1));
      }
    }
    return found;
  }

  // The node of a widget's output, marked for who looks for it; JupyterLab may have made a new one.
  function node(id) {
    for (const cell of cells())
      for (const [o, output] of cell.model.outputs.toJSON().entries())
        if (output.data && WIDGET in output.data && output.data[WIDGET].model_id === id) {
          const found = cell.outputArea.widgets[o].node;
          found.setAttribute("data-panel", id);
          return found;
        }
  }

  const dead = () => [...document.querySelectorAll(".jp-OutputArea-output")]
    .map((output) => output.textContent).filter((t) => /^(Error displaying widget|Loading widget|Error:)/.test(t));
  const isStill = (id) => !!node(id).querySelector("img") && !node(id).querySelector(".widget-image");

  const hex = (bytes) => [...new Uint8Array(bytes)].map((b) => b.toString(16).padStart(2, "0")).join("");

  // What a reader sees: the positions of the controls, the caption, the sentence of a panel without a kernel, the picture.
  async function shown(id) {
    const panel = node(id);
    if (!panel.firstElementChild.checkVisibility({ contentVisibilityAuto: true })) {  // JupyterLab draws what is near
      panel.scrollIntoView({ block: "center" });
      for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
    }
    const positions = {};
    for (const box of panel.querySelectorAll(".widget-checkbox")) positions[text(box)] = String(box.querySelector("input").checked);
    for (const slider of panel.querySelectorAll(".widget-hslider"))
      positions[text(slider.querySelector(".widget-label"))] = text(slider.querySelector(".widget-readout"));
    for (const row of panel.querySelectorAll(".widget-toggle-buttons"))
      positions[text(row.querySelector(".widget-label"))] = text(row.querySelector("button.mod-active"));
    const img = panel.querySelector("img.widget-image");
    const note = panel.querySelector(".lora-lab-asleep");
    const asleep = note && note.checkVisibility() ? text(note) : "";
    const caption = text(panel.querySelector(".widget-html-content")).replace(asleep, "").trim();
    let picture = null;
    if (img && img.src) {
      const bytes = await fetch(img.src).then((reply) => reply.arrayBuffer());
      picture = img.complete && img.naturalWidth > 300 ? hex(await crypto.subtle.digest("SHA-256", bytes)) : null;
    }
    return { positions, caption, asleep, picture };
  }

  // An expression in the page's kernel, through the page's own connection: its answer comes after all earlier events.
  async function ask(expression) {
    const message = { code: "", silent: true, store_history: false, user_expressions: { answer: expression } };
    const reply = await current().sessionContext.session.kernel.requestExecute(message).done;
    const answer = reply.content.user_expressions && reply.content.user_expressions.answer;
    if (!answer || answer.status !== "ok") throw new Error(JSON.stringify(answer || reply.content));
    return answer.data["text/plain"];
  }

  return { notebook, panels, dead, isStill, shown, ask };
})();
