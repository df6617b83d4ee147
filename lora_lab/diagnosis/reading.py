"""Find the low-rank adapters of any model, whoever wrote them: this package's, PEFT's, loralib's, or one's own.

Nothing is imported for that and nothing is called but properties that hold state: a layer counts as LoRA by the
factors it carries. `diagnose` reads models through this.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from numbers import Real

from torch import Tensor, nn

from lora_lab.adapters import adapted
from lora_lab.layers import LowRankUpdate

# What people call the two factors; the last pair is so common a name that it counts only beside a weight it fits.
PAIRS = (("lora_A", "lora_B"), ("lora_a", "lora_b"), ("lora_down", "lora_up"), ("A", "B"))
FACTOR_NAMES = {name for pair in PAIRS for name in pair}
ALPHA, SCALING = ("alpha", "lora_alpha"), ("scaling", "scale")

# B (out, r) A (r, in); S1's A (in, r) B (r, out); and both for a weight stored as (in, out)
FORMS = (
    lambda A, B: B @ A,
    lambda A, B: (A @ B).T,
    lambda A, B: (B @ A).T,
    lambda A, B: A @ B,
)


@dataclass
class Adapter:
    """One update B A of one weight, as far as it can be read.

    host: the layer whose forward adds the update; path: where it is in the model. delta() is unscaled, in the shape
    (rows, cols) of the weight seen as a matrix, or None where the shapes do not say. alpha, scaling: None if unknown.
    in_place: merging writes into `weight` (everywhere but in this package).
    """

    path: str
    make: str  # "lora_lab", "peft", "loralib" or "own"
    host: nn.Module
    A: Tensor
    B: Tensor
    r: int
    alpha: float | None
    scaling: float | None
    weight: Tensor | None
    tensor: str = "weight"  # the weight's name
    holder: nn.Module | None = None  # the module that carries the factors, where that is not the host
    names: tuple[str, str] = ("lora_A", "lora_B")  # of the factors
    merged: bool = False
    enabled: bool = True
    active: bool = True
    plain: bool = True  # False for variants whose update is not scaling * B A (DoRA)
    form: int = 0  # of FORMS; -1: none fits
    in_place: bool = True
    moves_base: bool = False  # initialisations such as PiSSA's take B A out of the weight at the start
    rslora: bool = False
    slider: float = 1.0  # what the update is multiplied by beside the scaling
    name: str = ""  # of one adapter among several in a layer (PEFT)
    product: Callable[[], Tensor] | None = None  # B A, where it is more than a product (loralib's MergedLinear)

    @property
    def where(self) -> str:
        return self.path or type(self.host).__name__

    @property
    def rank_term(self) -> float:
        """What alpha is divided by."""
        return math.sqrt(self.r) if self.rslora else self.r

    @property
    def factors(self) -> tuple[Tensor, Tensor]:
        return self.A, self.B

    def delta(self) -> Tensor | None:
        """The product of the factors in the weight's orientation, without scaling."""
        if self.product is not None:
            return self.product()
        return None if self.form < 0 else FORMS[self.form](_flat(self.A), _flat(self.B))


def _flat(t: Tensor) -> Tensor:
    return t if t.ndim == 2 else t.flatten(1)


def _form(A: Tensor, B: Tensor, weight: Tensor | None, flipped: bool = False) -> tuple[int, int]:
    """Which product of the factors is the update, and its rank r; (-1, r) if none fits."""
    a, b = _flat(A), _flat(B)
    options = []
    for form in (2, 3, 0, 1) if flipped else (0, 1, 2, 3):
        left, right = (b, a) if form in (0, 2) else (a, b)
        if left.shape[1] != right.shape[0]:
            continue
        shape = (left.shape[0], right.shape[1]) if form in (0, 3) else (right.shape[1], left.shape[0])
        if weight is None or shape == _flat(weight).shape:
            options.append((left.shape[1], form))
    if not options:
        return -1, min(*a.shape, *b.shape)
    r = min(options)[0]  # a square A fits both ways: the small side is the rank
    return next(form for rank, form in options if rank == r), r


# ---------------------------------------------------------------------------------------------------- the four makes


def read(model: nn.Module) -> list[Adapter]:
    """Every adapter of the model, in the order of its modules; a shared module once."""
    found = _ours(model)
    configs = getattr(model, "peft_config", None) or {}
    paths = {id(m): path for path, m in model.named_modules()}
    parents = {id(child): parent for parent in model.modules() for child in parent.children()}
    for path, module in model.named_modules():
        if isinstance(module, LowRankUpdate):
            continue
        try:
            if isinstance(getattr(module, "scaling", None), dict) and hasattr(module, "merged_adapters"):
                found += _peft(path, module, configs)
            elif hasattr(module, "merge_weights") and hasattr(module, "lora_alpha"):
                found += _loralib(path, module)
            else:
                found += _own(path, module, parents, paths)
        except Exception:  # noqa: BLE001 - somebody's module that only looks like one; what cannot be read is left out
            continue
    return found


def _ours(model: nn.Module) -> list[Adapter]:
    found = []
    for site in adapted(model):
        a = site.adapter
        found.append(Adapter(
            path=site.name, make="lora_lab", host=site.module, A=a.lora_A, B=a.lora_B, r=a.r, alpha=a.alpha,
            scaling=a.scaling, weight=site.base_weight, tensor=site.tensor, holder=a, merged=a.merged,
            enabled=a.enabled, in_place=False, rslora=a.rslora, slider=a.lam,
        ))  # fmt: skip
    return found


def _peft(path: str, module: nn.Module, configs: dict) -> Iterator[Adapter]:
    base = module
    while isinstance(getattr(base, "base_layer", None), nn.Module):
        base = base.base_layer
    tensor = getattr(module, "parameter_name", None) or "weight"
    if not hasattr(base, tensor) and hasattr(base, "in_proj_weight"):
        tensor = "in_proj_weight"
    weight = getattr(base, tensor, None)
    for kind in ("lora_", "lora_embedding_"):
        As, Bs = getattr(module, f"{kind}A", {}), getattr(module, f"{kind}B", {})
        for name in As.keys() if hasattr(As, "keys") else ():
            A, B = (getattr(f[name], "weight", f[name]) for f in (As, Bs))
            form, r = _form(A, B, weight, bool(getattr(module, "fan_in_fan_out", False)))
            # DoRA and AdaLoRA compute something else from A and B
            other = any(name in (getattr(module, n, None) or {}) for n in ("lora_magnitude_vector", "lora_E"))
            init = getattr(configs.get(name), "init_lora_weights", True)
            yield Adapter(
                path=path, make="peft", host=module, A=A, B=B, r=int(module.r.get(name, r)),
                alpha=module.lora_alpha.get(name), scaling=module.scaling.get(name), weight=weight, tensor=tensor,
                merged=name in module.merged_adapters, enabled=not getattr(module, "disable_adapters", False),
                active=name in getattr(module, "active_adapters", [name]), plain=not other, form=form, name=name,
                moves_base=isinstance(init, str) and init not in ("gaussian", "eva", "orthogonal"),
            )  # fmt: skip


def _loralib(path: str, module: nn.Module) -> Iterator[Adapter]:
    if not isinstance(getattr(module, "lora_A", None), Tensor):
        return  # r = 0: loralib's way of saying "a plain layer"
    base = getattr(module, "conv", module)
    form, _ = _form(module.lora_A, module.lora_B, base.weight, bool(getattr(module, "fan_in_fan_out", False)))
    yield Adapter(
        path=path, make="loralib", host=module, A=module.lora_A, B=module.lora_B, r=int(module.r),
        alpha=float(module.lora_alpha), scaling=float(module.scaling), weight=base.weight, merged=bool(module.merged),
        form=form, product=getattr(module, "merge_AB", None),
    )  # fmt: skip


def _own(path: str, module: nn.Module, parents: dict, paths: dict) -> Iterator[Adapter]:
    for names in PAIRS:
        A, B = (factor_of(module, name) for name in names)
        if not all(isinstance(t, Tensor) and t.ndim == 2 and t.numel() and t.is_floating_point() for t in (A, B)):
            continue
        host, tensor, weight = _host(module, A, B, parents)
        form, r = _form(A, B, weight)
        if form < 0 or (names == ("A", "B") and weight is None) or 2 * r > A.numel() // r + B.numel() // r:
            continue
        both = (host, module)
        place = re.sub(r"(^|\.)parametrizations\.(\w+)\.\d+$", r"\1\2", paths.get(id(host), path))
        yield Adapter(
            path=place, make="own", host=host, A=A, B=B, r=r, alpha=_number(both, ALPHA),
            scaling=_number(both, SCALING), weight=weight, tensor=tensor, holder=module, names=names, form=form,
            enabled=all(getattr(m, "enabled", True) is not False for m in both),
            merged=any(getattr(m, "merged", False) is True for m in both),
        )  # fmt: skip
        return


def factor_of(module: nn.Module, name: str) -> object:
    """The factor itself, or the weight of a layer that is one, such as nn.Linear(in, r)."""
    value = getattr(module, name, None)
    return getattr(value, "weight", None) if isinstance(value, nn.Module) else value


def _number(modules: tuple[nn.Module, ...], names: tuple[str, ...]) -> float | None:
    for module in modules:
        for name in names:
            value = getattr(module, name, None)
            if isinstance(value, Tensor) and value.numel() == 1 and not value.is_meta:
                value = value.item()
            if isinstance(value, Real) and not isinstance(value, bool):
                return float(value)
    return None


def _host(module: nn.Module, A: Tensor, B: Tensor, parents: dict) -> tuple[nn.Module, str, Tensor | None]:
    """The layer that adds the update, and the weight it belongs to: in the module itself, in a child of it, or in a
    sibling (a layer that holds a Linear and a module of factors side by side)."""

    def fits(weight: object) -> bool:
        return isinstance(weight, Tensor) and weight.ndim >= 2 and _form(A, B, weight)[0] >= 0

    own, parent = module._parameters.get("weight"), parents.get(id(module))
    if fits(own):
        return module, "weight", own
    if isinstance(parent, nn.utils.parametrize.ParametrizationList) and fits(getattr(parent, "original", None)):
        of_one_layer = parents[id(parent)]  # {tensor: list of parametrizations}
        return module, next(name for name, p in of_one_layer.items() if p is parent), parent.original
    for holder in (module, parent):
        children = [] if holder is None else list(holder.named_children())
        weights = [getattr(c, "weight", None) for n, c in children if n not in FACTOR_NAMES and c is not module]
        weights = [w for w in weights if fits(w)]
        if len(weights) == 1:
            return holder, "weight", weights[0]
    return module, "weight", None


# ------------------------------------------------------------------------------------------------------ other models


def plain_name(path: str, tensor: str) -> str:
    """What the adapted weight was called before: "base_model.model.fc" and "weight" -> "fc.weight"."""
    path = re.sub(r"^(?:(?:base_model\.model|module|_orig_mod)\.)+", "", path)
    path = re.sub(r"\.(?:base_layer|_orig_mod)(?=\.|$)", "", path)
    return path if path == tensor or path.endswith(f".{tensor}") else f"{path}.{tensor}" if path else tensor


def size_of(a: Adapter) -> float:
    """||B A||_F without forming the product: sqrt(tr((A Aᵀ)(Bᵀ B))). For factors whose inner side is r."""
    A, B = _flat(a.A).detach(), _flat(a.B).detach()
    A, B = (A if A.shape[0] == a.r else A.T).float(), (B if B.shape[1] == a.r else B.T).float()
    if A.shape[0] != B.shape[1]:
        return float("nan")
    return float(((A @ A.T) * (B.T @ B)).sum().clamp(min=0).sqrt())


def is_readable(t: Tensor | None) -> bool:
    return isinstance(t, Tensor) and not t.is_meta and t.is_floating_point() and type(t) in (Tensor, nn.Parameter)
