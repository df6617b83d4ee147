"""Which layer needs the adapter? Three small two-layer models, two changes, four ranks, three choices of layers, five
seeds: python -m lora_lab.subjects.two_layers.make_record

360 trainings, about three minutes on one core; writes record.json beside this file.
"""

import torch

from lora_lab.subjects.records import significant, write_record

from .experiment import CHANGES, CHOICES, EPOCHS, MODELS, RANKS, RATE, Experiment

SEEDS = [0, 1, 2, 3, 4]


def run_all(model: str, change: str) -> list[dict]:
    """Every rank and choice of layers on one model and one change."""
    experiments = [Experiment(model, change, seed) for seed in SEEDS]
    before = [significant(experiment.before) for experiment in experiments]
    runs = []
    for r in RANKS:
        for layers in CHOICES:
            floor = [significant(experiment.floor(layers, r)) for experiment in experiments]
            loss = [significant(experiment.train(layers, r)) for experiment in experiments]
            what = {"model": model, "change": change, "r": r, "layers": layers}
            runs.append({**what, "before": before, "floor": floor, "loss": loss})
            print(model, change, r, layers, loss, flush=True)
    return runs


if __name__ == "__main__":
    torch.set_num_threads(1)
    record = {
        "recipe": "2000 examples; base: Adam 1e-2, 30 epochs; "
        f"LoRA: alpha = r, {EPOCHS} epochs, Adam {RATE}, batch 128, cosine",
        "numbers": "mean squared error on the new task: before, the floor, after the last epoch (loss), one per seed. "
        "1e-8 stands for anything below it",
        "runs": [run for model in MODELS for change in CHANGES for run in run_all(model, change)],
    }
    write_record(record, "two_layers")
