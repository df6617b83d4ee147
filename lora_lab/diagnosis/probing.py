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

from .reading import Adapter, factor_of, is_readable, read

LARGEST_LAYER = 2**27  # numbers that are copied at most, for one layer at a time
NOT_LINEAR = {nn.Embedding, nn.LSTM, nn.GRU, nn.RNN, nn.MultiheadAttention, nn.Conv1d, nn.Conv2d, nn.Conv3d}
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks",
         "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks")  # fmt: skip
EXACT = 1e-2  # what counts as the same, relative


@dataclass
class Answer:
    """What the copy did. None where it could not be asked.

    scale: the factor s in "base + s * B A x". blocked: the factors that no gradient reaches. random: two evaluations
    in eval mode differ. merged_scale: the same s after merge(), whole or in part as a function of the whole layer;
    merge_changes, twice_changes: merge(), and a second merge(), change the output. transposed: after the merge the
    output has the transpose of B A in it; transposed_forward: before it.
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
    if a.weight is None or a.weight.ndim != 2 or not all(map(is_readable, (a.A, a.B, a.weight))):
        return None
    size = sum(t.numel() for t in (*a.host.parameters(), *a.host.buffers()))
    if size > LARGEST_LAYER or any(type(m) in NOT_LINEAR for m in a.host.modules()):
        return None
    devices = [a.A.device] if a.A.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            return _Copy(a).answer()
    except Exception:  # noqa: BLE001 - any layer may come here, and one that wants other inputs is not at fault
        return None


class _Copy:
    def __init__(self, a: Adapter) -> None:
        self.layer = _bare_copy(a.host)
        self.generator = torch.Generator().manual_seed(0)
        self.parametrization = a.host is a.holder and not _has_the_weight(a)
        if self.parametrization:  # it is called with the weight
            A, B = (factor_of(self.layer, name) for name in a.names)
            self.a = Adapter(**vars(a) | {"host": self.layer, "holder": self.layer, "A": A, "B": B})
            self.x = a.weight.detach().float().clone()
        else:
            self.a = next(b for b in read(self.layer) if b.host is self.layer)
            self.x = self.draw(16, a.delta().shape[1])
        self.A, self.B = self.a.factors

    def draw(self, *shape: int) -> Tensor:
        device = next(self.layer.parameters()).device
        return torch.randn(*shape, generator=self.generator).to(device)

    def call(self, seed: int = 1) -> Tensor:
        torch.default_generator.manual_seed(seed)  # of this device only: the others' states are not put back
        if self.x.device.type == "cuda":
            with torch.cuda.device(self.x.device):
                torch.cuda.manual_seed(seed)
        out = self.layer(self.x)
        return out[0] if isinstance(out, tuple) else out

    def fit(self, change: Tensor, transposed: bool = False) -> tuple[float, float]:
        """(s, relative rest): how well a change of the output is s * B A x, or that with B A transposed."""
        delta, change = self.a.delta().detach().double(), change.detach().double()
        if transposed and delta.shape[0] != delta.shape[1]:
            return 0.0, 1.0
        delta = delta.T if transposed else delta
        update = delta if self.parametrization else self.x.double() @ delta.T
        s = float((change * update).sum() / update.square().sum())
        return s, float((change - s * update).norm() / change.norm().clamp(min=1e-12))

    def answer(self) -> Answer:
        result = Answer()
        for m in self.layer.modules():
            m.training = False
        with torch.no_grad():
            for t in (self.A, self.B):  # of a size that makes x -> B A x keep the size of x
                t.copy_(self.draw(*t.shape) / t.shape[1] ** 0.5)
            out, again = self.call(seed=1), self.call(seed=2)
            B = self.B.clone()
            self.B.zero_()
            change = out - self.call()
            self.B.copy_(B)
        size = float(out.norm())
        if not torch.allclose(out, again, rtol=1e-4, atol=1e-5 * size):
            result.random = True  # nothing else can be measured through the noise
            return result
        s, rest = self.fit(change)
        if float(change.norm()) <= 1e-5 * size:
            result.scale = 0.0
        elif rest < EXACT:
            result.scale = s
            if not self.a.merged and self.a.enabled:
                result.blocked = self.blocked()
                if callable(getattr(self.layer, "merge", None)):
                    self.merge(result, out, change)
        else:  # if not this, then another formula: not a plain LoRA layer, and not ours to judge
            result.transposed_forward = self.fit(change, transposed=True)[1] < EXACT
        return result

    def blocked(self) -> tuple[str, ...]:
        """The factors that no gradient reaches."""
        self.A.requires_grad_(True)
        self.B.requires_grad_(True)
        out = self.call()
        if not out.requires_grad:
            return self.a.names
        gradients = torch.autograd.grad(out.square().sum(), (self.A, self.B), allow_unused=True)
        return tuple(name for name, gradient in zip(self.a.names, gradients) if gradient is None)

    @torch.no_grad()
    def merge(self, result: Answer, out: Tensor, change: Tensor) -> None:
        wanted = float(change.norm())
        self.layer.merge()
        once = self.call()
        result.merge_changes = float((once - out).norm()) > EXACT * wanted
        if not result.merge_changes:
            self.layer.merge()
            result.twice_changes = float((self.call() - once).norm()) > EXACT * wanted
            return
        s, rest = self.fit(once - (out - change))
        if rest < EXACT:
            result.merged_scale = s
            self.B.mul_(2)  # a layer that is merged and still adds follows its factors
            result.still_added = float((self.call() - once).norm()) > EXACT * wanted
        else:
            result.transposed = self.fit(once - (out - change), transposed=True)[1] < EXACT


def _has_the_weight(a: Adapter) -> bool:
    """Whether the host holds the weight, itself or in a child; a parametrization gets it as its input."""
    parameters = any(p is a.weight for p in a.host.parameters())
    return parameters or any(getattr(m, "weight", None) is a.weight for m in a.host.modules())


def _bare_copy(host: nn.Module) -> nn.Module:
    """A copy in float32 with tensors of its own and without hooks."""
    memo = {}
    for p in host.parameters():
        memo[id(p)] = nn.Parameter(p.detach().clone(), requires_grad=p.requires_grad)
    for b in host.buffers():
        memo[id(b)] = b.detach().clone()
    for m in host.modules():  # copied as empty: a hook may hold anything
        for name in HOOKS:
            if hasattr(m, name):
                memo[id(getattr(m, name))] = type(getattr(m, name))()
    return copy.deepcopy(host, memo).float()
