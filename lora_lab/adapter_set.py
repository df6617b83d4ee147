"""Many adapters, one base: switch between them, add them, cut their rank, and serve them in one batch (page 05).

A "state" is what `adapter_state(model)` returns: {"fc.lora_A": (r, in), "fc.lora_B": (out, r)}, meant at the alpha/r
of the layers it was read from. An `AdapterSet` never changes its model's alpha/r: an adapter of another one is folded
into its B when it is used or read, so states may be taken out, added and put back whatever is in use. Adapters are
entries of a dictionary, never attributes of a module, so "half", "train" or "weight" are names like any other.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .adapters import Site, adapted, adapter_state, check_state, sites_of
from .files import read_adapter
from .layers import LoRALinear, check_rank, is_scale

# ------------------------------------------------------------------------------------- the algebra of updates


def _names(state: Mapping[str, Tensor]) -> list[str]:
    names = [k.removesuffix(".lora_A") for k in state if k.endswith(".lora_A")]
    if not names or set(state) != {f"{n}.lora_{f}" for n in names for f in "AB"}:
        raise ValueError(
            f"this is not an adapter's state: it must hold a lora_A and a lora_B for each layer, got {list(state)[:4]}."
        )
    return names


def _weighted(items: Sequence[Mapping], weights: Sequence[float] | None) -> list[float]:
    if not items:
        raise ValueError("there is nothing to combine: give at least one adapter.")
    weights = [1.0] * len(items) if weights is None else list(weights)
    if len(weights) != len(items) or not all(is_scale(w) for w in weights):
        raise ValueError(f"weights={weights!r} must hold one finite number for each of the {len(items)} adapters.")
    odd = set().union(*items).difference(set(items[0]).intersection(*items))
    if odd:
        raise ValueError(f"the adapters are for different layers ({min(odd)} is not in all), so they cannot be added.")
    return [float(w) for w in weights]


@torch.no_grad()
def combine(states: Sequence[Mapping[str, Tensor]], weights: Sequence[float] | None = None) -> dict[str, Tensor]:
    """The state of w1 * update1 + w2 * update2 + ..., exactly: factors side by side, of rank r1 + r2 + ...

    B A = [w1 B1, w2 B2] [A1; A2]. The result is meant at the alpha/r the states share; those of models whose alpha/r
    differ, or of different layers, go through an AdapterSet. (Adding As and adding Bs is something else:
    (B1 + B2)(A1 + A2) has the cross terms B1 A2 and B2 A1 in it.)
    """
    weights = _weighted(states, weights)
    result = {}
    for name in _names(states[0]):
        A, B = ([s[f"{name}.lora_{f}"] for s in states] for f in "AB")
        if len({t.shape[1] for t in A}) > 1 or len({t.shape[0] for t in B}) > 1:
            raise ValueError(f"the adapters of {name} are for weights of different shapes and cannot be added.")
        result[f"{name}.lora_A"] = torch.cat(list(A))  # (r1 + r2, in)
        result[f"{name}.lora_B"] = torch.cat([w * b for w, b in zip(weights, B)], dim=1)  # (out, r1 + r2)
    return result


@torch.no_grad()
def combine_deltas(deltas: Sequence[Mapping[str, Tensor]], weights: Sequence[float] | None = None) -> dict[str, Tensor]:
    """{name: w1 dW1 + w2 dW2 + ...} of dictionaries made by delta_weights; `truncate` gives factors again."""
    weights = _weighted(deltas, weights)
    return {name: sum(w * d[name] for w, d in zip(weights, deltas)) for name in deltas[0]}


class Truncated(NamedTuple):
    """B A is the best rank-r copy of a matrix; `error` = ||delta - B A||_F, `relative` = error / ||delta||_F."""

    A: Tensor  # (r, cols)
    B: Tensor  # (rows, r)
    error: float
    relative: float


def _cut(U: Tensor, S: Tensor, Vh: Tensor, r: int, like: Tensor) -> Truncated:
    """From an SVD in float64 on the CPU (some devices have no float64); the factors are `like` another tensor."""
    check_rank(r, (len(U), Vh.shape[1]), "the matrix")
    root, error, total = S[:r].sqrt(), float(S[r:].norm()), float(S.norm())
    return Truncated((root[:, None] * Vh[:r]).to(like), (U[:, :r] * root).to(like), error, error / (total or 1.0))


@torch.no_grad()
def truncate(delta: Tensor, r: int) -> Truncated:
    """The best rank-r factors of a (rows, cols) matrix, by SVD; the error is sqrt(sum_{i>r} sigma_i^2) (Eckart-Young).

    The singular values are shared evenly: B = U sqrt(S), A = sqrt(S) Vh. Raises ValueError for an impossible r.
    """
    if delta.ndim != 2 or not torch.isfinite(delta).all():
        raise ValueError(
            f"truncate needs a finite (rows, cols) matrix, got shape {tuple(delta.shape)}; "
            "a state goes to truncate_state."
        )
    return _cut(*torch.linalg.svd(delta.cpu().double(), full_matrices=False), r, delta)


@torch.no_grad()
def truncate_state(state: Mapping[str, Tensor], r: int) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The state of rank r or less that is nearest to `state`, and {name: relative Frobenius error}. Never forms B A.

    With B = Q1 R1 and Aᵀ = Q2 R2 the SVD of the small R1 R2ᵀ gives that of B A.
    """
    result, errors = {}, {}
    for name in _names(state):
        A, B = state[f"{name}.lora_A"], state[f"{name}.lora_B"]
        Q1, R1 = torch.linalg.qr(B.cpu().double())
        Q2, R2 = torch.linalg.qr(A.cpu().double().T)
        U, S, Vh = torch.linalg.svd(R1 @ R2.T, full_matrices=False)
        cut = _cut(Q1 @ U, S, Vh @ Q2.T, r, A)
        result[f"{name}.lora_A"], result[f"{name}.lora_B"], errors[name] = cut.A, cut.B, cut.relative
    return result, errors


# ------------------------------------------------------------------------------------- several on one base


class _Entry(NamedTuple):
    state: dict[str, Tensor]
    scaling: dict[str, float]  # alpha/r of each layer that it is for


class AdapterSet:
    """Named adapters for one model that carries LoRA layers; one of them, or a weighted sum, is in the model at a time.

        adapters = AdapterSet(model)             # after add_lora
        adapters.add("pirate")                   # what the model carries now, as a copy
        adapters.load("robot", folder)           # from a folder, of any rank and alpha
        adapters.use("robot"); adapters.use({"pirate": 0.5, "robot": 0.5}); adapters.use({})   # {}: the base
        adapters.serve(x, ["pirate", "robot", None])                # row by row, in one forward

    The base is there once. Adapters may be for different ones of the model's adapted layers: a missing layer is a zero
    update. After `use` an optimizer must be made anew: the factors may have another rank.
    """

    def __init__(self, model: nn.Module) -> None:
        sites_of(model)  # or a ValueError
        self.model = model
        self._entries: dict[str, _Entry] = {}

    @property
    def names(self) -> list[str]:
        return list(self._entries)

    def _entry(self, name: object) -> _Entry:
        if name not in self._entries:
            known = ", ".join(map(repr, self._entries)) or "none"
            raise ValueError(f"there is no adapter {name!r}; there are: {known}.")
        return self._entries[name]

    def __getitem__(self, name: str) -> dict[str, Tensor]:
        """A copy of the adapter's state, at the alpha/r of the model's layers: added again, it is the same adapter."""
        entry, state = self._entry(name), {}
        for s in adapted(self.model):
            if s.name in entry.scaling:
                A, B = self._folded(entry, s)
                state |= {f"{s.name}.lora_A": A.clone(), f"{s.name}.lora_B": B.clone()}
        return state

    def _folded(self, entry: _Entry, site: Site) -> tuple[Tensor, Tensor]:
        """The entry's A and B for one layer, on its device and at its alpha/r; zeros where the entry has none."""
        A, B = site.adapter.lora_A.detach(), site.adapter.lora_B.detach()
        if site.name not in entry.scaling:
            return A, torch.zeros_like(B)
        own, its = site.adapter.scaling, entry.scaling[site.name]
        A, B = (entry.state[f"{site.name}.lora_{f}"].to(B.device) for f in "AB")
        return (A, B) if own == its else (A, (its / own) * B)

    def add(self, name: str, state: Mapping[str, Tensor] | None = None) -> None:
        """Keep a copy of `state` (any rank, at the alpha/r of the model's layers), or of what the model carries.

        Raises ValueError for a name that is taken or a state that does not fit the model's adapted layers.
        """
        state = adapter_state(self.model) if state is None else state
        self._keep(name, state, {s.name: s.adapter.scaling for s in adapted(self.model)})

    def load(self, name: str, folder: str | os.PathLike, *, check_base: bool = True) -> None:
        """Keep the adapter of a folder, of any rank and alpha; the model itself is not changed."""
        file = read_adapter(self.model, folder, check_base=check_base)
        if file.modules:
            raise ValueError(f"the folder holds whole layers ({', '.join(file.modules)}), which a set cannot switch.")
        rule = math.sqrt if file.rslora else float
        self._keep(name, file.state, {n: file.alpha[n] / rule(file.r[n]) for n in file.r})

    def _keep(self, name: str, state: Mapping[str, Tensor], scaling: Mapping[str, float]) -> None:
        if not isinstance(name, str) or not name:
            raise ValueError(f"an adapter's name is a text that is not empty, got {name!r}.")
        if name in self._entries:
            raise ValueError(f"there is an adapter {name!r} already: choose another name.")
        wanted, layers = {}, {}
        for s in adapted(self.model):
            A, B = s.adapter.lora_A, s.adapter.lora_B
            given = state.get(f"{s.name}.lora_A")
            if given is None and f"{s.name}.lora_B" not in state:
                continue
            r = given.shape[0] if isinstance(given, Tensor) and given.ndim == 2 and given.shape[0] else A.shape[0]
            wanted |= {f"{s.name}.lora_A": ((r, A.shape[1]), A.dtype), f"{s.name}.lora_B": ((B.shape[0], r), B.dtype)}
            layers[s.name] = scaling[s.name]
            if s.adapter.scaling == 0 != layers[s.name]:
                raise ValueError(f"{s.name} has alpha = 0, so no update can be put into it; choose another alpha.")
        checked = check_state(state, wanted)
        if not checked:
            raise ValueError("this state is empty: it holds no factors.")
        self._entries[name] = _Entry({key: t.clone() for key, t in checked.items()}, layers)

    @torch.no_grad()
    def use(self, which: str | Mapping[str, float]) -> None:
        """Put one adapter, or the sum of several with weights, into the model; {} is the base.

        A sum is exact: factors side by side, of rank r1 + r2 (cut, without loss, to the smaller side of the weight).
        The model comes back unmerged and enabled. Raises ValueError for unknown names; the model is then unchanged.
        """
        weights = {which: 1.0} if isinstance(which, str) else dict(which)
        entries = [self._entry(name) for name in weights]
        if not all(is_scale(w) for w in weights.values()):
            raise ValueError(f"weights={weights!r}: a weight must be a finite number.")
        factors = []
        for s in adapted(self.model):
            A, B = s.adapter.lora_A, s.adapter.lora_B
            parts = [(self._folded(e, s), w) for e, w in zip(entries, weights.values()) if s.name in e.scaling]
            if not parts:
                A, B = A.clone(), torch.zeros_like(B)
            elif len(parts) == 1 and parts[0][1] == 1.0:
                A, B = parts[0][0]
            else:
                states = [{"w.lora_A": a, "w.lora_B": b} for (a, b), _ in parts]
                total = combine(states, [w for _, w in parts])
                limit = min(B.shape[0], A.shape[1])
                if total["w.lora_A"].shape[0] > limit:
                    total, _ = truncate_state(total, limit)
                A, B = total["w.lora_A"], total["w.lora_B"]
            factors.append((s.adapter, A, B))
        for adapter, A, B in factors:
            adapter.set_factors(A, B)
            adapter.enabled = True

    @torch.no_grad()
    def serve(self, x: Tensor, rows: Sequence[str | None], **inputs: object) -> object:
        """One forward of a batch whose row i uses the adapter rows[i] (None: the base), as a server of many users does.

        x (batch, ...): the model's first input; keywords go to the model as they are. W0 x is computed for all rows
        together; only the low-rank part differs by row. Equal to one row at a time, in eval mode. The model itself is
        not changed. Not for two threads at once. Every adapted layer must be a Linear whose inputs are batch first.

        Raises ValueError in train mode, for a wrong number of rows, for a layer that cannot multiply row by row, and
        where an adapter is merged, disabled or scaled.
        """
        if self.model.training:
            raise ValueError(
                "serve is for inference: call model.eval() first (dropout and batch statistics would differ by row)."
            )
        if not len(rows) or len(rows) != len(x):
            raise ValueError(f"there are {len(rows)} names for {len(x)} rows: give one name, or None, for each row.")
        entries = [_Entry({}, {}) if name is None else self._entry(name) for name in rows]
        sites = adapted(self.model)
        for s in sites:
            if not isinstance(s.adapter, LoRALinear):
                kind = type(s.module).__name__.removeprefix("Parametrized")
                raise ValueError(
                    f"serve gives rows their own updates in LoRALinear layers; the {s.tensor} of this {kind}, "
                    f"{s.name}, is read as one weight for all rows. Use each adapter in turn on its rows."
                )
            if s.adapter.merged or not s.adapter.enabled or s.adapter.lam != 1:
                raise ValueError(
                    f"{s.name} is merged, disabled or scaled: unmerge(model), leave adapters_disabled, or "
                    "set_scale(model, 1) before serve."
                )
        try:
            for s in sites:
                s.adapter.low_rank = _low_rank_by_row(s, [self._folded(e, s) for e in entries])  # in the method's place
            return self.model(x, **inputs)
        finally:
            for s in sites:
                vars(s.adapter).pop("low_rank", None)


def _low_rank_by_row(site: Site, pairs: Sequence[tuple[Tensor, Tensor]]) -> Callable[[Tensor], Tensor]:
    """`LoRALinear.low_rank` with one (A, B) for each row of the batch; of lower ranks, zeros fill up to the highest."""
    r = max(A.shape[0] for A, _ in pairs)
    A = torch.stack([nn.functional.pad(A, (0, 0, 0, r - A.shape[0])) for A, _ in pairs])  # (batch, r, in)
    B = torch.stack([nn.functional.pad(B, (0, r - B.shape[1])) for _, B in pairs])  # (batch, out, r)

    def low_rank(x: Tensor) -> Tensor:
        if x.shape[0] != len(pairs):
            raise ValueError(f"{site.name} gets an input of {len(x)} rows, not {len(pairs)}: it is not batch first.")
        flat = x.reshape(len(pairs), -1, x.shape[-1])  # (batch, n, in)
        z = flat @ A.to(x.dtype).mT  # (batch, n, r)
        return (z @ B.to(x.dtype).mT).reshape(*x.shape[:-1], -1)

    return low_rank
