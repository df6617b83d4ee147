"""What a slider's redraw takes in the kernel: python tests/benchmarks/panels.py [PAGE ...]

Every panel that a page shows, moved a thousand times through the positions of its controls, as the mouse would:
milliseconds of CPU per redraw, without the browser's share, and by how many MB the process has grown since the 200th
move. Status 1 if a median is above 100 ms or a panel grows by more than 20 MB.
"""

import gc
import itertools
import statistics
import sys
import time

import psutil
import torch
from machine import machine, print_head, print_row

from lora_lab.classroom.pages import PAGES, find_page
from lora_lab.classroom.site.panels import panels_of
from lora_lab.figures.live import LiveFigure

MOVES, WARM = 1000, 200
MOST_MS, MOST_MB = 100, 20


def megabytes() -> float:
    gc.collect()  # what is waiting to be collected is no growth
    return psutil.Process().memory_info().rss / 1e6


def redraws(panel: LiveFigure) -> tuple[list[float], float]:
    """(CPU milliseconds of each redraw, growth in MB), both without the first moves, which fill matplotlib's caches."""
    places = [(name, value) for name in panel.values for value in panel.positions(name)]
    times, before = [], 0.0
    for name, value in itertools.cycle(places):
        if value == panel.values[name]:
            panel.set(**{name: next(other for other in panel.positions(name) if other != value)})
        start = time.process_time()
        panel.set(**{name: value})
        times.append(1000 * (time.process_time() - start))
        if len(times) == WARM:
            before = megabytes()
        if len(times) == MOVES:
            return times[WARM:], megabytes() - before


def main() -> int:
    bad = 0
    torch.set_num_threads(1)
    print(machine())
    print_head("panel", "median ms", "p95 ms", f"MB in {MOVES - WARM} moves")
    for page in [find_page(number) for number in sys.argv[1:]] or PAGES:
        for panel in panels_of(page):
            times, grown = redraws(panel)
            median, late = statistics.median(times), sorted(times)[int(0.95 * len(times))]
            print_row(f"{page.number} {panel._name}", f"{median:.0f}", f"{late:.0f}", f"{grown:+.1f}")
            bad += median > MOST_MS or grown > MOST_MB
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
