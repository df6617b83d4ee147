"""The line that says where and when a result was made: no host names, no paths."""

import os
import platform
from datetime import date
from pathlib import Path

import torch


def machine() -> str:
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.split(":", 1)[1].strip()
    load = f"load average {os.getloadavg()[0]:.1f}, " if hasattr(os, "getloadavg") else ""
    versions = f"torch {torch.__version__.split('+')[0]}, Python {platform.python_version()}"
    return f"{processor}, {os.cpu_count()} cores, {load}{versions}; {date.today().isoformat()}"


def print_row(*cells: object) -> None:
    """One row of a Markdown table."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def print_head(*cells: object) -> None:
    print_row(*cells)
    print_row(*["---"] * len(cells))
