"""Races between ways to compute the same training step: interleaved, and medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

from lora_lab.layers import LoRALinear, LoRAParametrization


def lora_steps(d_out: int, d_in: int, batch: int, ranks: Sequence[int]) -> dict[str, Callable[[], None]]:
    """{name: one training step (forward, backward, Adam)} for full fine-tuning, a parametrization with r = 1, which
    forms BA at every step as S1's code does, and the factored form at each rank."""

    def linear() -> nn.Linear:
        return nn.Linear(d_in, d_out, bias=False)

    def step_of(model: nn.Module) -> Callable[[], None]:
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            F.mse_loss(model(x), y).backward()
            optimizer.step()

        return step

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        x, y = torch.randn(batch, d_in), torch.randn(batch, d_out)
        formed = linear().requires_grad_(False)
        parametrize.register_parametrization(formed, "weight", LoRAParametrization(formed.weight, 1, 1.0))
        models = {"full fine-tuning": linear(), "r = 1, BA materialised": formed}
        models |= {f"r = {r}, factored": LoRALinear(linear(), r, float(r)) for r in ranks}
        return {name: step_of(model) for name, model in models.items()}


def race(steps: Mapping[str, Callable[[], None]], rounds: int = 9) -> dict[str, float]:
    """Median seconds of each step. The contestants take turns, so that a busy moment of the machine hits all alike."""
    for step in steps.values():
        step()  # warm up: the first step allocates
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}
