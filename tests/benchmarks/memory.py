"""Peak memory of a training run, each contestant in a process of its own: python tests/benchmarks/memory.py

Eight Linear(2048, 2048), 1024 tokens, r = 8, float32, Adam, five steps; five processes each, in turns; medians of the
peak resident memory above that of a process which only imports the same packages. Needs peft and loralib. Not Windows.
"""

import resource
import statistics
import subprocess
import sys

LAYERS, D, TOKENS, R, ALPHA, RUNS = 8, 2048, 1024, 8, 16.0, 5
VARIANTS = ("import only", "inference", "full", "LoRALinear", "PEFT", "loralib", "seeds' form", "minLoRA's form")


def peak_of(variant: str) -> float:
    """Peak resident memory of this process in MB after the run."""
    import loralib  # noqa: F401  every process imports the same
    import peft  # noqa: F401
    import torch
    from layer_step import WAYS
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    if variant != "import only":
        layers = []
        for _ in range(LAYERS):
            layer = nn.Linear(D, D).requires_grad_(variant == "full")
            layers.append(WAYS[variant](layer, R, ALPHA) if variant in WAYS else layer)
        model = nn.Sequential(*layers)
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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB; bytes on a Mac
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def main() -> None:
    from machine import machine, print_head, print_row

    peaks: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(RUNS):
        for variant in VARIANTS:
            run = subprocess.run([sys.executable, __file__, variant], capture_output=True, text=True, check=True)
            peaks[variant].append(float(run.stdout.split()[-1]))
    floor = statistics.median(peaks.pop("import only"))
    full = statistics.median(peaks["full"]) - floor
    print(machine())
    print_head("MB above the imports", "median", "of full", "runs")
    for variant, runs in peaks.items():
        above = statistics.median(runs) - floor
        print_row(variant, f"{above:.0f}", f"{above / full:.2f}", ", ".join(f"{run - floor:.0f}" for run in runs))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(peak_of(sys.argv[1]))
    else:
        main()
