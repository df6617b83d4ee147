"""LoRA and what came after, compared: python -m lora_lab.subjects.successors.make_record

About 4 CPU minutes.

A small network trained on upright digits learns the digits turned by 90 degrees, 300 steps, with each method.
1. Learning rates: nine of them, a factor 2 apart, on three bases of their own; the one with the smallest mean test
   loss is the method's rate.
2. Ten other bases with those rates: the curves and the losses.
3. rsLoRA's claim: the rate found at r = 4, used at other ranks, alpha = 4 throughout.
"""

import copy
from functools import cache, partial

import torch

from lora_lab.subjects.records import write_record

from . import variants
from .variants import LR_RATIO, METHODS, RsLoRALinear, Run, lora

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
    attach, ratio, by_rate = METHODS[name], LR_RATIO.get(name, 1.0), {}
    for lr in RATES:
        by_rate[lr] = [round(run(attach, s, lr, ratio).loss, 4) for s in TUNING_SEEDS]
    lr = min(by_rate, key=lambda k: sum(by_rate[k]))
    runs = [run(attach, s, lr, ratio) for s in SEEDS]
    print(name, lr, [round(r.loss, 3) for r in runs], flush=True)
    return {
        "lr": lr,
        "trained": runs[0].trained,
        "loss": [round(r.loss, 4) for r in runs],
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


def main() -> None:
    torch.set_num_threads(1)
    methods = {name: measure(name) for name in METHODS}
    record = {
        "settings": {"r": 4, "tuning_seeds": TUNING_SEEDS, "seeds": SEEDS},
        "steps": list(range(0, variants.STEPS + 1, 20)),
        "methods": methods,
        "ranks": across_ranks(methods),
    }
    write_record(record, "successors")


if __name__ == "__main__":
    main()
