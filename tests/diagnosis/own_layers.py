"""LoRA layers from 7 to 5 numbers, r = 2, as people write them by hand: other names, orientations, places."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize


def factor(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape))


def zero(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(*shape))


class S1Style(nn.Module):
    """A (in, r), B (r, out), and x @ (A @ B)."""

    def __init__(self):
        super().__init__()
        self.linear, self.A, self.B, self.scaling = nn.Linear(7, 5), factor(7, 2), zero(2, 5), 4 / 2

    def forward(self, x):
        return self.linear(x) + self.scaling * (x @ (self.A @ self.B))


class FlippedZero(S1Style):
    """A zero, B random: as good a start as the other."""

    def __init__(self):
        super().__init__()
        self.A, self.B = zero(7, 2), factor(2, 5)


class Factors(nn.Module):
    def __init__(self):
        super().__init__()
        self.A, self.B, self.alpha, self.rank = factor(7, 2), zero(2, 5), 8, 2

    def forward(self, x):
        return self.alpha / self.rank * (x @ self.A @ self.B)


class SideBySide(nn.Module):
    """A layer that holds a Linear and a module of factors."""

    def __init__(self):
        super().__init__()
        self.linear, self.lora = nn.Linear(7, 5), Factors()

    def forward(self, x):
        return self.linear(x) + self.lora(x)


class OfLinears(nn.Module):
    """The factors are two layers."""

    def __init__(self):
        super().__init__()
        self.orig, self.alpha = nn.Linear(7, 5), 4
        self.lora_down, self.lora_up = nn.Linear(7, 2, bias=False), nn.Linear(2, 5, bias=False)
        nn.init.zeros_(self.lora_up.weight)

    def forward(self, x):
        return self.orig(x) + self.lora_up(self.lora_down(x)) * (self.alpha / 2)


class Inherits(nn.Linear):
    """A subclass of Linear that carries its factors, with dropout as a layer, and merges with a flag."""

    def __init__(self):
        super().__init__(7, 5)
        self.lora_a, self.lora_b = factor(2, 7), zero(5, 2)
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

    def __init__(self):
        super().__init__()
        self.lora_A, self.lora_B, self.scale, self.enabled = factor(2, 7), zero(5, 2), 1 / 2, True

    def forward(self, weight):
        return weight + self.scale * (self.lora_B @ self.lora_A) if self.enabled else weight


def parametrized(times: int = 1):
    layer = nn.Linear(7, 5)
    for _ in range(times):
        parametrize.register_parametrization(layer, "weight", Parametrization())
    return layer


LAYERS = (S1Style, FlippedZero, SideBySide, OfLinears, Inherits, parametrized)
