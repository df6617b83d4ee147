"""Which layer needs the adapter? The experiment of page 06 on three small two-layer models.

A rank-r update of W1 changes W2 W1 by (W2 B1) A1: it writes only what W2 passes on. One of W2 changes it by
B2 (A2 W1): it reads only what W1 lets through. Each choice of layers therefore has a floor of its own, known before
training (`theory.layer_floor`). For both layers together the floor given here is a bound: rank 2r, read and written
anywhere.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch

from lora_lab import theory
from lora_lab.adapters import add_lora
from lora_lab.subjects.linear_task import tasks
from lora_lab.subjects.linear_task.bases import TwoLayer, two_layer_base
from lora_lab.training import evaluate, train

SHAPES = {  # (d_in, hidden, d_out)
    "S2's shape, 101 → 100 → 100": (101, 100, 100),
    "narrowing, 101 → 60 → 40": (101, 60, 40),
    "widening, 40 → 60 → 101": (40, 60, 101),
}
CHANGES = ("ones", "rank-4")
RANKS = (1, 2, 4, 8)
CHOICES = {"layer 1": ("first",), "layer 2": ("second",), "both": ("first", "second")}
RUN = {"epochs": 20, "lr": 0.1}


class Result(NamedTuple):
    """One run: the loss on all data after each epoch, and the seed of its start and batches."""

    curve: list[float]
    seed: int
    interrupted: bool = False

    @property
    def loss(self) -> float:
        return self.curve[-1] if self.curve else float("nan")


class Experiment:
    """One base model and one new task: what each choice of layers could reach, and what it does reach.

    shape: a key of SHAPES. change: "ones" (S2's) or "rank-4". seed: of the data, the base and the starts.
    """

    def __init__(self, shape: str, change: str, seed: int = 0) -> None:
        if shape not in SHAPES or change not in CHANGES:
            raise ValueError(f"shape={shape!r}, change={change!r}: choose from {list(SHAPES)} and {list(CHANGES)}.")
        d_in, hidden, d_out = SHAPES[shape]
        self.seed = seed
        old = tasks.linear_task(tasks.normal(d_out, d_in, seed=1000 + seed), 2000, seed)
        self.base: TwoLayer
        self.base, history = two_layer_base(old, hidden, seed=seed, progress=None)
        if history.interrupted:  # of a base that is half trained, every number would be wrong
            raise KeyboardInterrupt
        self.task = tasks.linear_task(old.theta + tasks.shift(change, d_out, d_in, seed), 2000, seed + 1)
        self.wanted = self.task.theta - self.base.end_to_end()  # (d_out, d_in), the base's own residual included
        self.before = evaluate(self.base, self.task.X, self.task.y)

    def floor(self, choice: str, r: int) -> float:
        """The lowest loss that rank r on the chosen layers can reach (for "both": no choice of rank r goes below)."""
        W1, W2 = self.base.first.weight, self.base.second.weight
        if choice == "both":
            return theory.rank_floor(self.wanted, min(2 * r, *self.wanted.shape), self.task.X)
        where = {"above": W2} if choice == "layer 1" else {"below": W1}
        return theory.layer_floor(self.wanted, r, self.task.X, **where)

    def train(self, choice: str, r: int, seed: int | None = None, epochs: int = RUN["epochs"]) -> Result:
        """Train rank-r adapters (alpha = r) on the chosen layers of a copy of the base."""
        if choice not in CHOICES:
            raise ValueError(f"choice={choice!r}: choose one of {', '.join(map(repr, CHOICES))}.")
        seed = self.seed if seed is None else seed
        model = copy.deepcopy(self.base)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # the start of A
            add_lora(model, r=r, alpha=r, target_modules=CHOICES[choice])
        how = {"epochs": epochs, "lr": RUN["lr"], "schedule": "cosine", "seed": seed, "measure_every": 1}
        history = train(model, self.task.X, self.task.y, progress=None, **how)
        return Result(list(history.measured.values()), seed, history.interrupted)
