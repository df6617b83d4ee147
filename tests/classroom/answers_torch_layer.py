"""Right answers to the exercises of torch_layer, and wrong ones with a piece of what they are told."""

import numpy as np
import torch
import torch.nn.functional as F
from torch.optim import SGD, Adam, AdamW


def one_direction_at_a_time(A, B, alpha, r):
    return sum(torch.outer(B[:, i], A[i]) for i in range(r)) * alpha / r


def named_parameters(layer):
    for name, parameter in layer.named_parameters():
        parameter.requires_grad = name.startswith("lora_")
    return AdamW([p for p in layer.parameters() if p.requires_grad], lr=0.1)


def two_groups(layer):
    layer.base.weight.requires_grad = layer.base.bias.requires_grad = False
    return Adam([{"params": [layer.lora_A]}, {"params": [layer.lora_B], "lr": 16e-3}], lr=1e-3)


def step_by_step(x, base, A, B, scaling):
    out = base(x)
    out += scaling * F.linear(F.linear(x, A), B)
    return out


def into_the_base(x, base, A, B, scaling):
    base.weight += scaling * B @ A
    return base(x)


def one_weight(x, base, A, B, scaling):
    return F.linear(x, base.weight + scaling * B @ A, base.bias)


def as_for_deployment(x, base, A, B, scaling):
    with torch.no_grad():
        return base(x) + scaling * (x @ A.T) @ B.T


def frozen(layer, build, and_factors=False):
    """What `build` makes of the factors, after the base, or the whole layer, is frozen."""
    (layer if and_factors else layer.base).requires_grad_(False)
    return build([layer.lora_A, layer.lora_B])


def an_attribute(layer):
    layer.base.requires_grad = False
    return Adam([layer.lora_A, layer.lora_B])


def without_bias(layer):
    layer.base.weight.requires_grad_(False)
    return Adam([p for p in layer.parameters() if p.requires_grad])


RIGHT = {
    "delta_weight": [
        lambda A, B, alpha, r: torch.einsum("or,ri->oi", B, A) * alpha / r,
        lambda A, B, alpha, r: (A.T @ B.T).T * (alpha / r),
        lambda A, B, alpha, r: B.numpy() @ A.numpy().astype(np.float64) * alpha / r,
        lambda A, B, alpha, r: F.linear(B, A.T) * alpha / A.shape[0],
        one_direction_at_a_time,
    ],
    "lora_forward": [
        lambda x, base, A, B, scaling: base(x) + scaling * F.linear(F.linear(x, A), B),
        lambda x, W, A, B, s: W(x) + torch.einsum("nr,or->no", torch.einsum("ni,ri->nr", x, A), s * B),
        lambda x, W, A, B, s: (B @ (A @ x.T)).T * s + W(x),
        lambda x, W, A, B, s: W(x) + s * (x.double() @ A.double().T @ B.double().T),
        step_by_step,
    ],
    "prepare": [
        named_parameters,
        two_groups,
        lambda layer: frozen(layer, lambda factors: SGD(factors, lr=0.1, momentum=0.9)),
        lambda layer: frozen(layer, lambda factors: Adam(layer.parameters(), lr=1e-6)),
        lambda layer: frozen(layer, torch.optim.LBFGS),
    ],
}

WRONG = {
    "delta_weight": [
        ("changes `B` in place", lambda A, B, alpha, r: B.mul_(alpha / r) @ A),
        ("expected is [[3, 6, 0], [6, 15, 3]]", lambda A, B, alpha, r: -alpha / r * B @ A),
    ],
    "lora_forward": [
        ("a matrix of shape (4, 5) is built", one_weight),
        ("is built", lambda x, base, A, B, s: base(x) + x @ (s * B @ A).T),
        ("changes `base` in place", into_the_base),
        ("no gradient reaches `A`", as_for_deployment),
        ("RuntimeError", lambda x, base, A, B, s: base(x) + s * B @ A @ x),
    ],
    "prepare": [
        ("still ask for a gradient.", lambda layer: Adam([layer.lora_A, layer.lora_B])),
        ("would move them", lambda layer: Adam(layer.parameters())),
        ("would move them", without_bias),
        ("is the method", an_attribute),
        ("`lora_A` no longer trains", lambda layer: frozen(layer, Adam, and_factors=True)),
        ("hold `lora_A`", lambda layer: frozen(layer, lambda factors: Adam(factors[1:]))),
        ("hold `lora_A`", lambda layer: frozen(layer, lambda factors: Adam([factors[0].clone().detach()]))),
        ("learning rate", lambda layer: frozen(layer, lambda factors: Adam(factors, lr=0.0))),
        ("learning rate", lambda layer: frozen(layer, lambda factors: Adam(factors, lr=1e4))),
        ("eps = 0", lambda layer: frozen(layer, lambda factors: Adam(factors, lr=1e-2, eps=0.0))),
        ("`return` missing", lambda layer: frozen(layer, lambda factors: None)),
        ("the optimizer is wanted", lambda layer: frozen(layer, lambda factors: factors)),
    ],
}
