"""One training step of a LoRA layer against its peers: python tests/benchmarks/layer_step.py

Forward and backward (with the gradient of the input) of one square linear layer, float32, one thread, without an
optimizer. The contestants take turns inside one run, and a ratio is the median of the ratios of neighbouring turns, so
that a busy moment of the machine hits all alike. Needs peft and loralib. Prints the tables of README.md.
"""

import random
import statistics
import time
import warnings
from functools import partial

import torch
from machine import machine, print_head, print_row
from torch import nn
from torch.nn.utils import parametrize

from lora_lab import LoRALinear

WIDTHS, RANKS, TOKENS = (64, 256, 768, 1024, 2048, 4096), (1, 4, 8, 16, 64), (16, 128, 1024)
PEERS = ("PEFT", "loralib")


class SeedsForm(nn.Module):
    """S1's form: the whole update is formed and multiplied at every step."""

    def __init__(self, base: nn.Linear, r: int, alpha: float) -> None:
        super().__init__()
        self.base, self.scaling = base.requires_grad_(False), alpha / r
        self.A = nn.Parameter(torch.randn(base.in_features, r))
        self.B = nn.Parameter(torch.zeros(r, base.out_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + x @ (self.scaling * (self.A @ self.B))


class MinLoRAsUpdate(nn.Module):
    """minLoRA's form: W + s * (B @ A), as a parametrization of the weight."""

    def __init__(self, weight: torch.Tensor, r: int, alpha: float) -> None:
        super().__init__()
        self.lora_A = nn.Parameter(torch.randn(r, weight.shape[1]))
        self.lora_B = nn.Parameter(torch.zeros(weight.shape[0], r))
        self.scaling = alpha / r

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + torch.matmul(self.lora_B, self.lora_A).view(weight.shape) * self.scaling


def minlora_layer(base: nn.Linear, r: int, alpha: float) -> nn.Linear:
    parametrize.register_parametrization(base.requires_grad_(False), "weight", MinLoRAsUpdate(base.weight, r, alpha))
    return base


def peft_layer(base: nn.Linear, r: int, alpha: float) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=r, lora_alpha=alpha, target_modules=["0"])
    return get_peft_model(nn.Sequential(base), config).base_model.model[0]  # the layer alone, without PEFT's wrappers


def loralib_layer(base: nn.Linear, r: int, alpha: float) -> nn.Module:
    import loralib

    layer = loralib.Linear(base.in_features, base.out_features, r=r, lora_alpha=alpha)
    layer.weight, layer.bias = base.requires_grad_(False).weight, base.bias
    return layer


WAYS = {"LoRALinear": LoRALinear, "PEFT": peft_layer, "loralib": loralib_layer, "seeds' form": SeedsForm,
        "minLoRA's form": minlora_layer}  # fmt: skip


def contestants(d: int, r: int, alpha: float) -> dict[str, nn.Module]:
    """All on one and the same frozen weight: where a weight happens to lie in memory is worth 20 % at 16 tokens."""
    frozen = nn.Linear(d, d).requires_grad_(False)

    def linear() -> nn.Linear:
        layer = nn.Linear(d, d)
        layer.weight, layer.bias = frozen.weight, frozen.bias
        return layer

    models = {"base": frozen, "full": nn.Linear(d, d)}
    for name, build in WAYS.items():
        models[name] = build(linear(), r, alpha)
        trained = sum(p.numel() for p in models[name].parameters() if p.requires_grad)
        assert trained == 2 * d * r, f"{name} trains {trained} numbers, not {2 * d * r}"
    return models


def step_of(model: nn.Module, x: torch.Tensor, g: torch.Tensor):
    trained = [p for p in model.parameters() if p.requires_grad]

    def step() -> None:
        x.grad = None
        for p in trained:
            p.grad = None
        model(x).backward(g)

    return step


def take_turns(steps: dict, seconds: float) -> dict[str, list[float]]:
    """Times of each, in turns, in random order: at least 15 rounds, about `seconds` in all."""
    for step in steps.values():
        step()
        step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    names, start, rounds = list(steps), time.perf_counter(), 0
    while rounds < 15 or time.perf_counter() - start < seconds:
        rounds += 1
        random.shuffle(names)  # nobody always comes after the same neighbour
        for name in names:
            before = time.perf_counter()
            steps[name]()
            times[name].append(time.perf_counter() - before)
    return times


def ratio(times: dict[str, list[float]], name: str, to: str) -> float:
    return statistics.median(a / b for a, b in zip(times[name], times[to]))


def measure(d: int, r: int, tokens: int, s: float = 1.0) -> dict[str, float]:
    """The steps' times over the frozen base's, and LoRALinear's over its faster peer's. s = alpha / r."""
    torch.manual_seed(0)
    x, g = torch.randn(tokens, d, requires_grad=True), torch.randn(tokens, d)
    steps = {name: step_of(model, x, g) for name, model in contestants(d, r, s * r).items()}
    times = take_turns(steps, 1.5)
    peer = min(PEERS, key=lambda name: statistics.median(times[name]))
    found = {name: ratio(times, name, "base") for name in times}
    return {**found, "over the faster peer": ratio(times, "LoRALinear", peer), "tokens": tokens}


@torch.no_grad()
def print_inference() -> None:
    """Inference: the merged layer and the unmerged one over a plain Linear."""
    print_head("d", "merged", "unmerged")
    for d in WIDTHS:
        x = torch.randn(128, d)
        merged, unmerged = (LoRALinear(nn.Linear(d, d), 8, 16.0) for _ in range(2))
        merged.merge()
        models = {"base": nn.Linear(d, d), "merged": merged, "unmerged": unmerged}
        times = take_turns({name: partial(model, x) for name, model in models.items()}, 1.0)
        print_row(d, *[f"{ratio(times, name, 'base'):.2f}" for name in ("merged", "unmerged")])


def mean(ratios: list[float]) -> str:
    return f"{statistics.geometric_mean(ratios):.2f}"


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(machine())
    names = [*WAYS, "full"]
    print("Over the frozen base; and LoRALinear over the faster of PEFT and loralib, by tokens, and at alpha = 2 r")
    print_head("d", *names, *[f"{tokens} tokens" for tokens in TOKENS], "mean", "s = 2")
    for d in WIDTHS:
        ranks = RANKS if d < 2048 else (8, 64)
        rows = [measure(d, r, tokens) for r in ranks for tokens in TOKENS]
        doubled = [measure(d, 8, tokens, s=2.0)["over the faster peer"] for tokens in TOKENS]
        cells = [mean([row[name] for row in rows]) for name in names]
        for tokens in TOKENS:
            cells.append(mean([row["over the faster peer"] for row in rows if row["tokens"] == tokens]))
        print_row(d, *cells, mean([row["over the faster peer"] for row in rows]), mean(doubled))
    print_inference()


if __name__ == "__main__":
    main()
