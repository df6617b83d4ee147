"""What importing the course costs beside what it is made of: python tests/benchmarks/imports.py

CPU seconds and peak memory of fresh processes, which take turns; medians of nine rounds. `import lora_lab` loads its
files when they are asked for, so it adds next to nothing to torch. Not Windows.
"""

import resource
import statistics
import subprocess
import sys
import time

TORCH = "import torch, matplotlib.figure, matplotlib.backends.backend_agg"
PROGRAMS = {
    "torch and matplotlib": TORCH,
    "… and import lora_lab": f"{TORCH}; import lora_lab",
    "… and every name of lora_lab": f"{TORCH}; from lora_lab import *; import lora_lab.figures.live",
    "… and an optimizer": f"{TORCH}; torch.optim.SGD([torch.zeros(1)])",
}


def main() -> None:
    from machine import machine, print_head, print_row

    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
    for _ in range(9):
        for name, program in PROGRAMS.items():
            command = [sys.executable, __file__, program]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            seconds, peak = said.split()
            runs[name].append((float(seconds), float(peak)))
    print(machine())
    print_head("", "CPU s", "peak MB")
    for name, found in runs.items():
        seconds = statistics.median(seconds for seconds, _ in found)
        print_row(name, f"{seconds:.2f}", f"{statistics.median(peak for _, peak in found):.0f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        start = time.process_time()
        exec(sys.argv[1])
        print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    else:
        main()
