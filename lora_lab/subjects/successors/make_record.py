"""LoRA and what came after, compared: python -m lora_lab.subjects.successors.make_record

About 4 CPU minutes. First each method's learning rate: of nine, a factor 2 apart, the one with the smallest mean test
loss on three bases of their own. Then ten other bases with those rates. Then rsLoRA's claim: the rate found at r = 4,
used at other ranks, alpha = 4 throughout. Each run is a line of runs.jsonl (those kept: torch 2.13.0), and one that is
there is not made again.
"""

import copy
from functools import cache

import torch

from lora_lab.subjects.records import kept

from . import variants
from .record import RUNS
from .variants import LR_RATIO, METHODS

RATES = [round(0.001 * 2**k, 3) for k in range(9)]
TUNING_SEEDS, SEEDS, RANKS = (100, 101, 102), tuple(range(10)), (1, 4, 16, 64)


@cache
def start(seed: int):
    data = variants.turned_digits(seed)
    return data, variants.digit_base(data, seed)


def run(part: str, method: str, lr: float, seed: int, **rank: int) -> float:
    """Train once, or read the line of a run that was made before: the test loss at the end."""

    def measure() -> dict:
        data, base = start(seed)
        model = copy.deepcopy(base)
        METHODS[method](model, seed=seed, **rank)
        found = variants.fit(model, data, lr, lr_ratio=LR_RATIO.get(method, 1.0), seed=seed)
        row = {"loss": round(found.loss, 4)}
        if part == "methods":
            row |= {"trained": found.trained, "curve": [round(loss, 4) for loss in found.curve.values()]}
        return row

    return kept(RUNS, {"part": part, "method": method, **rank, "lr": lr, "seed": seed}, measure)["loss"]


def main() -> None:
    torch.set_num_threads(1)
    best = {}
    for method in METHODS:
        losses = {lr: sum(run("tuning", method, lr, seed) for seed in TUNING_SEEDS) for lr in RATES}
        best[method] = min(losses, key=losses.get)
        for seed in SEEDS:
            run("methods", method, best[method], seed)
    for method in ("LoRA", "rsLoRA"):
        for rank in RANKS:
            for seed in SEEDS:
                run("ranks", method, best[method], seed, r=rank)


if __name__ == "__main__":
    main()
