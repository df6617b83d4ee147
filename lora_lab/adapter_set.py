"""Many adapters, one base: switch between them, add them, cut their rank, and serve them in one batch (page 05).

A "state" is what `adapter_state(model)` returns: {"fc.lora_A": (r, in), "fc.lora_B": (out, r)}. Adapters here are
entries of a dictionary, never attributes of a module, so "half", "train" or "weight" are names like any other.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .adapters import Site, adapted, adapter_state, check_state
from .files import read_adapter
from .layers import LowRankUpdate, is_scale

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
    for other in items[1:]:
        if set(other) != set(items[0]):
            odd = sorted(set(other) ^ set(items[0]))[0]
            raise ValueError(
                f"the adapters are for different layers ({odd} is in one of them only), so they cannot be added."
            )
    return [float(w) for w in weights]


@torch.no_grad()
def combine(states: Sequence[Mapping[str, Tensor]], weights: Sequence[float] | None = None) -> dict[str, Tensor]:
    """The state of w1 * update1 + w2 * update2 + ..., exactly: factors side by side, of rank r1 + r2 + ...

    B A = [w1 B1, w2 B2] [A1; A2]. The result is meant at the scaling the states share; states of models whose alpha/r
    differ go through an AdapterSet, which knows each one's scaling. (Adding As and adding Bs is something else:
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


def _cut(U: Tensor, S: Tensor, Vh: Tensor, r: int, dtype: torch.dtype) -> Truncated:
    if isinstance(r, bool) or not isinstance(r, int) or not 1 <= r <= min(U.shape[0], Vh.shape[1]):
        raise ValueError(
            f"r={r!r} is not a rank of a {U.shape[0]} x {Vh.shape[1]} matrix: "
            f"choose 1 to {min(U.shape[0], Vh.shape[1])}."
        )
    if r > len(S):  # the factors have less rank than is asked for: zeros change nothing
        U, S, Vh = (
            nn.functional.pad(t, p)
            for t, p in ((U, (0, r - len(S))), (S, (0, r - len(S))), (Vh, (0, 0, 0, r - len(S))))
        )
    root, error = S[:r].sqrt(), float(S[r:].norm())
    total = float(S.norm())
    return Truncated(
        (root[:, None] * Vh[:r]).to(dtype), (U[:, :r] * root).to(dtype), error, error / total if total else 0.0
    )


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
    return _cut(*torch.linalg.svd(delta.double(), full_matrices=False), r, delta.dtype)


@torch.no_grad()
def truncate_state(state: Mapping[str, Tensor], r: int) -> tuple[dict[str, Tensor], dict[str, float]]:
    """A state of rank r that is nearest to `state`, and {name: relative Frobenius error}; the product is never formed.

    With B = Q1 R1 and Aᵀ = Q2 R2 the SVD of the small R1 R2ᵀ gives that of B A.
    """
    result, errors = {}, {}
    for name in _names(state):
        A, B = state[f"{name}.lora_A"], state[f"{name}.lora_B"]
        Q1, R1 = torch.linalg.qr(B.double())
        Q2, R2 = torch.linalg.qr(A.double().T)
        U, S, Vh = torch.linalg.svd(R1 @ R2.T, full_matrices=False)
        cut = _cut(Q1 @ U, S, Vh @ Q2.T, r, A.dtype)
        result[f"{name}.lora_A"], result[f"{name}.lora_B"], errors[name] = cut.A, cut.B, cut.relative
    return result, errors


# ------------------------------------------------------------------------------------- several on one base


class _Entry(NamedTuple):
    state: dict[str, Tensor]
    scaling: dict[str, float]  # of each layer


class AdapterSet:
    """Named adapters for one model that carries LoRA layers; one of them, or a weighted sum, is in the model at a time.

        adapters = AdapterSet(model)             # after add_lora
        adapters.add("pirate")                   # what the model carries now, as a copy
        adapters.load("robot", folder)           # from a folder, of any rank and alpha
        adapters.use("robot"); adapters.use({"pirate": 0.5, "robot": 0.5}); adapters.use({})   # {}: the base
        adapters.serve(x, ["pirate", "robot", None])                # row by row, in one forward

    The base is there once. After `use` an optimizer must be made anew: the factors may have another rank.
    """

    def __init__(self, model: nn.Module) -> None:
        if not adapted(model):
            raise ValueError(f"this {type(model).__name__} carries no LoRA adapter: call add_lora(model, ...) first.")
        self.model = model
        self._entries: dict[str, _Entry] = {}
        self.active: dict[str, float] | None = None  # None: what the model carries was not put there by `use`

    @property
    def names(self) -> list[str]:
        return list(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def _entry(self, name: object) -> _Entry:
        if name not in self._entries:
            raise ValueError(
                f"there is no adapter {name!r}; there are: {', '.join(map(repr, self._entries)) or 'none'}."
            )
        return self._entries[name]

    def __getitem__(self, name: str) -> dict[str, Tensor]:
        """A copy of the adapter's state."""
        return {k: t.clone() for k, t in self._entry(name).state.items()}

    def remove(self, name: str) -> None:
        """Forget the adapter. What the model computes with now does not change."""
        self._entry(name)
        del self._entries[name]

    def add(self, name: str, state: Mapping[str, Tensor] | None = None) -> None:
        """Keep a copy of `state` (any rank, meant at the scaling of the model's layers), or of what the model carries.

        Raises ValueError for a name that is taken or a state that does not fit the model's adapted layers.
        """
        sites = {s.name: s.adapter for s in adapted(self.model)}
        state = adapter_state(self.model) if state is None else state
        self._keep(name, state, {n: a.scaling for n, a in sites.items()})

    def load(self, name: str, folder: str | os.PathLike, *, check_base: bool = True) -> None:
        """Keep the adapter of a folder, with its own rank and scaling; the model itself is not changed."""
        file = read_adapter(self.model, folder, check_base=check_base)
        rule = math.sqrt if file.rslora else float
        self._keep(name, file.state, {n: file.alpha[n] / rule(file.r[n]) for n in file.r})

    def _keep(self, name: str, state: Mapping[str, Tensor], scaling: dict[str, float]) -> None:
        if not isinstance(name, str) or not name:
            raise ValueError(f"an adapter's name is a text that is not empty, got {name!r}.")
        if name in self._entries:
            raise ValueError(f"there is an adapter {name!r} already; remove({name!r}) first, or choose another name.")
        wanted = {}
        for s in adapted(self.model):
            A, B = s.adapter.lora_A, s.adapter.lora_B
            given = state.get(f"{s.name}.lora_A")
            r = given.shape[0] if isinstance(given, Tensor) and given.ndim == 2 and given.shape[0] else A.shape[0]
            wanted |= {f"{s.name}.lora_A": ((r, A.shape[1]), A.dtype), f"{s.name}.lora_B": ((B.shape[0], r), B.dtype)}
        checked = {k: t.to(s.device).clone() for (k, t), s in zip(check_state(state, wanted).items(), self._factors())}
        self._entries[name] = _Entry(checked, scaling)

    def _factors(self) -> list[nn.Parameter]:
        return [p for s in adapted(self.model) for p in (s.adapter.lora_A, s.adapter.lora_B)]

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
        new = {}
        for s in adapted(self.model):
            A, B = s.adapter.lora_A, s.adapter.lora_B
            if not entries:
                new[s.name] = A.clone(), torch.zeros_like(B), s.adapter.scaling
                continue
            scaling = entries[0].scaling[s.name]
            As, Bs = ([e.state[f"{s.name}.lora_{f}"] for e in entries] for f in "AB")
            if len(entries) == 1 and list(weights.values()) == [1.0]:
                new[s.name] = As[0].clone(), Bs[0].clone(), scaling
                continue
            if len({e.scaling[s.name] for e in entries}) > 1:  # different alpha/r: fold each into its B
                Bs, scaling = [e.scaling[s.name] * b for e, b in zip(entries, Bs)], 1.0
            sum_ = combine([{"w.lora_A": a, "w.lora_B": b} for a, b in zip(As, Bs)], list(weights.values()))
            limit = min(B.shape[0], A.shape[1])
            if sum_["w.lora_A"].shape[0] > limit:
                sum_, _ = truncate_state(sum_, limit)
            new[s.name] = sum_["w.lora_A"], sum_["w.lora_B"], scaling
        for s in adapted(self.model):
            _install(s.adapter, *new[s.name])
        self.active = weights

    @torch.no_grad()
    def serve(self, x: Tensor, rows: Sequence[str | None]) -> Tensor:
        """One forward of a batch whose row i uses the adapter rows[i] (None: the base), as a server of many users does.

        x (batch, ...): the model's only input, batch first. W0 x is computed for all rows together; only the low-rank
        part differs by row (vectorised by torch.vmap). The model itself is not changed. Equal to one row at a time, in
        eval mode. Raises ValueError in train mode, for a wrong number of rows, or for a model that vmap cannot run
        (LSTM and GRU: their kernels take one set of weights).
        """
        if self.model.training:
            raise ValueError(
                "serve is for inference: call model.eval() first (dropout and batch statistics would differ by row)."
            )
        if not len(rows) or len(rows) != len(x):
            raise ValueError(f"there are {len(rows)} names for {len(x)} rows: give one name, or None, for each row.")
        entries = [None if name is None else self._entry(name) for name in rows]
        sites = adapted(self.model)
        by_id = {id(p): n for n, p in self.model.named_parameters()}
        stacked = {}
        for s in sites:
            A, B = s.adapter.lora_A, s.adapter.lora_B
            none = torch.zeros_like(A[:1]), torch.zeros_like(B[:, :1])
            pairs = [
                none if e is None else (e.state[f"{s.name}.lora_A"], e.scaling[s.name] * e.state[f"{s.name}.lora_B"])
                for e in entries
            ]
            r = max(a.shape[0] for a, _ in pairs)
            stacked[by_id[id(A)]] = torch.stack(
                [nn.functional.pad(a, (0, 0, 0, r - len(a))) for a, _ in pairs]
            )  # (batch, r, in)
            stacked[by_id[id(B)]] = torch.stack(
                [nn.functional.pad(b, (0, r - b.shape[1])) for _, b in pairs]
            )  # (batch, out, r)

        def one_row(factors: dict[str, Tensor], row: Tensor) -> Tensor:
            out = functional_call(self.model, factors, (row[None],))
            if not isinstance(out, Tensor) or out.shape[:1] != (1,):
                raise ValueError("serve needs a model that maps one tensor (batch, ...) to one tensor (batch, ...).")
            return out[0]

        with _bare(sites):
            try:
                return torch.vmap(one_row, in_dims=(0, 0))(stacked, x)
            except RuntimeError as e:
                kinds = sorted({type(s.module).__name__.removeprefix("Parametrized") for s in sites})
                raise ValueError(
                    f"this model cannot run with different weights for each row (adapted: {', '.join(kinds)}); "
                    f"use each adapter in turn on its rows. torch says: {str(e).splitlines()[0]}"
                ) from e


@contextmanager
def _bare(sites: Sequence[Site]) -> Iterator[None]:
    """Every adapter enabled, unmerged and with scaling * lam = 1, for the time of one call."""
    before = [
        dict(
            enabled=s.adapter.enabled,
            merged_weight=s.adapter.merged_weight,
            scaling=s.adapter.scaling,
            lam=s.adapter.lam,
        )
        for s in sites
    ]
    try:
        for s in sites:
            s.adapter.enabled, s.adapter.merged_weight, s.adapter.scaling, s.adapter.lam = True, None, 1.0, 1.0
        yield
    finally:
        for s, values in zip(sites, before):
            for name, value in values.items():
                setattr(s.adapter, name, value)


def _install(adapter: LowRankUpdate, A: Tensor, B: Tensor, scaling: float) -> None:
    """New factors, of any rank, at a scaling; r and alpha follow from them."""
    adapter.unmerge()
    adapter.enabled = True
    same = A.shape == adapter.lora_A.shape and scaling == adapter.scaling
    for p, t in ((adapter.lora_A, A), (adapter.lora_B, B)):
        p.grad = None
        if p.shape == t.shape:
            p.copy_(t)
        else:
            p.data = t.to(p.dtype)
    if not same:
        adapter.r, adapter.scaling = A.shape[0], scaling
        adapter.alpha = scaling * (math.sqrt(adapter.r) if adapter.rslora else adapter.r)
