"""How long a slider's redraw takes in the kernel: python tests/benchmarks/panels.py

Every panel of pages 00 to 05, built as its page builds it (the training runs shortened), moved through all positions of
each control twice: milliseconds of CPU per redraw, without the browser's share. Writes panels.json beside this file.
"""

import json
import statistics
import time
from pathlib import Path

import torch
from machine import describe
from torch import nn

from lora_lab import panels, tasks, theory
from lora_lab.layers import LoRALinear
from lora_lab.live import LiveFigure
from lora_lab.sweeps import sweep
from lora_lab.training import train


def film(d_out: int, d_in: int, n: int, r: int, epochs: int) -> panels.Film:
    base = nn.Linear(d_in, d_out, bias=False)
    new = tasks.linear_task(base.weight.detach() + 1, n=n, seed=2)
    layer = LoRALinear(base, r=r, alpha=r)
    per_epoch = -(-n // 128)
    how = {"lr": 1e-2, "cache_base": True, "snapshot_every": 5 * per_epoch, "progress": None}
    return panels.Film(train(layer, new.X, new.y, epochs=epochs, **how), layer.scaling)


def every_panel() -> dict[str, LiveFigure]:
    kinds = ("ones", "rank-5", "decaying", "full rank")
    small = {(r, a): film(100, 101, 2000, r, 20) for r in (1, 4) for a in (1, 4)}
    base = nn.Linear(80, 64, bias=False)
    task = tasks.linear_task(base.weight.detach() + tasks.shift("decaying", 64, 80) / 80**0.5, n=2000, seed=3)
    grid = {"r": [1, 2, 4, 8, 16, 32], "alpha": [1, 2, 4, 8, 16, 32, 64, 128], "lr": [0.03, 0.1, 0.3]}
    maps = {"decaying": sweep(base, task.X, task.y, **grid, optimizer="sgd", steps=200, progress=None)}
    delta = theory.best_rank_r(tasks.normal(300, 320, seed=2), 8)
    two = {"stripes": tasks.shift("rank-1", 100, 101, seed=3), "mix": tasks.shift("rank-4", 100, 101, seed=4)}
    return {
        "00 low-rank copy": panels.taste_panel(tasks.letters("LoRA"), ranks=(1, 2, 3, 4, 5, 6, 7)),
        "01 costs": panels.cost_panel(),
        "02 target, copy, residual": panels.rank_panel({k: tasks.shift(k, 60, 80) for k in kinds}),
        "03 film of S1": panels.film_panel({(): film(1000, 1001, 1000, 1, 100)}, torch.ones(1000, 1001)),
        "03 epoch, r, alpha": panels.film_panel(
            small, torch.ones(100, 101), names=("r", "alpha"), floors={1: 0.0, 4: 0.0}
        ),
        "04 the (r, alpha) map": panels.map_panel(maps),
        "05 what a merge loses": panels.lost_panel(tasks.normal(300, 320, seed=1), delta),
        "05 mixing adapters": panels.mixture_panel(two | {"both": sum(two.values())}, two),
    }


def redraws(panel: LiveFigure) -> list[float]:
    """CPU milliseconds of each redraw; the first round warms matplotlib's caches and is not counted."""
    times = []
    for counted in (False, True, True):
        for name in panel.values:
            for value in panel.positions(name):
                start = time.process_time()
                panel.set(**{name: value})
                if counted:
                    times.append(1000 * (time.process_time() - start))
    return [t for t in times if t > 1]  # setting a control to the value it has draws nothing


if __name__ == "__main__":
    torch.set_num_threads(1)
    rows = {}
    for name, panel in every_panel().items():
        times = sorted(redraws(panel))
        p95 = times[int(0.95 * (len(times) - 1))]
        rows[name] = {"moves": len(times), "median_ms": round(statistics.median(times)), "p95_ms": round(p95)}
        print(f"{name:28s} {rows[name]}")
    record = {"machine": describe(), "unit": "CPU ms per redraw", "panels": rows}
    Path(__file__).with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
