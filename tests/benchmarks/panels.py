"""How long a slider's redraw takes in the kernel: python tests/benchmarks/panels.py [PAGE ...]

Every panel that a page of the course shows (tests/course_panels.py finds them), moved through all positions of each
control twice, as the mouse would: milliseconds of CPU per redraw, without the browser's share. Buttons of the drawing
field are pressed; trainings are not. Writes panels.json beside this file; with pages named, only those entries.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import torch
from machine import describe

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import course_panels  # noqa: E402
import pages  # noqa: E402

from lora_lab.figures.live import LiveFigure
from lora_lab.subjects.digits.panels import DrawPanel

MOST_MS = 100  # the median of every panel


def redraws(panel: LiveFigure) -> dict[str, list[float]]:
    """CPU milliseconds of each redraw, by control; the first round warms matplotlib's caches and is not counted."""
    times: dict[str, list[float]] = {name: [] for name in panel.values}
    for counted in (False, True, True):
        for name in panel.values:
            for value in panel.positions(name):
                start = time.process_time()
                panel.set(**{name: value})
                took = 1000 * (time.process_time() - start)
                if counted and took > 1:  # setting a control to the value it has draws nothing
                    times[name].append(took)
        if isinstance(panel, DrawPanel):
            times.setdefault("field", [])
            for i in range(20, 44):
                start = time.process_time()
                panel.press(i)
                if counted:
                    times["field"].append(1000 * (time.process_time() - start))
    return times


def p95(times: list[float]) -> float:
    return sorted(times)[int(0.95 * (len(times) - 1))]


def row(panel: LiveFigure) -> dict:
    by_control = redraws(panel)
    every = [t for times in by_control.values() for t in times]
    return {
        "moves": len(every),
        "median_ms": round(statistics.median(every)),
        "p95_ms": round(p95(every)),
        "most_ms": round(max(every)),
        "medians_by_control_ms": {name: round(statistics.median(times)) for name, times in by_control.items() if times},
        "png_kB": round(len(panel._picture.value) / 1000),
    }


def main(numbers: list[str]) -> int:
    torch.set_num_threads(1)
    record, slow = Path(__file__).with_suffix(".json"), []
    old = json.loads(record.read_text())["panels"] if record.is_file() else {}
    new = {}
    for shown, panel in course_panels.every_panel(numbers):
        new[shown.title] = found = row(panel)
        if found["median_ms"] > MOST_MS:
            slow.append(shown.title)
        print(f"{shown.title:16s} {found}", flush=True)
    there = [shown.title for shown in course_panels.every_shown_panel()]
    panels = {title: {**old, **new}[title] for title in there if title in {**old, **new}}
    text = {"machine": describe(), "unit": "CPU ms per redraw, one thread", "panels": panels}
    record.write_text(json.dumps(text, indent=1, ensure_ascii=False) + "\n")
    if slow:
        print(f"over {MOST_MS} ms: {', '.join(slow)}")
    return bool(slow)


if __name__ == "__main__":
    sys.exit(main([pages.find_page(name).stem[:2] for name in sys.argv[1:]]))
