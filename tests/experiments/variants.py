"""Page 09's comparison of LoRA and what came after: python tests/experiments/variants.py  (about 4 CPU minutes)

A small network trained on upright digits learns the digits turned by 90 degrees, 300 steps, with each method.
1. Learning rates: nine of them, a factor 2 apart, on three bases of their own; the one with the smallest mean test
   loss is the method's rate.
2. Ten other bases with those rates: the curves and the losses that the page shows.
3. rsLoRA's claim: the rate found at r = 4, used at other ranks, alpha = 4 throughout.

Writes lora_lab/data/variants.json. tests/test_variants.py runs a part of it again.
"""

from __future__ import annotations

import copy
import json
from functools import cache, partial
from pathlib import Path

import torch

from lora_lab import variants
from lora_lab.variants import METHODS, RsLoRALinear, Run, lora

RATES = [round(0.001 * 2**k, 3) for k in range(9)]
TUNING_SEEDS, SEEDS, RANKS = (100, 101, 102), tuple(range(10)), (1, 4, 16, 64)
TARGET = Path(__file__).resolve().parents[2] / "lora_lab" / "data" / "variants.json"


@cache
def start(seed: int):
    data = variants.turned_digits(seed)
    return data, variants.digit_base(data, seed)


def run(attach, seed: int, lr: float, lr_ratio: float = 1.0) -> Run:
    data, base = start(seed)
    model = copy.deepcopy(base)
    attach(model, seed=seed)
    return variants.fit(model, data, lr, lr_ratio=lr_ratio, seed=seed)


def main() -> None:
    torch.set_num_threads(1)
    record: dict = {
        "settings": {
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
        },
        "base": [[round(v, 4) for v in variants.score(start(s)[1], *start(s)[0].turned_test)] for s in SEEDS],
        "upright": [[round(v, 4) for v in variants.score(start(s)[1], *start(s)[0].upright_test)] for s in SEEDS],
        "methods": {},
        "ranks": {},
    }
    for name, method in METHODS.items():
        by_rate = {}
        for lr in RATES:
            runs = [run(method.attach, s, lr, method.lr_ratio) for s in TUNING_SEEDS]
            by_rate[lr] = [round(r.loss, 4) for r in runs]
        lr = min(by_rate, key=lambda k: sum(by_rate[k]))
        runs = [run(method.attach, s, lr, method.lr_ratio) for s in SEEDS]
        record["methods"][name] = {
            "lr": lr,
            "trained": runs[0].trained,
            "loss": [round(r.loss, 4) for r in runs],
            "accuracy": [round(r.accuracy, 4) for r in runs],
            "curves": [[round(v, 4) for v in r.curve.values()] for r in runs],
            "tuning": {str(k): v for k, v in by_rate.items()},
        }
        print(name, lr, [round(r.loss, 3) for r in runs], flush=True)
    record["steps"] = list(runs[0].curve)
    for name, attach in (("LoRA", lora), ("rsLoRA", partial(lora, layer=RsLoRALinear))):
        lr = record["methods"][name]["lr"]
        for r in RANKS:
            losses = [round(run(partial(attach, r=r), s, lr).loss, 4) for s in SEEDS]
            record["ranks"].setdefault(name, {})[str(r)] = losses
            print(name, "r =", r, losses, flush=True)
    TARGET.write_text(json.dumps(record, indent=1).replace("\n    ", " ").replace("\n   ]", " ]") + "\n")


if __name__ == "__main__":
    main()
