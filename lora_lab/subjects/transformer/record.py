"""What `python -m lora_lab.subjects.transformer.make_record` measured, as tables with a row per training run."""

from __future__ import annotations

from typing import NamedTuple

from lora_lab.subjects.records import read_record
from lora_lab.subjects.tables import Table


class Run(NamedTuple):
    """One training run. loss: on the task; others: on the voices that no task trains; both nats above the floor.

    way: how the base was fine-tuned, "full" or "q,v r=8"; of LoRA, where: "q,v", and rank: 8 (None for the other ways).
    trained: how many numbers. lr: the learning rate, tuned for its way.
    """

    task: str
    way: str
    where: str | None
    rank: int | None
    trained: int
    lr: float
    seed: int
    loss: float
    others: float


def runs(part: str = "table") -> Table:
    """Every way to fine-tune at its tuned rate, three seeds: `part` "table", or "matrices", the paper's Table 5."""
    found = Table()
    for task, ways in read_record("transformer")[part].items():
        for way, row in ways.items():
            for seed, (loss, others) in enumerate(zip(row["task"], row["voices"])):
                found.append(Run(task, way, *place(way), row["trained"], row["lr"], seed, loss, others))
    return found


def forgetting() -> Table:
    """Three ways at their tuned rate, at half and at a quarter of it, three seeds."""
    trained = {run.way: run.trained for run in runs()}
    found = Table()
    for task, ways in read_record("transformer")["forgetting"].items():
        for way, by_rate in ways.items():
            for lr, seeds in by_rate.items():
                for seed, (loss, others) in enumerate(seeds):
                    found.append(Run(task, way, *place(way), trained[way], float(lr), seed, loss, others))
    return found


def place(way: str) -> tuple[str | None, int | None]:
    """Where and rank of a way: "q,v r=8" -> ("q,v", 8); (None, None) for a way that is not LoRA."""
    where, is_lora, rank = way.partition(" r=")
    return (where, int(rank)) if is_lora else (None, None)


class Said(NamedTuple):
    """What full fine-tuning said: its first sentences, and the share of 100 that the task's grammar accepts."""

    text: list[str]
    grammatical: float


def said(task: str, way: str) -> Said:
    row = read_record("transformer")["table"][task][way]
    return Said(row["text"], row["grammatical"])
