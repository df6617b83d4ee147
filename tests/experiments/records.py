"""How an experiment's record is written: json that a person can read, a list of numbers on one line."""

import json
import re
from pathlib import Path

DATA = Path(__file__).parents[2] / "lora_lab" / "data"


def digits(x: float, n: int = 4) -> float:
    """n significant digits; what is below 1e-8 becomes 1e-8, so that a logarithmic axis can draw it."""
    return float(f"{max(x, 1e-8):.{n}g}")


def write_record(name: str, record: dict) -> None:
    text = json.dumps(record, indent=1, ensure_ascii=False)
    text = re.sub(r"\[[^\[\]{}]*\]", lambda m: re.sub(r"\s+", " ", m[0]), text)
    (DATA / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(f"written {name}.json, {len(text)} characters")
