"""What torch's threads cost, idle and busy: python tests/benchmarks/threads.py

Milliseconds per training step (factored LoRA, Adam, 128 rows) with one thread, with torch's default number, and with
the default number and OMP_WAIT_POLICY=passive (threads that sleep instead of spinning); once alone and once beside
as many busy single-threaded processes as there are cores. Each measurement is a process of its own, because torch
reads these settings when it starts. This is why the pages use one thread (lora_lab.begin). Writes threads.json.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from machine import describe

WORKER = """
import statistics, sys
import torch
from lora_lab.timing import lora_steps, race
width = int(sys.argv[1])
if sys.argv[2] == "1":
    torch.set_num_threads(1)
steps = lora_steps(d_out=width, d_in=width + 1, batch=128, ranks=(1,))
print(1000 * race({"step": steps["r = 1, factored"]}, rounds=40)["step"])
"""
BUSY = "while True: sum(i * i for i in range(10000))"
SETTINGS = {"one thread": ("1", {}), "default": ("0", {}), "default, passive": ("0", {"OMP_WAIT_POLICY": "passive"})}


def measure(width: int, threads: str, env: dict[str, str]) -> float:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "MKL_"))}
    command = [sys.executable, "-c", WORKER, str(width), threads]
    return float(subprocess.run(command, env=clean | env, check=True, capture_output=True, text=True).stdout)


def table(repeats: int = 1) -> dict[str, dict[str, float]]:
    rows: dict[str, dict[str, list[float]]] = {}
    for _ in range(repeats):
        for width in (64, 256, 1000):
            for name, (threads, env) in SETTINGS.items():
                rows.setdefault(f"{width} wide", {}).setdefault(name, []).append(measure(width, threads, env))
    return {size: {name: round(statistics.median(t), 2) for name, t in row.items()} for size, row in rows.items()}


if __name__ == "__main__":
    record: dict[str, object] = {"machine": describe(), "unit": "ms per step, median of 40"}
    record["as it is"] = table()
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(os.cpu_count() or 1)]
    try:
        record["beside one busy process per core"] = table()
    finally:
        for process in busy:
            process.kill()
    Path(__file__).with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))
