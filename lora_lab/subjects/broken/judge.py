"""Judging a mended program: it runs on tasks that the page does not show, beside the correct one on the same seeds.

The loss on unseen inputs may be twice the correct program's on the same seed, or `limit`, which correct programs kept
from every start that was tried (whoever draws A in another order has another start). Then comes what a loss does not
show: the base, what trained, how often, and each program's own promise.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

from lora_lab.classroom.comparing import shown
from lora_lab.classroom.judging import explained
from lora_lab.subjects.linear_task import tasks

from .gallery import ROWS, STEPS, WIDTH, letter, matrix, new_base

if TYPE_CHECKING:
    from .repairs import Repair

SEEDS = (3, 4, 5)  # the symptoms on the page are those of 0, 1, 2
R, NUMBERS = 3, 420  # the rank that was ordered, and what two adapters of it have
MANY = {"blocks": 11, "steps": 100}


class Unfit(Exception):
    """A program, or what it returned, cannot be judged; the sentence says why."""


def theirs(call: Callable, *arguments):
    """Call the learner's code. What it raises becomes Unfit."""
    try:
        return call(*arguments)
    except Unfit:
        raise
    except (Exception, SystemExit) as error:
        raise Unfit(explained(error)) from None


class Run:
    """One run of a program on the task of one seed, as somebody sees it who does not read it. Raises Unfit.

    base: one that was used before. drawn: what is added to it, by default the R. backwards: the rows in reverse order.

    fresh: the base; base: the one that the program was given. rest: what it returns beside model and losses. seen,
    unseen: the shipped model's loss on the rows it was given, and on others. held: the optimizer's parameters by id,
    each with its value at the first step. rates, gradients: of each step. batches, rows: how many rows each forward
    pass of the training had, and which.
    """

    def __init__(self, program: Callable, seed: int, blocks: int = 2, steps: int = STEPS, *,
                 base: nn.Module | None = None, drawn: Tensor | None = None, backwards: bool = False) -> None:
        self.fresh, drawn = new_base(seed, count=blocks), letter() if drawn is None else drawn
        self.base = copy.deepcopy(self.fresh) if base is None else base
        self.held: dict[int, tuple[Tensor, Tensor]] = {}
        self.rates: list[float] = []
        self.gradients: list[list[Tensor | None]] = []
        self.batches: list[int] = []
        self.rows: set[float] = set()
        X = tasks.normal(ROWS, WIDTH, seed=100 + seed).flip(0 if backwards else ())
        with self._watched(steps), torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.default_generator.manual_seed(seed)
            result = theirs(program, self.base, X.clone(), X @ (matrix(self.fresh) + drawn).T, steps)
        if not isinstance(result, tuple) or len(result) < 2:
            raise Unfit(f"your function returns {shown(result)}; it is to return what the given one does.")
        self.model, self.losses, *self.rest = result
        if not isinstance(self.model, nn.Module):
            raise Unfit(f"in the first place your function returns {shown(self.model)}; the shipped model is wanted.")
        for layer in layers(self.model):
            for scaling in (1.0, 2.0):  # as the customer does who tries half of it first
                theirs(getattr(layer, "serve", lambda scaling: None), scaling)
        self.seen, self.unseen = self.loss(X, drawn), self.loss(unseen_rows(seed), drawn)

    @contextmanager
    def _watched(self, steps: int) -> Iterator[None]:
        """Note what the optimizer does, and which rows go through a model while it trains."""

        def note_step(optimizer, args, kwargs) -> None:
            if len(self.rates) == steps:
                raise Unfit(f"the optimizer makes more than the {steps} steps that were ordered.")
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            for p in parameters:
                self.held.setdefault(id(p), (p, p.detach().clone()))
            self.rates.append(optimizer.param_groups[0]["lr"])
            self.gradients.append([None if p.grad is None else p.grad.clone() for p in parameters])

        def note_rows(module, args) -> None:
            if hasattr(module, "blocks") and torch.is_grad_enabled() and args:
                self.batches.append(len(args[0]))
                self.rows.update(args[0][:, 0].tolist())

        handles = [register_optimizer_step_pre_hook(note_step), register_module_forward_pre_hook(note_rows)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @property
    def moved(self) -> int:
        """How many numbers the optimizer moved; a tensor that two layers share counts once."""
        tensors = {p.data_ptr(): p for p, before in self.held.values() if not torch.equal(p, before)}
        return sum(p.numel() for p in tensors.values())

    @property
    def base_changed(self) -> bool:
        now, before = self.base.state_dict(), self.fresh.state_dict()
        return list(now) != list(before) or any(not now[name].equal(before[name]) for name in now)

    def loss(self, X: Tensor, drawn: Tensor) -> float:
        """Of the shipped model, for a customer who wants `drawn` added to the base."""
        with torch.no_grad():
            answer = theirs(self.model, X)
        if not isinstance(answer, Tensor) or answer.shape != X.shape:
            raise Unfit(f"the shipped model returns {shown(answer)} for {shown(X)}; a tensor of that shape is wanted.")
        return F.mse_loss(answer, X @ (matrix(self.fresh) + drawn).T).item()


def unseen_rows(seed: int) -> Tensor:
    return tasks.normal(ROWS, WIDTH, seed=200 + seed)


def layers(model: nn.Module) -> list[nn.Module]:
    try:
        return [block.fc for block in model.blocks]
    except (AttributeError, TypeError):
        raise Unfit("the shipped model has no layers `blocks.0.fc`, `blocks.1.fc` any more; keep the names.") from None


def still_wrong(repair: Repair, program: Callable) -> str:
    """What is observed of a program that is not mended yet, in a sentence that does not name the line; "" if it is."""
    try:
        runs = []
        for seed in SEEDS:
            runs.append(Run(program, seed))
            if wrong := too_high(repair, runs[-1].unseen, seed):
                return wrong
        ordered = next(filter(None, map(other_than_ordered, runs)), "")  # before these models are used further
        promise = PROMISES.get(repair.reference.__name__, lambda *whatever: "")
        return promise(repair, program, runs[0]) or ordered
    except Unfit as unfit:
        return str(unfit)


@cache
def correct_loss(program: Callable, seed: int, **size: int) -> float:
    return Run(program, seed, **size).unseen


def too_high(repair: Repair, loss: float, seed: int, whose: str = "what your program ships", **size: int) -> str:
    if loss <= repair.limit:
        return ""  # without running the correct program: quick where it is right
    right = correct_loss(repair.reference, seed, **size)
    if loss <= 2 * right:
        return ""
    return f"on inputs it was not trained on, {whose} has a loss of {loss:.3g}, the correct program's {right:.3g}."


def other_than_ordered(this: Run) -> str:
    """A good loss by other means: the base was trained, the rank raised, more steps taken, …"""
    if this.base_changed:
        return "the loss is right, but the base that your program was given is not the same afterwards."
    for i, (layer, before) in enumerate(zip(layers(this.model), layers(this.fresh))):
        with torch.no_grad():
            values = torch.linalg.svdvals((theirs(layer, torch.eye(WIDTH)).T - before.weight).double())
        if (rank := int((values > 1e-4 * values[0]).sum())) > R:
            return f"the loss is right, but blocks.{i}.fc changed by a matrix of rank {rank}; rank {R} was ordered."
    if this.moved != NUMBERS:
        return f"the loss is right, but {this.moved} numbers were trained; two adapters of rank {R} have {NUMBERS}."
    if len(this.rates) != STEPS:
        return f"the loss is right, but the optimizer made {len(this.rates)} steps where {STEPS} were ordered."
    return ""


# ---- what a program promises beside a good loss: (exercise, the learner's program, its first run) -> a sentence or ""


def every_row_counts(repair: Repair, program: Callable, first: Run) -> str:
    if max(first.batches, default=0) > 32:
        return f"the loss is right, but {max(first.batches)} rows went through at once; 32 fit into the memory."
    there, back = (Run(program, SEEDS[0], steps=1, backwards=backwards).gradients[0] for backwards in (False, True))
    for one, other in zip(there, back):
        if one is not None and (one - other).norm() > 1e-3 * one.norm():
            return ("the loss is right, but given the same rows in reverse order, the first step's gradient is "
                    "another one: not every row counts alike.")
    return ""


def base_comes_back(repair: Repair, program: Callable, first: Run) -> str:
    if not all(hasattr(layer, "serve") for layer in layers(first.model)):
        return "the loss is right, but the layers have no method `serve` any more, which the customer calls."
    X, outputs = unseen_rows(SEEDS[0]), []
    for scaling in (2.0, 2.0, *(0.1 * i for i in range(20)), 0.0):
        for layer in layers(first.model):
            theirs(layer.serve, scaling)
        with torch.no_grad():
            outputs.append(theirs(first.model, X))
    if not torch.allclose(outputs[0], outputs[1], atol=1e-4):
        return "the loss is right, but `serve(2.0)` called once more gives another output."
    if not torch.allclose(outputs[-1], first.fresh(X), atol=1e-3):
        return "the loss is right, but after 20 other strengths `serve(0.0)` does not give the base's output."
    return ""


def nobody_else_is_touched(repair: Repair, program: Callable, first: Run) -> str:
    second = Run(program, SEEDS[0], base=first.base, drawn=letter().T)
    now = first.loss(unseen_rows(SEEDS[0]), letter())
    return (too_high(repair, second.unseen, SEEDS[0], "the second customer's model") or
            too_high(repair, now, SEEDS[0], "since the second customer came, the first one's model"))


def every_block_gets_its_own(repair: Repair, program: Callable, first: Run) -> str:
    many = Run(program, SEEDS[0], **MANY)
    if wrong := too_high(repair, many.unseen, SEEDS[0], "with 11 blocks what your program ships", **MANY):
        return wrong
    saved = first.rest[0] if first.rest else None
    numbers = sum(value.numel() for value in saved.values()) if isinstance(saved, dict) else 0
    if numbers != NUMBERS:
        return f"the loss is right, but the adapter that is saved has {numbers} numbers; {NUMBERS} were ordered."
    if {id(p) for p in first.model.parameters()} & set(first.held):
        return "the loss is right, but what is shipped is the trained model itself, not one loaded from the adapter."
    return ""


PROMISES = {
    "in_parts": every_row_counts,
    "half_then_full": base_comes_back,
    "second_customer": nobody_else_is_touched,
    "eleven_blocks": every_block_gets_its_own,
}
