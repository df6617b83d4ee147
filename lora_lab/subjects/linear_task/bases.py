"""Base models: what is pretrained before LoRA starts. Here the linear layer of S1 and the two linear layers of S2."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lora_lab.training import History, train

from .tasks import LinearTask

PUBLISHED = {"epochs": 100, "lr": 1e-3, "optimizer": "adam", "schedule": "constant"}  # S1's and S2's own recipe


class Pretrained(NamedTuple):
    model: nn.Module
    history: History


class TwoLayer(nn.Module):
    """S2's model: x -> W2 W1 x, no bias and no activation. first: W1 (hidden, d_in), second: W2 (d_out, hidden)."""

    def __init__(self, d_in: int, hidden: int, d_out: int) -> None:
        super().__init__()
        self.first = nn.Linear(d_in, hidden, bias=False)
        self.second = nn.Linear(hidden, d_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))  # (n, d_in) -> (n, hidden) -> (n, d_out)

    def end_to_end(self) -> Tensor:
        """W2 W1 as it acts now, adapters included, (d_out, d_in)."""
        with torch.no_grad():
            return self.second.weight @ self.first.weight


def exact_base(theta: Tensor) -> nn.Linear:
    """A frozen `Linear(d_in, d_out, bias=False)` that holds theta (d_out, d_in) itself: what pretraining aims at."""
    d_out, d_in = theta.shape
    base = nn.utils.skip_init(nn.Linear, d_in, d_out, bias=False, device=theta.device).requires_grad_(False)
    base.weight.copy_(theta)
    return base


def sgd_rate(d_in: int, d_out: int, batch_size: int) -> float:
    """The fastest constant SGD rate for y = Theta x with x ~ N(0, 1), no noise, loss averaged over outputs.

    With step eta * (2 / d_out) on the batch mean, the expected squared error shrinks each step by
    1 - 2 e + e^2 (1 + (d_in + 1) / batch), e = 2 eta / d_out; the minimum over e is at e = batch / (batch + d_in + 1).
    """
    return d_out / 2 * batch_size / (batch_size + d_in + 1)


def linear_base(task: LinearTask, seed: int = 0, **how) -> Pretrained:
    """Pretrain `Linear(d_in, d_out, bias=False)` on the task, as S1 does. how: to `train`, before what follows.

    Plain SGD at the rate theory gives for this data (`sgd_rate`), batch 128, 2 epochs; about 1.5 seconds at S1's size,
    and a loss below the published one. It works because the inputs are white noise; nobody should expect it of a
    language model. S1's own recipe is `**PUBLISHED`: about 100 CPU seconds.
    """
    d_out, d_in = task.theta.shape
    how = {"epochs": 2, "lr": sgd_rate(d_in, d_out, batch_size=128), "optimizer": "sgd", **how}
    return _pretrain(lambda: nn.Linear(d_in, d_out, bias=False), task, seed, how)


def two_layer_base(task: LinearTask, hidden: int, seed: int = 0, **how) -> Pretrained:
    """Pretrain a `TwoLayer(d_in, hidden, d_out)` on the task, as S2 does. how: to `train`, before what follows.

    Adam at 1e-2 falling to zero (cosine) over 30 epochs, batch 128: meant for small twins (about a hundred wide, half a
    second). S2's own recipe is `**PUBLISHED`: about 4 CPU minutes at its size.
    """
    d_out, d_in = task.theta.shape
    how = {"epochs": 30, "lr": 1e-2, "schedule": "cosine", **how}
    return _pretrain(lambda: TwoLayer(d_in, hidden, d_out), task, seed, how)


def _pretrain(build: Callable[[], nn.Module], task: LinearTask, seed: int, how: dict) -> Pretrained:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
    how = {"progress": "pretraining", **how}
    return Pretrained(model, train(model, task.X, task.y, batch_size=128, seed=seed, **how))
