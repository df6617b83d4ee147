"""Rules that look at one adapter at a time: how it computes, what its numbers say, whether it trains."""

import math
from collections.abc import Iterator

import torch

from .evidence import Evidence, Held
from .findings import Finding, finding
from .reading import Adapter

LARGE_UPDATE = 20  # times the weight; healthy where the base has little to say, so it needs one of these as well:
UNUSUAL_SCALING = 100
UNUSUAL_ADAM_RATE = 0.3


def same(x: float | None, y: float) -> bool:
    return x is not None and math.isclose(x, y, rel_tol=1e-3)


def scaling(e: Evidence, a: Adapter) -> Iterator[Finding]:
    if not a.alpha or a.make != "own":
        return
    right = a.alpha / a.r
    values = {"alpha": a.alpha, "r": a.r, "right": right, "scale": a.scale}
    if a.r > 1 and same(a.scale, a.alpha):
        yield finding("scaling-without-r", a.where, **values)
    elif same(a.scale, right**2) and not same(right, 1):
        yield finding("scaling-squared", a.where, **values)


def scaling_of_the_file(e: Evidence, a: Adapter) -> Iterator[Finding]:
    config = e.config
    patterns = config.get("rank_pattern") or config.get("alpha_pattern")
    if patterns or not a.active or a.scale is None or not {"r", "lora_alpha"} <= set(config):
        return
    rule, wanted = "alpha/r", config["lora_alpha"] / config["r"]
    if config.get("use_rslora"):
        rule, wanted = "alpha/sqrt(r)", config["lora_alpha"] / math.sqrt(config["r"])
    if not same(a.scale, wanted):
        yield finding("scaling-not-the-files", a.where, scale=a.scale, rule=rule, wanted=wanted)


def numbers(e: Evidence, a: Adapter) -> Iterator[Finding]:
    """What the numbers in A and B say."""
    if not a.active or not a.readable:
        return
    if not all(torch.isfinite(t).all() for t in a.factors):
        yield finding("not-finite", a.where)
        return
    A_zero, B_zero = (not t.any() for t in a.factors)
    A_trains, B_trains = (t.requires_grad for t in a.factors)
    if A_zero and B_zero and (A_trains or B_trains) and (e.optimizers.given or e.model.training):
        yield finding("both-zero", a.where)
    if B_zero and not A_zero and A_trains and not B_trains:
        yield finding("factor-frozen", a.where, B=a.names[1])
    not_begun = any(held.is_adam for held in e.optimizers.values()) and not e.optimizers.have_stepped
    if not_begun and e.adapter is None and a.make == "own" and a.enabled and not A_zero and not B_zero:
        yield finding("start-is-not-base", a.where)
    ratio, cause = a.relative_size() or 0.0, _cause_of_a_large_update(e, a)
    if ratio > LARGE_UPDATE and cause:
        yield finding("update-too-large", a.where, ratio=ratio, cause=cause)


def _cause_of_a_large_update(e: Evidence, a: Adapter) -> str | None:
    scale = a.scale or 1.0
    if abs(scale) > UNUSUAL_SCALING:
        return f"a scaling of {scale:g} (α/r is usually between 0.5 and {UNUSUAL_SCALING})"
    rate = max((held.rate for held in e.held(a).values() if held.is_adam), default=0.0)
    if rate > UNUSUAL_ADAM_RATE:
        return f"a learning rate of {rate:g}, by which Adam moves every entry in every step"
    return None


def stacked(e: Evidence, a: Adapter) -> Iterator[Finding]:
    """Two adapters in one layer, for one weight. (PEFT nests the layers of different weights: that is no stack.)"""
    inside = set(a.host.modules())
    for b in e.adapters:
        several_of_peft = a.make == "peft" and b.host is a.host
        one_weight = a.weight is None or a.weight is b.weight
        if b is not a and b.host in inside and one_weight and not several_of_peft:
            yield finding("stacked", a.where)


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
    """Factors that the optimizer holds, and that no gradient reached while it trained others."""
    if not a.active or a.off or not a.readable:
        return
    held = {name: held for name, held in e.held(a).items() if held.p.requires_grad}
    without = {name: one for name, one in held.items() if one.never_moved}
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
    others_move = any(one.p.grad is not None and one.p.grad.any() for one in e.optimizers.values())
    trained_before = len(without) == len(held) and all(t.any() for t in a.factors)
    return without if others_move and not trained_before else {}


RULES = (scaling, scaling_of_the_file, numbers, stacked, switched_off, half_precision, gradients)
