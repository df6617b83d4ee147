"""`python -m lora_lab --room`: one line per laptop, for a teacher to collect."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .preflight import Finding

COLUMNS = (
    "verdict", "machine", "system", "Python", "torch", "cores", "free memory", "steps/s", "slowest page", "to fix",
)  # fmt: skip


def room_line(findings: Sequence[Finding], machine: str | None = None) -> str:
    """The findings in one tab-separated line (a row for a spreadsheet), in the order of `COLUMNS`.

    verdict: READY, LOOK (it runs, with a drawback) or STOP. machine: this computer's name unless another is given.
    """
    value = {f.what: f.value for f in findings}
    stops = [f.what for f in findings if f.level == "stop"]
    warns = [f.what for f in findings if f.level == "warn"]
    seconds = {f.what[:2]: seconds_in(f.value) for f in findings if "Run All" in f.value}
    slowest = max(seconds, key=seconds.get, default="?")
    row = (
        "STOP" if stops else "LOOK" if warns else "READY",
        platform.node() if machine is None else machine,
        f"{platform.system()} {platform.release()}",
        platform.python_version(),
        value.get("torch", "?"),
        value.get("cores", "?"),
        value.get("free memory", "?"),
        value.get("speed", "?").split()[0].replace("not", "?"),
        f"{slowest} {seconds[slowest]:.0f} s" if seconds else "?",
        ", ".join(stops + warns) or "nothing",
    )
    return "\t".join(" ".join(field.split()) for field in row)


def seconds_in(text: str) -> float:
    """'Run All takes about 12 s' or '… 1.6 min' in seconds."""
    number, unit = re.search(r"about ([\d.]+) (s|min)", text).groups()
    return float(number) * (60 if unit == "min" else 1)
