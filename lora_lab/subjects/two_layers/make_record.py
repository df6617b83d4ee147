"""Which layer needs the adapter? Three small two-layer models, two changes, four ranks, three choices of layers, five
seeds, for page 06's panel: python -m lora_lab.subjects.two_layers.make_record

360 runs, about three minutes on one core. Writes lora_lab/data/two_layers.json. Page 06 draws it and trains single
points of it anew.
"""

from datetime import date

import torch

from lora_lab.subjects.records import significant, write_record

from .experiment import CHANGES, CHOICES, RANKS, RUN, SHAPES, Experiment

SEEDS = (0, 1, 2, 3, 4)


def main(seeds=SEEDS, shapes=tuple(SHAPES), changes=CHANGES, ranks=RANKS) -> dict:
    runs = {}
    for shape in shapes:
        for change in changes:
            experiments = [Experiment(shape, change, seed) for seed in seeds]
            before = [significant(e.before) for e in experiments]
            for r in ranks:
                for choice in CHOICES:
                    results = [e.train(choice, r) for e in experiments]
                    runs[f"{shape}|{change}|{r}|{choice}"] = {
                        "before": before,
                        "floor": [significant(e.floor(choice, r)) for e in experiments],
                        "loss": [significant(result.loss) for result in results],
                        "curve": [significant(x) for x in results[0].curve],
                    }
            print(shape, change, {k.split("|", 2)[2]: v["loss"] for k, v in runs.items()}, flush=True)
    return runs


if __name__ == "__main__":
    torch.set_num_threads(1)
    record = {
        "command": "python -m lora_lab.subjects.two_layers.make_record",
        "recipe": f"2000 examples; base: Adam 1e-2, 30 epochs; LoRA: alpha = r, {RUN}; batch 128, cosine",
        "numbers": "mean squared error on the new task: before, after the last epoch (loss) and its floor, one per "
        "seed; after each epoch for the first seed (curve). 1e-8 stands for anything below it",
        "seeds": list(SEEDS),
        "runs": main(),
        "torch": torch.__version__.split("+")[0],
        "date": date.today().isoformat(),
    }
    write_record(record, "two_layers")
