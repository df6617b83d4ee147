"""Rules about training: what the optimizer holds, what is frozen, where no gradient arrives, what does not move."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from .evidence import FEW_STEPS, Evidence
from .findings import Finding, finding
from .reading import Adapter, is_readable

LONG = 100  # steps after which something should be seen
HARDLY_MOVED = 0.02  # of the other factor's size
NEGLIGIBLE = 1e-5  # of the weight's size


def switched_off(e: Evidence) -> Iterator[Finding]:
    for a in e.active if e.optimizers.given else ():
        trains = any(p.requires_grad or e.optimizers.holds(p) for p in a.factors)
        state = _off(a)
        if state and trains and e.model.training:
            yield finding(f"{state}-while-training", a.where)


def _off(a: Adapter) -> str | None:
    if a.merged:
        return "merged"
    if not a.enabled:
        return "disabled"
    return "scaled-to-zero" if a.slider == 0 or a.scaling == 0 else None


def held(e: Evidence) -> Iterator[Finding]:
    """Factors that should be in the optimizer and are not."""
    lacking: list[tuple[Adapter, list[str]]] = []
    for a in e.active if e.optimizers.given else ():
        names = [n for n, p in zip(a.names, a.factors) if p.requires_grad and not e.optimizers.holds(p)]
        instead = [b for b in e.adapters if b.host is a.host and not b.active and _held_names(e, b)]
        if instead and len(names) == 2:
            yield finding("inactive-adapter-trained", a.where, trained=instead[0].name, active=a.name)
        elif names:
            lacking.append((a, names))
    if not lacking:
        return
    where = [a.where for a, _ in lacking]
    lacked = {name for _, names in lacking for name in names}
    also_held = {name for a in e.active for name in _held_names(e, a)}
    values = {"missing": " and ".join(sorted(lacked)), "held": " and ".join(sorted(also_held))}
    if not also_held:
        variant = "strangers" if e.optimizers.hold_strangers(e.model) else None
    else:
        variant = "some-layers" if lacked & also_held or len(lacked) > 1 else "one-factor"
    yield finding("optimizer-misses-adapter", *where, variant=variant, **values)


def _held_names(e: Evidence, a: Adapter) -> list[str]:
    return [name for name, p in zip(a.names, a.factors) if e.optimizers.holds(p)]


def frozen_adapter(e: Evidence) -> Iterator[Finding]:
    for a in e.active:
        if e.optimizers.given and not _off(a) and not any(p.requires_grad for p in a.factors):
            yield finding("adapter-frozen", a.where, A=a.names[0], B=a.names[1])


def base_trains(e: Evidence) -> Iterator[Finding]:
    """Without an optimizer, what requires a gradient in training mode will train."""
    training = {}
    for p in e.model.parameters():
        if p.requires_grad and (e.optimizers.holds(p) if e.optimizers.given else e.model.training):
            training[id(p)] = p.numel()
    under = [a.where for a in e.adapters if id(a.weight) in training]
    if under:
        yield finding("base-trains", *under)
        return
    factors = {id(p) for a in e.adapters for p in a.factors}
    beside = sum(n for key, n in training.items() if key not in factors)
    total = sum(p.numel() for p in e.model.parameters())
    if 2 * beside > total:
        yield finding("rest-trains", percent=100 * beside / total)


def half_precision(e: Evidence) -> Iterator[Finding]:
    for a in e.active:
        for name, p in zip(a.names, a.factors):
            if p.dtype in (torch.bfloat16, torch.float16) and p.requires_grad and e.optimizers.holds(p):
                lr, eps = e.optimizers.rate(p), torch.finfo(p.dtype).eps
                bits, dtype = round(-math.log2(eps)) + 1, str(p.dtype).removeprefix("torch.")
                yield finding(
                    "half-precision-factors", a.where, name=name, dtype=dtype, bits=bits, lr=lr, limit=2 * lr / eps
                )


def gradients(e: Evidence) -> Iterator[Finding]:
    """Factors that the optimizer holds and that no gradient has reached while it trained others."""
    for a in e.active:
        if _off(a) or not all(map(is_readable, a.factors)):
            continue
        trained = [p for p in a.factors if p.requires_grad and e.optimizers.holds(p)]
        without = [p for p in trained if e.optimizers.gradient_came(p) is False] or _without_a_trace(e, trained)
        A_zero, B_zero = (not p.any() for p in a.factors)
        # A's gradient is B times something: while B is zero, so is the gradient of A, and the other way round
        explained = A_zero and B_zero or len(without) == 1 and (B_zero if without[0] is a.A else A_zero)
        if without and not explained:
            steps = max(map(e.optimizers.steps, a.factors))
            names = [name for name, p in zip(a.names, a.factors) if any(p is q for q in without)]
            after = f" in {steps} steps" if steps else ""
            yield finding("no-gradient", a.where, variant="training", factors=" and ".join(names), steps=after)


def _without_a_trace(e: Evidence, factors: list[Tensor]) -> list[Tensor]:
    """The same for an optimizer that keeps nothing (plain SGD): only the last gradients and the zeros can tell."""
    if not all(map(e.optimizers.keeps_nothing, factors)):
        return []
    without = [p for p in factors if p.grad is None]
    if len(without) < len(factors):
        return without if any(p.grad is not None and p.grad.any() for p in factors) else []
    others_move = any(p.grad is not None and p.grad.any() for p in e.model.parameters() if e.optimizers.holds(p))
    if e.adapter is None:  # else the other layers' numbers may be loaded ones
        others_move = others_move or any(all(p.any() for p in a.factors) for a in e.active)
    return without if others_move and not all(p.any() for p in factors) else []


def movement(e: Evidence) -> Iterator[Finding]:
    """After a hundred steps the factor that started at zero should be of the other's size, give or take."""
    never, small, negligible = [], {}, {}
    fewest = math.inf
    for a in e.active:
        steps = [e.optimizers.steps(p) for p in a.factors]
        if not max(steps) or not all(map(is_readable, a.factors)):
            continue
        for p, n in zip(a.factors, steps):
            if n >= FEW_STEPS and not p.any() and e.optimizers.gradient_came(p):
                never.append((a.where, n))
        low, high = sorted(a.factors, key=lambda t: float(t.float().abs().max()))
        if min(steps) and low.any():
            fewest = min(fewest, *steps)
            small[a.where] = float(low.float().abs().max() / high.float().square().mean().sqrt())
            negligible[a.where] = e.relative_size(a)
    if never:
        where, steps = zip(*never)
        yield finding("hardly-moved", *where, variant="never", steps=max(steps), lr=e.optimizers.rates("lr"))
    if not small or fewest < LONG:
        return
    if max(small.values()) < HARDLY_MOVED:
        percent = 100 * max(small.values())
        yield finding("hardly-moved", *small, steps=fewest, percent=percent, lr=e.optimizers.rates())
    elif all(ratio is not None and ratio < NEGLIGIBLE for ratio in negligible.values()):
        scale = e.scale(e.active[0]) or 1.0
        yield finding("update-negligible", *small, steps=fewest, ratio=max(negligible.values()), scale=scale)


RULES = (held, half_precision, switched_off, frozen_adapter, base_trains, gradients, movement)
