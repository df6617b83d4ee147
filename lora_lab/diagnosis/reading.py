"""Find the low-rank adapters of any model, whoever wrote them: this package's, PEFT's, or layers of one's own.

PEFT is not imported for that: a layer counts as LoRA by the factors it carries.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real

from torch import Tensor, nn

from lora_lab.adapters import adapted
from lora_lab.layers import LowRankUpdate

# What people call the two factors; the last pair is so common a name that it counts only beside a weight it fits.
PAIRS = (("lora_A", "lora_B"), ("lora_a", "lora_b"), ("lora_down", "lora_up"), ("A", "B"))
FACTOR_NAMES = {name for pair in PAIRS for name in pair}
AS_BASE = ("gaussian", "eva", "orthogonal")  # PEFT's named starts that leave the weight as it is


@dataclass
class Adapter:
    """One update B A of one weight, as far as it can be read; None for what is not known.

    host: the layer whose forward adds the update; path: where it is in the model. product: (left, right), views of the
    factors with left @ right = B A as a matrix of the weight's shape. measured: the scale that `probing` saw.
    """

    path: str
    make: str  # "lora_lab", "peft" or "own"
    host: nn.Module
    factors: tuple[Tensor, Tensor]  # A and B
    product: tuple[Tensor, Tensor] | None
    r: int
    alpha: float | None
    scaling: float | None
    weight: Tensor | None
    tensor: str = "weight"  # the weight's name
    names: tuple[str, str] = ("lora_A", "lora_B")  # of the factors
    merged: bool = False
    enabled: bool = True
    active: bool = True
    plain: bool = True  # False for DoRA, whose update is not scaling * B A
    moves_base: bool = False  # starts such as PiSSA's take B A out of the weight
    slider: float = 1.0  # what the update is multiplied by beside the scaling
    name: str = ""  # of one adapter among several in a layer (PEFT)
    measured: float | None = None

    @property
    def where(self) -> str:
        return self.path or type(self.host).__name__

    @property
    def readable(self) -> bool:
        return all(map(is_readable, self.factors))

    @property
    def scale(self) -> float | None:
        """What the update is multiplied by: measured where that was possible, else what the layer says."""
        return self.measured or self.scaling

    @property
    def off(self) -> str | None:
        """Why the update trains nothing now, if so."""
        if self.merged:
            return "merged"
        if not self.enabled:
            return "disabled"
        return "scaled-to-zero" if self.slider == 0 or self.scaling == 0 else None

    def delta(self) -> Tensor | None:
        """B A in the weight's orientation, without scaling."""
        return self.product and self.product[0] @ self.product[1]

    def relative_size(self) -> float | None:
        """||scale * B A|| / ||W||, without the product: ||L R||² = tr((R Rᵀ)(Lᵀ L))."""
        if self.product is None or not self.plain or not is_readable(self.weight) or not self.weight.any():
            return None
        left, right = (t.float() for t in self.product)
        squared = float(((right @ right.T) * (left.T @ left)).sum())
        return abs(self.scale or 1.0) * max(squared, 0.0) ** 0.5 / float(self.weight.float().norm())


def read(model: nn.Module) -> list[Adapter]:
    """Every adapter of the model, in the order of its modules; a shared module once."""
    found = []
    for site in adapted(model):
        a, weight = site.adapter, site.base_weight
        found.append(Adapter(
            path=site.name, make="lora_lab", host=site.module, factors=(a.lora_A, a.lora_B), r=a.r, alpha=a.alpha,
            product=orient(a.lora_A, a.lora_B, weight), scaling=a.scaling, weight=weight, tensor=site.tensor,
            merged=a.merged, enabled=a.enabled, slider=a.lam,
        ))  # fmt: skip
    for path, module in model.named_modules():
        if isinstance(module, LowRankUpdate):
            continue
        from_peft = isinstance(getattr(module, "scaling", None), dict) and hasattr(module, "merged_adapters")
        try:
            found += (_from_peft if from_peft else _from_own)(model, path, module)
        except Exception:  # noqa: BLE001 - somebody's module that only looks like one; what cannot be read is left out
            continue
    return found


def orient(A: Tensor, B: Tensor, weight: Tensor | None, flipped: bool = False) -> tuple[Tensor, Tensor] | None:
    """(left, right), so that left @ right is the update as a matrix of the weight's shape; None if nothing fits.

    The factors are B (out, r) A (r, in), or S1's A (in, r) B (r, out); the weight is (out, in), or flipped, (in, out).
    Where several ways fit, the small side is the rank.
    """
    A, B = A.detach().flatten(1), B.detach().flatten(1)
    ways, turned = [(B, A), (B.T, A.T)], [(A.T, B.T), (A, B)]
    fitting = []
    for left, right in turned + ways if flipped else ways + turned:
        if left.shape[1] == right.shape[0]:
            if weight is None or (len(left), right.shape[1]) == weight.flatten(1).shape:
                fitting.append((left, right))
    return min(fitting, key=lambda pair: len(pair[1]), default=None)


def _from_peft(model: nn.Module, path: str, module: nn.Module) -> Iterator[Adapter]:
    base = module.get_base_layer()
    default = "in_proj_weight" if hasattr(base, "in_proj_weight") else "weight"
    tensor = getattr(module, "parameter_name", None) or default
    weight = getattr(base, tensor, None)
    As, Bs = {**module.lora_A, **module.lora_embedding_A}, {**module.lora_B, **module.lora_embedding_B}
    for name in As:
        A, B = (getattr(factor, "weight", factor) for factor in (As[name], Bs[name]))
        config = getattr(model, "peft_config", {}).get(name)
        start = getattr(config, "init_lora_weights", True)
        yield Adapter(
            path=path, make="peft", host=module, factors=(A, B), r=module.r[name], alpha=module.lora_alpha.get(name),
            product=orient(A, B, weight, bool(getattr(module, "fan_in_fan_out", False))), weight=weight, tensor=tensor,
            scaling=module.scaling.get(name), merged=name in module.merged_adapters, name=name,
            enabled=not module.disable_adapters, active=name in module.active_adapters,
            plain=name not in module.lora_magnitude_vector, moves_base=isinstance(start, str) and start not in AS_BASE,
        )  # fmt: skip


def _from_own(model: nn.Module, path: str, module: nn.Module) -> Iterator[Adapter]:
    flipped = bool(getattr(module, "fan_in_fan_out", False))
    for names in PAIRS:
        A, B = (getattr(module, name, None) for name in names)
        A, B = (t.weight if isinstance(t, nn.Module) else t for t in (A, B))  # a layer that is one, nn.Linear(in, r)
        if not all(isinstance(t, Tensor) and t.ndim == 2 and t.numel() and t.is_floating_point() for t in (A, B)):
            continue
        place, host, tensor, weight = _host(model, path, module, A, B)
        product = orient(A, B, weight, flipped)
        if names == ("A", "B") and weight is None or product is None:
            continue
        both = (host, module)
        yield Adapter(
            path=place, make="own", host=host, factors=(A, B), product=product, r=len(product[1]),
            alpha=_number(both, "alpha", "lora_alpha"), scaling=_number(both, "scaling", "scale"),
            weight=weight, tensor=tensor, names=names, merged=any(getattr(m, "merged", False) is True for m in both),
            enabled=all(getattr(m, "enabled", True) is not False for m in both),
        )  # fmt: skip
        return


def _host(
    model: nn.Module, path: str, module: nn.Module, A: Tensor, B: Tensor
) -> tuple[str, nn.Module, str, Tensor | None]:
    """The layer that adds the update (path, module), and the weight it belongs to (name, tensor). The weight is in the
    module itself, or it is parametrized by it, or in a child, or in a sibling (a Linear beside a module of factors)."""
    own = module._parameters.get("weight")
    if own is not None and orient(A, B, own):
        return path, module, "weight", own
    parametrized = re.fullmatch(r"(?:(.*)\.)?parametrizations\.(\w+)\.\d+", path)
    if parametrized:
        place, tensor = parametrized[1] or "", parametrized[2]
        layer = model.get_submodule(place)
        return place, layer, tensor, layer.parametrizations[tensor].original
    for place in (path, path.rpartition(".")[0]):
        layer = model.get_submodule(place)
        others = [child for name, child in layer.named_children() if name not in FACTOR_NAMES and child is not module]
        weights = [getattr(child, "weight", None) for child in others]
        weights = [w for w in weights if isinstance(w, Tensor) and w.ndim > 1 and orient(A, B, w)]
        if len(weights) == 1:
            return place, layer, "weight", weights[0]
    return path, module, "weight", None


def _number(modules: tuple[nn.Module, ...], *names: str) -> float | None:
    """The first of these attributes that is a number."""
    for value in (getattr(module, name, None) for module in modules for name in names):
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, Real) and not isinstance(value, bool):
            return float(value)
    return None


def plain_name(path: str, tensor: str) -> str:
    """What the adapted weight was called before: "base_model.model.fc" and "weight" -> "fc.weight"."""
    path = re.sub(r"^(?:(?:base_model\.model|module|_orig_mod)\.)+", "", path)
    path = re.sub(r"\.(?:base_layer|_orig_mod)(?=\.|$)", "", path)
    return path if path == tensor or path.endswith(f".{tensor}") else f"{path}.{tensor}" if path else tensor


def is_readable(t: object) -> bool:
    """Whether its numbers may be looked at: not on the meta device, not quantized."""
    return type(t) in (Tensor, nn.Parameter) and not t.is_meta and t.is_floating_point()
