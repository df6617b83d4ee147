"""Rules about how a layer computes, what its numbers say, and the places where the adapters are.

The first ones look at one adapter, the others at the whole model (see diagnose.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import torch
from torch import nn

from lora_lab.adapters import weights_of

from .evidence import Evidence
from .findings import Finding, finding
from .reading import Adapter

LARGE_UPDATE = 20  # times the weight; healthy where the base has little to say, so it needs one of these as well:
UNUSUAL_SCALING = 100
UNUSUAL_ADAM_RATE = 0.3
LARGE_PART = 1 / 3  # of the model's numbers


def same(x: float | None, y: float) -> bool:
    return x is not None and math.isclose(x, y, rel_tol=1e-3)


def scaling(e: Evidence, a: Adapter) -> Iterator[Finding]:
    if not a.alpha or a.make == "peft":
        return
    right = a.alpha / (math.sqrt(a.r) if a.rslora else a.r)
    values = {"alpha": a.alpha, "r": a.r, "right": right, "scale": a.scale}
    if a.make == "lora_lab":
        if not same(a.scale, right):
            yield finding("scaling-outdated", a.where, **values)
    elif a.r > 1 and same(a.scale, a.alpha):
        yield finding("scaling-without-r", a.where, **values)
    elif same(a.scale, right**2) and not same(right, 1):
        yield finding("scaling-squared", a.where, **values)


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


def tied_weight(e: Evidence) -> Iterator[Finding]:
    """Merging in place writes into every owner of the weight. (This package keeps the sum beside the weight.)"""
    owners: dict[int, list[str]] = {}
    for path, module in e.model.named_modules():
        for name, p in module.named_parameters(path, recurse=False):
            owners.setdefault(id(p), []).append(name)
    for a in e.adapters:
        others = [name for name in owners.get(id(a.weight), ()) if a.path and not name.startswith(f"{a.path}.")]
        if others and a.make != "lora_lab":
            yield finding("tied-weight", a.where, other=others[0])


def shared_factor(e: Evidence) -> Iterator[Finding]:
    """One trainable A (or B) in several layers; frozen ones are shared on purpose (VeRA)."""
    places: dict[int, list[str]] = {}
    for a in e.adapters:
        for name, p in zip(a.names, a.factors):
            if p.requires_grad:
                where = places.setdefault(id(p), [])
                where.append(a.where)
                if len(where) > 1:
                    yield finding("shared-factor", *where, name=name)


def uneven_targets(e: Evidence) -> Iterator[Finding]:
    """The same layer of repeated blocks: adapted in some, not in others."""
    configs = getattr(e.model, "peft_config", {}).values()
    if any(getattr(config, "layers_to_transform", None) is not None for config in configs):
        return
    paths = {re.sub(rf"\.{a.tensor}$", "", a.path) for a in e.adapters}
    patterns = {_pattern(path) for path in paths if not path.rpartition(".")[2].isdigit()}
    for path, module in e.model.named_modules():
        if path not in paths and "*" in _pattern(path) and _pattern(path) in patterns and weights_of(module):
            yield finding("uneven-targets", path, pattern=_pattern(path))


def _pattern(path: str) -> str:
    """blocks.3.fc -> blocks.*.fc"""
    return re.sub(r"(^|\.)\d+(?=\.)", r"\1*", path)


def weights_not_adapted(e: Evidence) -> Iterator[Finding]:
    """Large frozen weights of three dimensions and more in layers that no adapter here fits, such as experts."""
    inside = {m for a in e.adapters for m in a.host.modules()}
    left_out = {}
    for path, module in e.model.named_modules():
        if module in inside or isinstance(module, nn.modules.conv._ConvNd) or weights_of(module):
            continue
        for name, p in module.named_parameters(path, recurse=False):
            if p.ndim >= 3 and not p.requires_grad:
                left_out[name] = (p, type(module).__name__)
    total = sum(p.numel() for p in e.model.parameters())
    part = sum(p.numel() for p, _ in left_out.values()) / max(total, 1)
    if part > LARGE_PART:
        p, kind = next(iter(left_out.values()))
        shape = " x ".join(map(str, p.shape))
        yield finding("weights-not-adapted", *left_out, percent=100 * part, shape=shape, kind=kind)
