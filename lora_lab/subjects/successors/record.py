"""What `python -m lora_lab.subjects.successors.make_record` measured, as tables with a row per training run."""

from pathlib import Path

from lora_lab.subjects.records import read_lines
from lora_lab.subjects.tables import Table

RUNS = Path(__file__).with_name("runs.jsonl")
STEPS = list(range(0, 301, 20))  # at which the curves were measured


def _part(name: str) -> Table:
    return Table.of(row for row in read_lines(RUNS) if row["part"] == name)


def runs() -> Table:
    """Every method on the ten bases, at its tuned learning rate: method, lr, seed, loss, trained, curve.

    curve: test loss at STEPS; loss: its last.
    """
    return _part("methods")


def tuning() -> Table:
    """The search for each method's learning rate, on three other bases: method, lr, seed, loss at the end."""
    return _part("tuning")


def ranks() -> Table:
    """LoRA and rsLoRA with the learning rate that was tuned at r = 4: method, r, lr, seed, loss at the end."""
    return _part("ranks")
