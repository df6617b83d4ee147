"""Adapters after another task, and on other bases: python -m lora_lab.subjects.transformer.make_beyond

About fifteen CPU minutes: LoRA on W_q and W_v, r = 8, every training as tuned in the record, three seeds.
    sequence  bard, then swap 8, in four ways. "Beside": LoRA on each from the base, the two updates added
    kinship   the adapter of swap 8 put on the base's own state half-way through its training, on the base after it was
              fine-tuned in full on other tasks, and on a stranger: the same network, recipe and data from another start
"""

import copy

import torch

from lora_lab import adapter_state, add_lora, remove_lora
from lora_lab.adapter_set import combine
from lora_lab.adapters import load_adapter_state
from lora_lab.subjects.mini_language import language
from lora_lab.subjects.records import write_record

from .gpt import GPT, above_floor, linears, load_base
from .make_base import RECIPE, SEED, pretrain
from .make_record import ALPHA, STEPS, TEST_ON, fine_tune, prepare
from .record import best_rates

FIRST, SECOND, WAY, SEEDS = "bard", "swap 8", "q,v r=8", (0, 1, 2)
BEST_RATES = best_rates()


def tuned(task: str, way: str, seed: int, model: GPT | None = None) -> GPT:
    """Fine-tune the base, or another model, which then changes in place, at the rate that the record chose."""
    return fine_tune(task, way, BEST_RATES[task, way], STEPS, seed, model=model)


def left(model: GPT, task: str) -> float:
    """Nats above the floor of the task."""
    return round(above_floor(model, language.dialect(task, **TEST_ON)), 3)


def one_after_the_other(seed: int) -> dict[str, GPT]:
    """{way: a model that has learned two tasks}."""
    full, first, second = tuned(FIRST, "full", seed), tuned(FIRST, WAY, seed), tuned(SECOND, WAY, seed)
    beside = load_base()
    add_lora(beside, 16, 2 * ALPHA, target_modules=["q_proj", "v_proj"])
    load_adapter_state(beside, combine([adapter_state(first), adapter_state(second)]))
    remove_lora(first, keep_delta=True)
    return {
        "full, then full": tuned(SECOND, "full", seed, copy.deepcopy(full)),
        "LoRA merged, then LoRA": tuned(SECOND, WAY, seed, first),
        "LoRA beside LoRA": beside,
        "full, then LoRA": tuned(SECOND, WAY, seed, full),
    }


def sequence() -> list[dict]:
    rows = []
    for seed in SEEDS:
        for way, model in one_after_the_other(seed).items():
            first, second, both = (left(model, task) for task in (FIRST, SECOND, f"{FIRST} + {SECOND}"))
            rows.append({"way": way, "seed": seed, "first": first, "second": second, "both": both})
            print(rows[-1], flush=True)
    return rows


@torch.no_grad()
def distance(model: GPT) -> float:
    """‖W - W₀‖ / ‖W₀‖ over the matrices that an adapter may touch."""
    ours, base = linears(model), linears(load_base())
    moved = sum(float((ours[name].weight - base[name].weight).square().sum()) for name in base)
    return (moved / sum(float(layer.weight.square().sum()) for layer in base.values())) ** 0.5


def relatives() -> dict[str, tuple[GPT, str]]:
    """{name: another base, and swap 8 in the voice that it speaks}."""
    half = RECIPE["steps"] // 2
    halfway, history = pretrain(SEED, snapshot_every=half)
    halfway.load_state_dict(history.snapshots[half])
    fast = fine_tune("bard", "full", 8 * BEST_RATES["bard", "full"], STEPS, 0)
    wire = fine_tune("wire", "full", BEST_RATES["bard", "full"], STEPS, 0)
    return {
        "the base": (load_base(), SECOND),
        "fine-tuned on bard": (tuned("bard", "full", 0), f"bard + {SECOND}"),
        "fine-tuned on wire": (wire, f"wire + {SECOND}"),
        "fine-tuned on bard, rate × 8": (fast, f"bard + {SECOND}"),
        "half-way to the base": (halfway, SECOND),
        "a stranger": (pretrain(SEED + 1)[0], SECOND),
    }


def kinship() -> list[dict]:
    states = [adapter_state(tuned(SECOND, WAY, seed)) for seed in SEEDS]
    rows = []
    for name, (model, task) in relatives().items():
        row = {"relative": name, "distance": round(distance(model), 3), "without": left(model, task)}
        row["with_adapter"] = []
        for state in states:
            carrier = prepare(WAY, model=copy.deepcopy(model))
            load_adapter_state(carrier, state)
            row["with_adapter"].append(left(carrier, task))
        rows.append(row)
        print(row, flush=True)
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    write_record({"sequence": sequence(), "kinship": kinship()}, "transformer", "beyond")
