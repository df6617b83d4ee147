"""A recorded experiment is one readable JSON file beside its subject, written by the subject's `make_record`."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import torch

SUBJECTS = Path(__file__).parent


def significant(x: float, n: int = 4) -> float:
    """n significant digits; what is below 1e-8 becomes 1e-8, so that a logarithmic axis can draw it."""
    return float(f"{max(x, 1e-8):.{n}g}")


def record_file(subject: str, name: str = "record") -> Path:
    return SUBJECTS / subject / f"{name}.json"


def read_record(subject: str, name: str = "record") -> dict:
    """What `python -m lora_lab.subjects.<subject>.make_<name>` has written."""
    return json.loads(record_file(subject, name).read_text(encoding="utf-8"))


def write_record(record: dict, subject: str, name: str = "record") -> None:
    """Write it with the command that makes it, torch's version and the date, a list of numbers on one line."""
    command = f"python -m lora_lab.subjects.{subject}.make_{name}"
    version = torch.__version__.split("+")[0]
    record = {"command": command, **record, "torch": version, "date": date.today().isoformat()}
    text = json.dumps(record, indent=1, ensure_ascii=False)
    text = re.sub(r"\[[^\[\]{}]*\]", lambda m: re.sub(r"\s+", " ", m[0]), text)
    record_file(subject, name).write_text(text + "\n", encoding="utf-8")
    print(f"written {subject}/{name}.json, {len(text):,} characters")
