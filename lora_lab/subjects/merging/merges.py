"""Page 05: merging into 4 bits, and two ways to merge several adapters that are not their sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lora_lab.subjects.successors.variants import from_nf4, to_nf4


class Arrival(NamedTuple):
    """What became of an update: the share of ΔW that the weights took in (its projection on ΔW), and the error,
    ‖what changed - ΔW‖ / ‖ΔW‖.
    """

    share: float
    error: float


def in_4_bits(W: Tensor) -> Tensor:
    """W rounded to NF4, as QLoRA keeps its base."""
    return from_nf4(*to_nf4(W), W.shape)


def into_4_bits(W: Tensor, delta: Tensor, ratio: float) -> Arrival:
    """Merge delta, scaled to ratio = ‖delta‖ / ‖W‖, into a 4-bit W, and round the result to 4 bits again."""
    stored = in_4_bits(W)
    wanted = delta * (ratio * stored.norm() / delta.norm())
    change = in_4_bits(stored + wanted) - stored
    share = (change * wanted).sum() / wanted.square().sum()
    return Arrival(float(share), float((change - wanted).norm() / wanted.norm()))


def ties(deltas: Sequence[Tensor], keep: float = 0.2) -> Tensor:
    """TIES merging (Yadav et al., arXiv 2306.01708): of each ΔW the `keep` largest entries stay; for each entry the
    sign with the larger sum wins; the mean of those with that sign is the merged one.
    """
    trimmed = []
    for delta in deltas:
        smallest = delta.abs().flatten().kthvalue(max(1, round((1 - keep) * delta.numel()))).values
        trimmed.append(delta * (delta.abs() > smallest))
    stack = torch.stack(trimmed)
    agrees = stack * (stack.sign() == stack.sum(0).sign())
    return agrees.sum(0) / (agrees != 0).sum(0).clamp(min=1)


def dare(deltas: Sequence[Tensor], drop: float = 0.9, seed: int = 0) -> Tensor:
    """DARE (Yu et al., arXiv 2311.03099): of each ΔW drop entries at random, scale the rest by 1 / (1 - drop), add."""
    generator = torch.Generator().manual_seed(seed)
    keeps = [torch.rand(delta.shape, generator=generator, device="cpu") > drop for delta in deltas]
    return sum(delta * kept.to(delta.device) / (1 - drop) for delta, kept in zip(deltas, keeps, strict=True))


def nearest(merged: Tensor, truth: Tensor) -> tuple[float, float]:
    """The λ at which λ merged is nearest to truth, and the error there, ‖λ merged - truth‖ / ‖truth‖."""
    lam = (merged * truth).sum() / merged.square().sum()
    return float(lam), float((lam * merged - truth).norm() / truth.norm())
