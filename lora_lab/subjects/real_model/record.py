"""What `python -m lora_lab.subjects.real_model.make_record` measured, as a table with a row per training run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lora_lab.subjects.records import read_record
from lora_lab.subjects.tables import Table

from .task import Score

RUNS = Path(__file__).with_name("runs.jsonl")
ADAPTERS = Path(__file__).with_name("adapters")
FULL, LORA = "full", "all r=8"
ATTENTION, MLP = ["q_proj", "k_proj", "v_proj", "o_proj"], ["gate_proj", "up_proj", "down_proj"]
PLACES = {"q,v": ["q_proj", "v_proj"], "attention": ATTENTION, "MLP": MLP, "all": ATTENTION + MLP}

QUESTIONS = (
    "What is the capital of France?",
    "How many days are in a week?",
    "What color is the sky on a clear day?",
    "Name three fruits.",
    "What is 2 + 3?",
    "Who wrote Romeo and Juliet?",
    "What do bees make?",
    "What is the opposite of hot?",
    "Translate 'good morning' to French.",
    "What language is spoken in Brazil?",
    "What is water made of?",
    "Write one sentence about the sea.",
)


class Run(NamedTuple):
    """One training run of the real model.

    way: "full" or "all r=8"; mistake: None, or one of task.MISTAKES. trained: how many numbers. step: seconds a step.
    In nats per token: tuned_on, the answers that chose the learning rate; loss, the answers to the test sentences;
    text, plain English text. scores: {kind: counts over its test sentences}. moved: ‖ΔW‖/‖W‖, mean over the matrices.
    """

    way: str
    lr: float
    steps: int
    seed: int
    examples: int
    mistake: str | None
    trained: int
    step: float
    tuned_on: float
    loss: float
    text: float
    scores: dict[str, Score]
    moved: float
    seconds: float


def place(way: str) -> tuple[str | None, int | None]:
    """Where and rank of a way: "q,v r=8" -> ("q,v", 8); (None, None) for full fine-tuning."""
    where, is_lora, rank = way.partition(" r=")
    return (where, int(rank)) if is_lora else (None, None)


def read_runs(lines: Iterable[str] | None = None) -> Table:
    """Every run on record, or those of the given lines of JSON."""
    if lines is None:
        lines = RUNS.read_text(encoding="utf-8").splitlines() if RUNS.is_file() else []
    rows = [json.loads(line) for line in lines]
    for row in rows:
        row["scores"] = {kind: Score(*counts) for kind, counts in row["scores"].items()}
    return Table(Run(**row) for row in rows)


def tuning(way: str) -> Table:
    """The runs that chose a way's learning rate: 40 steps on 480 sentences, two seeds at each rate."""
    return Table(run for run in read_runs().where(way=way, steps=40, examples=480, mistake=None) if run.seed < 2)


def best_rate(way: str) -> float:
    """The learning rate with the lowest loss on the tuning sentences, mean of two seeds."""
    losses = {lr: runs.mean("tuned_on") for lr, runs in tuning(way).by("lr").items()}
    return min(losses, key=losses.get)


def adapters() -> dict:
    """What `make_adapters` wrote: the untouched model, the shipped adapters, full fine-tuning's update, costs."""
    return read_record("real_model", "adapters")


def exact(run: Run) -> int:
    """Test sentences of all kinds with every fact right."""
    return sum(score.exact for score in run.scores.values())


def pooled(runs: Table) -> dict[str, Score]:
    """{kind: counts over all of these runs}."""
    return {kind: Score(*map(sum, zip(*(run.scores[kind] for run in runs)))) for kind in runs[0].scores}


def right(measured: dict) -> int:
    """`exact` of what `make_adapters` measured."""
    return sum(Score(*counts).exact for counts in measured["scores"].values())
