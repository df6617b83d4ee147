"""Two tasks, one after the other: python -m lora_lab.subjects.transformer.make_sequence

About five CPU minutes. First bard, then swap 8, in four ways, three seeds, every training as tuned in the record.
"Beside": LoRA on each from the base, the two updates added.
"""

import copy

import torch

from lora_lab import adapter_state, add_lora, remove_lora
from lora_lab.adapter_set import combine
from lora_lab.adapters import load_adapter_state
from lora_lab.subjects.mini_language import language
from lora_lab.subjects.records import write_record

from .gpt import GPT, above_floor, load_base
from .make_record import ALPHA, STEPS, TEST_ON, fine_tune
from .record import best_rates

FIRST, SECOND, WAY, SEEDS = "bard", "swap 8", "q,v r=8", (0, 1, 2)


def ways(seed: int, rates: dict[tuple[str, str], float]) -> dict[str, GPT]:
    full = fine_tune(FIRST, "full", rates[FIRST, "full"], STEPS, seed)
    first, second = (fine_tune(task, WAY, rates[task, WAY], STEPS, seed) for task in (FIRST, SECOND))
    beside = load_base()
    add_lora(beside, 16, 2 * ALPHA, target_modules=["q_proj", "v_proj"])
    load_adapter_state(beside, combine([adapter_state(first), adapter_state(second)]))
    remove_lora(first, keep_delta=True)

    def then(way: str, model: GPT) -> GPT:
        return fine_tune(SECOND, way, rates[SECOND, way], STEPS, seed, model=model)

    return {
        "full, then full": then("full", copy.deepcopy(full)),
        "LoRA merged, then LoRA": then(WAY, first),
        "LoRA beside LoRA": beside,
        "full, then LoRA": then(WAY, full),
    }


def main() -> None:
    torch.set_num_threads(1)
    rates = best_rates()
    rows = []
    for seed in SEEDS:
        for way, model in ways(seed, rates).items():
            row = {"way": way, "seed": seed}
            for name, task in {"first": FIRST, "second": SECOND, "both": f"{FIRST} + {SECOND}"}.items():
                row[name] = round(above_floor(model, language.dialect(task, **TEST_ON)), 3)
            rows.append(row)
            print(row, flush=True)
    write_record({"first": FIRST, "second": SECOND, "rows": rows}, "transformer", "sequence")


if __name__ == "__main__":
    main()
