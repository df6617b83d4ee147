"""Many LoRA runs at once: a grid of (r, alpha, lr, scaling rule, seed) on one linear layer, as one batched run.

One step of one small run is a dozen calls on tiny matrices, and most of its time passes between the calls. Here all
runs take their steps together: the factors A lie under each other in one tall matrix, so A x is one product for the
whole grid, and runs of equal rank share a batched product with B. The base is frozen, so only the residual
y - base(X) is fitted. The gradients are written by hand:

    H = A Xᵀ    E = s B H - residualᵀ    loss = mean(E²)    dB = c s E Hᵀ    dA = c s Bᵀ E X    c = 2 / (entries of E)

Every run gets the batches and the start that `training.train` and `LoRALinear.reset_lora` give a single one, so its
curve is the single run's curve. First used on page 04.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product

import torch
from torch import Tensor, nn

from .layers import check_hyperparameters
from .theory import scaling_of
from .training import batches, check_settings, progress_bar


@dataclass(eq=False)
class Run:
    """One run of a sweep: its configuration, and what it left behind.

    scaling: alpha, divided as the rule says. losses (steps,): the minibatch loss before each step's update, NaN from a
    divergence on. loss: on all data after the last step, inf where diverged. diverged_at: the step whose loss was not
    finite, or None. delta (d_out, d_in): the update s B A after the last step; of no use where diverged.
    """

    r: int
    alpha: float
    lr: float
    rule: str
    seed: int
    scaling: float
    loss: float
    diverged_at: int | None
    losses: Tensor = field(repr=False)
    delta: Tensor = field(repr=False)

    @property
    def diverged(self) -> bool:
        return self.diverged_at is not None


@dataclass(eq=False, repr=False)
class Sweep:
    """The runs of a grid, chosen by `runs` and `run`."""

    axes: dict[str, list]  # {"r": its values, …}
    data: tuple[nn.Linear, Tensor, Tensor]  # base, X, y
    settings: dict[str, object]  # the rest, as `sweep` was called
    _runs: list[Run] = field(default_factory=list)

    def __repr__(self) -> str:
        diverged = sum(run.diverged for run in self._runs)
        return f"Sweep({len(self._runs)} points, {len(self._runs[0].losses)} steps, {diverged} diverged)"

    def runs(self, **wanted: object) -> list[Run]:
        """The runs with these values, as in runs(r=4, rule="alpha/r"); ValueError where there is none.

        In order: r moves slowest, then alpha, lr, rule, and seed fastest.
        """
        if unknown := set(wanted) - set(self.axes):
            raise ValueError(f"a run has no {unknown.pop()!r}: choose by {', '.join(self.axes)}.")
        found = [run for run in self._runs if all(getattr(run, name) == value for name, value in wanted.items())]
        if not found:
            raise ValueError(f"no run has {wanted}; this sweep has {self.axes}.")
        return found

    def run(self, **wanted: object) -> Run:
        """The one run with these values; ValueError where there is none, or more than one."""
        found = self.runs(**wanted)
        if len(found) > 1:
            raise ValueError(f"{len(found)} runs have {wanted}: say more of {', '.join(self.axes)}.")
        return found[0]


def sweep(
    base: nn.Linear,
    X: Tensor,
    y: Tensor,
    *,
    r: int | Sequence[int],
    alpha: float | Sequence[float],
    lr: float | Sequence[float],
    rule: str | Sequence[str] = "alpha/r",
    seed: int | Sequence[int] = 0,
    steps: int = 300,
    batch_size: int = 128,
    optimizer: str = "adam",
    schedule: str = "constant",
    std: float | None = None,
    progress: str | None = "sweep",
) -> Sweep:
    """Train every combination of r, alpha, lr, rule and seed on (X, y) together. X (n, d_in), y (n, d_out).

    r, alpha, lr, rule, seed: one value or a list each. rule "alpha/r", "alpha/sqrt(r)" or "alpha" (see `scaling_of`).
    A starts as N(0, std^2), std 1/sqrt(d_in) unless given, B as zero; the rest is as in `training.train`.
    Raises ValueError, before training, for whatever cannot be trained.
    """
    axes = {"r": r, "alpha": alpha, "lr": lr, "rule": rule, "seed": seed}
    axes = {name: [v] if isinstance(v, str) or not isinstance(v, Sequence) else list(v) for name, v in axes.items()}
    settings = {"steps": steps, "batch_size": batch_size, "optimizer": optimizer, "schedule": schedule, "std": std}
    _check(base, X, y, axes, settings)
    result = Sweep(axes, (base, X, y), settings)
    with torch.no_grad():
        _train_all(result, progress)
    return result


def _train_all(result: Sweep, progress: str | None) -> None:
    """Train all runs of a sweep together, and put them into it.

    The factors lie under each other, R = k * (sum of ranks) rows for k choices of alpha, lr and rule; S seeds.
    """
    base, X, y = result.data
    steps, batch_size, optimizer, schedule, std = result.settings.values()
    ranks, seeds = result.axes["r"], result.axes["seed"]
    choices = list(product(result.axes["alpha"], result.axes["lr"], result.axes["rule"]))
    residual, k, R = y - base(X), len(choices), len(choices) * sum(ranks)

    def by_rank(M: Tensor) -> list[Tensor]:
        """Views of M (S, R, width), one for each rank: (S, k, r, width)."""
        return [part.unflatten(1, (k, r)) for part, r in zip(M.split([k * r for r in ranks], 1), ranks)]

    A, B = X.new_zeros(len(seeds), R, X.shape[1]), X.new_zeros(len(seeds), R, y.shape[1])  # B: the columns of lora_B
    rate, scaling = X.new_zeros(1, R, 1), X.new_zeros(1, R, 1)
    std = 1 / math.sqrt(X.shape[1]) if std is None else std
    for r, a, its_rate, its_scaling in zip(ranks, by_rank(A), by_rank(rate), by_rank(scaling)):
        for s, seed in enumerate(seeds):  # as LoRALinear.reset_lora draws it
            generator = torch.Generator("cpu").manual_seed(seed)
            a[s] = std * torch.randn(r, X.shape[1], generator=generator, dtype=torch.float64, device="cpu")
        for j, (alpha, lr, rule) in enumerate(choices):
            its_rate[:, j], its_scaling[:, j] = lr, scaling_of(alpha, r, rule)
    moments = [(torch.zeros_like(P), torch.zeros_like(P)) for P in (A, B)]  # Adam's
    curves = X.new_empty(steps, len(seeds), len(ranks) * k)  # in place: small tensors between large ones pin memory

    rows_of_seeds = zip(*(batches(len(X), batch_size, seed) for seed in seeds))
    with progress_bar(steps, progress) as bar:
        for step, rows in zip(range(steps), rows_of_seeds):
            rows = torch.cat(rows).to(X.device)
            x, wanted = (M.index_select(0, rows).unflatten(0, (len(seeds), -1)) for M in (X, residual))  # (S, m, width)
            losses, *gradients = _losses_and_gradients(A, B, scaling, x, wanted, by_rank)
            decay = (1 + math.cos(math.pi * step / steps)) / 2 if schedule == "cosine" else 1.0
            for M, gradient, (m, v) in zip((A, B), gradients, moments):
                if optimizer == "adam":
                    gradient = _adam(gradient, m, v, step + 1)
                M.addcmul_(gradient, rate, value=-decay)
            curves[step] = losses
            bar.update()

    for i, (r, (alpha, lr, rule)) in enumerate(product(ranks, choices)):
        for s, seed in enumerate(seeds):
            a, b = (by_rank(M)[i // k][s, i % k] for M in (A, B))
            its_scaling, losses, end = scaling_of(alpha, r, rule), curves[:, s, i].clone(), None
            delta = (its_scaling * b.T) @ a
            parts = zip(X.split(500), residual.split(500))  # in pieces that stay in the cache
            loss = sum((x @ a.T @ (its_scaling * b)).sub_(wanted).square_().sum().item() for x, wanted in parts)
            loss /= residual.numel()
            not_finite = (~losses.isfinite()).nonzero()
            if len(not_finite):  # the others went on: none reads another's rows
                end = int(not_finite[0])
                loss, losses[end:] = math.inf, math.nan
            result._runs.append(Run(r, alpha, lr, rule, seed, its_scaling, loss, end, losses, delta))


def _losses_and_gradients(
    A: Tensor, B: Tensor, scaling: Tensor, x: Tensor, wanted: Tensor, by_rank: Callable[[Tensor], list[Tensor]]
) -> tuple[Tensor, Tensor, Tensor]:
    """(S, ranks * k), (S, R, d_in), (S, R, d_out). x (S, m, d_in); wanted (S, m, d_out): the residual there."""
    H, sB = A @ x.mT, scaling * B  # (S, R, m), (S, R, d_out)
    G, dB, losses = torch.empty_like(H), torch.empty_like(B), []
    for h, sb, g, db in zip(by_rank(H), by_rank(sB), by_rank(G), by_rank(dB)):
        E = (h.mT @ sb).sub_(wanted.unsqueeze(1))  # (S, k, m, d_out)
        losses.append(torch.linalg.vector_norm(E, dim=(2, 3)).square() / E[0, 0].numel())  # reads E once
        g.copy_(sb @ E.mT)
        db.copy_(h @ E)
    c = 2 / wanted[0].numel()
    return torch.cat(losses, 1), (G @ x).mul_(c), dB.mul_(c * scaling)


def _adam(gradient: Tensor, m: Tensor, v: Tensor, step: int) -> Tensor:
    """The direction of torch.optim.Adam in its step number `step`; m and v, its two means, move on."""
    m.lerp_(gradient, 0.1)
    v.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
    root = v.sqrt().div_(math.sqrt(1 - 0.999**step)).add_(1e-8)
    return torch.div(m, root, out=root).div_(1 - 0.9**step)


def _check(base: nn.Linear, X: Tensor, y: Tensor, axes: dict[str, list], settings: dict[str, object]) -> None:
    if not isinstance(base, nn.Linear):
        raise ValueError(f"base is a {type(base).__name__}; a sweep trains adapters on one nn.Linear.")
    for name, M, width in (("X", X, base.in_features), ("y", y, base.out_features)):
        if M.shape[1:] != (width,) or M.dtype != base.weight.dtype:
            raise ValueError(f"{name} is {tuple(M.shape)} {M.dtype}; this base needs (n, {width}) {base.weight.dtype}.")
    for name, values in axes.items():
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{name}={values!r}: give one value, or a list of different ones.")
    steps, batch_size, optimizer, schedule, std = settings.values()
    if optimizer not in ("adam", "sgd"):  # `train` may have more; their steps are not written here
        raise ValueError(f"optimizer={optimizer!r} is not known to a sweep; choose one of 'adam', 'sgd'.")
    for lr in axes["lr"]:
        check_settings(X, y, optimizer, schedule, {"lr": lr, "std": std}, {"steps": steps, "batch_size": batch_size})
    for r, alpha, rule in product(axes["r"], axes["alpha"], axes["rule"]):
        check_hyperparameters(r, alpha, 0.0, tuple(base.weight.shape), "this base")
        scaling_of(alpha, r, rule)
