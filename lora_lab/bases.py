"""Base models: what is pretrained before LoRA starts. Here the linear layer of S1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from .tasks import LinearTask
from .theory import sgd_rate
from .training import History, train

RECIPES = ("short", "published")


class Pretrained(NamedTuple):
    model: nn.Linear
    history: History


def linear_base(
    task: LinearTask,
    recipe: str = "short",
    seed: int = 0,
    measure_every: int | None = None,
    progress: str | None = "pretraining",
) -> Pretrained:
    """Pretrain `Linear(d_in, d_out, bias=False)` on the task, as S1 does.

    recipe "published": Adam, learning rate 1e-3, batch 128, 100 epochs; about 100 CPU seconds at S1's size.
    recipe "short": plain SGD at the rate theory gives for this data (`sgd_rate`), batch 128, 2 epochs; about 1.5
    seconds, and a loss below the published one. Same data, same batches, same loss function: only the optimizer
    differs. It works because the inputs are white noise; nobody should expect it of a language model.
    """
    if recipe not in RECIPES:
        raise ValueError(f"recipe={recipe!r}: choose 'short' (2 epochs of SGD) or 'published' (100 epochs of Adam).")
    d_out, d_in = task.theta.shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Linear(d_in, d_out, bias=False)
    if recipe == "published":
        how = {"epochs": 100, "lr": 1e-3, "optimizer": "adam"}
    else:
        how = {"epochs": 2, "lr": sgd_rate(d_in, d_out, batch_size=128), "optimizer": "sgd"}
    how |= {"batch_size": 128, "seed": seed, "measure_every": measure_every, "progress": progress}
    return Pretrained(model, train(model, task.X, task.y, **how))


def recorded_s1_losses() -> dict[int, float]:
    """{epoch: loss} of S1's own 100-epoch recipe as we ran it, from the record that
    `python tests/benchmarks/s1_full_recipe.py` writes."""
    record = json.loads((Path(__file__).parent / "data" / "s1_full_recipe.json").read_text())
    return {int(epoch): loss for epoch, loss in record["loss_after_epoch"].items()}
