"""Run S1's own recipe at full size and record its losses for page 01: python tests/benchmarks/s1_full_recipe.py

Adam 1e-3, batch 128, 100 epochs over 10 000 examples, 1001 -> 1000; about two minutes on one core.
Writes lora_lab/data/s1_full_recipe.json. Page 01 draws this record beside its own two-second schedule.
"""

import json
from datetime import date
from pathlib import Path

import torch

from lora_lab.subjects.linear_task.bases import linear_base
from lora_lab.subjects.linear_task.tasks import s1_task

OUT = Path(__file__).parents[2] / "lora_lab" / "data" / "s1_full_recipe.json"

if __name__ == "__main__":
    torch.set_num_threads(1)
    seed = 0
    history = linear_base(s1_task(seed), recipe="published", seed=seed, measure_every=10).history
    record = {
        "command": "python tests/benchmarks/s1_full_recipe.py",
        "recipe": "Adam, lr 1e-3, batch 128, 100 epochs, 10000 examples, 1001 -> 1000, float32, one thread",
        "seed": seed,
        "loss_after_epoch": {str(epoch): round(loss, 7) for epoch, loss in history.measured.items()},
        "steps": history.steps,
        "seconds": round(history.seconds),
        "torch": torch.__version__.split("+")[0],
        "date": date.today().isoformat(),
    }
    OUT.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))
