"""Page 05: merging into few bits, and two ways to merge several adapters that are not their sum."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lora_lab.subjects.successors.variants import from_nf4, to_nf4

ROUNDED = {  # how a weight is stored: its float32 numbers as they come back
    "float32": lambda W: W,
    "bfloat16": lambda W: W.bfloat16().float(),
    "float16": lambda W: W.half().float(),
    "NF4": lambda W: from_nf4(*to_nf4(W), W.shape),  # as QLoRA keeps its base
}


class Arrival(NamedTuple):
    """What became of an update. unchanged: the share of weights that are what they were. share: of ΔW that the weights
    took in (its projection on ΔW). error: ‖what changed - ΔW‖ / ‖ΔW‖.
    """

    unchanged: float
    share: float
    error: float


def merged_into(W: Tensor, delta: Tensor, ratio: float, stored_in: str) -> Arrival:
    """Merge delta, scaled to ratio = ‖delta‖ / ‖W‖, into a W that is stored in a format (a key of ROUNDED).

    The sum is formed in float32 and rounded once.
    """
    rounded = ROUNDED[stored_in]
    stored = rounded(W)
    wanted = delta * (ratio * stored.norm() / delta.norm())
    change = (rounded(stored + wanted) - stored).double()
    share = (change * wanted).sum() / wanted.double().square().sum()
    error = (change - wanted).norm() / wanted.norm()
    return Arrival(float((change == 0).float().mean()), float(share), float(error))


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
