"""Rules that compare the model with the base it came from, and with the adapter it was to load."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from lora_lab.adapters import also_trained

from .evidence import Evidence, same
from .findings import Finding, finding
from .reading import Adapter, is_readable, plain_name

STATISTICS = ("running_mean", "running_var")


def weights(e: Evidence) -> Iterator[Finding]:
    if e.base is None:
        return
    compared = False
    for a in e.adapters:
        reference = e.base.get(plain_name(a.path, a.tensor))
        if is_readable(a.weight) and isinstance(reference, Tensor) and reference.shape == a.weight.shape:
            compared = True
            yield from _compare(e, a, reference.detach().to(a.weight.device))
    if not compared:
        yield finding("base-not-comparable", name=plain_name(e.adapters[0].path, e.adapters[0].tensor))


def _compare(e: Evidence, a: Adapter, reference: Tensor) -> Iterator[Finding]:
    """Is the weight W (or W + update, where it is merged in place)? If not: W + k * update, or something else?"""
    merged = a.merged and a.in_place
    delta = a.delta()
    if a.moves_base or merged and (delta is None or not a.plain):
        return  # the weight is meant to differ, or holds an update that cannot be computed here
    W = reference.double().flatten(1)
    moved = a.weight.detach().double().flatten(1) - W
    if delta is None or delta.shape != W.shape:
        delta = torch.zeros_like(W)
    delta = (e.scale(a) or 1.0) * delta.detach().double()
    size, norm = float(W.norm()) or 1.0, float(delta.norm())
    tolerance = max(1e-5, 4 * torch.finfo(a.weight.dtype).eps)
    rounding = tolerance * (size + norm)
    if float((moved - merged * delta).norm()) <= rounding:
        return
    k = float((moved * delta).sum()) / norm**2 if norm else 0.0
    rest = float((moved - k * delta).norm())
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
        if any(p.requires_grad for p in module.parameters(recurse=False)):
            continue  # trained along knowingly
        for name in STATISTICS:
            now, before = module._buffers.get(name), (e.base or {}).get(plain_name(path, name))
            if is_readable(now) and is_readable(before) and now.shape == before.shape:
                moved = float((now - before.to(now)).norm()) > 1e-3 * float(now.norm())
            else:
                moved = plain_name(path, name) in remembered
            if moved:
                yield finding("statistics-moved", path or type(module).__name__)


def loaded(e: Evidence) -> Iterator[Finding]:
    if e.adapter is None:
        return
    factors = [p.detach().float() for a in e.adapters for p in a.factors if is_readable(p)]
    in_model = [(p.numel(), float(p.sum()), float(p.norm())) for p in factors]
    given = {n: t for n, t in e.adapter.items() if isinstance(t, Tensor) and t.is_floating_point() and t.ndim >= 2}
    given = {n: t for n, t in given.items() if "lora" in n.lower()} or given
    missing = [n for n, t in given.items() if t.any() and not _among(t.detach().float(), in_model)]
    if missing:
        still_zero = all(not a.B.any() for a in e.adapters if is_readable(a.B))
        variant = "still-zero" if still_zero else None
        yield finding("adapter-not-loaded", *missing, variant=variant, missing=len(missing), given=len(given))


def _among(t: Tensor, in_model: list[tuple[int, float, float]]) -> bool:
    """By size, sum and norm: a name may differ, and a transposed copy is the same tensor."""
    n, total, norm = t.numel(), float(t.sum()), float(t.norm())
    return any(n == m and abs(norm - y) < 1e-2 * norm and abs(total - x) < 1e-2 * norm for m, x, y in in_model)


def scaling_of_the_file(e: Evidence) -> Iterator[Finding]:
    config = e.config or {}
    if config.get("rank_pattern") or config.get("alpha_pattern") or not {"r", "lora_alpha"} <= set(config):
        return
    rule = "alpha/sqrt(r)" if config.get("use_rslora") else "alpha/r"
    wanted = config["lora_alpha"] / (math.sqrt(config["r"]) if config.get("use_rslora") else config["r"])
    for a in e.active:
        scale = e.scale(a)
        if scale is not None and not same(scale, wanted):
            yield finding("scaling-not-the-files", a.where, scale=scale, rule=rule, wanted=wanted)


RULES = (weights, statistics, loaded, scaling_of_the_file)
