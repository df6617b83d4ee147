"""Pretrain the small GPT and ship it: python -m lora_lab.subjects.transformer.make_base

Writes base.safetensors and, beside it, the record base.json. About 75 CPU seconds on one core.
"""

import hashlib

import torch
from safetensors.torch import save

from lora_lab.subjects.mini_language import language
from lora_lab.subjects.records import write_record
from lora_lab.training import History, train

from .gpt import CHECKPOINT, GPT, above_floor, new_gpt, text_loss

SEED = 0
RECIPE = {"steps": 1400, "lr": 3e-3, "batch_size": 64, "optimizer": "adam", "schedule": "cosine"}
LINES = 40_000
HELD_OUT = {"n": 2000, "seed": 1_000}


def pretrain(seed: int, **how) -> tuple[GPT, History]:
    """From the start that `seed` draws; how: to `train`, beside the recipe."""
    model = new_gpt(seed)
    how = {"loss": text_loss, "seed": SEED, "progress": None, **RECIPE, **how}
    return model, train(model, *language.tensors(language.corpus(LINES, seed=SEED)), **how)


def main() -> None:
    torch.set_num_threads(1)
    model, history = pretrain(SEED)
    data = save({name: t.contiguous() for name, t in model.state_dict().items()})
    CHECKPOINT.write_bytes(data)
    record = {
        "recipe": {"seed": SEED, "lines": LINES, **RECIPE},
        "parameters": sum(p.numel() for p in model.parameters()),
        "first_losses": [round(x, 5) for x in history.losses[:8]],
        "above_floor": round(above_floor(model, language.corpus(**HELD_OUT)), 4),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    write_record(record, "transformer", "base")


if __name__ == "__main__":
    main()
