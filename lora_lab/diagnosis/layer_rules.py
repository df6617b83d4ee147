"""Rules about one layer (how it computes, what its numbers say) and about the places where the adapters are."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import nn

from lora_lab.adapters import weights_of

from .evidence import Evidence, same
from .findings import Finding, finding
from .reading import Adapter, is_readable

LARGE_UPDATE = 20  # times the weight; healthy where the base has little to say, so it needs one of these as well:
UNUSUAL_SCALING = 100
UNUSUAL_ADAM_RATE = 0.3
LARGE_PART = 1 / 3  # of the model's numbers


def forward(e: Evidence) -> Iterator[Finding]:
    for a in e.adapters:
        answer = e.answer(a)
        if answer.scale == 0 and a.enabled and not a.merged:
            yield finding("not-in-the-forward", a.where, B=a.names[1])
        if answer.transposed_forward:
            yield finding("factors-swapped", a.where)
        if answer.random:
            yield finding("random-in-eval", a.where)
        if answer.blocked:
            yield finding("no-gradient", a.where, factors=" and ".join(answer.blocked))


def scaling(e: Evidence) -> Iterator[Finding]:
    for a in e.adapters:
        if not a.alpha:
            continue
        scale, right = e.scale(a), a.alpha / a.rank_term
        values = {"alpha": a.alpha, "r": a.r, "right": right, "scale": scale}
        if a.make in ("own", "loralib") and a.r > 1 and same(scale, a.alpha):
            yield finding("scaling-without-r", a.where, **values)
        elif a.make == "own" and same(scale, right**2) and not same(right, 1):
            yield finding("scaling-squared", a.where, **values)
        elif a.make in ("lora_lab", "loralib") and not same(scale, right):
            yield finding("scaling-outdated", a.where, **values)


def merging(e: Evidence) -> Iterator[Finding]:
    for a in e.adapters:
        answer = e.answer(a)
        if answer.still_added or (a.merged and answer.scale):
            yield finding("merged-and-added", a.where)
        elif answer.transposed:
            yield finding("merge-transposed", a.where)
        elif answer.merged_scale is not None and answer.scale:
            yield finding("merge-rescales", a.where, scale=answer.scale, merged_scale=answer.merged_scale)
        elif answer.merge_changes:
            yield finding("merge-changes-output", a.where)
        if answer.twice_changes:
            yield finding("merge-adds-again", a.where)


def numbers(e: Evidence) -> Iterator[Finding]:
    """What the numbers in A and B say."""
    counts_steps = any("betas" in group for group in e.optimizers.groups)
    not_begun = counts_steps and not e.optimizers.has_stepped() and e.adapter is None
    for a in e.active:
        if not all(map(is_readable, a.factors)):
            continue
        if not all(torch.isfinite(t).all() for t in a.factors):
            yield finding("not-finite", a.where)
            continue
        A_zero, B_zero = (not t.any() for t in a.factors)
        A_trains, B_trains = (t.requires_grad for t in a.factors)
        if A_zero and B_zero and (e.optimizers.given or e.model.training) and (A_trains or B_trains):
            yield finding("both-zero", a.where)
        if B_zero and not A_zero and A_trains and not B_trains:
            yield finding("factor-frozen", a.where, B=a.names[1])
        if not_begun and a.make == "own" and a.enabled and not A_zero and not B_zero:
            yield finding("start-is-not-base", a.where)
        ratio, cause = e.relative_size(a), _cause_of_a_large_update(e, a)
        if ratio and ratio > LARGE_UPDATE and cause:
            yield finding("update-too-large", a.where, ratio=ratio, cause=cause)


def _cause_of_a_large_update(e: Evidence, a: Adapter) -> str | None:
    scale = e.scale(a) or 1.0
    if abs(scale) > UNUSUAL_SCALING:
        return f"a scaling of {scale:g} (α/r is usually between 0.5 and {UNUSUAL_SCALING})"
    for p in a.factors:
        if e.optimizers.holds(p) and e.optimizers.is_adam(p) and e.optimizers.rate(p) > UNUSUAL_ADAM_RATE:
            return f"a learning rate of {e.optimizers.rate(p):g}, by which Adam moves every entry in every step"
    return None


def stacked(e: Evidence) -> Iterator[Finding]:
    """Two adapters in one layer, for one weight. (PEFT nests the layers of different weights: that is no stack.)"""
    seen: set[tuple] = set()
    for a in e.adapters:
        place = (a.path, id(a.weight))
        twice = a.make in ("own", "lora_lab") and place in seen  # two parametrizations of one weight
        seen.add(place)
        inside = {id(m) for m in a.host.modules() if m is not a.host}
        for b in e.adapters:
            same_weight = a.weight is None or a.weight is b.weight
            twice = twice or (id(b.host) in inside and b.host is not a.holder and same_weight)
        if twice:
            yield finding("stacked", a.where)


def tied_weight(e: Evidence) -> Iterator[Finding]:
    """Merging in place writes into every owner of the weight. (This package keeps the sum beside the weight.)"""
    owners: dict[int, list[tuple[str, nn.Module]]] = {}
    for path, module in e.model.named_modules():
        for name, p in module._parameters.items():
            if p is not None and not p.is_meta and p.numel():
                owners.setdefault(p.data_ptr(), []).append((f"{path}.{name}" if path else name, module))
    for a in e.adapters:
        if not is_readable(a.weight) or not a.in_place:
            continue
        inside = set(a.host.modules())
        for name, module in owners.get(a.weight.data_ptr(), []):
            # the list that holds a parametrized weight is its owner, not a second one
            own = isinstance(module, nn.utils.parametrize.ParametrizationList) and a.host in list(module)
            if module not in inside and not own:
                yield finding("tied-weight", a.where, other=name)


def shared_factor(e: Evidence) -> Iterator[Finding]:
    """One trainable A (or B) in several layers; frozen ones are shared on purpose (VeRA)."""
    places: dict[int, list[tuple[str, str]]] = {}
    for a in e.adapters:
        for name, p in zip(a.names, a.factors):
            if p.requires_grad:
                places.setdefault(id(p), []).append((a.where, name))
    for shared in places.values():
        if len(shared) > 1:
            yield finding("shared-factor", *(where for where, _ in shared), name=shared[0][1])


def uneven_targets(e: Evidence) -> Iterator[Finding]:
    """The same layer of repeated blocks: adapted in some, not in others."""
    configs = getattr(e.model, "peft_config", None)
    configs = configs.values() if isinstance(configs, dict) else ()
    if any(getattr(config, "layers_to_transform", None) is not None for config in configs):
        return
    paths, kinds, inside = set(), {}, set()
    for a in e.adapters:
        path = re.sub(rf"\.{a.tensor}$", "", a.path)
        paths.add(path)
        inside |= {id(m) for m in a.host.modules()}
        owners = [m for m in a.host.modules() if any(p is a.weight for p in m._parameters.values())]
        if "*" in _pattern(path) and not path.rpartition(".")[2].isdigit():
            kinds.setdefault(_pattern(path), type(owners[0] if owners else a.host))
    for path, module in e.model.named_modules():
        kind = kinds.get(_pattern(path))
        if kind and issubclass(kind, type(module)) and path not in paths and id(module) not in inside:
            yield finding("uneven-targets", path, pattern=_pattern(path))


def _pattern(path: str) -> str:
    """blocks.3.fc -> blocks.*.fc"""
    return re.sub(r"(^|\.)\d+(?=\.)", r"\1*", path)


def weights_not_adapted(e: Evidence) -> Iterator[Finding]:
    """Large frozen weights of three dimensions and more in layers that no adapter here fits, such as experts."""
    inside = {id(m) for a in e.adapters for m in a.host.modules()}
    left_out = {}
    for path, module in e.model.named_modules():
        if id(module) in inside or isinstance(module, nn.modules.conv._ConvNd) or weights_of(module):
            continue
        for name, p in module._parameters.items():
            if p is not None and p.ndim >= 3 and not p.requires_grad:
                left_out[f"{path}.{name}" if path else name] = (p, type(module).__name__)
    total = sum(p.numel() for p in e.model.parameters())
    part = sum(p.numel() for p, _ in left_out.values()) / max(total, 1)
    if part > LARGE_PART:
        p, kind = next(iter(left_out.values()))
        shape = " x ".join(map(str, p.shape))
        yield finding("weights-not-adapted", *left_out, percent=100 * part, shape=shape, kind=kind)


RULES = (
    numbers, forward, scaling, merging, stacked, tied_weight, shared_factor, uneven_targets, weights_not_adapted,
)  # fmt: skip
