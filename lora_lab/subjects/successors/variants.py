"""What came after LoRA, each as a small change of `LoRALinear`, and the task they are compared on.

Every layer takes a frozen `nn.Linear` as its base and, at the start, computes what the base computes (QLoRA: what the
rounded base computes). They are for reading and measuring: no merge, no files. PEFT has them for real work.
"""

import itertools
import math
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lora_lab.adapters import count_parameters
from lora_lab.layers import LoRALinear
from lora_lab.subjects.digits.repair import images
from lora_lab.subjects.linear_task.tasks import normal
from lora_lab.training import train


class RsLoRALinear(LoRALinear):
    """alpha / sqrt(r) in place of alpha / r (Kalajdzievski, 2023, arXiv 2312.03732)."""

    def __init__(self, base, r=4, alpha=4.0):
        super().__init__(base, r, alpha)
        self.scaling = alpha / math.sqrt(r)


class PiSSALinear(LoRALinear):
    """B A starts as the r largest singular directions of W0; frozen is W0 - B A (Meng et al., 2024, arXiv 2404.02948).

    The base's weight is changed in place, by that subtraction.
    """

    def __init__(self, base, r=4, alpha=4.0):
        super().__init__(base, r, alpha)
        U, S, Vh = torch.linalg.svd(base.weight.detach(), full_matrices=False)
        root = (S[:r] / self.scaling).sqrt()  # (r,)
        with torch.no_grad():
            self.lora_B.copy_(U[:, :r] * root)  # (d_out, r)
            self.lora_A.copy_(root[:, None] * Vh[:r])  # (r, d_in)
            base.weight -= self.delta_weight()


class DoRALinear(LoRALinear):
    """Length and direction of each output's weights apart: m (W0 + s B A) / |W0 + s B A| (Liu et al., 2024, arXiv
    2402.09353).

    m (d_out,) is trained beside A and B. The norm counts as a constant in the gradient, as in the paper's section 4.3.
    """

    def __init__(self, base, r=4, alpha=4.0):
        super().__init__(base, r, alpha)
        self.m = nn.Parameter(base.weight.detach().norm(dim=1))  # (d_out,)

    def forward(self, x):
        W = self.base.weight + self.delta_weight()
        W = (self.m / W.norm(dim=1).detach())[:, None] * W
        return F.linear(x, W, self.base.bias)


class ExactDoRALinear(DoRALinear):
    """DoRA with the gradient through the norm as well, without the paper's short cut."""

    def forward(self, x):
        W = self.base.weight + self.delta_weight()
        W = (self.m / W.norm(dim=1))[:, None] * W
        return F.linear(x, W, self.base.bias)


class VeRALinear(nn.Module):
    """diag(b) B diag(d) A with random, frozen A and B that all layers share (Kopiczko et al., 2023, 2310.11454).

    A (r, at least d_in) and B (at least d_out, r): each layer cuts out what it needs. Trained: d (r,) and b (d_out,).
    """

    def __init__(self, base, A, B):
        super().__init__()
        self.base = base
        self.A, self.B = A[:, : base.in_features], B[: base.out_features]
        self.d = nn.Parameter(torch.full((len(A),), 0.1))
        self.b = nn.Parameter(torch.zeros(base.out_features))

    def forward(self, x):
        return self.base(x) + self.b * F.linear(self.d * F.linear(x, self.A), self.B)


def nf4_levels() -> Tensor:
    """The 16 numbers of "4-bit NormalFloat": quantiles of N(0, 1), scaled to [-1, 1], with an exact 0 (16,).

    Dettmers et al., 2023, arXiv 2305.14314, section 3. Eight quantiles above zero and seven below, from 1 - 0.9677 to
    0.9677, the end points of the authors' own table. They would be used alike if weights were normal and not divided
    by the largest of their block (arXiv 2306.06965).
    """
    end = 0.9677083
    above = torch.special.ndtri(torch.linspace(0.5, end, 9, dtype=torch.float64)[1:])
    below = -torch.special.ndtri(torch.linspace(0.5, end, 8, dtype=torch.float64)[1:]).flip(0)
    return (torch.cat([below, torch.zeros(1, dtype=torch.float64), above]) / above[-1]).float()


def to_nf4(W: Tensor) -> tuple[Tensor, Tensor]:
    """W as codes 0 to 15, (n / 64, 64), and one scale per block of 64, (n / 64, 1); n is a multiple of 64."""
    blocks = W.detach().reshape(-1, 64)
    scale = blocks.abs().amax(dim=1, keepdim=True).clamp_min(1e-12)
    codes = (blocks / scale).unsqueeze(-1).sub(nf4_levels().to(W)).abs().argmin(-1)
    return codes.to(torch.uint8), scale


def from_nf4(codes: Tensor, scale: Tensor, shape: torch.Size) -> Tensor:
    """The weight that such codes stand for."""
    return (nf4_levels().to(scale)[codes.long()] * scale).view(shape)


class QLoRALinear(LoRALinear):
    """LoRA on a base of 4-bit numbers (Dettmers et al., 2023, arXiv 2305.14314), without its second quantization.

    Here the rounded weight is kept in float32, which shows what the rounding does to learning and saves no memory:
    two codes in one byte need a kernel of their own (bitsandbytes).
    """

    def __init__(self, base, r=4, alpha=4.0):
        super().__init__(base, r, alpha)
        W = base.weight
        with torch.no_grad():
            W.copy_(from_nf4(*to_nf4(W), W.shape))


def wrap(model: nn.Module, make: Callable[[nn.Linear], nn.Module]) -> nn.Module:
    """Freeze the model and put make(layer) in the place of each plain nn.Linear, in place; the model is returned."""
    model.requires_grad_(False)
    parents = [(parent, name, child) for parent in model.modules() for name, child in parent.named_children()]
    for parent, name, child in parents:
        if type(child) is nn.Linear:
            setattr(parent, name, make(child))
    return model


def shared_factors(model: nn.Module, r: int = 64, seed: int = 0) -> tuple[Tensor, Tensor]:
    """VeRA's random A (r, widest input) ~ N(0, 1/d_in) and B (widest output, r) ~ N(0, 1/r), for all of a model."""
    layers = [m for m in model.modules() if type(m) is nn.Linear]
    d_in, d_out = max(m.in_features for m in layers), max(m.out_features for m in layers)
    return (
        normal(r, d_in, seed=7_000 + seed, std=d_in**-0.5),
        normal(d_out, r, seed=8_000 + seed, std=r**-0.5),
    )


def lora(model: nn.Module, seed: int, layer: type[LoRALinear] = LoRALinear, r=4, alpha=4.0) -> nn.Module:
    """Layers of one class, with the A that `seed` gives to the first, the second, ... of them; in place.

    A layer too small for rank r gets the largest it can carry.
    """
    seeds = itertools.count(100 * seed)

    def make(base: nn.Linear) -> LoRALinear:
        made = layer(base, min(r, *base.weight.shape), alpha)
        number = next(seeds)
        if not made.lora_B.any():  # PiSSA starts with A and B of its own
            made.reset_lora(generator=torch.Generator().manual_seed(number))
        return made

    return wrap(model, make)


def _vera(model: nn.Module, seed: int) -> None:
    A, B = shared_factors(model, 64, seed)
    wrap(model, lambda base: VeRALinear(base, A, B))


METHODS = {  # functions of (model, seed) that change the model in place
    "full": lambda model, seed: None,
    "LoRA": lora,
    "LoRA, r = 1": partial(lora, r=1, alpha=1.0),
    "rsLoRA": partial(lora, layer=RsLoRALinear),
    "LoRA+": lora,
    "PiSSA": partial(lora, layer=PiSSALinear),
    "DoRA": partial(lora, layer=DoRALinear),
    "DoRA, exact": partial(lora, layer=ExactDoRALinear),
    "VeRA": _vera,
    "QLoRA": partial(lora, layer=QLoRALinear),
}
LR_RATIO = {"LoRA+": 16.0}  # B's learning rate over A's; 1 for the other methods

SIZES = (64, 256, 192, 10)
STEPS, BATCH = 300, 64


def turned_digits(seed: int = 0) -> SimpleNamespace:
    """1797 handwritten digits, halved by `seed`: upright and turned by 90 degrees, upright_test and turned_test.

    Each is (X (n, 64), ink from 0 to 1; y (n,)). They come with scikit-learn: nothing is downloaded.
    """
    X, y = images()
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(seed), device="cpu")
    X, y = X[order].unflatten(1, (8, 8)), y[order]  # (1797, 8, 8)
    turned, X = X.rot90(1, (1, 2)).flatten(1), X.flatten(1)  # (1797, 64) each
    first, second = slice(len(X) // 2), slice(len(X) // 2, None)
    return SimpleNamespace(
        upright=(X[first], y[first]),
        turned=(turned[first], y[first]),
        upright_test=(X[second], y[second]),
        turned_test=(turned[second], y[second]),
    )


def digit_base(data: SimpleNamespace, seed: int = 0) -> nn.Sequential:
    """The model to adapt: 64 -> 256 -> 192 -> 10 with ReLU, trained on the upright digits."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Linear(i, o) for i, o in zip(SIZES, SIZES[1:])]
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    how = {"steps": 400, "lr": 3e-3, "schedule": "cosine", "batch_size": BATCH, "loss": F.cross_entropy}
    train(model, *data.upright, **how, seed=seed, progress=None)
    return model


@torch.no_grad()
def score(model: nn.Module, X: Tensor, y: Tensor) -> SimpleNamespace:
    """loss: cross-entropy in nats; accuracy: share of right answers."""
    logits = model(X)
    right = (logits.argmax(1) == y).float().mean()
    return SimpleNamespace(loss=F.cross_entropy(logits, y).item(), accuracy=right.item())


def fit(model: nn.Module, data: SimpleNamespace, lr: float, *, lr_ratio=1.0, seed: int = 0) -> SimpleNamespace:
    """Train on the turned digits, 300 steps of 64 images, Adam with a cosine schedule, in place.

    Returns curve {step: test loss}, loss, the last of them, and trained, how many numbers.
    """
    how = {"steps": STEPS, "batch_size": BATCH, "schedule": "cosine", "loss": F.cross_entropy, "progress": None}
    history = train(model, *data.turned, lr=lr, lr_ratio=lr_ratio, seed=seed, snapshot_every=20, **how)
    X, y = data.turned_test
    curve = {}
    with torch.no_grad():
        for step, state in history.snapshots.items():
            curve[step] = F.cross_entropy(torch.func.functional_call(model, state, (X,)), y).item()
    return SimpleNamespace(curve=curve, loss=score(model, X, y).loss, trained=count_parameters(model)[0])
