"""LoRA layers as people write them by hand: other names, other orientations, other places for the factors."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.utils import parametrize


class S1Style(nn.Module):
    """A (in, r), B (r, out), and x @ (A @ B)."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(7, 5)
        self.A, self.B = nn.Parameter(torch.randn(7, 2)), nn.Parameter(torch.zeros(2, 5))
        self.scaling = 4 / 2

    def forward(self, x):
        return self.linear(x) + self.scaling * (x @ (self.A @ self.B))


class Factors(nn.Module):
    def __init__(self, i, o, rank, alpha):
        super().__init__()
        self.A, self.B = nn.Parameter(torch.randn(i, rank) / math.sqrt(i)), nn.Parameter(torch.zeros(rank, o))
        self.alpha, self.rank = alpha, rank

    def forward(self, x):
        return self.alpha / self.rank * (x @ self.A @ self.B)


class SideBySide(nn.Module):
    """A layer that holds a Linear and a module of factors."""

    def __init__(self):
        super().__init__()
        self.linear, self.lora = nn.Linear(7, 5), Factors(7, 5, 2, 8)

    def forward(self, x):
        return self.linear(x) + self.lora(x)


class OfLinears(nn.Module):
    """The factors are two layers."""

    def __init__(self):
        super().__init__()
        self.orig = nn.Linear(7, 5)
        self.lora_down, self.lora_up = nn.Linear(7, 2, bias=False), nn.Linear(2, 5, bias=False)
        self.alpha = 4
        nn.init.zeros_(self.lora_up.weight)

    def forward(self, x):
        return self.orig(x) + self.lora_up(self.lora_down(x)) * (self.alpha / 2)


class Inherits(nn.Linear):
    """A subclass of Linear that carries its factors, with dropout as a layer, and merges with a flag."""

    def __init__(self):
        super().__init__(7, 5)
        self.lora_a, self.lora_b = nn.Parameter(torch.randn(2, 7)), nn.Parameter(torch.zeros(5, 2))
        self.alpha, self.drop, self.merged = 6, nn.Dropout(0.5), False

    def forward(self, x):
        h = super().forward(x)
        return h if self.merged else h + 3 * (self.drop(x) @ self.lora_a.T @ self.lora_b.T)

    def merge(self):
        if not self.merged:
            self.weight.data += 3 * self.lora_b @ self.lora_a
            self.merged = True


class Parametrization(nn.Module):
    """S3's form: the weight passes through."""

    def __init__(self, rows, cols):
        super().__init__()
        self.lora_A, self.lora_B = nn.Parameter(torch.randn(2, cols)), nn.Parameter(torch.zeros(rows, 2))
        self.scale, self.enabled = 1 / 2, True

    def forward(self, weight):
        return weight + self.scale * (self.lora_B @ self.lora_A) if self.enabled else weight


def parametrized():
    model = nn.Sequential(nn.Linear(7, 5))
    parametrize.register_parametrization(model[0], "weight", Parametrization(5, 7))
    return model


class FlippedZero(S1Style):
    """A zero, B random: as good a start as the other."""

    def __init__(self):
        super().__init__()
        nn.init.zeros_(self.A)
        nn.init.normal_(self.B)


def in_blocks(layer):
    return lambda: nn.Sequential(nn.Sequential(layer()), nn.Tanh())


own_layers = {
    cls.__name__: in_blocks(cls) for cls in (S1Style, SideBySide, OfLinears, Inherits, FlippedZero)
} | {"parametrized": parametrized}  # fmt: skip
