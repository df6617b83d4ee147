"""Merging into the model's own 4-bit blocks: Q4_1, 32 weights with one scale and one lowest value, both in float16."""

from collections.abc import Mapping

import torch
from torch import Tensor

BLOCK = 32


def to_q4_1(W: Tensor) -> Tensor:
    """W (d_out, d_in) rounded to 16 evenly spaced levels between the lowest and the highest of each 32 neighbours."""
    blocks = W.reshape(-1, BLOCK)
    low, high = blocks.amin(1, keepdim=True), blocks.amax(1, keepdim=True)
    scale = (high - low) / 15
    level = ((blocks - low) / scale.clamp_min(1e-12)).round().clamp(0, 15)
    return (level * scale.half().float() + low.half().float()).reshape(W.shape)


def survives(W: Tensor, delta: Tensor) -> float:
    """The part of ΔW that arrives when W + ΔW is rounded again: ⟨Q(W + ΔW) - W, ΔW⟩ / ‖ΔW‖²; 1 if all of it does."""
    change = to_q4_1(W + delta) - W
    return float((change * delta).sum() / delta.square().sum())


@torch.no_grad()
def merged(bench, deltas: Mapping[str, Tensor]) -> dict:
    """What the bench measures of a model without adapters whose matrices are W + ΔW, rounded again; and of ΔW, on
    average over the matrices, the part that survives and the error ‖Q(W + ΔW) - W - ΔW‖ / ‖ΔW‖.
    """
    layers, parts = dict(bench.chat.model.named_modules()), []
    for name, delta in deltas.items():
        W = bench.start[f"{name}.weight"]
        rounded = to_q4_1(W + delta)
        parts.append((survives(W, delta), float((rounded - W - delta).norm() / delta.norm())))
        layers[name].weight.copy_(rounded)
    found = bench.measured()
    for name in deltas:
        layers[name].weight.copy_(bench.start[f"{name}.weight"])
    arrived, errors = zip(*parts)
    return found | {"survives": round(sum(arrived) / len(parts), 3), "error": round(sum(errors) / len(parts), 3)}
