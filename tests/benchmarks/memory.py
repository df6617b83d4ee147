"""Peak memory of a training run, each contestant in a process of its own: python tests/benchmarks/memory.py

Eight Linear(2048, 2048), 1024 tokens, float32, Adam, five steps; five processes each, in turns; medians of the peak
resident memory above that of a process which only imports the same packages. Writes memory.json beside this file.
"""

import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path

OUT = Path(__file__).with_suffix(".json")
LAYERS, D, TOKENS, R, ALPHA, RUNS = 8, 2048, 1024, 8, 16.0, 5
VARIANTS = ("import only", "inference", "full", "seeds' form", "LoRALinear", "PEFT", "loralib", "minLoRA's form")


def one_run(variant: str) -> float:
    """Peak resident memory of this process in MB after the run."""
    import warnings

    import loralib  # noqa: F401  every process imports the same
    import peft  # noqa: F401
    import torch
    from layer_step import SeedsForm, loralib_layer, minlora, peft_layer
    from torch import nn

    from lora_lab import LoRALinear

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if variant != "import only":
        torch.manual_seed(0)
        made = {"full": lambda b: b, "inference": lambda b: b.requires_grad_(False)}
        lora = {
            "LoRALinear": LoRALinear,
            "PEFT": peft_layer,
            "loralib": loralib_layer,
            "seeds' form": SeedsForm,
            "minLoRA's form": minlora,
        }
        build = made.get(variant) or (lambda b: lora[variant](b, R, ALPHA))
        model = nn.Sequential(*[build(nn.Linear(D, D)) for _ in range(LAYERS)])
        x, y = torch.randn(TOKENS, D), torch.randn(TOKENS, D)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trained) if trained else None
        for _ in range(5):
            with torch.set_grad_enabled(bool(trained)):
                loss = nn.functional.mse_loss(model(x), y)
            if optimizer:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3) * (1 if sys.platform == "darwin" else 1.024)


def arithmetic() -> dict[str, dict[str, float]]:
    """MB that must exist at once, counted: weights, gradients, Adam's moments, inputs kept for the backward pass."""
    mb = 4 / 1e6
    weights, lora = LAYERS * (D * D + D), LAYERS * 2 * D * R
    kept = LAYERS * TOKENS * D  # the input of each layer; full fine-tuning needs all of them, LoRA as well (for A)
    return {
        "full": {"weights": weights * mb,
                 "gradients": weights * mb, "Adam": 2 * weights * mb, "activations": kept * mb},
        "LoRA": {"weights": (weights + lora) * mb, "gradients": lora * mb, "Adam": 2 * lora * mb,
                 "activations": (kept + LAYERS * TOKENS * R) * mb},
    }  # fmt: skip


def main() -> None:
    if len(sys.argv) > 1:
        print(one_run(sys.argv[1]))
        return
    from layer_step import machine

    peaks: dict[str, list[float]] = {v: [] for v in VARIANTS}
    for _ in range(RUNS):
        for v in VARIANTS:
            run = subprocess.run([sys.executable, __file__, v], capture_output=True, text=True, check=True)
            peaks[v].append(float(run.stdout.split()[-1]))
            print(v, round(peaks[v][-1]), file=sys.stderr, flush=True)
    floor = statistics.median(peaks.pop("import only"))
    rows = {
        v: {"median_mb": round(statistics.median(p) - floor), "runs_mb": [round(q - floor) for q in p]}
        for v, p in peaks.items()
    }
    counted = {
        k: {n: round(v, 1) for n, v in parts.items()} | {"total": round(sum(parts.values()), 1)}
        for k, parts in arithmetic().items()
    }
    record = {
        "command": "python tests/benchmarks/memory.py",
        "machine": machine(),
        "import_only_mb": round(floor),
        "what": f"{LAYERS} x Linear({D}, {D}), {TOKENS} tokens, r = {R}, float32, Adam, 5 steps, {RUNS} processes each",
        "peak_above_import": rows,
        "counted_mb": counted,
    }
    OUT.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
