"""From key press to new picture in the browser: python tests/benchmarks/latency.py [PAGE ...]

Every panel of the pages, in JupyterLab and headless Chromium: 30 key presses shared among its controls, each pressed
when the picture of the one before is painted; and the seconds from Run All to the page's first live panel. Leave the
machine alone meanwhile. Needs what tests/browser needs.
Status 1 if a median is above 250 ms, a frame has no picture, or the cell's height changes.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from machine import machine, print_head, print_row

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "browser")]

import lab  # noqa: E402
import pages  # noqa: E402

MOVES, WAIT, LIMIT_MS = 30, 2, 250  # WAIT: seconds for a picture, since two neighbours may look alike

# Notes when a key goes down, when the frame that shows a new picture is done, and of every frame whether a picture has
# its place and how high the cell is.
WATCH = r"""
(id) => {
  const node = document.querySelector(`[data-panel="${id}"]`), cell = node.closest(".jp-Cell");
  const w = window.__watch = { key: 0, painted: 0, empty: 0, heights: new Set(), on: true };
  const picture = () => [...node.querySelectorAll("img")].some((i) => i.getBoundingClientRect().height > 100);
  document.addEventListener("keydown", () => { w.key = performance.now(); w.painted = 0; }, true);
  node.addEventListener("load", (e) => {
    if (e.target.tagName === "IMG") requestAnimationFrame(() => setTimeout(() => (w.painted = performance.now())));
  }, true);
  const frame = () => {
    if (!w.on) return;
    w.empty += !picture();
    w.heights.add(Math.round(cell.getBoundingClientRect().height));
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}
"""


def measure(panel: lab.Panel) -> tuple[list[float], int, int]:
    """(milliseconds of each move that changed the picture, frames without a picture, heights of the cell)."""
    tab, labels, times = panel.page.tab, panel.about()["labels"], []
    panel.settle()
    panel.node.locator("img").first.scroll_into_view_if_needed()
    tab.evaluate(WATCH, panel.id)
    for i in range(MOVES):
        panel.step(labels[i * len(labels) // MOVES])
        end = time.monotonic() + WAIT
        while not tab.evaluate("() => __watch.painted") and time.monotonic() < end:
            tab.wait_for_timeout(10)
        key, painted = tab.evaluate("() => [__watch.key, __watch.painted]")
        if painted:
            times.append(painted - key)
    empty, heights = tab.evaluate("() => { __watch.on = false; return [__watch.empty, __watch.heights.size]; }")
    return times, empty, heights


def main() -> int:
    files, wrong = [pages.find_page(name) for name in sys.argv[1:]] or pages.page_files(), 0
    print(machine())
    print_head("panel", "pictures", "median ms", "p95 ms", "frames without a picture", "heights", "first panel, s")
    with tempfile.TemporaryDirectory() as folder, lab.jupyter_lab(Path(folder)) as server, lab.chromium() as context:
        for file in (file for file in files if pages.panel_cells(pages.read(file))):
            page = lab.Page(server, context, f"notebooks/{file.name}")
            begun = time.monotonic()
            page.start_run()
            while all(panel.is_still() for panel in page.panels()):
                page.tab.wait_for_timeout(50)
            first = time.monotonic() - begun
            page.finish_run()
            for panel in page.panels():
                times, empty, heights = measure(panel)
                times.sort()
                median, late = statistics.median(times), times[int(0.95 * (len(times) - 1))]
                name = f"{file.stem[:2]} {panel.about()['name']}"
                shown = f"{len(times)} of {MOVES}", f"{median:.0f}", f"{late:.0f}"
                print_row(name, *shown, empty, heights, f"{first:.1f}")
                wrong += median > LIMIT_MS or empty > 0 or heights > 1
            page.tab.close()
            page.end_kernel()
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
