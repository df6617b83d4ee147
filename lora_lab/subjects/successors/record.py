"""What `python -m lora_lab.subjects.successors.make_record` measured, as tables with a row per training run."""

from __future__ import annotations

from typing import NamedTuple

from lora_lab.subjects.records import read_record
from lora_lab.subjects.tables import Table


class Run(NamedTuple):
    """One method on one base, at its tuned learning rate. curve: test loss at `steps()`; loss: its last."""

    method: str
    lr: float
    trained: int
    seed: int
    loss: float
    curve: list[float]


class Try(NamedTuple):
    """One run of a search. loss: test loss at the end."""

    method: str
    rank: int
    lr: float
    seed: int
    loss: float


def steps() -> list[int]:
    return read_record("successors")["steps"]


def runs() -> Table:
    """Every method on the ten bases."""
    record, found = read_record("successors"), Table()
    seeds = record["settings"]["seeds"]
    for method, row in record["methods"].items():
        for seed, loss, curve in zip(seeds, row["loss"], row["curves"]):
            found.append(Run(method, row["lr"], row["trained"], seed, loss, curve))
    return found


def tuning() -> Table:
    """The search for each method's learning rate, on three other bases."""
    record, found = read_record("successors"), Table()
    for method, row in record["methods"].items():
        for lr, losses in row["tuning"].items():
            for seed, loss in zip(record["settings"]["tuning_seeds"], losses):
                found.append(Try(method, record["settings"]["r"], float(lr), seed, loss))
    return found


def ranks() -> Table:
    """LoRA and rsLoRA at other ranks, with the learning rate that was tuned at r = 4."""
    record, found = read_record("successors"), Table()
    for method, by_rank in record["ranks"].items():
        lr = record["methods"][method]["lr"]
        for rank, losses in by_rank.items():
            for seed, loss in zip(record["settings"]["seeds"], losses):
                found.append(Try(method, int(rank), lr, seed, loss))
    return found
