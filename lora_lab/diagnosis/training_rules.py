"""Rules about training: what the optimizer holds, what is frozen, where no gradient arrives, what does not move.

The first ones look at one adapter, the others at the whole model (see diagnose.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from .evidence import FEW_STEPS, Evidence, Held
from .findings import Finding, finding
from .reading import Adapter

LONG = 100  # steps after which something should be seen
HARDLY_MOVED = 0.02  # of the other factor's size
NEGLIGIBLE = 1e-5  # of the weight's size


def switched_off(e: Evidence, a: Adapter) -> Iterator[Finding]:
    if not e.optimizers.given or not a.active:
        return
    can_train = any(p.requires_grad for p in a.factors)
    if a.off and e.model.training and (can_train or e.held(a)):
        yield finding(f"{a.off}-while-training", a.where)
    if not a.off and not can_train:
        yield finding("adapter-frozen", a.where, A=a.names[0], B=a.names[1])


def half_precision(e: Evidence, a: Adapter) -> Iterator[Finding]:
    for name, held in e.held(a).items():
        dtype = held.p.dtype
        if a.active and held.p.requires_grad and dtype in (torch.bfloat16, torch.float16):
            eps = torch.finfo(dtype).eps
            values = {"dtype": str(dtype).removeprefix("torch."), "bits": round(-math.log2(eps)) + 1, "lr": held.rate}
            yield finding("half-precision-factors", a.where, name=name, limit=2 * held.rate / eps, **values)


def gradients(e: Evidence, a: Adapter) -> Iterator[Finding]:
    """Factors that the optimizer holds and that no gradient has reached while it trained others."""
    if not a.active or a.off or not a.readable:
        return
    held = {name: held for name, held in e.held(a).items() if held.p.requires_grad}
    without = {name: one for name, one in held.items() if one.gradient_came() is False}
    if held and all(one.keeps_nothing for one in held.values()):
        without = _left_out_by_sgd(e, a, held)
    zero = [name for name, p in zip(a.names, a.factors) if not p.any()]
    # A's gradient is B times something: while B is zero, so is the gradient of A, and the other way round
    explained = len(zero) == 2 or len(without) == 1 and any(name not in without for name in zero)
    if without and not explained:
        steps = max(one.steps for one in held.values())
        after = f" in {steps} steps" if steps else ""
        yield finding("no-gradient", a.where, variant="training", factors=" and ".join(without), steps=after)


def _left_out_by_sgd(e: Evidence, a: Adapter, held: dict[str, Held]) -> dict[str, Held]:
    """Of factors whose optimizer keeps nothing (plain SGD): only the last gradients and the zeros can tell."""
    without = {name: one for name, one in held.items() if one.p.grad is None}
    if len(without) < len(held):
        return without if any(_has_gradient(one.p) for one in held.values()) else {}
    others_move = any(_has_gradient(one.p) for one in e.optimizers.values())
    if e.adapter is None:  # else the other layers' numbers may be loaded ones
        others_move = others_move or any(b.readable and b.A.any() and b.B.any() for b in e.active)
    return without if others_move and not (a.A.any() and a.B.any()) else {}


def _has_gradient(p: Tensor) -> bool:
    return p.grad is not None and bool(p.grad.any())


def never_moved(e: Evidence, a: Adapter) -> Iterator[Finding]:
    for held in e.held(a).values():
        if a.active and a.readable and held.steps >= FEW_STEPS and held.moved and not held.p.any():
            yield finding("hardly-moved", a.where, variant="never", steps=held.steps, lr=e.optimizers.rates("lr"))


# --------------------------------------------------------------------------------------------- the whole model


def movement(e: Evidence) -> Iterator[Finding]:
    """After a hundred steps the factor that started at zero should be of the other's size, give or take."""
    moved, sizes, fewest = {}, [], math.inf
    for a in e.active:
        steps = [held.steps for held in e.held(a).values()]
        if len(steps) == 2 and all(steps) and a.readable:
            low, high = sorted(a.factors, key=lambda t: float(t.float().abs().max()))
            if low.any():
                fewest = min(fewest, *steps)
                moved[a.where] = float(low.float().abs().max() / high.float().square().mean().sqrt())
                sizes.append(a.relative_size())
    if not moved or fewest < LONG:
        return
    largest = max(moved.values())
    if largest < HARDLY_MOVED:
        yield finding("hardly-moved", *moved, steps=fewest, percent=100 * largest, lr=e.optimizers.rates())
    elif None not in sizes and max(sizes) < NEGLIGIBLE:
        scale = e.active[0].scale or 1.0
        yield finding("update-negligible", *moved, steps=fewest, ratio=max(sizes), scale=scale)


def held(e: Evidence) -> Iterator[Finding]:
    """Factors that should be in the optimizer and are not."""
    lacking: dict[str, list[str]] = {}
    also_held: set[str] = set()
    for a in e.active if e.optimizers.given else ():
        also_held |= set(e.held(a))
        missing = [name for name, p in zip(a.names, a.factors) if p.requires_grad and name not in e.held(a)]
        instead = [b for b in e.adapters if b.host is a.host and not b.active and e.held(b)]
        if instead and len(missing) == 2:
            yield finding("inactive-adapter-trained", a.where, trained=instead[0].name, active=a.name)
        elif missing:
            lacking[a.where] = missing
    if not lacking:
        return
    lacked = {name for missing in lacking.values() for name in missing}
    variant = "some-layers" if lacked & also_held or len(lacked) > 1 else "one-factor"
    if not also_held:
        in_model = {id(p) for p in e.model.parameters()}
        variant = None if set(e.optimizers) <= in_model else "strangers"
    values = {"missing": " and ".join(sorted(lacked)), "held": " and ".join(sorted(also_held))}
    yield finding("optimizer-misses-adapter", *lacking, variant=variant, **values)


def base_trains(e: Evidence) -> Iterator[Finding]:
    """Without an optimizer, what requires a gradient in training mode will train."""
    training = {}
    for p in e.model.parameters():
        if p.requires_grad and (id(p) in e.optimizers if e.optimizers.given else e.model.training):
            training[id(p)] = p.numel()
    under = [a.where for a in e.adapters if id(a.weight) in training]
    factors = {id(p) for a in e.adapters for p in a.factors}
    beside = sum(n for key, n in training.items() if key not in factors)
    total = sum(p.numel() for p in e.model.parameters())
    if under:
        yield finding("base-trains", *under)
    elif 2 * beside > total:
        yield finding("rest-trains", percent=100 * beside / total)
