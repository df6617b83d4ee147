"""What is wrong with this LoRA model, in sentences, each with its cure (page 09).

    from lora_lab import diagnose
    print(diagnose(model, optimizer))

Works on this package's layers, PEFT's, loralib's and hand-written ones; changes nothing. An empty list means that none
of the mistakes below was seen, not that there is none. Some need evidence that is not in the model: give
`base=` (the model before LoRA) or `adapter=` (what you meant to load), and they are looked for, too.
"""

from __future__ import annotations

import json
import math
import os
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .probing import Answer, probe
from .reading import Adapter, is_readable, plain_name, read, size_of


@dataclass(frozen=True)
class Finding:
    """One mistake: a code that never changes, the layers it is in, what is wrong, and what to do."""

    code: str
    where: tuple[str, ...]
    sentence: str
    cure: str

    def __str__(self) -> str:
        more = f" (and {len(self.where) - 1} more)" if len(self.where) > 1 else ""
        head = f"[{self.code}] {self.where[0]}{more}" if self.where else f"[{self.code}]"
        what, cure = (textwrap.fill(t, 96, initial_indent="    ", subsequent_indent="    ", break_long_words=False)
                      for t in (self.sentence, f"Cure: {self.cure}"))  # fmt: skip
        return f"{head}\n{what}\n{cure}"


class Findings(list):
    """A list of `Finding`; printed, a paragraph each."""

    def __str__(self) -> str:
        return "\n".join(map(str, self)) or "nothing found"


class _Case(NamedTuple):
    """What the checks look at."""

    model: nn.Module
    adapters: list[Adapter]
    answers: dict[int, Answer]  # of hand-written layers, by id(adapter)
    groups: list[dict]  # the optimizer's parameter groups
    state: dict  # the optimizer's state by tensor
    optimizer: bool
    base: Mapping[str, Tensor] | None
    adapter: Mapping[str, Tensor] | None
    config: Mapping | None


def diagnose(
    model: nn.Module,
    optimizer: object | None = None,
    *,
    base: nn.Module | Mapping[str, Tensor] | None = None,
    adapter: str | os.PathLike | Mapping[str, Tensor] | None = None,
) -> list[Finding]:
    """Look for known LoRA mistakes in `model`; a list of findings, empty if there are none. Changes nothing.

    optimizer: the one that trains the model (or a list of several); without it nothing is said about training.
    base: the model as it was before LoRA was attached, or its state_dict; finds a base that is another one, was
    trained along, or has the update in it already. adapter: what was to be loaded, an adapter folder or a dictionary
    of tensors; finds a load that did nothing and a wrong scaling.

    Raises TypeError for arguments that are none of these, and nothing else, whatever the model is.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}; diagnose reads a torch.nn.Module.")
    optimizers = [] if optimizer is None else list(optimizer) if isinstance(optimizer, list | tuple) else [optimizer]
    for one in optimizers:
        if not isinstance(getattr(one, "param_groups", None), list):
            raise TypeError(
                f"optimizer is a {type(one).__name__}, which has no param_groups: give the torch.optim.Optimizer that "
                "trains the model, a list of several, or leave it out."
            )
    state: dict = {}
    for one in optimizers:
        state |= getattr(one, "state", None) or {}
    tensors, config = _loaded(adapter)
    with torch.no_grad():
        adapters = read(model)
        case = _Case(
            model, adapters, _probed(adapters), [g for one in optimizers for g in one.param_groups], state,
            bool(optimizers), _weights(base), tensors, config,
        )  # fmt: skip
        raw = [finding for check in CHECKS for finding in check(case)] if adapters else [_no_adapter(model)]
    grouped: dict[str, Finding] = {}
    for f in raw:
        old = grouped.get(f.code)
        where = tuple(dict.fromkeys((*old.where, *f.where))) if old else f.where
        grouped[f.code] = Finding(f.code, where, *((old.sentence, old.cure) if old else (f.sentence, f.cure)))
    return Findings(grouped.values())


def _weights(base: object) -> Mapping[str, Tensor] | None:
    if base is None or isinstance(base, Mapping):
        return base
    if not isinstance(base, nn.Module):
        raise TypeError(f"base is a {type(base).__name__}; give the model before LoRA was attached, or its state_dict.")
    return dict(base.named_parameters(remove_duplicate=False)) | base.state_dict()


def _loaded(adapter: object) -> tuple[Mapping[str, Tensor] | None, Mapping | None]:
    if adapter is None:
        return None, None
    if isinstance(adapter, Mapping):
        return adapter, None
    if not isinstance(adapter, str | os.PathLike):
        raise TypeError(f"adapter is a {type(adapter).__name__}; give an adapter's folder or a dictionary of tensors.")
    folder = Path(adapter)
    try:
        from safetensors.torch import load_file

        return load_file(folder / "adapter_model.safetensors"), json.loads(
            (folder / "adapter_config.json").read_text(encoding="utf-8")
        )
    except Exception as e:
        raise TypeError(
            f"adapter={str(adapter)!r} is no adapter folder: adapter_config.json and adapter_model.safetensors must be "
            f"in it ({e})."
        ) from None


def _probed(adapters: list[Adapter], most: int = 4) -> dict[int, Answer]:
    """Hand-written layers are asked; a few of each kind are enough, for they share their code."""
    answers, asked = {}, {}
    for a in adapters:
        kind = (type(a.host), type(a.holder), a.r, a.alpha, a.scaling, a.merged, a.enabled, a.host.training)
        if a.make == "own" and a.plain and asked.setdefault(kind, 0) < most:
            asked[kind] += 1
            if answer := probe(a):
                answers[id(a)] = answer
    return answers


def _no_adapter(model: nn.Module) -> Finding:
    return Finding(
        "no-adapter", (), f"this {type(model).__name__} carries no low-rank adapter that could be found.",
        "attach one (add_lora), and check that the names you target are names of this model; after a merge for good "
        "it is as it should be.",
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------- how the layer computes


def _scale(c: _Case, a: Adapter) -> float | None:
    """What the update is multiplied by: measured where that was possible, else what the layer says."""
    answer = c.answers.get(id(a))
    return answer.scale if answer and answer.scale and not a.merged else a.scaling


def _same(x: float | None, y: float | None) -> bool:
    return x is not None and y is not None and math.isclose(x, y, rel_tol=1e-3)


def layers(c: _Case) -> Iterator[Finding]:
    for a in c.adapters:
        answer, where, s = c.answers.get(id(a), Answer()), (a.where,), _scale(c, a)
        right = None if a.alpha is None else a.alpha / a.r
        if a.make in ("own", "loralib") and a.r > 1 and a.alpha and _same(s, a.alpha):
            yield Finding(
                "scaling-without-r", where,
                f"the update is multiplied by alpha = {a.alpha:g}, not by alpha/r = {right:g}: with r = {a.r} it is "
                f"{a.r} times what the same numbers mean elsewhere.",
                "scaling = alpha / r.",
            )  # fmt: skip
        elif right and a.make == "own" and _same(s, right * right) and not _same(right, 1):
            yield Finding(
                "scaling-squared", where, f"the update is multiplied by (alpha/r)² = {s:g} instead of {right:g}.",
                "apply the scaling in one place, in the forward or in the factors.",
            )  # fmt: skip
        if answer.scale == 0 and a.enabled and not a.merged:
            yield Finding(
                "not-in-the-forward", where, f"the layer's output does not depend on {a.names[1]}.",
                "add scaling * B A x to the base's output.",
            )  # fmt: skip
        if answer.transposed_forward:
            yield Finding(
                "factors-swapped", where, "the forward multiplies by A B's transpose: A and B have changed places, "
                "which only a square layer lets pass.",
                "x @ A.T @ B.T, with A (r, in) and B (out, r); try it on a layer that is not square.",
            )  # fmt: skip
        if answer.random:
            yield Finding(
                "random-in-eval", where, "in eval mode two forwards of the same input differ: a dropout is still on.",
                "call model.eval(); and write nn.Dropout(p) as a layer, or F.dropout(x, p, self.training), because "
                "F.dropout(x, p) never switches itself off.",
            )  # fmt: skip
        if answer.blocked:
            yield Finding(
                "no-gradient", where, f"no gradient reaches {' and '.join(answer.blocked)}: a detach(), .data or "
                "no_grad() stands in the forward.",
                "use the parameter itself in the forward.",
            )  # fmt: skip
        yield from _merges(a, answer, where)


def _merges(a: Adapter, answer: Answer, where: tuple[str, ...]) -> Iterator[Finding]:
    says = a.merged and answer.scale
    if says or answer.still_added:
        yield Finding(
            "merged-and-added", where, "after a merge the forward still adds the update, so the layer computes "
            "W + 2BA.",
            "skip the update in the forward while merged.",
        )  # fmt: skip
    elif answer.transposed:
        yield Finding(
            "merge-transposed", where, "merge() adds the transpose of B A: it runs because the layer is square, and "
            "is wrong.",
            "add B @ A, with A (r, in) and B (out, r); try it on a layer that is not square.",
        )  # fmt: skip
    elif answer.merged_scale is not None and answer.scale:
        yield Finding(
            "merge-rescales", where, f"the forward multiplies the update by {answer.scale:.3g}, merge() by "
            f"{answer.merged_scale:.3g}.",
            "let both use one function that returns scaling * B A, and scale nowhere else.",
        )  # fmt: skip
    elif answer.merge_changes:
        yield Finding(
            "merge-changes-output", where, "merge() changes the layer's output.", "add scaling * B A, nothing else."
        )
    if answer.twice_changes:
        yield Finding(
            "merge-adds-again", where, "a second merge() adds the update a second time: W + 2BA.",
            "keep a flag, and return at once when it is set.",
        )  # fmt: skip


def factors(c: _Case) -> Iterator[Finding]:
    """What the numbers in A and B say."""
    stepped = [s for p, s in c.state.items() if s]
    counts_steps = any("betas" in g for g in c.groups)
    for a in (a for a in c.adapters if a.active and all(map(is_readable, a.factors))):
        A, B, where = a.A, a.B, (a.where,)
        zeros = [not t.any() for t in (A, B)]
        training = c.optimizer or c.model.training
        if not (torch.isfinite(A).all() and torch.isfinite(B).all()):
            yield Finding(
                "not-finite", where, "the factors hold NaN or infinity: the training diverged.",
                "go back to the last good state; lower the learning rate or alpha, and clip the gradient.",
            )  # fmt: skip
            continue
        if all(zeros) and training and (A.requires_grad or B.requires_grad):
            yield Finding(
                "both-zero", where, "A and B are both zero: each one's gradient is the other one times something, so "
                "both stay zero for ever.",
                "draw A at random, and start B at zero.",
            )  # fmt: skip
        if zeros[1] and not zeros[0] and A.requires_grad and not B.requires_grad:
            yield Finding(
                "factor-frozen", where, f"{a.names[1]} is zero and does not train (requires_grad is False), so B A "
                "stays zero whatever A learns.",
                f"{a.names[1]}.requires_grad_(True), before the optimizer is made.",
            )  # fmt: skip
        fresh = c.optimizer and counts_steps and not stepped and c.adapter is None
        if fresh and a.make == "own" and a.enabled and not any(zeros):
            yield Finding(
                "start-is-not-base", where, "the optimizer has not made a step yet and B A is not zero, so the model "
                "does not start as its base.",
                "draw one of A and B at random and start the other at zero. (If these are trained factors that you "
                "loaded, say so: diagnose(..., adapter=what_you_loaded).)",
            )  # fmt: skip
        s = _scale(c, a) or 1.0
        if a.plain and is_readable(a.weight) and (norm := float(a.weight.float().norm())):
            ratio = abs(s) * size_of(a) / norm
            if ratio > 20:
                yield Finding(
                    "update-too-large", where, f"the update is {ratio:.0f} times as large as the weight it corrects "
                    f"(scaling {s:g}): this has diverged.",
                    "lower alpha or the learning rate; both act alike (page 04).",
                )  # fmt: skip


def training(c: _Case) -> Iterator[Finding]:
    """What the optimizer does to the factors."""
    held = {id(p): g for g in c.groups for p in g["params"]}
    mine = {id(p) for p in c.model.parameters()}
    strangers = sum(key not in mine for key in held)
    active = [a for a in c.adapters if a.active]
    for a in active if c.optimizer else ():
        for name, p in zip(a.names, a.factors):
            if p.requires_grad and id(p) not in held:
                aside = " (it holds tensors that are not in this model at all)" if strangers else ""
                yield Finding(
                    "optimizer-misses-adapter", (a.where,),
                    f"the optimizer does not hold {name}{aside}: it was made before the injection, or of other "
                    "parameters.",
                    "make the optimizer after the injection, of the parameters with requires_grad.",
                )  # fmt: skip
            half = p.dtype in (torch.bfloat16, torch.float16)
            if half and p.requires_grad and id(p) in held:
                lr, eps = _rate(held[id(p)]), torch.finfo(p.dtype).eps
                yield Finding(
                    "half-precision-factors", (a.where,),
                    f"the optimizer trains {name} in {str(p.dtype)[6:]}, which keeps {round(-math.log2(eps)) + 1} "
                    f"bits: a step of {lr:g} is lost in every entry above {2 * lr / eps:.2g}, and late steps are "
                    "smaller.",
                    "keep A and B in float32 (the base may stay as it is), cast at the end.",
                )  # fmt: skip
        off = "merged" if a.merged else "disabled" if not a.enabled else None
        if off and c.model.training and (a.A.requires_grad or a.B.requires_grad):
            yield Finding(
                f"{off}-while-training", (a.where,), f"the adapter is {off} while the model is in training mode: no "
                "gradient reaches A and B.",
                "unmerge before training on." if a.merged else "enable it before training on.",
            )  # fmt: skip
    yield from _frozen(c)
    yield from _moved(c, active)


def _rate(group: dict) -> float:
    """The learning rate that a schedule, if there is one, started from."""
    return float(group.get("initial_lr", group.get("lr", 0.0)))


def _frozen(c: _Case) -> Iterator[Finding]:
    """Without an optimizer, what requires a gradient in training mode will train."""
    held = {id(p) for g in c.groups for p in g["params"]}
    trains = {
        id(p): p.numel()
        for p in c.model.parameters()
        if p.requires_grad and (id(p) in held if c.optimizer else c.model.training)
    }
    factors = {id(p) for a in c.adapters for p in a.factors}
    under = [a for a in c.adapters if id(a.weight) in trains]
    cure = "requires_grad_(False) on the whole model first, then attach the adapter, then make the optimizer."
    for a in under:
        yield Finding(
            "base-trains", (a.where,), "the weight under the adapter is not frozen: the base moves along, and the "
            "adapter alone will not reproduce the model.", cure,
        )  # fmt: skip
    others = sum(n for key, n in trains.items() if key not in factors)
    total = sum(p.numel() for p in c.model.parameters())
    if not under and 2 * others > total:
        yield Finding(
            "rest-trains", (), f"{100 * others / total:.0f} % of the model's numbers train beside the adapters: "
            "only the adapted weights were frozen.", cure,
        )  # fmt: skip


def _moved(c: _Case, active: list[Adapter]) -> Iterator[Finding]:
    """After a hundred steps the factor that started at zero should be of the other's size, give or take."""
    ratios, steps = [], []
    for a in active:
        states = [c.state[p] for p in a.factors if p in c.state]
        steps += [int(s["step"]) for s in states if "step" in s]
        sizes = [float(t.float().abs().max()) for t in a.factors if is_readable(t)]
        if len(states) == 2 and len(sizes) == 2 and min(sizes) > 0:
            small, large = sorted(a.factors, key=lambda t: float(t.float().abs().max()))
            ratios.append(float(small.float().abs().max() / large.float().square().mean().sqrt()))
    if ratios and steps and min(steps) >= 100 and max(ratios) < 0.02:
        lrs = {_rate(g) for g in c.groups}
        yield Finding(
            "hardly-moved", tuple(a.where for a in active),
            f"after {min(steps)} steps the factor that began at zero has reached {100 * max(ratios):.2g} % of the "
            f"other one's size: the learning rate ({', '.join(f'{lr:g}' for lr in sorted(lrs))}) moves nothing.",
            "LoRA needs a higher rate than full fine-tuning: try 10 to 100 times this one, and see that alpha/r is "
            "what you meant.",
        )  # fmt: skip


# ------------------------------------------------------------------------------------------------- where the layers are


def places(c: _Case) -> Iterator[Finding]:
    yield from _stacked(c)
    yield from _tied(c)
    yield from _uneven(c)


def _stacked(c: _Case) -> Iterator[Finding]:
    """Two adapters in one layer, for one weight. (PEFT nests the layers of different weights: that is no stack.)"""
    seen: dict[tuple, Adapter] = {}
    for a in c.adapters:
        if a.make in ("own", "lora_lab") and seen.setdefault((a.path, id(a.weight)), a) is not a:
            twice = True  # two parametrizations of one weight
        else:
            inside = set(map(id, a.host.modules())) - {id(a.host)}
            twice = any(
                id(b.host) in inside and b.host is not a.holder and (a.weight is None or a.weight is b.weight)
                for b in c.adapters
            )
        if twice:
            yield Finding(
                "stacked", (a.where,), "an adapter sits on another adapter: the layer adds two updates, and only one "
                "is trained or saved.",
                "take the first one off (or merge it for good) before attaching again; attach to a fresh base.",
            )  # fmt: skip


def _tied(c: _Case) -> Iterator[Finding]:
    owners: dict[int, list[tuple[nn.Module, str]]] = {}
    for path, m in c.model.named_modules():
        for name, p in m._parameters.items():
            if p is not None and not p.is_meta and p.numel():
                owners.setdefault(p.untyped_storage().data_ptr(), []).append((m, f"{path}.{name}" if path else name))
    for a in c.adapters:
        if not is_readable(a.weight) or not a.in_place:
            continue
        mine = [(m, n) for m, n in owners.get(a.weight.untyped_storage().data_ptr(), []) if _overlap(m, n, a.weight)]
        inside = set(map(id, a.host.modules()))
        others = [n for m, n in mine if id(m) not in inside and not _beside(a, m)]
        if others:
            yield Finding(
                "tied-weight", (a.where,), f"its weight is also {others[0]}: a merge would change both places, and "
                "this adapter was trained for one.",
                "give each its own copy before attaching, or leave the tied layer out.",
            )  # fmt: skip


def _overlap(m: nn.Module, name: str, weight: Tensor) -> bool:
    p = m._parameters[name.rpartition(".")[2]]
    if p is weight:
        return True
    first, last = p.data_ptr(), p.data_ptr() + p.numel() * p.element_size()
    return first < weight.data_ptr() + weight.numel() * weight.element_size() and weight.data_ptr() < last


def _beside(a: Adapter, m: nn.Module) -> bool:
    """The list that holds a parametrized weight is its owner, not a second one."""
    return isinstance(m, nn.utils.parametrize.ParametrizationList) and any(s is a.host for s in m)


def _uneven(c: _Case) -> Iterator[Finding]:
    """The same layer of repeated blocks: adapted in some, not in others."""
    configs = getattr(c.model, "peft_config", None) or {}
    if isinstance(configs, dict) and any(getattr(v, "layers_to_transform", None) is not None for v in configs.values()):
        return
    paths = {re.sub(rf"\.{a.tensor}$", "", a.path) for a in c.adapters}
    kinds: dict[str, type] = {}
    for a in c.adapters:
        owners = [m for m in a.host.modules() if any(p is a.weight for p in m._parameters.values())]
        owner = owners[0] if owners else a.host
        path = re.sub(rf"\.{a.tensor}$", "", a.path)
        pattern = re.sub(r"(^|\.)\d+(?=\.)", r"\1*", path)
        if "*" in pattern and not path.rpartition(".")[2].isdigit():
            kinds.setdefault(pattern, type(owner))
    inside = {id(m) for a in c.adapters for m in a.host.modules()}
    for path, m in c.model.named_modules():
        pattern = re.sub(r"(^|\.)\d+(?=\.)", r"\1*", path)
        if pattern in kinds and issubclass(kinds[pattern], type(m)) and path not in paths and id(m) not in inside:
            yield Finding(
                "uneven-targets", (path,), f"it has no adapter, though other layers called {pattern} have one.",
                "let the pattern match all of them (print what it matched). If this is meant, all is well.",
            )  # fmt: skip


# --------------------------------------------------------------------------------------------------- with more evidence


def against_base(c: _Case) -> Iterator[Finding]:
    if c.base is None:
        return
    compared = False
    for a in c.adapters:
        reference = c.base.get(plain_name(a.path, a.tensor))
        if not is_readable(a.weight) or not isinstance(reference, Tensor) or reference.shape != a.weight.shape:
            continue
        compared = True
        yield from _compare(c, a, reference.detach().to(a.weight.device))
    if not compared:
        yield Finding(
            "base-not-comparable", (), "base= has no weight of the adapted layers' names and shapes, so nothing could "
            "be compared.",
            f"give the model before LoRA, with a weight called {plain_name(c.adapters[0].path, c.adapters[0].tensor)}.",
        )  # fmt: skip


def _compare(c: _Case, a: Adapter, reference: Tensor) -> Iterator[Finding]:
    R = reference.double().flatten(1)
    moved = a.weight.detach().double().flatten(1) - R
    size, s = float(R.norm()) or 1.0, _scale(c, a) or 1.0
    delta = a.delta()
    if a.moves_base or a.merged and a.in_place and (delta is None or not a.plain):
        return  # the weight is meant to differ, or holds an update that cannot be computed here
    delta = torch.zeros_like(R) if delta is None or delta.shape != R.shape else s * delta.detach().double()
    expected = float(a.merged and a.in_place)
    tolerance = max(1e-5, 4 * torch.finfo(a.weight.dtype).eps)
    norm = float(delta.norm())
    if float((moved - expected * delta).norm()) <= tolerance * (size + norm):
        return
    k = float((moved * delta).sum()) / norm**2 if norm else 0.0
    rest = float((moved - k * delta).norm())
    if abs(k + 1) < 1e-2 and rest <= tolerance * (size + norm) and not expected:
        return  # W - BA under BA: PiSSA's start, which computes what the base computes
    if norm > tolerance * size and abs(k) > 0.05 and rest < 0.05 * float(moved.norm()):
        yield Finding(
            "base-contains-update", (a.where,), f"the weight under the adapter is the base plus {k:.2g} times the "
            f"update, and {'the layer is merged' if expected else 'the adapter adds it once more'}.",
            "save while unmerged (or the factors alone), load onto the untouched base, and merge once.",
        )  # fmt: skip
    elif rest > 0.5 * size:
        yield Finding(
            "other-base", (a.where,), f"the weight under the adapter differs from base= by {100 * rest / size:.0f} % "
            "of its norm: this is another base, and B A corrects the one it was trained on.",
            "load the checkpoint that the adapter was trained on; keep a fingerprint with the adapter "
            "(save_adapter does).",
        )  # fmt: skip
    else:
        yield Finding(
            "base-changed", (a.where,), f"the weight under the adapter has moved by {100 * rest / size:.2g} % of its "
            "norm: it was trained along, or merged and subtracted in low precision.",
            "freeze the base, and keep a copy of W instead of subtracting.",
        )  # fmt: skip


def against_adapter(c: _Case) -> Iterator[Finding]:
    if c.adapter is None:
        return
    factors = [p.detach().float() for a in c.adapters for p in a.factors if is_readable(p)]
    have = [(p.numel(), float(p.sum()), float(p.norm())) for p in factors]
    given = {n: t for n, t in c.adapter.items() if isinstance(t, Tensor) and t.is_floating_point() and t.ndim >= 2}
    named = {n: t for n, t in given.items() if "lora" in n.lower()} or given
    missing = [n for n, t in named.items() if t.any() and not _among(t.detach().float(), have)]
    if missing:
        still = all(not p.any() for a in c.adapters for p in a.factors[1:] if is_readable(p))
        yield Finding(
            "adapter-not-loaded", tuple(missing),
            f"{len(missing)} of the adapter's {len(named)} tensors are not in the model"
            + (", whose B is still zero: it computes what the base computes." if still else "."),
            "compare the names with the model's (a prefix too many?); load_state_dict(..., strict=False) returns the "
            "names it did not use: check that there are none.",
        )  # fmt: skip
    config = c.config or {}
    if config.get("rank_pattern") or config.get("alpha_pattern") or not {"r", "lora_alpha"} <= set(config):
        return
    rs = bool(config.get("use_rslora"))
    wanted = config["lora_alpha"] / (math.sqrt(config["r"]) if rs else config["r"])
    for a in c.adapters:
        s = _scale(c, a)
        if a.active and s is not None and not _same(s, wanted):
            yield Finding(
                "scaling-not-the-files", (a.where,), f"the layer scales by {s:.3g}, the adapter was trained with "
                f"{'alpha/sqrt(r)' if rs else 'alpha/r'} = {wanted:.3g}.",
                "read r, lora_alpha and use_rslora from adapter_config.json.",
            )  # fmt: skip


def _among(t: Tensor, have: list[tuple[int, float, float]]) -> bool:
    """By size, sum and norm: a name may differ, and a transposed copy is the same tensor."""
    n, total, norm = t.numel(), float(t.sum()), float(t.norm())
    return any(n == m and abs(norm - y) < 1e-2 * norm and abs(total - x) < 1e-2 * norm for m, x, y in have)


CHECKS: tuple[Callable[[_Case], Iterator[Finding]], ...] = (
    factors, layers, training, places, against_base, against_adapter,
)  # fmt: skip
