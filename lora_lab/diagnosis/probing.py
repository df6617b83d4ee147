"""Ask a hand-written LoRA layer what it does: run a copy of it on random inputs with random factors.

The layer itself is not touched: the copy is on the CPU, without hooks, and the random state is put back. The answer
does not depend on how far the layer is trained, because the copy's factors are drawn anew.
"""

import copy
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .findings import Finding, finding
from .reading import Adapter, is_readable, read

LARGEST_LAYER = 2**27  # numbers that are copied at most
EXACT = 1e-2  # what counts as the same, relative


def probe(a: Adapter) -> list[Finding]:
    """What a layer around a Linear, or a parametrized Linear, does wrong; puts the scale that it has into a.measured.

    Nothing is said of a layer that cannot be asked.
    """
    size = sum(p.numel() for p in a.host.parameters())
    can_be_asked = a.readable and is_readable(a.weight) and a.weight.ndim == 2 and size <= LARGEST_LAYER
    if not can_be_asked or getattr(a.host, "fan_in_fan_out", False):
        return []
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            torch.default_generator.manual_seed(0)
            probed = _Copy(a)
            found = list(probed.findings())
    except Exception:  # noqa: BLE001 - any layer may come here, and one that wants other inputs is not at fault
        return []
    a.measured = probed.scale
    return found


class _Copy:
    def __init__(self, a: Adapter) -> None:
        self.where = a.where
        self.layer = _without_hooks(a.host)
        self.a = next(b for b in read(self.layer) if b.host is self.layer)
        self.B = self.a.factors[1]
        self.x = torch.randn(16, self.a.product[1].shape[1])  # (rows, in)
        self.scale: float | None = None  # s in "base + s * B A x"

    def call(self, seed: int = 1) -> Tensor:
        torch.default_generator.manual_seed(seed)
        out = self.layer(self.x)
        return out[0] if isinstance(out, tuple) else out

    def fit(self, change: Tensor, transposed: bool = False) -> tuple[float, float]:
        """(s, relative rest): how well a change of the output is s * B A x, or that with B A transposed."""
        delta = self.a.delta().T if transposed else self.a.delta()
        if delta.shape != (change.shape[1], self.x.shape[1]):
            return 0.0, 1.0
        change, update = change.detach().double(), (self.x @ delta.T).double()
        s = float((change * update).sum() / update.square().sum())
        return s, float((change - s * update).norm() / change.norm().clamp(min=1e-12))

    def findings(self) -> Iterator[Finding]:
        for m in self.layer.modules():
            m.training = False
        with torch.no_grad():
            for t in self.a.factors:  # of a size that makes x -> B A x keep the size of x
                t.copy_(torch.randn(t.shape) / t.shape[1] ** 0.5)
            out, again = self.call(seed=1), self.call(seed=2)
            B = self.B.clone()
            self.B.zero_()
            without = self.call()
            self.B.copy_(B)
        size, change = float(out.norm()), out - without
        if not torch.allclose(out, again, rtol=1e-4, atol=1e-5 * size):
            yield finding("random-in-eval", self.where)
            return  # nothing else can be measured through the noise
        scale, rest = self.fit(change)
        live = self.a.enabled and not self.a.merged
        if float(change.norm()) <= 1e-5 * size:
            if live:
                yield finding("not-in-the-forward", self.where, B=self.a.names[1])
        elif rest > EXACT:  # another formula is not a plain LoRA layer, and not ours to judge
            if self.fit(change, transposed=True)[1] < EXACT:
                yield finding("factors-swapped", self.where)
        elif self.a.merged:
            yield finding("merged-and-added", self.where)
        else:
            self.scale = scale
            yield from self.cut_off()
            if callable(getattr(self.layer, "merge", None)):
                yield from self.merging(out, without)

    def cut_off(self) -> Iterator[Finding]:
        """Factors that no gradient reaches."""
        for t in self.a.factors:
            t.requires_grad_(True)
        loss = self.call().square().sum()
        gradients = torch.autograd.grad(loss, self.a.factors, allow_unused=True) if loss.requires_grad else (None, None)
        names = [name for name, gradient in zip(self.a.names, gradients) if gradient is None]
        if names:
            yield finding("no-gradient", self.where, factors=" and ".join(names))

    @torch.no_grad()
    def merging(self, out: Tensor, without: Tensor) -> Iterator[Finding]:
        tolerance = EXACT * float((out - without).norm())
        self.layer.merge()
        once = self.call()
        if float((once - out).norm()) <= tolerance:
            self.layer.merge()
            if float((self.call() - once).norm()) > tolerance:
                yield finding("merge-adds-again", self.where)
            return
        merged_scale, rest = self.fit(once - without)
        if rest < EXACT:
            self.B.mul_(2)  # a layer that is merged and still adds follows its factors
            if float((self.call() - once).norm()) > tolerance:
                yield finding("merged-and-added", self.where)
            else:
                yield finding("merge-rescales", self.where, scale=self.scale, merged_scale=merged_scale)
        elif self.fit(once - without, transposed=True)[1] < EXACT:
            yield finding("merge-transposed", self.where)
        else:
            yield finding("merge-changes-output", self.where)


def _without_hooks(layer: nn.Module) -> nn.Module:
    """A copy on the CPU, in float32."""
    memo = {}
    for m in layer.modules():  # copied as empty: a hook may hold anything
        for name, value in vars(m).items():
            if name.endswith("hooks"):
                memo[id(value)] = type(value)()
    return copy.deepcopy(layer, memo).cpu().float()
