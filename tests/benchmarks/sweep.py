"""The batched sweep against loops over single runs, in one process: python tests/benchmarks/sweep.py

64 configurations (8 ranks x 8 alphas) x 500 steps at 64 x 64, 2000 examples, batch 128, Adam, one thread. Three ways:
the sweep; a loop over `train(..., cache_base=True)`, the fastest single run of the course; and the loop without that
cache. A loop repeats the same work 64 times, so each round times 8 of its 64 points (one per rank) and counts them
eightfold. The ways take turns; medians of CPU seconds over the rounds.
"""

import statistics
import time

import torch
from machine import machine, print_head, print_row
from torch import nn

from lora_lab import LoRALinear, train
from lora_lab.subjects.linear_task import tasks
from lora_lab.sweeps import sweep

RANKS = {"r 1-64": (1, 2, 4, 8, 16, 32, 48, 64), "r 1-16": (1, 2, 3, 4, 6, 8, 12, 16)}
ALPHAS, D, N, STEPS, LR, ROUNDS = (1, 2, 4, 8, 16, 32, 64, 128), 64, 2000, 500, 3e-3, 3


def measure(ranks: tuple[int, ...]) -> tuple[dict[str, float], float]:
    """({way: seconds for all 64}, how far apart the losses of all ways are, relative)."""
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

    ways = {"sweep": (whole, 1), "loop, base cached": (lambda: loop(True), 8), "loop": (lambda: loop(False), 8)}
    times = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, (work, share) in ways.items():
            start = time.process_time()
            work()
            times[name].append(share * (time.process_time() - start))
    grid = found.pop("sweep")
    apart = 0.0
    for (r, alpha), losses in found.items():
        apart = max(apart, (grid.run(r=r, alpha=alpha).losses / torch.tensor(losses) - 1).abs().max().item())
    return {name: statistics.median(seconds) for name, seconds in times.items()}, apart


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(machine())
    print_head("ranks", "sweep, CPU s", "loop, base cached", "loop", "best loop over sweep", "losses apart")
    for name, ranks in RANKS.items():
        seconds, apart = measure(ranks)
        best = seconds["loop, base cached"] / seconds["sweep"]
        print_row(name, *[f"{s:.1f}" for s in seconds.values()], f"{best:.1f}", f"{apart:.1g}")
