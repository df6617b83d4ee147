"""LoRA and what came after, compared: python -m lora_lab.subjects.successors.make_record [method ...]

About 4 CPU minutes. With names of methods, only those are measured again and the rest of the record stays.

A small network trained on upright digits learns the digits turned by 90 degrees, 300 steps, with each method.
1. Learning rates: nine of them, a factor 2 apart, on three bases of their own; the one with the smallest mean test
   loss is the method's rate.
2. Ten other bases with those rates: the curves and the losses.
3. rsLoRA's claim: the rate found at r = 4, used at other ranks, alpha = 4 throughout.
"""

from __future__ import annotations

import copy
import sys
from functools import cache, partial

import torch

from lora_lab.subjects.records import read_record, write_record

from . import variants
from .variants import METHODS, RsLoRALinear, Run, lora

RATES = [round(0.001 * 2**k, 3) for k in range(9)]
TUNING_SEEDS, SEEDS, RANKS = (100, 101, 102), tuple(range(10)), (1, 4, 16, 64)


@cache
def start(seed: int):
    data = variants.turned_digits(seed)
    return data, variants.digit_base(data, seed)


def run(attach, seed: int, lr: float, lr_ratio: float = 1.0) -> Run:
    data, base = start(seed)
    model = copy.deepcopy(base)
    attach(model, seed=seed)
    return variants.fit(model, data, lr, lr_ratio=lr_ratio, seed=seed)


def measure(name: str) -> dict:
    """Tune the learning rate of one method, then run it on the ten other bases."""
    method, by_rate = METHODS[name], {}
    for lr in RATES:
        by_rate[lr] = [round(run(method.attach, s, lr, method.lr_ratio).loss, 4) for s in TUNING_SEEDS]
    lr = min(by_rate, key=lambda k: sum(by_rate[k]))
    runs = [run(method.attach, s, lr, method.lr_ratio) for s in SEEDS]
    print(name, lr, [round(r.loss, 3) for r in runs], flush=True)
    return {
        "lr": lr,
        "trained": runs[0].trained,
        "loss": [round(r.loss, 4) for r in runs],
        "accuracy": [round(r.accuracy, 4) for r in runs],
        "curves": [[round(v, 4) for v in r.curve.values()] for r in runs],
        "tuning": {str(k): v for k, v in by_rate.items()},
    }


def across_ranks(methods: dict) -> dict[str, dict[str, list[float]]]:
    attach = {"LoRA": lora, "rsLoRA": partial(lora, layer=RsLoRALinear)}
    found = {}
    for name in attach:
        lr = methods[name]["lr"]
        found[name] = {str(r): [round(run(partial(attach[name], r=r), s, lr).loss, 4) for s in SEEDS] for r in RANKS}
    return found


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    old = read_record("successors") if names else {}
    done = old.get("methods", {})
    settings = {
        "task": "scikit-learn digits turned by 90 degrees; base 64-256-192-10 trained on them upright",
        "steps": variants.STEPS,
        "batch": variants.BATCH,
        "optimizer": "Adam, cosine to 0",
        "r": 4,
        "alpha": 4,
        "tuning_seeds": TUNING_SEEDS,
        "seeds": SEEDS,
        "rates": RATES,
        "torch": torch.__version__.split("+")[0],
    }
    methods = {name: measure(name) if name in names or not names else done[name] for name in METHODS}
    record = {
        "settings": settings,
        "steps": list(range(0, variants.STEPS + 1, 20)),
        "base": [[round(v, 4) for v in variants.score(start(s)[1], *start(s)[0].turned_test)] for s in SEEDS],
        "upright": [[round(v, 4) for v in variants.score(start(s)[1], *start(s)[0].upright_test)] for s in SEEDS],
        "methods": methods,
        "ranks": old.get("ranks") or across_ranks(methods),
    }
    write_record(record, "successors")


if __name__ == "__main__":
    main(sys.argv[1:])
