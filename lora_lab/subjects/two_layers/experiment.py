"""Which layer needs the adapter? An experiment on three small two-layer models, and what was recorded of it.

Each choice of layers has a floor of its own, known before training (`layer_floor`). For both layers together the
floor given here is a bound: rank 2r, read and written anywhere.
"""

import copy
from functools import cache
from types import SimpleNamespace

import torch
from torch import Tensor

from lora_lab import theory
from lora_lab.adapters import add_lora
from lora_lab.layers import check_rank
from lora_lab.subjects.linear_task import tasks
from lora_lab.subjects.linear_task.bases import two_layer_base
from lora_lab.subjects.records import read_record
from lora_lab.subjects.tables import Table
from lora_lab.training import evaluate, train

MODELS = {"S2's shape": (101, 100, 100), "narrowing": (101, 60, 40), "widening": (40, 60, 101)}  # d_in, hidden, d_out
CHANGES = ("ones", "rank-4")
RANKS = (1, 2, 4, 8)
CHOICES = {"layer 1": ["first"], "layer 2": ["second"], "both": ["first", "second"]}
EPOCHS, RATE = 20, 0.1


def layer_floor(
    delta: Tensor, r: int, X: Tensor | None = None, *, below: Tensor | None = None, above: Tensor | None = None
) -> float:
    """The floor when `delta` must come from a rank-r update of one matrix inside a chain of linear layers.

    The chain is above . W . below, and W + BA changes it by (above B)(A below): such a change writes only into the
    column space of `above` and reads only the row space of `below`. What lies outside is lost, whatever the rank;
    what lies inside is cut to rank r. delta (d_out, d_in), above (d_out, k), below (m, d_in); None: the identity,
    that is, nothing above or below. In the metric of X as in `rank_floor`, and exact like it.
    """
    D = theory.as_matrix(delta)
    check_rank(r, D.shape, "the change", 0)
    d_out, d_in = D.shape
    above = theory.as_matrix(torch.eye(d_out) if above is None else above, "above")
    below = theory.as_matrix(torch.eye(d_in) if below is None else below, "below")
    if len(above) != d_out or below.shape[1] != d_in:
        given = f"above is {tuple(above.shape)}, below {tuple(below.shape)}, delta {tuple(D.shape)}"
        raise ValueError(f"{given}: above has as many rows as delta (the outputs), below as many columns (the inputs).")
    R = torch.eye(d_in, dtype=D.dtype) if X is None else theory.metric(X, D)
    D = D @ R.T
    written, read = _range(above), _range(R @ below.T)
    inside = written @ (written.T @ D @ read) @ read.T
    lost = (D - inside).square().sum() + torch.linalg.svdvals(inside)[r:].square().sum()
    return float(lost / d_out)


def _range(M: Tensor) -> Tensor:
    """An orthonormal basis of the column space of M; what is below float32's rounding of M counts as zero."""
    U, S, _ = torch.linalg.svd(M, full_matrices=False)
    return U[:, S > 1e-6 * S[0]]


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
