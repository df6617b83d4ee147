"""One training loop for every page, its history, its progress bar.

The loop is the ordinary one (gather a batch, loss, backward, step). What it adds: all randomness comes from one
seed and leaves the caller's random state alone, Interrupt keeps what is there, a NaN stops the run instead of
filling the plot, and the frozen base's output on fixed data is computed once when asked for (`cache_base`).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from .adapters import adapted
from .layers import LoRALinear

OPTIMIZERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
SCHEDULES = ("constant", "cosine")


@dataclass
class History:
    """What a training run left behind.

    losses: the minibatch loss at every step, before that step's update. epoch_losses: their mean over each epoch.
    measured: {epoch: the loss on all of (X, y) after that epoch}, which is what S1's tables print. seconds: wall time
    of the loop. snapshots: {step: the trained tensors after that step, by name}, for films. interrupted: stopped by
    hand. diverged_at: the step whose loss was not finite.
    """

    losses: list[float] = field(default_factory=list)
    epoch_losses: list[float] = field(default_factory=list)
    measured: dict[int, float] = field(default_factory=dict)
    snapshots: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    steps_per_epoch: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    diverged_at: int | None = None

    @property
    def steps(self) -> int:
        return len(self.losses)

    @property
    def final_loss(self) -> float:
        """Mean of the last epoch's minibatch losses (of the last steps when no epoch was finished)."""
        tail = self.losses[-max(1, min(self.steps_per_epoch, self.steps)) :]
        return sum(tail) / len(tail) if tail else math.nan

    def __repr__(self) -> str:
        end = ", interrupted" if self.interrupted else ""
        end += "" if self.diverged_at is None else f", diverged at step {self.diverged_at}"
        return f"History({self.steps} steps, {len(self.epoch_losses)} epochs, final loss {self.final_loss:.2g}{end})"


def _check(X: Tensor, y: Tensor, epochs: int | None, steps: int | None, lr: float, **counts: int | None) -> None:
    if len(X) != len(y):
        raise ValueError(f"X has {len(X)} rows and y has {len(y)}: each example needs one row in both.")
    if (epochs is None) == (steps is None):
        raise ValueError(f"epochs={epochs!r} and steps={steps!r}: give exactly one of the two.")
    for name, value in {"epochs": epochs, "steps": steps, **counts}.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"{name}={value!r} is not a whole number of at least 1.")
    if isinstance(lr, bool) or not isinstance(lr, Real) or not 0 < lr < math.inf:
        raise ValueError(f"lr={lr!r} is not a positive number.")


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if not trainable:
        raise ValueError("no parameter of the model is trainable: add_lora first, or unfreeze what is to be trained.")
    disabled = [s.name for s in adapted(model) if not s.adapter.enabled]
    if disabled:
        raise ValueError(f"{disabled[0]} is disabled: nothing would reach it. Train outside adapters_disabled(model).")
    merged = [s.name for s in adapted(model) if s.adapter.merged]
    if merged:
        raise ValueError(
            f"{merged[0]} is merged: its forward uses one fixed matrix and no gradient reaches lora_A and lora_B. "
            "Call unmerge(model) before training."
        )
    return trainable


def residual(model: LoRALinear, X: Tensor, y: Tensor) -> Tensor:
    """y - base(X): what is left for the low-rank path to explain. X (n, in), y (n, out) -> (n, out).

    The base is frozen, so on fixed data this is computed once; mse(update(x), residual) is the model's own loss.
    """
    with torch.no_grad():
        return y - model.base(X)


@torch.no_grad()
def evaluate(model: nn.Module, X: Tensor, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor] = F.mse_loss) -> float:
    """The loss on all of (X, y) at once, in eval mode, as a float."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        return loss(model(X), y).item()
    finally:
        for m, mode in modes:
            m.training = mode


@torch.no_grad()
def _cached_loss(layer: LoRALinear, X: Tensor, rest: Tensor) -> float:
    return F.mse_loss(layer.update(X), rest).item()


def _hold_statistics(model: nn.Module) -> None:
    """A frozen BatchNorm still moves its running mean in train mode; the base must not change, so it stays in eval."""
    has_lora = bool(adapted(model))  # decides for a norm without weights of its own (affine=False)
    for m in model.modules():
        if isinstance(m, nn.modules.batchnorm._NormBase):
            own = list(m.parameters(recurse=False))
            if not any(p.requires_grad for p in own) and (own or has_lora):
                m.eval()


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

    X: (n, …), y: (n, …), shuffled anew each epoch by `seed`; the last batch of an epoch may be smaller. Give `epochs`
    or `steps`. lr_ratio: every lora_B learns at lr_ratio * lr (LoRA+, arXiv 2402.12354). optimizer "adam" or "sgd";
    schedule "constant" or "cosine" (to zero at the last step).
    cache_base: for a bare `LoRALinear` without dropout, compute the base's output on X once; same losses, a tenth of
    the time. measure_every: measure the loss on all data after every so many epochs. snapshot_every: keep the trained
    tensors every so many steps, and at the start and the end.
    progress: the label of the progress bar (shown when a run takes over a second), or None.

    Interrupting (the ■ button, Ctrl-C) returns the history so far with `interrupted=True`.
    Raises ValueError, before anything changes: sizes that do not match, nothing trainable, a merged adapter,
    an unknown optimizer or schedule, cache_base on a model that does not allow it.
    """
    every = {"measure_every": measure_every, "snapshot_every": snapshot_every}
    _check(X, y, epochs, steps, lr, batch_size=batch_size, **every)
    for name, value, known in (("optimizer", optimizer, tuple(OPTIMIZERS)), ("schedule", schedule, SCHEDULES)):
        if value not in known:
            raise ValueError(f"{name}={value!r} is not known here; choose one of {', '.join(map(repr, known))}.")
    trainable = _trainable(model)
    forward = model
    if cache_base:
        bare = isinstance(model, LoRALinear) and not any(p.requires_grad for p in model.base.parameters())
        if not bare or model.dropout is not None or loss is not F.mse_loss:
            raise ValueError(
                "cache_base needs a bare LoRALinear on a frozen base, without dropout, trained on the mean squared "
                "error: only then is the loss a function of the update and of y - base(X)."
            )
        y, forward = residual(model, X, y), model.update

    n = len(X)
    per_epoch = math.ceil(n / batch_size)
    total = steps if steps is not None else epochs * per_epoch
    groups = [{"params": list(trainable.values())}]
    if lr_ratio != 1:
        faster = [p for name, p in trainable.items() if name.rpartition(".")[2] == "lora_B"]
        if not faster or isinstance(lr_ratio, bool) or not 0 < lr_ratio < math.inf:
            raise ValueError(f"lr_ratio={lr_ratio!r} is a positive number, for a model that trains a lora_B.")
        slower = [p for name, p in trainable.items() if name.rpartition(".")[2] != "lora_B"]
        groups = [{"params": slower}, {"params": faster, "lr": lr_ratio * lr}]
    opt = OPTIMIZERS[optimizer](groups, lr=lr)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(opt, total) if schedule == "cosine" else None
    history = History(steps_per_epoch=per_epoch)

    def keep() -> None:
        history.snapshots[history.steps] = {name: p.detach().clone() for name, p in trainable.items()}

    modes = [(m, m.training) for m in model.modules()]
    model.train()
    _hold_statistics(model)
    batches = torch.Generator().manual_seed(seed)
    start = time.perf_counter()
    bar = progress_bar(total, progress)
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())):  # dropout is seeded; the caller sees nothing
            torch.manual_seed(seed)
            if snapshot_every:
                keep()
            for step in range(total):
                position = step % per_epoch
                if position == 0:
                    order = torch.randperm(n, generator=batches)
                rows = order[position * batch_size : (position + 1) * batch_size]
                # X[rows] is the same, and two to three times slower for rows of a thousand numbers.
                value = loss(forward(X.index_select(0, rows)), y.index_select(0, rows))
                number = value.item()
                if not math.isfinite(number):
                    history.diverged_at = step
                    break
                opt.zero_grad(set_to_none=True)
                value.backward()
                opt.step()
                if cosine:
                    cosine.step()
                history.losses.append(number)
                if position == per_epoch - 1:
                    history.epoch_losses.append(sum(history.losses[-per_epoch:]) / per_epoch)
                    epoch = len(history.epoch_losses)
                    if measure_every and epoch % measure_every == 0:
                        whole = _cached_loss(model, X, y) if cache_base else evaluate(model, X, y, loss)
                        history.measured[epoch] = whole
                if snapshot_every and (history.steps % snapshot_every == 0 or history.steps == total):
                    keep()
                bar.update()
    except KeyboardInterrupt:
        history.interrupted = True
        print(f"interrupted after {history.steps} of {total} steps; the model keeps what it has learned so far")
    finally:
        history.seconds = time.perf_counter() - start
        bar.close()
        for m, mode in modes:
            m.training = mode
    return history


class Bar(tqdm):
    """tqdm's bar, removed from the page's outputs at its end.

    In a notebook tqdm only closes its widget; the output that points to it stays, and a page that was saved and opened
    again shows "Error displaying widget: model not found" there.
    """

    _handle = None

    def display(self, *args, close: bool = False, check_delay: bool = True, **kwargs) -> None:
        container = getattr(self, "container", None)
        if container is None:  # in a terminal
            super().display(*args, **kwargs)
            return
        if check_delay and not self.displayed:
            from IPython.display import display

            self._handle, self.displayed = display(container, display_id=True), True
        super().display(*args, close=close, check_delay=check_delay, **kwargs)
        if close and self._handle:
            self._handle.update({}, raw=True)


def progress_bar(total: int, title: str | None) -> Bar:
    """A bar of `total` steps that appears after a second; None as title, or TQDM_DISABLE in the environment: never."""
    hidden = title is None or bool(os.environ.get("TQDM_DISABLE"))  # tqdm's notebook bar does not look at it itself
    return Bar(total=total, desc=title, unit="step", leave=False, delay=1.0, disable=hidden)
