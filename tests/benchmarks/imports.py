"""What importing the course costs beside what it is made of: python tests/benchmarks/imports.py

CPU seconds and resident memory of a fresh process that imports torch and matplotlib; of one that imports lora_lab
besides, which loads its files when they are asked for; of one that imports every file, and one that imports ipywidgets
instead, which is a part of that; and of one that makes its first optimizer: torch 2.13 then imports its compiler,
compiled or not. The processes take turns. Writes imports.json.
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
    "import lora_lab": f"{PEER}; import lora_lab",
    "torch, matplotlib, ipywidgets": f"{PEER}; import ipywidgets",
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
    def beyond(more: str, less: str) -> float:
        return round(rows[more]["cpu_s"] - rows[less]["cpu_s"], 2)

    record = {
        "machine": describe(),
        "rounds": 9,
        "programs": rows,
        "import_lora_lab_adds_s": beyond("import lora_lab", "torch and matplotlib"),
        "every_file_adds_s": beyond("every file of lora_lab", "torch and matplotlib"),
        "of_it_ipywidgets_s": beyond("torch, matplotlib, ipywidgets", "torch and matplotlib"),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))
