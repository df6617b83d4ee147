"""One training step at S1's size in every form of page 03: python tests/benchmarks/s1_step.py

Forward, backward and Adam on 128 rows, 1001 -> 1000, one thread; the forms take turns. Writes s1_step.json beside it.
"""

import json
from pathlib import Path

import torch
from machine import describe

from lora_lab.subjects.torch_layer.timing import lora_steps, race

if __name__ == "__main__":
    torch.set_num_threads(1)
    rounds = 101
    times = race(lora_steps(d_out=1000, d_in=1001, batch=128, ranks=(1, 64, 256, 512)), rounds=rounds)
    full = times["full fine-tuning"]
    record = {
        "machine": describe(),
        "threads": 1,
        "rounds": rounds,
        "median_ms": {name: round(1000 * t, 2) for name, t in times.items()},
        "ratio_to_full_fine_tuning": {name: round(t / full, 2) for name, t in times.items()},
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))
