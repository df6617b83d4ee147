"""Ask a hand-written LoRA layer what it does: run a copy of it on random inputs with random factors.

The layer itself is not touched: the copy has its own tensors and no hooks, and the random state is put back. The
answer does not depend on how far the layer is trained, because the copy's factors are drawn anew.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .reading import Adapter, is_readable, read

LARGEST_LAYER = 2**27  # numbers that are copied at most, for one layer at a time


@dataclass
class Answer:
    """What the copy did. None where it could not be asked.

    scale: the factor s in "base + s * B A x". blocked: the factors that no gradient reaches. random: two evaluations
    in eval mode differ. merged_scale: the same s after merge(), whole or in part as a function of the whole layer;
    merge_changes, twice_changes: merge(), and a second merge(), change the output. transposed: after the merge the
    output has the transpose of B A in it.
    """

    scale: float | None = None
    blocked: tuple[str, ...] = ()
    random: bool = False
    merge_changes: bool = False
    merged_scale: float | None = None
    still_added: bool = False
    twice_changes: bool = False
    transposed: bool = False
    transposed_forward: bool = False


def probe(a: Adapter) -> Answer | None:
    """The answers of a layer around a Linear (or of a parametrization), or None if it cannot be asked."""
    tensors = [*a.host.parameters(), *a.host.buffers()]
    if a.weight is None or a.weight.ndim != 2 or a.form < 0 or not all(map(is_readable, [a.A, a.B, a.weight])):
        return None
    if sum(t.numel() for t in tensors) > LARGEST_LAYER or any(type(m) in _NOT_LINEAR for m in a.host.modules()):
        return None
    devices = [a.A.device] if a.A.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            return _Copy(a).answer()
    except Exception:  # noqa: BLE001 - any layer may come here, and one that wants other inputs is not at fault
        return None


_NOT_LINEAR = {nn.Embedding, nn.LSTM, nn.GRU, nn.RNN, nn.MultiheadAttention, nn.Conv1d, nn.Conv2d, nn.Conv3d}


class _Copy:
    def __init__(self, a: Adapter) -> None:
        host = _bare_copy(a.host)
        self.generator = torch.Generator().manual_seed(0)
        self.parametrization = a.make == "own" and a.host is a.holder and a.weight is not None and not _calls_base(a)
        self.a = None if self.parametrization else next((b for b in read(host) if b.host is host), None)
        self.layer = host
        if self.parametrization:
            self.a = copy.copy(a)
            self.a.host = self.a.holder = host
            self.a.A, self.a.B = (_of(host, n) for n in a.names)
            self.x = a.weight.detach().float().clone()
        else:
            self.x = self.draw(16, a.delta().shape[1], like=a.A)
        self.A, self.B = self.a.factors

    def draw(self, *shape: int, like: Tensor) -> Tensor:
        return torch.randn(*shape, generator=self.generator).to(like.device)

    def seed(self, number: int) -> None:
        """Of this device only: the others' random states are not put back."""
        torch.default_generator.manual_seed(number)
        if self.A.device.type == "cuda":
            with torch.cuda.device(self.A.device):
                torch.cuda.manual_seed(number)

    def fill(self) -> None:
        """Random factors of a size that makes x -> B A x keep the size of x."""
        with torch.no_grad():
            for t in (self.A, self.B):
                t.copy_(self.draw(*t.shape, like=t) / t.shape[1] ** 0.5)

    def call(self) -> Tensor:
        out = self.layer(self.x)
        return out[0] if isinstance(out, tuple) else out

    def update(self, out: Tensor, reference: Tensor) -> tuple[float, float, float]:
        """(s, what is not s * B A x, relative; the same for the transposed product)."""
        d = (out - reference).detach().double()
        delta = self.a.delta(self.A, self.B).detach().double()
        fits = []
        for D in (delta, delta.T if delta.shape[0] == delta.shape[1] else None):
            if D is None:
                fits.append((0.0, 1.0))
                continue
            u = D if self.parametrization else self.x.double() @ D.T
            s = float((d * u).sum() / (u * u).sum())
            fits.append((s, float((d - s * u).norm() / d.norm().clamp(min=1e-12))))
        return fits[0][0], fits[0][1], fits[1][1]

    def answer(self) -> Answer:
        result = Answer()
        for m in self.layer.modules():
            m.training = False
        self.fill()
        B = self.B.detach().clone()
        with torch.no_grad():
            self.seed(1)
            out = self.call()
            self.seed(2)
            again = self.call()
            self.B.zero_()
            base = self.call()
            self.B.copy_(B)
        size = float(out.norm())
        if not torch.allclose(out, again, rtol=1e-4, atol=1e-5 * size):
            result.random = True
            return result  # nothing else can be measured through the noise
        s, rest, rest_transposed = self.update(out, base)
        moved = float((out - base).norm()) > 1e-5 * size
        if not moved:
            result.scale = 0.0
        elif rest < 1e-2:
            result.scale = s
        elif rest_transposed < 1e-2:
            result.transposed_forward = True
            return result
        else:
            return result  # another formula: not a plain LoRA layer, and not ours to judge
        if not self.a.merged and self.a.enabled:
            self.gradients(result, moved)
            if callable(getattr(self.layer, "merge", None)) and moved:
                self.merging(result, out, base, s)
        return result

    def gradients(self, result: Answer, moved: bool) -> None:
        if not moved:
            return
        self.A.requires_grad_(True)
        self.B.requires_grad_(True)
        out = self.call()
        reached = (None, None)
        if out.requires_grad:
            reached = torch.autograd.grad(out.square().sum(), (self.A, self.B), allow_unused=True)
        result.blocked = tuple(n for n, g in zip(self.a.names, reached) if g is None)

    @torch.no_grad()
    def merging(self, result: Answer, out: Tensor, base: Tensor, s: float) -> None:
        self.layer.merge()
        once = self.call()
        wanted = float((out - base).norm())
        if float((once - out).norm()) > 1e-2 * wanted:
            result.merge_changes = True
            k, rest, rest_transposed = self.update(once, base)
            result.transposed = rest > 1e-2 and rest_transposed < 1e-2
            if rest < 1e-2:
                result.merged_scale = k
                self.B.mul_(2)  # a layer that is merged and still adds follows its factors
                result.still_added = float((self.call() - once).norm()) > 1e-2 * wanted
            return
        self.layer.merge()
        result.twice_changes = float((self.call() - once).norm()) > 1e-2 * wanted


def _of(module: nn.Module, name: str) -> Tensor:
    value = getattr(module, name)
    return value.weight if isinstance(value, nn.Module) else value


def _calls_base(a: Adapter) -> bool:
    """Whether the host holds the weight, itself or in a child; a parametrization gets it as its input."""
    return any(p is a.weight for p in a.host.parameters()) or any(
        getattr(m, "weight", None) is a.weight for m in a.host.modules()
    )


def _bare_copy(host: nn.Module) -> nn.Module:
    """A copy in float32 with tensors of its own and without hooks."""
    memo = {}
    for p in host.parameters():
        memo[id(p)] = nn.Parameter(p.detach().clone(), requires_grad=p.requires_grad)
    for b in host.buffers():
        memo[id(b)] = b.detach().clone()
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks",
             "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks")  # fmt: skip
    for m in host.modules():  # copied as empty: a hook may hold anything
        for name in hooks:
            if hasattr(m, name):
                memo[id(getattr(m, name))] = type(getattr(m, name))()
    return copy.deepcopy(host, memo).float()
