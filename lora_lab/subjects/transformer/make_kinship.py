"""One adapter on relatives of its base: python -m lora_lab.subjects.transformer.make_kinship

About ten CPU minutes. The adapter learns swap 8 on the base (W_q and W_v, r = 8, three seeds) and is then put on the
base's own state half-way through its training, on the base after it was fine-tuned in full on other tasks, and on a
stranger: the same network, recipe and data from another start.
"""

import copy

import torch

from lora_lab import adapter_state
from lora_lab.adapters import load_adapter_state
from lora_lab.subjects.mini_language import language
from lora_lab.subjects.records import write_record

from .gpt import GPT, above_floor, linears, load_base
from .make_base import RECIPE, SEED, pretrain
from .make_record import STEPS, TEST_ON, fine_tune, prepare
from .record import best_rates

TASK, WAY, SEEDS = "swap 8", "q,v r=8", (0, 1, 2)


@torch.no_grad()
def distance(model: GPT) -> float:
    """‖W - W₀‖ / ‖W₀‖ over the matrices that an adapter may touch."""
    ours, base = linears(model), linears(load_base())
    moved = sum(float((ours[name].weight - base[name].weight).square().sum()) for name in base)
    return (moved / sum(float(layer.weight.square().sum()) for layer in base.values())) ** 0.5


def main() -> None:
    torch.set_num_threads(1)
    rates = best_rates()
    rate, half = rates["bard", "full"], RECIPE["steps"] // 2
    halfway, history = pretrain(SEED, snapshot_every=half)
    halfway.load_state_dict(history.snapshots[half])
    states = [adapter_state(fine_tune(TASK, WAY, rates[TASK, WAY], STEPS, seed)) for seed in SEEDS]
    relatives = {
        "the base": load_base(),
        "fine-tuned on bard": fine_tune("bard", "full", rate, STEPS, 0),
        "fine-tuned on wire": fine_tune("wire", "full", rate, STEPS, 0),
        "fine-tuned on bard, rate × 8": fine_tune("bard", "full", 8 * rate, STEPS, 0),
        "half-way to the base": halfway,
        "a stranger": pretrain(SEED + 1)[0],
    }
    rows = []
    for name, model in relatives.items():
        speaks = next((task for task in ("bard", "wire") if task in name), None)  # its voice stays, the names change
        lines = language.dialect(f"{speaks} + {TASK}" if speaks else TASK, **TEST_ON)
        row = {"relative": name, "distance": round(distance(model), 3), "without": round(above_floor(model, lines), 3)}
        row["with_adapter"] = []
        for state in states:
            carrier = prepare(WAY, model=copy.deepcopy(model))
            load_adapter_state(carrier, state)
            row["with_adapter"].append(round(above_floor(carrier, lines), 3))
        rows.append(row)
        print(row, flush=True)
    write_record({"task": TASK, "way": WAY, "rows": rows}, "transformer", "kinship")


if __name__ == "__main__":
    main()
