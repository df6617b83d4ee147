"""Every program of the broken-LoRA gallery over five starts of A: is the symptom there, is the fault found?

    python -m lora_lab.subjects.broken.make_record            # about 40 CPU seconds; writes lora_lab/subjects/broken/record.json

For each fault and seed: the correct and the broken program's shipped loss, the ratio of their losses at step 3
("early"), and the codes that `diagnose` gives.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from lora_lab import diagnose
from lora_lab.subjects.broken import gallery

SEEDS = (0, 1, 2, 3, 4)
RECORD = Path(__file__).with_name("record.json")


def row(fault: gallery.Fault, seed: int) -> dict:
    right, wrong = (gallery._execute(text, gallery.STEPS, seed) for text in (fault.correct, fault.broken))
    state = gallery._execute(fault.broken, 0, seed) if fault.start else wrong
    found = eval(fault.look, {"diagnose": diagnose, **state})
    right, wrong = gallery.outcome(right), gallery.outcome(wrong)
    return {
        "correct": float(f"{right.shipped_loss:.3g}"),
        "shipped": float(f"{wrong.shipped_loss:.3g}"),
        "early": float(f"{wrong.losses[3] / right.losses[3]:.3g}"),
        "found": [finding.code for finding in found],
    }


def main() -> None:
    torch.set_num_threads(1)
    faults = {f.code: [row(f, seed) for seed in SEEDS] for f in gallery.FAULTS.values()}
    text = json.dumps({"steps": gallery.STEPS, "seeds": SEEDS, "faults": faults}, indent=1)
    RECORD.write_text(text + "\n", encoding="utf-8")
    print(f"written: {RECORD.name}, {len(faults)} faults x {len(SEEDS)} seeds")


if __name__ == "__main__":
    main()
