"""What `python -m lora_lab.subjects.transformer.make_record` measured, as tables with a row per training run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lora_lab.subjects.records import read_record
from lora_lab.subjects.tables import Table

RUNS, REWARDS, REGRET = (Path(__file__).with_name(f"{name}.jsonl") for name in ("runs", "rewards", "regret"))


class Run(NamedTuple):
    """One training run. loss: on the task; others: on the voices that no task trains; both nats above the floor.

    way: how the base was fine-tuned, "full" or "q,v r=8"; of LoRA, where: "q,v", and rank: 8 (None for the other ways).
    trained: how many numbers. lr: the learning rate. tuned_on: the loss on the lines that chose it.
    Means over the matrices that changed: moved ‖ΔW‖/‖W‖, intruders of the ten strongest directions (arXiv 2410.21228),
    r90, the number of directions with 90 % of ‖ΔW‖². cut: {r: the loss after ΔW was cut to rank r}, of full ΔWs.
    """

    task: str
    way: str
    where: str | None
    rank: int | None
    trained: int
    lr: float
    steps: int
    seed: int
    tuned_on: float
    loss: float
    others: float
    moved: float
    intruders: float
    r90: float
    cut: dict[int, float]
    seconds: float


def place(way: str) -> tuple[str | None, int | None]:
    """Where and rank of a way: "q,v r=8" -> ("q,v", 8); (None, None) for a way that is not LoRA."""
    where, is_lora, rank = way.partition(" r=")
    return (where, int(rank)) if is_lora else (None, None)


def read_lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []


def read_runs(lines: Iterable[str] | None = None) -> Table:
    """Every run on record, or those of the given lines of JSON."""
    if lines is None:
        lines = RUNS.read_text(encoding="utf-8").splitlines() if RUNS.is_file() else []
    found = Table()
    for line in lines:
        row = json.loads(line)
        where, rank = place(row["way"])
        cut = {int(r): loss for r, loss in row.pop("cut", {}).items()}
        found.append(Run(**row, where=where, rank=rank, cut=cut))
    return found


def tuned(steps: int = 600) -> Table:
    """Every way at its best learning rate, a row per seed: the rate that was climbed to at 600 steps, with the lowest
    loss on the lines that choose it, mean of two seeds, among those whose half and double were tried as well.
    """
    found = Table()
    for here in read_runs().by("task").values():
        for mine in here.by("way").values():
            judged = Table(run for run in mine if run.steps == 600 and run.seed < 2 and run.tuned_on == run.tuned_on)
            losses = {lr: runs.mean("tuned_on") for lr, runs in judged.by("lr").items()}
            inner = [lr for lr in losses if {lr / 2, 2 * lr} <= set(mine.column("lr"))] or list(losses)
            best = min(inner, key=losses.get)
            found += (run for run in mine if (run.lr, run.steps) == (best, steps))
    return Table(sorted(found, key=lambda run: (run.task, run.where or run.way, run.rank or 0, run.seed)))


class Said(NamedTuple):
    """What full fine-tuning said: its first sentences, and the share of 100 that the task's grammar accepts."""

    text: list[str]
    grammatical: float


def said(task: str) -> Said:
    return Said(**read_record("transformer")["said"][task])


def around(task: str) -> Table:
    """The ways that are compared in detail, at several learning rates and numbers of steps, three seeds."""
    ways = ("full", "q,v r=8", "all linears r=8")
    rows = read_runs().where(task=task)
    return Table(run for run in rows if run.way in ways and run.steps <= 600 and run.seed < 3)


class Relative(NamedTuple):
    """A base and how far it is from ours, ‖W - W₀‖ / ‖W₀‖; its loss on swap 8 without the adapter, and with it, a
    number per seed.
    """

    relative: str
    distance: float
    without: float
    with_adapter: list[float]

    @property
    def mean_with(self) -> float:
        return sum(self.with_adapter) / len(self.with_adapter)


def kinship() -> Table:
    rows = read_record("transformer", "kinship")["rows"]
    return Table(Relative(row["relative"], row["distance"], row["without"], row["with"]) for row in rows)


class Second(NamedTuple):
    """After a first and a second task: loss above the floor on the first, the second, and both in one sentence."""

    way: str
    seed: int
    first: float
    second: float
    both: float


def sequence() -> Table:
    rows = read_record("transformer", "sequence")["rows"]
    return Table(Second(row["way"], row["seed"], *row["losses"].values()) for row in rows)


class Rewarded(NamedTuple):
    """Trained on a reward alone. before, after: mean reward of 400 drawn sentences; curve: of every 640 on the way.

    text: three of the drawn sentences before, then three after, of the same records.
    """

    way: str
    lr: float
    seed: int
    before: float
    after: float
    curve: list[float]
    text: list[str]
    seconds: float
    where: str | None
    rank: int | None


def rewarded() -> Table:
    """Every run on a reward, also those that chose the learning rates."""
    return Table(Rewarded(*row.values(), *place(row["way"])) for row in read_lines(REWARDS))


class Slice(NamedTuple):
    """Trained on bard from so many lines, so many in a step. Nats above the floor: tuned_on, on the lines that chose
    the rate; loss, on others; seen, on the training lines themselves: below 0, their choices are learned by heart.
    """

    way: str
    lines: int
    batch: int
    lr: float
    seed: int
    trained: int
    tuned_on: float
    loss: float
    seen: float
    seconds: float
    where: str | None
    rank: int | None


def slices() -> Table:
    """Every run over data and batch, also those that chose the learning rates."""
    return Table(Slice(*row.values(), *place(row["way"])) for row in read_lines(REGRET))


def at_best_rate(rows: Table) -> Table:
    """The rows at the learning rates that were chosen: those with three seeds."""

    def cell(row: NamedTuple) -> tuple:
        return row[: row._fields.index("seed")]

    seeds = Counter(map(cell, rows))
    return Table(row for row in rows if seeds[cell(row)] == 3)
