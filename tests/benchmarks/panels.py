"""How long a slider's redraw takes in the kernel: python tests/benchmarks/panels.py [PAGE ...]

Every panel that a page shows (tests/course_panels.py), moved through the positions of each control twice, as the mouse
would: milliseconds of CPU per redraw, without the browser's share. Status 1 if a median is above 100 ms.
"""

import statistics
import sys
import time
from pathlib import Path

import torch
from machine import machine, print_head, print_row

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import course_panels  # noqa: E402
import pages  # noqa: E402

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
    numbers = [pages.find_page(name).stem[:2] for name in sys.argv[1:]] or course_panels.pages_with_panels()
    slow = 0
    torch.set_num_threads(1)
    print(machine())
    print_head("panel", "moves", "median ms", "p95 ms")
    for number in numbers:
        for panel in course_panels.panels_of(number):
            times = sorted(redraws(panel))
            median, late = statistics.median(times), times[int(0.95 * (len(times) - 1))]
            print_row(f"{number} {panel._name}", len(times), f"{median:.0f}", f"{late:.0f}")
            slow += median > MOST_MS
    return int(slow > 0)


if __name__ == "__main__":
    sys.exit(main())
