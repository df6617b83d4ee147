"""Which layer needs the adapter? An experiment on three small two-layer models, and what was recorded of it.

Each choice of layers has a floor of its own, known before training (`floors.layer_floor`). For both layers together the
floor given here is a bound: rank 2r, read and written anywhere.
"""

import copy
from functools import cache
from types import SimpleNamespace

import torch

from lora_lab import theory
from lora_lab.adapters import add_lora
from lora_lab.subjects.linear_task import tasks
from lora_lab.subjects.linear_task.bases import two_layer_base
from lora_lab.subjects.records import read_record
from lora_lab.subjects.tables import Table
from lora_lab.training import evaluate, train

from .floors import layer_floor

MODELS = {"S2's shape": (101, 100, 100), "narrowing": (101, 60, 40), "widening": (40, 60, 101)}  # d_in, hidden, d_out
CHANGES = ("ones", "rank-4")
RANKS = (1, 2, 4, 8)
CHOICES = {"layer 1": ["first"], "layer 2": ["second"], "both": ["first", "second"]}
EPOCHS, RATE = 20, 0.1


class Experiment:
    """One base model and one new task: what each choice of layers could reach, and what it does reach.

    model: a key of MODELS. change: "ones" (S2's) or "rank-4". seed: of the data, the base and the starts.
    """

    def __init__(self, model: str, change: str, seed: int = 0) -> None:
        d_in, hidden, d_out = MODELS[model]
        self.seed = seed
        old = tasks.linear_task(tasks.normal(d_out, d_in, seed=1000 + seed), 2000, seed)
        self.base, _ = two_layer_base(old, hidden, seed=seed, progress=None)
        self.task = tasks.linear_task(old.theta + tasks.shift(change, d_out, d_in, seed), 2000, seed + 1)
        self.wanted = self.task.theta - self.base.end_to_end()  # (d_out, d_in), the base's own residual included
        self.before = evaluate(self.base, self.task.X, self.task.y)

    def floor(self, layers: str, r: int) -> float:
        """The lowest loss that rank r on the chosen layers can reach (for "both": no choice of rank r goes below)."""
        if layers == "layer 1":
            return layer_floor(self.wanted, r, self.task.X, above=self.base.second.weight)
        if layers == "layer 2":
            return layer_floor(self.wanted, r, self.task.X, below=self.base.first.weight)
        return theory.rank_floor(self.wanted, min(2 * r, *self.wanted.shape), self.task.X)

    def train(self, layers: str, r: int) -> float:
        """Train rank-r adapters (alpha = r) on the chosen layers of a copy of the base; the loss that they reach."""
        model = copy.deepcopy(self.base)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)  # the start of A
            add_lora(model, r=r, alpha=r, target_modules=CHOICES[layers])
        how = {"epochs": EPOCHS, "lr": RATE, "schedule": "cosine", "progress": None}
        train(model, self.task.X, self.task.y, seed=self.seed, **how)
        return evaluate(model, self.task.X, self.task.y)


@cache
def recorded_runs() -> Table:
    """Every model, change, r and choice of layers, as `make_record` has run them: the loss before, its floor and the
    loss reached, a number for each seed."""
    return Table.of(read_record("two_layers")["runs"])


def find_run(model: str, layers: str, change: str = "ones", r: int = 1) -> SimpleNamespace:
    """The recorded run: find_run("narrowing", "layer 2")."""
    return recorded_runs().where(model=model, layers=layers, change=change, r=r)[0]


def recorded_s2() -> SimpleNamespace:
    """What `make_s2_record` has measured of S2's own recipe at full size."""
    return SimpleNamespace(**read_record("two_layers", "s2_record"))
