"""One training step of a LoRA layer against its peers: python tests/benchmarks/layer_step.py [--quick]

Forward and backward (with the gradient of the input) of one square linear layer, float32, one thread, without an
optimizer. The contestants take turns inside one run, and a ratio is the median of the ratios of neighbouring turns, so
that a busy moment of the machine hits all alike. Needs peft and loralib beside the course's requirements. Writes
layer_step.json beside this file; README.md holds its tables.
"""

import argparse
import json
import os
import platform
import random
import statistics
import sys
import time
import warnings
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils import parametrize

from lora_lab import LoRALinear

OUT = Path(__file__).with_suffix(".json")
WIDTHS, RANKS, TOKENS = (64, 256, 768, 1024, 2048, 4096), (1, 4, 8, 16, 64), (16, 128, 1024)


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
    """minLoRA's form: W + s * (B @ A), as a parametrization of the weight (with its pass-through dropout of A)."""

    def __init__(self, weight: torch.Tensor, r: int, alpha: float) -> None:
        super().__init__()
        self.lora_A, self.lora_B = (
            nn.Parameter(torch.randn(r, weight.shape[1])),
            nn.Parameter(torch.zeros(weight.shape[0], r)),
        )
        self.scaling = alpha / r

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + torch.matmul(self.lora_B, self.lora_A).view(weight.shape) * self.scaling


def minlora(base: nn.Linear, r: int, alpha: float) -> nn.Linear:
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


def merged(base: nn.Linear, r: int, alpha: float) -> nn.Module:
    layer = LoRALinear(base, r, alpha)
    layer.merge()
    return layer


def contestants(d: int, r: int, s: float) -> dict[str, nn.Module]:
    """All on one and the same frozen weight: where a weight happens to lie in memory is worth 20 % at 16 tokens."""
    frozen = nn.Linear(d, d).requires_grad_(False)

    def linear() -> nn.Linear:
        layer = nn.Linear(d, d)
        layer.weight, layer.bias = frozen.weight, frozen.bias
        return layer

    alpha = s * r
    made = {
        "base": linear(),
        "LoRALinear": LoRALinear(linear(), r, alpha),
        "PEFT": peft_layer(linear(), r, alpha),
        "loralib": loralib_layer(linear(), r, alpha),
        "full": nn.Linear(d, d),
        "seeds' form": SeedsForm(linear(), r, alpha),
        "minLoRA's form": minlora(linear(), r, alpha),
    }
    for name in ("LoRALinear", "PEFT", "loralib", "seeds' form", "minLoRA's form"):
        trained = sum(p.numel() for p in made[name].parameters() if p.requires_grad)
        assert trained == 2 * d * r, f"{name} trains {trained} numbers, not {2 * d * r}"
    return made


def step_of(model: nn.Module, x: torch.Tensor, g: torch.Tensor):
    trained = [p for p in model.parameters() if p.requires_grad]

    def step() -> None:
        x.grad = None
        for p in trained:
            p.grad = None
        model(x).backward(g)

    return step


def take_turns(steps: dict, seconds: float) -> dict[str, list[float]]:
    """Times of each, in turns, in random order; at least 5 rounds, at most 400, about `seconds` in all."""
    for step in steps.values():
        step()
        step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    start = time.perf_counter()
    names = list(steps)
    while len(times[names[-1]]) < 5 or time.perf_counter() - start < seconds and len(times[names[-1]]) < 400:
        random.shuffle(names)  # nobody always comes after the same neighbour
        for name in names:
            before = time.perf_counter()
            steps[name]()
            times[name].append(time.perf_counter() - before)
    return times


def ratio(times: dict[str, list[float]], name: str, to: str) -> float:
    return round(statistics.median(a / b for a, b in zip(times[name], times[to])), 3)


def measure(d: int, r: int, n: int, seconds: float, full: bool = True, s: float = 1.0) -> dict:
    """s = alpha / r. The course's default is alpha = r; at s = 1 LoRALinear has nothing to multiply."""
    torch.manual_seed(0)
    x, g = torch.randn(n, d, requires_grad=True), torch.randn(n, d)
    models = contestants(d, r, s)
    if not full:
        models = {k: m for k, m in models.items() if k in ("base", "LoRALinear", "PEFT", "loralib")}
    times = take_turns({name: step_of(m, x, g) for name, m in models.items()}, seconds)
    peer = min(("PEFT", "loralib"), key=lambda name: statistics.median(times[name]))
    return {
        "d": d, "r": r, "tokens": n, "rounds": len(times["base"]),
        "base_ms": round(1e3 * statistics.median(times["base"]), 4),
        "to_base": {name: ratio(times, name, "base") for name in models},
        "to_fastest_peer": ratio(times, "LoRALinear", peer), "fastest_peer": peer,
    }  # fmt: skip


@torch.no_grad()
def measure_merged(d: int, n: int, seconds: float) -> dict:
    """Inference: the merged layer against a plain Linear, and the unmerged one."""
    torch.manual_seed(0)
    x = torch.randn(n, d)
    base, plain = nn.Linear(d, d), nn.Linear(d, d)
    models = {"base": plain, "merged": merged(base, 8, 16.0), "unmerged": LoRALinear(nn.Linear(d, d), 8, 16.0)}
    times = take_turns({name: lambda m=m: m(x) for name, m in models.items()}, seconds)
    return {"d": d, "tokens": n, "merged": ratio(times, "merged", "base"), "unmerged": ratio(times, "unmerged", "base")}


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def machine() -> dict:
    return {
        "processor": processor(), "cores": os.cpu_count(), "threads_used": torch.get_num_threads(),
        "load_average": [round(v, 1) for v in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(), "system": platform.system(),
        **{p: version(p).split("+")[0] for p in ("torch", "peft", "loralib")}, "date": date.today().isoformat(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a minute, small widths only; writes nothing")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    before, rows, left_out = machine(), [], []
    for d in WIDTHS[:2] if quick else WIDTHS:
        for n in TOKENS:
            for r in RANKS:
                big = d >= 2048 and n == 1024
                if big and r not in (8, 64) or d == 4096 and r in (4, 16):
                    left_out.append([d, r, n])
                    continue
                row = measure(d, r, n, 0.4 if quick else 1.5 if d < 768 else 2.0, full=not (d == 4096 and n == 1024))
                rows.append(row)
                print(json.dumps(row), file=sys.stderr, flush=True)
    inference = [measure_merged(d, n, 1.0) for d in (64, 256, 768, 2048) for n in (16, 128)]
    doubled = [
        measure(d, r, n, 0.4 if quick else 1.0, full=False, s=2.0) for d in WIDTHS[:3] for n in TOKENS for r in (4, 16)
    ]
    record = {
        "command": "python tests/benchmarks/layer_step.py",
        "machine": before,
        "load_after": machine()["load_average"],
        "left_out_d_r_tokens": left_out,
        "scaling": 1.0,
        "training_step": rows,
        "training_step_at_scaling_2": doubled,
        "inference": inference,
    }
    if not quick:
        lines = json.dumps(record, indent=1)
        OUT.write_text(lines + "\n")
    print(json.dumps(inference))


if __name__ == "__main__":
    main()
