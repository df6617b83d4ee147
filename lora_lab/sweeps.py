"""Many LoRA runs at once: a grid of (r, alpha, lr, scaling rule, seed) on one linear layer, as one batched run.

One step of one small run is a dozen calls on tiny matrices, and most of its time passes between the calls. Here all
points of the grid take their steps together. The factors A lie under each other in one tall matrix, so A x is one
product for the whole grid; points of equal rank share a batched product with B. The base is frozen, so only the
residual y - base(X) is fitted. The gradients are written by hand:

    H = A Xᵀ    E = s B H - residualᵀ    loss = mean(E²)    dB = c s E Hᵀ    dA = c s Bᵀ E X    c = 2 / (entries of E)

Every point gets the batches and the start that `training.train` and `LoRALinear.reset_lora` give a single run, so
its curve is that run's curve. First used on page 04.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .layers import LoRALinear, check_hyperparameters
from .theory import scaling_of
from .training import OPTIMIZERS, SCHEDULES, History, _check, progress_bar, train

BETAS, EPS = (0.9, 0.999), 1e-8  # torch.optim.Adam's


class Point(NamedTuple):
    """One configuration of the grid."""

    r: int
    alpha: float
    lr: float
    rule: str
    seed: int

    @property
    def scaling(self) -> float:
        return scaling_of(self.alpha, self.r, self.rule)


@dataclass(repr=False)
class Sweep:
    """What a sweep left behind, in the order of `points`: r moves slowest, then alpha, lr, rule, and seed fastest.

    losses (points, steps): the minibatch loss before each step's update, as in `History`; NaN from a divergence on.
    final (points,): the loss on all data after the last step, inf where diverged. ends (points,): the step whose loss
    was not finite, or -1; such a point stops there, and the others go on. A, B: all factors, packed as (seeds, sum of
    r, width). interrupted: stopped by hand, losses has fewer steps.
    """

    points: list[Point]
    data: tuple[nn.Linear, Tensor, Tensor]  # base, X, y
    settings: dict[str, object]
    losses: Tensor | None = None
    final: Tensor | None = None
    ends: Tensor | None = None
    A: Tensor | None = None
    B: Tensor | None = None
    interrupted: bool = False

    def __repr__(self) -> str:
        bad = sum(end is not None for end in self.diverged_at)
        return f"Sweep({len(self.points)} points, {self.losses.shape[1]} steps, {bad} diverged)"

    @property
    def diverged_at(self) -> list[int | None]:
        """The step whose loss was not finite, per point; None for a point that stayed finite."""
        return [None if end < 0 else end for end in self.ends.tolist()]

    def where(self, **values: object) -> list[int]:
        """Positions of the points with these values, as in where(r=4, rule="alpha/r")."""
        if wrong := set(values) - set(Point._fields):
            raise ValueError(f"a point has no {sorted(wrong)[0]!r}; it has {', '.join(Point._fields)}.")
        found = [i for i, p in enumerate(self.points) if all(getattr(p, k) == v for k, v in values.items())]
        if not found:
            raise ValueError(f"no point has {values}; the first is {self.points[0]}, the last {self.points[-1]}.")
        return found

    def index(self, **values: object) -> int:
        """The position of the one point with these values."""
        found = self.where(**values)
        if len(found) > 1:
            raise ValueError(f"{len(found)} points have {values}: say more of {', '.join(Point._fields)}.")
        return found[0]

    def delta(self, i: int) -> Tensor:
        """The update s B A of point i after its last step, (d_out, d_in)."""
        S = len(self.A)
        row = sum(p.r for p in self.points[: i - i % S : S])
        own = (i % S, slice(row, row + self.points[i].r))
        return (self.points[i].scaling * self.B[own].T) @ self.A[own]

    def train_alone(self, i: int, seed: int | None = None) -> tuple[LoRALinear, History]:
        """Point i as a single run of `training.train`, with another seed if given: the layer and its history."""
        base, X, y = self.data
        r, alpha, lr, rule, own = self.points[i]
        with torch.random.fork_rng(devices=[]):  # a new layer draws a start, which is then replaced
            layer = LoRALinear(base, r, alpha * r if rule == "alpha" else alpha, rslora=rule == "alpha/sqrt(r)")
        seed = own if seed is None else seed
        layer.reset_lora(self.settings["std"], generator=torch.Generator().manual_seed(seed))
        how = {k: v for k, v in self.settings.items() if k != "std"}
        return layer, train(layer, X, y, lr=lr, seed=seed, cache_base=True, progress=None, **how)

    def rows(self) -> Iterator[dict[str, object]]:
        """One row per point and step; a diverged point's rows end where it diverged."""
        for point, losses, end in zip(self.points, self.losses.tolist(), self.diverged_at):
            for step, loss in enumerate(losses[:end]):
                yield {**point._asdict(), "step": step, "loss": loss}


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
    given = {"r": r, "alpha": alpha, "lr": lr, "rule": rule, "seed": seed}
    axes = {k: list(v) if isinstance(v, Sequence) and not isinstance(v, str) else [v] for k, v in given.items()}
    settings = {"steps": steps, "batch_size": batch_size, "optimizer": optimizer, "schedule": schedule, "std": std}
    _check_all(base, X, y, axes, settings)
    result = Sweep([Point(*values) for values in product(*axes.values())], (base, X, y), settings)
    _run(result, progress)
    return result


def _check_all(base: nn.Linear, X: Tensor, y: Tensor, axes: dict[str, list], settings: dict[str, object]) -> None:
    if not isinstance(base, nn.Linear):
        raise ValueError(f"base is a {type(base).__name__}; a sweep trains adapters on one nn.Linear.")
    for name, M, width in (("X", X, base.in_features), ("y", y, base.out_features)):
        if M.ndim != 2 or M.shape[1] != width or M.dtype != base.weight.dtype:
            needed = f"(n, {width}) and {base.weight.dtype}"
            raise ValueError(f"{name} is {tuple(M.shape)} and {M.dtype}; this base needs {needed}.")
    for name, values in axes.items():
        if not values or len({str(v) for v in values}) < len(values):
            raise ValueError(f"{name}={values!r}: give one value, or a list of different ones.")
    for seed in axes["seed"]:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed={seed!r} is not a whole number of at least 0.")
    for lr in axes["lr"]:
        _check(X, y, None, settings["steps"], lr, batch_size=settings["batch_size"])
    for r, alpha, rule in product(axes["r"], axes["alpha"], axes["rule"]):
        check_hyperparameters(r, alpha, 0.0, tuple(base.weight.shape), "this base")
        scaling_of(alpha, r, rule)
    std = settings["std"]
    if std is not None and not (isinstance(std, (int, float)) and 0 < std < math.inf):
        raise ValueError(f"std={std!r} is not a positive number; None means 1/sqrt(d_in).")
    for name, known in (("optimizer", tuple(OPTIMIZERS)), ("schedule", SCHEDULES)):
        if settings[name] not in known:
            expected = ", ".join(map(repr, known))
            raise ValueError(f"{name}={settings[name]!r} is not known here; choose one of {expected}.")


# ------------------------------------------------------------------------------------------------- the batched run


@torch.no_grad()
def _run(result: Sweep, progress: str | None) -> None:
    """Train all points of `result` together, and fill in what they left behind."""
    base, X, y = result.data
    steps, size, optimizer, schedule, std = result.settings.values()
    residual, n = y - base(X), len(X)
    seeds = list(dict.fromkeys(p.seed for p in result.points))
    S = len(seeds)
    configs = result.points[::S]  # every configuration has a run for each seed
    K, ranks = len(configs), [p.r for p in configs]
    ends = torch.tensor(ranks).cumsum(0).tolist()
    rows = [slice(end - r, end) for end, r in zip(ends, ranks)]  # whose rows of the packed factors
    groups = []  # (configurations, their rows, r) of equal rank, which are neighbours
    for r in dict.fromkeys(ranks):
        first, count = ranks.index(r), ranks.count(r)
        groups.append((slice(first, first + count), slice(rows[first].start, rows[first + count - 1].stop), r))

    def per_row(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64).repeat_interleave(torch.tensor(ranks))[:, None].to(X)

    rate, scale = per_row([p.lr for p in configs]), per_row([p.scaling for p in configs])  # (R, 1), R = sum of ranks
    A = torch.stack([torch.cat([_start(r, X.shape[1], seed, std) for r in ranks]) for seed in seeds]).to(X)
    B = X.new_zeros(S, ends[-1], y.shape[1])  # (S, R, d_out): each row is a column of some point's lora_B
    moments = [(torch.zeros_like(P), torch.zeros_like(P)) for P in (A, B)]
    dB = torch.empty_like(B)
    losses = X.new_full((S, K, steps), math.nan)
    stopped: dict[tuple[int, int], tuple[int, Tensor, Tensor]] = {}  # diverged: at which step, with which factors

    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    per_epoch, done = math.ceil(n / size), 0
    bar = progress_bar(steps, progress)
    try:
        for step in range(steps):
            position = step % per_epoch
            if position == 0:
                order = torch.stack([torch.randperm(n, generator=g) for g in generators])  # (S, n)
            batch = order[:, position * size : (position + 1) * size]
            x, target = X[batch], residual[batch].mT.unsqueeze(1)  # (S, m, d_in), (S, 1, d_out, m)
            H, sB = A @ x.mT, scale * B  # (S, R, m), (S, R, d_out)
            G, entries = torch.empty_like(H), target[0].numel()
            for own, part, r in groups:
                h, b = (M[:, part].unflatten(1, (-1, r)) for M in (H, sB))  # (S, k, r, m), (S, k, r, d_out)
                E = (b.mT @ h).sub_(target)  # (S, k, d_out, m)
                flat = E.flatten(2).unsqueeze(2)
                losses[:, own, step] = (flat @ flat.mT).flatten(1) / entries
                G[:, part] = (b @ E).flatten(1, 2)
                dB[:, part] = (h @ E.mT).flatten(1, 2)
            gradients = [(G @ x).mul_(2 / entries), dB.mul_(scale * (2 / entries))]
            if not losses[:, :, step].isfinite().all():
                for s, k in (~losses[:, :, step].isfinite()).nonzero().tolist():
                    stopped[s, k] = (step, A[s, rows[k]].clone(), B[s, rows[k]].clone())
                    # It is parked at A = B = 0, where both gradients are zero for ever, and harms nobody.
                    for M in (A, B, *gradients, *moments[0], *moments[1]):
                        M[s, rows[k]] = 0
            decay = (1 + math.cos(math.pi * step / steps)) / 2 if schedule == "cosine" else 1.0
            for P, g, (m, v) in zip((A, B), gradients, moments):
                if optimizer == "adam":
                    m.lerp_(g, 1 - BETAS[0])
                    v.mul_(BETAS[1]).addcmul_(g, g, value=1 - BETAS[1])
                    root = v.sqrt().div_(math.sqrt(1 - BETAS[1] ** (step + 1))).add_(EPS)
                    g = torch.div(m, root, out=root).div_(1 - BETAS[0] ** (step + 1))
                P.addcmul_(g, rate, value=-decay)
            done = step + 1
            bar.update()
    except KeyboardInterrupt:
        result.interrupted = True
        print(f"interrupted after {done} of {steps} steps; the sweep keeps what it has so far")
    finally:
        bar.close()
    for (s, k), (step, *factors) in stopped.items():
        A[s, rows[k]], B[s, rows[k]] = factors
        losses[s, k, step:] = math.nan
    result.A, result.B = A, B
    result.losses = losses[:, :, :done].transpose(0, 1).flatten(0, 1).contiguous()
    result.ends = torch.tensor([stopped[s, k][0] if (s, k) in stopped else -1 for k in range(K) for s in range(S)])
    final = [
        math.inf if end is not None else (X @ result.delta(i).T).sub_(residual).square_().mean().item()
        for i, end in enumerate(result.diverged_at)
    ]
    result.final = torch.tensor(final, dtype=torch.float64)


def _start(r: int, d_in: int, seed: int, std: float | None) -> Tensor:
    """The A that LoRALinear.reset_lora(std, generator of this seed) draws, (r, d_in)."""
    std = 1 / math.sqrt(d_in) if std is None else std
    return std * torch.randn(r, d_in, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
