"""Rules that look at the whole model: where adapters are, what trains, and what it and the adapter were before."""

import math
import re
from collections.abc import Iterator

import torch
from torch import Tensor

from lora_lab.adapters import also_trained, weights_of

from .evidence import FEW_STEPS, Evidence
from .findings import Finding, finding
from .reading import Adapter, is_readable, plain_name

LONG = 100  # steps after which something should be seen
HARDLY_MOVED = 0.02  # of the other factor's size


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


def movement(e: Evidence) -> Iterator[Finding]:
    """After a hundred steps the factor that started at zero should be of the other's size, give or take."""
    moved, fewest = {}, math.inf
    for a in e.active:
        held = list(e.held(a).values())
        if len(held) == 2 and a.readable and all(one.steps for one in held):
            low, high = sorted(held, key=lambda one: float(one.p.float().abs().max()))
            if high.p.any() and (low.p.any() or low.moved):  # else it had no gradient
                fewest = min(fewest, low.steps, high.steps)
                moved[a.where] = float(low.p.float().abs().max() / high.p.float().square().mean().sqrt())
    largest = max(moved.values(), default=1.0)
    if largest < HARDLY_MOVED and fewest >= (LONG if largest else FEW_STEPS):
        rates = sorted({held.rate for held in e.optimizers.values()})
        lr = ", ".join(f"{rate:g}" for rate in rates)
        yield finding("hardly-moved", *moved, steps=fewest, percent=100 * largest, lr=lr)


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
    """Norms whose running statistics moved since add_lora, while their parameters were frozen."""
    changed = also_trained(e.model)
    for name in changed:
        path, _, buffer = name.rpartition(".")
        trained = f"{path}.weight" in changed  # along, knowingly
        if buffer in ("running_mean", "running_var") and not trained:
            yield finding("statistics-moved", path or type(e.model).__name__)


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
        yield finding("adapter-not-loaded", *missing, missing=len(missing), given=len(given))


def _traits(t: Tensor) -> tuple[int, float, float]:
    t = t.detach().float()
    return t.numel(), float(t.sum()), float(t.norm())


RULES = (tied_weight, shared_factor, uneven_targets, held, base_trains, movement, weights, statistics, loaded)
