"""The training loop of every page: the ordinary one (gather a batch, loss, backward, step), and its history.

What it adds: all randomness comes from one seed and leaves the caller's random state alone, Interrupt keeps what is
there, a NaN stops the run, and the frozen base's output on fixed data is computed once where asked (`cache_base`).
"""

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from .adapters import adapted
from .layers import LoRALinear

OPTIMIZERS = {"adam": partial(torch.optim.Adam, fused=True), "sgd": torch.optim.SGD}  # fused: one call for all tensors
SCHEDULES = ("constant", "cosine")


@dataclass
class History:
    """What a training run left behind.

    losses: the minibatch loss at every step, before that step's update. epoch_losses: their mean over each epoch.
    measured: {epoch: the loss on all of (X, y) after that epoch}, which is what S1's tables print. snapshots:
    {step: the trained tensors after that step, by name}, for films. interrupted: stopped by hand. diverged_at: the step
    whose loss was not finite.
    """

    losses: list[float] = field(default_factory=list)
    epoch_losses: list[float] = field(default_factory=list)
    measured: dict[int, float] = field(default_factory=dict)
    snapshots: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    steps_per_epoch: int = 0
    interrupted: bool = False
    diverged_at: int | None = None

    @property
    def steps(self) -> int:
        return len(self.losses)

    def __repr__(self) -> str:
        end = f", last loss {self.losses[-1]:.2g}" if self.losses else ""
        end += ", interrupted" if self.interrupted else ""
        end += "" if self.diverged_at is None else f", diverged at step {self.diverged_at}"
        return f"History({self.steps} steps{end})"


def train(
    model: nn.Module,
    X: Tensor,
    y: Tensor,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    lr: float = 1e-3,
    lr_ratio: float = 1.0,
    batch_size: int = 128,
    optimizer: str = "adam",
    schedule: str = "constant",
    loss: Callable[[Tensor, Tensor], Tensor] = F.mse_loss,
    seed: int = 0,
    cache_base: bool = False,
    measure_every: int | None = None,
    snapshot_every: int | None = None,
    progress: str | None = "training",
) -> History:
    """Train whatever requires grad in `model` on (X, y), in place, and return the `History`.

    X: (n, …), y: (n, …), on the model's device, shuffled anew each epoch by `seed`; the last batch of an epoch may be
    smaller. Give `epochs` or `steps`. lr_ratio: every lora_B learns at lr_ratio * lr (LoRA+, arXiv 2402.12354).
    optimizer "adam" or "sgd"; schedule "constant" or "cosine" (to zero at the last step).
    cache_base: for a bare `LoRALinear` without dropout, compute the base's output on X once; the same losses, and
    for a 1000 x 1000 layer less than half the time. measure_every: measure the loss on all data after every so many
    epochs. snapshot_every: keep the trained tensors every so many steps, and at the start and the end.
    progress: the label of the progress bar (shown when a run takes over a second), or None.

    Interrupting (the ■ button, Ctrl-C) returns the history so far with `interrupted=True`.
    Raises ValueError, before anything changes: sizes that do not match, nothing trainable, a merged adapter,
    an unknown optimizer or schedule, cache_base on a model that does not allow it.
    """
    if (epochs is None) == (steps is None):
        raise ValueError(f"epochs={epochs!r} and steps={steps!r}: give exactly one of the two.")
    counts = {"epochs": epochs, "steps": steps, "batch_size": batch_size}
    counts |= {"measure_every": measure_every, "snapshot_every": snapshot_every}
    check_settings(X, y, optimizer, schedule, {"lr": lr, "lr_ratio": lr_ratio}, counts)
    trainable = _trainable(model)
    opt = _optimizer(trainable, optimizer, lr, lr_ratio)
    forward = model
    if cache_base:
        bare = isinstance(model, LoRALinear) and not any(p.requires_grad for p in model.base.parameters())
        if not bare or model.dropout is not None or loss is not F.mse_loss:
            raise ValueError(
                "cache_base needs a bare LoRALinear on a frozen base, without dropout, trained on the mean squared "
                "error: only then is the loss a function of the update and of y - base(X)."
            )
        scale = model.lam * model.scaling
        with torch.no_grad():
            y, forward = y - model.base(X), lambda x: scale * model.low_rank(x)  # the loss is the model's own

    steps_per_epoch = math.ceil(len(X) / batch_size)
    total = steps if epochs is None else epochs * steps_per_epoch
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(opt, total) if schedule == "cosine" else None
    history = History(steps_per_epoch=steps_per_epoch)

    def keep_snapshot() -> None:
        history.snapshots[history.steps] = {name: p.detach().clone() for name, p in trainable.items()}

    gpus = range(torch.cuda.device_count())
    try:
        with _modes_kept(model), torch.random.fork_rng(gpus), progress_bar(total, progress) as bar:
            torch.manual_seed(seed)  # for dropout; the caller's random numbers stay as they were
            _to_train_mode(model)
            if snapshot_every:
                keep_snapshot()
            for _, rows in zip(range(total), batches(len(X), batch_size, seed)):
                rows = rows.to(X.device)
                # X[rows] is the same, and two to three times slower for rows of a thousand numbers.
                value = loss(forward(X.index_select(0, rows)), y.index_select(0, rows))
                number = value.item()
                if not math.isfinite(number):
                    history.diverged_at = history.steps
                    break
                opt.zero_grad()
                value.backward()
                opt.step()
                if cosine:
                    cosine.step()
                history.losses.append(number)
                if history.steps % steps_per_epoch == 0:
                    history.epoch_losses.append(sum(history.losses[-steps_per_epoch:]) / steps_per_epoch)
                    epoch = len(history.epoch_losses)
                    if measure_every and epoch % measure_every == 0:
                        history.measured[epoch] = _loss_on_all(model, forward, X, y, loss)
                if snapshot_every and (history.steps % snapshot_every == 0 or history.steps == total):
                    keep_snapshot()
                bar.update()
    except KeyboardInterrupt:
        history.interrupted = True
        print(f"interrupted after {history.steps} of {total} steps; the model keeps what it has learned so far")
    return history


def batches(n: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Row numbers, batch after batch without end: every epoch holds each of the n rows once, in an order of its own."""
    generator = torch.Generator("cpu").manual_seed(seed)
    while True:
        yield from torch.randperm(n, generator=generator, device="cpu").split(batch_size)


def evaluate(model: nn.Module, X: Tensor, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor] = F.mse_loss) -> float:
    """The loss on all of (X, y) at once, in eval mode, as a float."""
    return _loss_on_all(model, model, X, y, loss)


@torch.no_grad()
def _loss_on_all(model: nn.Module, forward: Callable, X: Tensor, y: Tensor, loss: Callable) -> float:
    with _modes_kept(model):
        model.eval()
        return loss(forward(X), y).item()


@contextmanager
def _modes_kept(model: nn.Module) -> Iterator[None]:
    """Put every module back into the mode, train or eval, that it has now."""
    modes = [(m, m.training) for m in model.modules()]
    try:
        yield
    finally:
        for m, mode in modes:
            m.training = mode


def _to_train_mode(model: nn.Module) -> None:
    """Train mode, but a frozen BatchNorm, whose running mean would move, stays in eval: the base must not change."""
    model.train()
    has_lora = bool(adapted(model))  # decides for a norm without weights of its own (affine=False)
    for m in model.modules():
        own = list(m.parameters(recurse=False))
        if isinstance(m, nn.modules.batchnorm._NormBase) and (own or has_lora):
            m.train(any(p.requires_grad for p in own))


def _optimizer(trainable: dict[str, nn.Parameter], name: str, lr: float, lr_ratio: float) -> torch.optim.Optimizer:
    faster = [p for key, p in trainable.items() if key.endswith("lora_B")]
    slower = [p for key, p in trainable.items() if not key.endswith("lora_B")]
    if lr_ratio != 1 and not faster:
        raise ValueError(f"lr_ratio={lr_ratio!r} is for a model that trains a lora_B; this one trains none.")
    return OPTIMIZERS[name]([{"params": slower}, {"params": faster, "lr": lr_ratio * lr}], lr=lr)


def check_settings(
    X: Tensor, y: Tensor, optimizer: str, schedule: str, positive: dict[str, object], counts: dict[str, object]
) -> None:
    """Raise a ValueError in words for what no run can use. positive, counts: numbers by name, None where not given."""
    if len(X) != len(y):
        raise ValueError(f"X has {len(X)} rows and y has {len(y)}: each example needs one row in both.")
    for name, value, known in (("optimizer", optimizer, OPTIMIZERS), ("schedule", schedule, SCHEDULES)):
        if value not in known:
            raise ValueError(f"{name}={value!r} is not known here; choose one of {', '.join(map(repr, known))}.")
    for name, value in counts.items():
        if value is not None and (type(value) is not int or value < 1):
            raise ValueError(f"{name}={value!r} is not a whole number of at least 1.")
    for name, value in positive.items():
        if value is not None and not (isinstance(value, Real) and 0 < value < math.inf):
            raise ValueError(f"{name}={value!r} is not a positive number.")


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trainable:
        raise ValueError("no parameter of the model is trainable: add_lora first, or unfreeze what is to be trained.")
    for place in adapted(model):
        if not place.adapter.enabled:
            raise ValueError(f"{place.name} is disabled: nothing reaches it. Train outside adapters_disabled(model).")
        if place.adapter.merged:
            raise ValueError(
                f"{place.name} is merged: its forward uses one fixed matrix and no gradient reaches lora_A and lora_B. "
                "Call unmerge(model) before training."
            )
    return trainable


def progress_bar(total: int, title: str | None) -> tqdm:
    """A bar of `total` steps that appears after a second; None as title, or TQDM_DISABLE in the environment: never.

    A line of text, not a widget, which a saved page could not show again.
    """
    hidden = title is None or bool(os.environ.get("TQDM_DISABLE"))
    return tqdm(total=total, desc=title, unit="step", leave=False, delay=1.0, disable=hidden, file=sys.stdout)
