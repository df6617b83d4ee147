"""A recorded experiment is a readable file beside its subject, written by the subject's `make_record`: one JSON object,
or a line of JSON for each run as soon as it ends, so that the command can be stopped and started again."""

import json
import re
import time
from collections.abc import Callable, Sequence
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


def read_lines(file: Path) -> list[dict]:
    """The runs in a file of JSON lines; none where there is no file yet."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []


def kept(file: Path, key: dict, measure: Callable[[], dict]) -> dict:
    """The line of the file with this key; where there is none, what measure() returns becomes one."""
    for row in read_lines(file):
        if key.items() <= row.items():
            return row
    start = time.perf_counter()
    row = key | measure()
    text = json.dumps(row | {"seconds": round(time.perf_counter() - start, 1)}, ensure_ascii=False)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(text + "\n")
    print(text, flush=True)
    return json.loads(text)


def climb(rates: Sequence[float], guess: float, loss_at: Callable[[float], float]) -> float:
    """Climb along the rates from the guess to one whose neighbours are worse; a loss that is NaN is worst."""
    best = rates.index(guess)
    while True:
        losses = {i: loss_at(rates[i]) for i in (best, best - 1, best + 1) if 0 <= i < len(rates)}
        winner = min(losses, key=lambda i: losses[i] if losses[i] == losses[i] else float("inf"))
        if winner == best:
            return rates[best]
        best = winner


def place(way: str) -> tuple[str | None, int | None]:
    """Where and rank of a way to fine-tune: "q,v r=8" -> ("q,v", 8); (None, None) for a way that is not LoRA."""
    where, is_lora, rank = way.partition(" r=")
    return (where, int(rank)) if is_lora else (None, None)
