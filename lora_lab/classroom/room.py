"""`python -m lora_lab --room`: one line per laptop, for a teacher to collect."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .preflight import Finding

COLUMNS = (
    *("verdict", "machine", "system", "Python", "torch"),
    *("cores", "free memory", "steps/s", "slowest page", "to fix"),
)


def room_line(findings: Sequence[Finding], machine: str | None = None) -> str:
    """The findings in one tab-separated line (a row for a spreadsheet), in the order of `COLUMNS`.

    verdict: READY, LOOK (it runs, with a drawback) or STOP. machine: this computer's name unless another is given.
    """
    value = {f.what: f.value for f in findings}
    stops = [f.what for f in findings if f.level == "stop"]
    warns = [f.what for f in findings if f.level == "warn"]
    speed = re.match(r"\d+", value.get("speed", ""))
    pages = {f.what: _seconds(f.value) for f in findings if "Run All takes about" in f.value}
    slowest = max(pages, key=pages.get) if pages else ""
    row = {
        "verdict": "STOP" if stops else "LOOK" if warns else "READY",
        "machine": platform.node() if machine is None else machine,
        "system": f"{platform.system()} {platform.release()}",
        "Python": ".".join(map(str, sys.version_info[:3])),
        "torch": value.get("torch", "?").split(",")[0],
        "cores": value.get("cores", "?").split(",")[0],
        "free memory": value.get("free memory", "?"),
        "steps/s": speed[0] if speed else "?",
        "slowest page": f"{slowest[:2]} {pages[slowest]:.0f} s" if slowest else "?",
        "to fix": ", ".join(stops + warns) or "nothing",
    }
    return "\t".join(re.sub(r"\s+", " ", row[name]) for name in COLUMNS)


def _seconds(text: str) -> float:
    """'Run All takes about 12 s' or '… 1.6 min' in seconds."""
    m = re.search(r"about ([\d.]+) (s|min)", text)
    return float(m[1]) * (60 if m[2] == "min" else 1) if m else 0.0
