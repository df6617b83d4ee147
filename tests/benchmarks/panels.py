"""How long a slider's redraw takes in the kernel: python tests/benchmarks/panels.py [PAGE ...]

Every panel that a page shows, moved through the positions of each control twice, as the mouse
would: milliseconds of CPU per redraw, without the browser's share. Status 1 if a median is above 100 ms.
"""

import statistics
import sys
import time

import torch
from machine import machine, print_head, print_row

from lora_lab.classroom.pages import PAGES, find_page
from lora_lab.classroom.site.panels import panels_of
from lora_lab.figures.live import LiveFigure

MOST_MS = 100


def redraws(panel: LiveFigure) -> list[float]:
    """CPU milliseconds of each redraw; the first round warms matplotlib's caches and is not counted."""
    times = []
    for counted in (False, True, True):
        for name in panel.values:
            for value in panel.positions(name):
                if value == panel.values[name]:
                    continue
                start = time.process_time()
                panel.set(**{name: value})
                if counted:
                    times.append(1000 * (time.process_time() - start))
    return times


def main() -> int:
    slow = 0
    torch.set_num_threads(1)
    print(machine())
    print_head("panel", "moves", "median ms", "p95 ms")
    for page in [find_page(number) for number in sys.argv[1:]] or PAGES:
        for panel in panels_of(page):
            times = sorted(redraws(panel))
            median, late = statistics.median(times), times[int(0.95 * (len(times) - 1))]
            print_row(f"{page.number} {panel._name}", len(times), f"{median:.0f}", f"{late:.0f}")
            slow += median > MOST_MS
    return int(slow > 0)


if __name__ == "__main__":
    sys.exit(main())
