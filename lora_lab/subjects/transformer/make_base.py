"""Pretrain the small GPT and ship it: python -m lora_lab.subjects.transformer.make_base [--device cuda]

Writes base.safetensors and, beside it, the record base.json: seeds, steps, losses, seconds, sha256. About 75 CPU
seconds on one core.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from datetime import date
from statistics import mean

import torch
from safetensors.torch import save

from lora_lab.subjects.mini_language import language
from lora_lab.training import History, train

from .gpt import CHECKPOINT, GPT, above_floor, new_gpt, text_loss

SEED = 0
RECIPE = {"steps": 1400, "lr": 3e-3, "batch_size": 64, "optimizer": "adam", "schedule": "cosine"}
LINES = 40_000
HELD_OUT = {"n": 2000, "seed": 1_000}


def pretrain(device: str = "cpu") -> tuple[GPT, History]:
    """The base from nothing, and its losses."""
    model = new_gpt(SEED).to(device)
    X, y = language.tensors(language.corpus(LINES, seed=SEED))
    return model, train(model, X.to(device), y.to(device), loss=text_loss, seed=SEED, progress=None, **RECIPE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    device = parser.parse_args().device
    torch.set_num_threads(1)
    start = time.process_time()
    model, history = pretrain(device)
    seconds = round(time.process_time() - start)
    held_out = language.corpus(**HELD_OUT)
    data = save({name: t.cpu().contiguous() for name, t in model.state_dict().items()})
    record = {
        "command": "python -m lora_lab.subjects.transformer.make_base",
        "recipe": {"seed": SEED, "lines": LINES, **RECIPE},
        "parameters": sum(p.numel() for p in model.parameters()),
        "first_losses": [round(x, 5) for x in history.losses[:8]],
        "loss_every_100_steps": [round(mean(history.losses[i : i + 100]), 4) for i in range(0, history.steps, 100)],
        "held_out": HELD_OUT,
        "floor": round(language.floor(held_out), 4),
        "above_floor": round(above_floor(model, held_out), 4),
        "above_floor_by_teller": {
            teller: round(above_floor(model, language.corpus(500, 2_000, [teller])), 4) for teller in language.TELLERS
        },
        "cpu_seconds": seconds,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "device": device,
        "torch": torch.__version__.split("+")[0],
        "date": date.today().isoformat(),
    }
    CHECKPOINT.write_bytes(data)
    CHECKPOINT.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
