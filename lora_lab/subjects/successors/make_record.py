"""LoRA and what came after, compared: python -m lora_lab.subjects.successors.make_record

About 4 CPU minutes. First each method's learning rate: of nine, a factor 2 apart, the one with the smallest mean test
loss on three bases of their own. Then ten other bases with those rates. Then rsLoRA's claim: the rate found at r = 4,
used at other ranks, alpha = 4 throughout.
"""

import copy
from functools import cache, partial
from types import SimpleNamespace

import torch

from lora_lab.subjects.records import write_record

from . import variants
from .variants import LR_RATIO, METHODS

RATES = [round(0.001 * 2**k, 3) for k in range(9)]
TUNING_SEEDS, SEEDS, RANKS = (100, 101, 102), tuple(range(10)), (1, 4, 16, 64)


@cache
def start(seed: int):
    data = variants.turned_digits(seed)
    return data, variants.digit_base(data, seed)


def run(attach, seed: int, lr: float, lr_ratio: float = 1.0) -> SimpleNamespace:
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


def across_ranks(method: str, lr: float) -> dict[str, list[float]]:
    attach = METHODS[method]
    return {str(r): [round(run(partial(attach, r=r), s, lr).loss, 4) for s in SEEDS] for r in RANKS}


def main() -> None:
    torch.set_num_threads(1)
    methods = {name: measure(name) for name in METHODS}
    record = {
        "settings": {"r": 4, "tuning_seeds": TUNING_SEEDS, "seeds": SEEDS},
        "steps": list(range(0, variants.STEPS + 1, 20)),
        "methods": methods,
        "ranks": {method: across_ranks(method, methods[method]["lr"]) for method in ("LoRA", "rsLoRA")},
    }
    write_record(record, "successors")


if __name__ == "__main__":
    main()
