"""alpha is a learning rate: the settings that page 04 derives give the same run, and the folk rule does not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lora_lab.subjects.linear_task.tasks import linear_task, normal, shift
from lora_lab.subjects.rank_and_alpha.equivalents import adam_equivalent, sgd_equivalent
from lora_lab.sweeps import Run, sweep

EQUIVALENTS = {"adam": adam_equivalent, "sgd": sgd_equivalent}


@pytest.mark.parametrize("s", [0.25, 4.0])
@pytest.mark.parametrize("optimizer", EQUIVALENTS)
def test_alpha_is_a_learning_rate_once_the_start_moves_too(s, optimizer):
    task = linear_task(normal(6, 9, seed=3) + shift("full rank", 6, 9) / 3, 70, seed=4)
    base = nn.Linear(9, 6, bias=False)
    base.weight.data.copy_(normal(6, 9, seed=3))

    def run(alpha: float, lr: float, std: float) -> Run:
        how = {"optimizer": optimizer, "steps": 100, "batch_size": 16, "progress": None}
        return sweep(base, task.X, task.y, r=2, alpha=alpha, lr=lr, std=std, **how).run()

    lr, std = {"adam": 0.01, "sgd": 0.03}[optimizer], 0.3
    same = EQUIVALENTS[optimizer](s, lr, std)
    scaled, plain, folk = run(2 * s, lr, std), run(2.0, same.lr, same.std), run(2.0, s * lr, std)
    assert same.scaling == plain.scaling == 1.0
    torch.testing.assert_close(scaled.losses, plain.losses, rtol=2e-3, atol=1e-6)
    torch.testing.assert_close(scaled.delta, plain.delta, rtol=1e-2, atol=1e-4)
    assert (scaled.losses / folk.losses - 1).abs().max() > 0.02


@pytest.mark.parametrize("values", [(0, 1, 1), (1, -1, 1), (1, 1, math.inf), (True, 1, 1), ("4", 1, 1)], ids=str)
def test_what_is_no_positive_number_is_refused(values):
    for equivalent in EQUIVALENTS.values():
        with pytest.raises(ValueError, match="is not a positive number"):
            equivalent(*values)
