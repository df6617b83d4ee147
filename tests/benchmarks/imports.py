"""What importing the course costs beside what it is made of: python tests/benchmarks/imports.py

CPU seconds and resident memory of a fresh process that imports torch and matplotlib, one that imports every file of
lora_lab besides, and one that also makes its first optimizer: torch 2.13 then imports its compiler, compiled or not,
which no page can avoid. The processes take turns. Writes imports.json.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

from machine import describe

PEER = "import torch, matplotlib.figure, matplotlib.backends.backend_agg"
EVERYTHING = "import importlib, lora_lab; [importlib.import_module(f'lora_lab.{n}') for n in lora_lab._SUBMODULES]"
PROGRAMS = {
    "torch and matplotlib": PEER,
    "every file of lora_lab": f"{PEER}; {EVERYTHING}",
    "torch, matplotlib, an optimizer": f"{PEER}; torch.optim.SGD([torch.zeros(1)])",
}
MEASURE = """
import sys, time
start = time.process_time()
exec(sys.argv[1])
seconds = time.process_time() - start
try:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
except ImportError:  # Windows
    peak = 0
print(seconds, peak)
"""


def one(program: str) -> tuple[float, float]:
    said = subprocess.run([sys.executable, "-c", MEASURE, program], check=True, capture_output=True, text=True).stdout
    seconds, peak = map(float, said.split())
    return seconds, peak


if __name__ == "__main__":
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
    for _ in range(9):
        for name, program in PROGRAMS.items():
            runs[name].append(one(program))
    rows = {
        name: {
            "cpu_s": round(statistics.median(s for s, _ in found), 2),
            "peak_mb": round(statistics.median(m for _, m in found)),
        }
        for name, found in runs.items()
    }
    extra = rows["every file of lora_lab"]["cpu_s"] - rows["torch and matplotlib"]["cpu_s"]
    record = {"machine": describe(), "rounds": 9, "programs": rows, "lora_lab_adds_s": round(extra, 2)}
    Path(__file__).with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))
