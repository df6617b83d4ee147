"""From key press to new picture in the browser: python tests/benchmarks/latency.py [PAGE ...]

Every panel of the pages, in JupyterLab and headless Chromium: 50 key presses shared among its controls, each pressed
when the picture of the one before is painted. Beside it, on page 00, the same figure as most courses draw it:
ipywidgets.interactive_output and plt.show. About eight minutes; leave the machine alone meanwhile. Needs Chromium and
the package playwright (tests/browser). Writes latency.json beside this file; with PAGE ('02'), only prints.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from machine import describe

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import pages  # noqa: E402
from browser import lab  # noqa: E402

MOVES, PEER_MOVES = 50, 20
WAIT = 2  # seconds for a picture
LIMIT_MS = 250  # the median of every panel, on two idle cores
PEERS = ("00",)  # pages whose first panel is drawn in the other way, too: tried with this one only

PEER = """
import ipywidgets, matplotlib.pyplot as plt
from lora_lab import panels
def _draw_it(**values):
    figure = plt.figure(figsize=_panel._figure.get_size_inches(), dpi=_panel._figure.dpi)
    _panel._draw(figure, **values)
    plt.show()
_panel = _
_controls = {k: ipywidgets.SelectionSlider(options=c.options, value=c.value, description="peer " + c.description)
             for k, c in _panel._controls.items()}
ipywidgets.VBox([*_controls.values(), ipywidgets.interactive_output(_draw_it, _controls)])
"""

# Notes when a key goes down, when the frame that shows a new picture is done, and at every frame whether a picture has
# its place. naturalWidth is no measure of that: in 100 exchanges of an <img>'s source it was 0 in 10 of 762 frames, but
# none of the 111 frames that Chromium recorded was blank: it keeps the old picture on the screen until the new one is
# decoded. An output that is taken away and put back, as by clear_output, does show here.
WATCH = r"""
(id) => {
  const node = document.querySelector(`[data-panel="${id}"]`), cell = node.closest(".jp-Cell");
  const scroller = node.closest(".jp-WindowedPanel-outer") || node.closest(".jp-Notebook");
  const w = window.__watch = { key: 0, painted: [], frames: [], on: true };
  const picture = () => [...node.querySelectorAll("img")].some((i) => i.getBoundingClientRect().height > 100);
  document.addEventListener("keydown", () => { w.key = performance.now(); w.painted = []; }, true);
  node.addEventListener("load", (e) => {
    if (e.target.tagName === "IMG") requestAnimationFrame(() => setTimeout(() => w.painted.push(performance.now())));
  }, true);
  const frame = () => {
    if (!w.on) return;
    w.frames.push([picture() ? 1 : 0, Math.round(cell.getBoundingClientRect().height), Math.round(scroller.scrollTop)]);
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}
"""


def shortened(source: Path, target: Path, peer: bool) -> None:
    """The page up to its last panel; after the first one, the same figure drawn in the other way."""
    nb = pages.read(source)
    shown = {pages.WIDGET, "image/png"}
    has_panel = [any(shown <= o.get("data", {}).keys() for o in c.get("outputs", [])) for c in nb.cells]
    nb.cells = nb.cells[: len(has_panel) - has_panel[::-1].index(True)]
    if peer:
        nb.cells.insert(has_panel.index(True) + 1, nbformat.v4.new_code_cell(PEER))
    target.write_text(pages.as_text(nb), encoding="utf-8")


def keys(control: dict) -> str:
    """The next key for a control: right until its end, then left until its beginning, and so on."""
    if control["kind"] == "check":
        return "Space"
    if control["at"] == control["min"]:
        control["way"] = "ArrowRight"
    elif control["at"] == control["max"]:
        control["way"] = "ArrowLeft"
    return control.setdefault("way", "ArrowRight")


def measure(panel: lab.Panel, moves: int) -> dict[str, object]:
    """Latencies and what else happened in `moves` key presses, shared among the controls."""
    tab, controls, times = panel.page.tab, panel.shown().controls, []
    pictures, unchanged, wrong = 0, 0, 0
    panel.node.locator("img").first.scroll_into_view_if_needed()
    next(iter_handles(panel, controls))[1].focus()
    tab.wait_for_timeout(500)
    complaints = len(panel.page.console)
    tab.evaluate(WATCH, panel.id)
    for i, (label, handle) in enumerate(iter_handles(panel, controls)):
        way = None
        share = moves // len(controls) + (i < moves % len(controls))
        handle.focus()
        for _ in range(share):
            control = panel.shown().controls[label]
            if control["kind"] == "menu":  # its keys open the list: timed from the choice
                tab.evaluate("() => { __watch.key = performance.now(); __watch.painted = []; }")
                panel.move(label, control)
            else:
                way = keys(control | ({"way": way} if way else {}))
                tab.keyboard.press(way)
            end = time.monotonic() + WAIT
            while not (found := tab.evaluate("() => [__watch.key, __watch.painted]"))[1] and time.monotonic() < end:
                tab.wait_for_timeout(10)
            tab.wait_for_timeout(40)  # a second picture for one key would come now
            key, painted = tab.evaluate("() => [__watch.key, __watch.painted]")
            unchanged += not found[1]
            wrong += not found[1] and not right(panel)
            pictures += len(painted)
            times += [painted[-1] - key] if painted else []
    frames = tab.evaluate("() => { __watch.on = false; return __watch.frames; }")
    times.sort()
    return {
        "moves": moves,
        "median_ms": round(statistics.median(times)),
        "p95_ms": round(times[int(0.95 * (len(times) - 1))]),
        "pictures": pictures,
        "moves_without_picture": unchanged,
        "of_these_wrong": wrong,
        "frames": len(frames),
        "frames_without_picture": sum(not f[0] for f in frames),
        "cell_heights": sorted({f[1] for f in frames}),
        "scroll_positions": len({f[2] for f in frames}),
        "browser_errors": panel.page.console[complaints:],
        "load_average": round(os.getloadavg()[0], 1),
    }


def right(panel: lab.Panel) -> bool:
    """Whether the panel shows what the pure function draws: two positions may look the same (float16, bfloat16)."""
    try:
        panel.settle(timeout=0)
    except AssertionError:
        return False
    return True


def iter_handles(panel: lab.Panel, controls: dict):
    for label, control in controls.items():
        kinds = {"slider": panel.slider, "menu": panel.menu, "check": panel.box}
        yield label, kinds[control["kind"]](label)


def judge(row: dict) -> str:
    """What is wrong with a panel, or ''."""
    wrong = {
        f"median above {LIMIT_MS} ms": row["median_ms"] > LIMIT_MS,
        "moves without an answer": row["of_these_wrong"] > 0,
        f"{row['frames_without_picture']} frames without a picture": row["frames_without_picture"] > 0,
        f"the height changes: {row['cell_heights']}": len(row["cell_heights"]) > 1,
        "the page jumps": row["scroll_positions"] > 1,
        "errors in the browser": bool(row["browser_errors"]),
    }
    return ", ".join(what for what, is_so in wrong.items() if is_so)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    chosen = parser.parse_args().pages
    files = [pages.find_page(name) for name in chosen] or pages.page_files()
    start, rows, peers = time.monotonic(), {}, {}
    record = {"machine": describe(), "unit": "ms from keydown to the frame with the new picture", "limit_ms": LIMIT_MS}
    with tempfile.TemporaryDirectory(prefix="latency-") as folder, lab.jupyter_lab(Path(folder)) as server:
        with lab.chromium() as context:
            for file in files:
                number = file.stem[:2]
                shortened(file, server.root / "notebooks" / file.name, peer=number in PEERS)
                page = lab.Page(server, context, f"notebooks/{file.name}")
                page.start_run()
                page.finish_run()
                panels = page.panels()
                for panel in panels:
                    name = f"{number} {panel.about['name']}"
                    name += " (2)" if name in rows else ""
                    row = rows[name] = measure(panel, MOVES)
                    row["wrong"] = judge(row)
                    print(f"{time.monotonic() - start:4.0f} s  {name:30s} median {row['median_ms']} ms, p95 "
                          f"{row['p95_ms']} ms, load {row['load_average']}  {row['wrong']}", flush=True)
                if number in PEERS:
                    first = f"{number} {panels[0].about['name']}"
                    other = lab.Panel(page, page.tab.evaluate("() => __lab.others()")[-1], "")
                    row = peers[first] = measure(other, PEER_MOVES)
                    row["over_ours"] = round(row["median_ms"] / rows[first]["median_ms"], 2)
                    print(f"{time.monotonic() - start:4.0f} s  {'   by interactive_output':30s} median "
                          f"{row['median_ms']} ms, {row['over_ours']} times ours", flush=True)
                page.close()
    record |= {"panels": rows, "interactive_output": peers}
    record["seconds"] = round(time.monotonic() - start)
    if not chosen:
        Path(__file__).with_suffix(".json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    wrong = {name: row["wrong"] for name, row in rows.items() if row["wrong"]}
    print(f"{record['seconds']} s; {len(rows) - len(wrong)} of {len(rows)} panels pass; {wrong or ''}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
