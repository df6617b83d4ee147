"""The batched sweep against loops over single runs, in one process: python tests/benchmarks/sweep.py

64 configurations (8 ranks x 8 alphas) x 500 steps at 64 x 64, 2000 examples, batch 128, Adam, one thread. Three ways:
the sweep; a loop over `train(..., cache_base=True)`, the fastest single run of the course; and the loop without that
cache. A loop repeats the same work 64 times, so each round times 8 of its 64 points (one per rank) and counts them
eightfold. The ways take turns; medians over the rounds. Writes tests/benchmarks/sweep.json. No test compares times.
"""

import json
import platform
import statistics
import time
from datetime import date
from pathlib import Path

import torch
from torch import nn

from lora_lab import LoRALinear, train
from lora_lab.subjects.linear_task import tasks
from lora_lab.sweeps import sweep

OUT = Path(__file__).with_suffix(".json")
RANKS = {"r 1-64": (1, 2, 4, 8, 16, 32, 48, 64), "r 1-16": (1, 2, 3, 4, 6, 8, 12, 16)}
ALPHAS, D, N, STEPS, LR, ROUNDS = (1, 2, 4, 8, 16, 32, 64, 128), 64, 2000, 500, 3e-3, 3


def seconds(work) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(ranks: tuple[int, ...]) -> dict:
    theta = tasks.normal(D, D, seed=1)
    task = tasks.linear_task(theta + tasks.shift("decaying", D, D) / D**0.5, N, seed=2)
    base = nn.Linear(D, D, bias=False)
    base.weight.data.copy_(theta)
    how = {"steps": STEPS, "progress": None}
    found = {}  # the curves, to show that all ways compute the same

    def whole() -> None:
        found["sweep"] = sweep(base, task.X, task.y, r=ranks, alpha=ALPHAS, lr=LR, **how)

    def loop(cache_base: bool) -> None:
        for r, alpha in zip(ranks, ALPHAS, strict=True):
            layer = LoRALinear(base, r, alpha)
            layer.reset_lora(generator=torch.Generator().manual_seed(0))
            found[r, alpha] = train(layer, task.X, task.y, lr=LR, cache_base=cache_base, **how).losses

    def cached() -> None:
        loop(cache_base=True)

    def plain() -> None:
        loop(cache_base=False)

    ways = {"sweep": (whole, 1), "loop, base cached": (cached, 8), "loop": (plain, 8)}
    times = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, (work, share) in ways.items():
            times[name].append([share * s for s in seconds(work)])
    grid = found.pop("sweep")
    apart = max(
        (grid.run(r=r, alpha=alpha).losses / torch.tensor(losses) - 1).abs().max().item()
        for (r, alpha), losses in found.items()
    )
    medians = {name: [statistics.median(t[i] for t in ts) for i in (0, 1)] for name, ts in times.items()}
    best = medians["loop, base cached"]
    return {
        "ranks": ranks,
        "wall_s": {name: round(m[0], 2) for name, m in medians.items()},
        "cpu_s": {name: round(m[1], 2) for name, m in medians.items()},
        "times_faster_than_best_loop": {
            "wall": round(best[0] / medians["sweep"][0], 1),
            "cpu": round(best[1] / medians["sweep"][1], 1),
        },
        "largest_relative_loss_difference": float(f"{apart:.1g}"),
    }


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    torch.set_num_threads(1)
    record = {
        "command": "python tests/benchmarks/sweep.py",
        "what": f"{len(ALPHAS) * 8} configurations x {STEPS} steps, {D} x {D}, n = {N}, batch 128, Adam, float32",
        "rounds": ROUNDS,
        "results": {name: measure(ranks) for name, ranks in RANKS.items()},
        "machine": f"{processor()}, one thread, {platform.system()}; shared with other work during the measurement",
        "torch": torch.__version__.split("+")[0],
        "date": date.today().isoformat(),
    }
    text = json.dumps(record, indent=1)
    OUT.write_text(text + "\n", encoding="utf-8")
    print(text)
