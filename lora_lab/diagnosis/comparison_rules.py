"""Rules that compare the model with the base it came from, and with the adapter it was to load."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from lora_lab.adapters import also_trained

from .evidence import Evidence
from .findings import Finding, finding
from .layer_rules import same
from .reading import Adapter, is_readable, plain_name


def scaling_of_the_file(e: Evidence, a: Adapter) -> Iterator[Finding]:
    config = e.config
    patterns = config.get("rank_pattern") or config.get("alpha_pattern")
    if patterns or not a.active or a.scale is None or not {"r", "lora_alpha"} <= set(config):
        return
    rule = "alpha/sqrt(r)" if config.get("use_rslora") else "alpha/r"
    wanted = config["lora_alpha"] / (math.sqrt(config["r"]) if config.get("use_rslora") else config["r"])
    if not same(a.scale, wanted):
        yield finding("scaling-not-the-files", a.where, scale=a.scale, rule=rule, wanted=wanted)


def weights(e: Evidence) -> Iterator[Finding]:
    if e.base is None:
        return
    compared = False
    for a in e.adapters:
        W = e.base.get(plain_name(a.path, a.tensor))
        if is_readable(a.weight) and is_readable(W) and W.shape == a.weight.shape:
            compared = True
            yield from _compare(a, W.to(a.weight.device).double().flatten(1))
    if not compared:
        yield finding("base-not-comparable", name=plain_name(e.adapters[0].path, e.adapters[0].tensor))


def _compare(a: Adapter, W: Tensor) -> Iterator[Finding]:
    """Is the weight W (or W + update, where it is merged in place)? If not: W + k * update, or something else?"""
    merged = a.merged and a.make != "lora_lab"  # this package keeps the sum beside the weight
    delta = a.delta()
    if a.moves_base or merged and (delta is None or not a.plain):
        return  # the weight is meant to differ, or holds an update that cannot be computed here
    moved = a.weight.double().flatten(1) - W
    update = torch.zeros_like(W) if delta is None else (a.scale or 1.0) * delta.double()
    size, norm = float(W.norm()) or 1.0, float(update.norm())
    tolerance = max(1e-5, 4 * torch.finfo(a.weight.dtype).eps)
    rounding = tolerance * (size + norm)
    if float((moved - merged * update).norm()) <= rounding:
        return
    k = float((moved * update).sum()) / norm**2 if norm else 0.0
    rest = float((moved - k * update).norm())
    if abs(k + 1) < 1e-2 and rest <= rounding and not merged:
        return  # W - BA under BA: PiSSA's start, which computes what the base computes
    if norm > tolerance * size and abs(k) > 0.05 and rest < 0.05 * float(moved.norm()):
        yield finding("base-contains-update", a.where, variant="merged" if merged else None, times=k)
    elif rest > 0.5 * size:
        yield finding("other-base", a.where, percent=100 * rest / size)
    else:
        yield finding("base-changed", a.where, percent=100 * rest / size)


def statistics(e: Evidence) -> Iterator[Finding]:
    """Norms whose running statistics moved while their parameters were frozen; this package remembers the base's."""
    remembered = set(also_trained(e.model))
    for path, module in e.model.named_modules():
        trained = any(p.requires_grad for p in module.parameters(recurse=False))  # knowingly
        for name in () if trained else ("running_mean", "running_var"):
            full_name = plain_name(path, name)
            now, before = module._buffers.get(name), (e.base or {}).get(full_name)
            moved = full_name in remembered
            if is_readable(now) and is_readable(before) and now.shape == before.shape:
                moved = float((now - before.to(now)).norm()) > 1e-3 * float(now.norm())
            if moved:
                yield finding("statistics-moved", path or type(module).__name__)


def loaded(e: Evidence) -> Iterator[Finding]:
    """Tensors are found by size, sum and norm: a name may differ, and a transposed copy is the same tensor."""
    if e.adapter is None:
        return
    in_model = [_traits(p) for a in e.adapters for p in a.factors if is_readable(p)]
    given = {name: t for name, t in e.adapter.items() if is_readable(t) and t.ndim >= 2}
    given = {name: t for name, t in given.items() if "lora" in name.lower()} or given
    missing = []
    for name, t in given.items():
        size, total, norm = _traits(t)
        near = 1e-2 * norm
        if norm and not any(size == n and abs(total - s) < near and abs(norm - m) < near for n, s, m in in_model):
            missing.append(name)
    if missing:
        still_zero = all(not a.B.any() for a in e.adapters if is_readable(a.B))
        variant = "still-zero" if still_zero else None
        yield finding("adapter-not-loaded", *missing, variant=variant, missing=len(missing), given=len(given))


def _traits(t: Tensor) -> tuple[int, float, float]:
    t = t.detach().float()
    return t.numel(), float(t.sum()), float(t.norm())
