"""The repairs of the weak digit over five seeds, as recorded by `python -m lora_lab.subjects.digits.make_record`."""

from functools import cache
from pathlib import Path
from statistics import mean
from types import SimpleNamespace
from typing import NamedTuple

from lora_lab.subjects.records import read_lines
from lora_lab.subjects.tables import Table

RECORD = Path(__file__).with_name("record.jsonl")


class Variant(NamedTuple):
    """One way of repairing the weak digit; the defaults are S3's protocol.

    method: "base" (no repair), "LoRA", "full" (all parameters), "from scratch" (370 batches of everything), "bonus"
    (the base, its nine's logit raised by a constant chosen on the training half), "oracle" (the S3 adapter, only on
    images that are nines).
    """

    method: str = "LoRA"
    replay: float = 0.0  # share of other digits in the batches
    nines: str = "all"  # of the training half, or only those "seen" before
    r: int = 1
    alpha: float = 1.0
    layers: str = "all"  # or "first", "second", "last"
    steps: int = 100
    lr: float = 1e-3
    lam: float | str = 1.0  # the update times lam; "chosen" on the training half
    kept: int | None = None  # replay from so many different images of each digit; None: from all


class Result(SimpleNamespace):
    """A line of the record: the settings of its Variant; errors, a row per seed: the wrong test images of each digit;
    chosen: the lam or constant chosen, per seed.
    """

    @property
    def total(self) -> list[int]:
        """Errors on the whole test half, per seed."""
        return [sum(row) for row in self.errors]

    @property
    def mean(self) -> float:
        return mean(self.total)

    def line(self) -> str:
        """Mean and range of all errors, ranges of the nines' and the others', over the seeds."""
        nines, others = [row[9] for row in self.errors], [sum(row[:9]) for row in self.errors]
        total, nines, others = (f"{min(n)}-{max(n)}" for n in (self.total, nines, others))
        return f"{self.mean:4.0f} {f'({total})':9s}  nines {nines:5s}  others {others}"


@cache
def results() -> Table:
    """A `Result` for every recorded variant."""
    return Table(Result(**row) for row in read_lines(RECORD))


def find(method: str = "LoRA", **settings: object) -> Result:
    """The result of a variant, named by what differs from S3's protocol: find(replay=0.5, r=8)."""
    return results().where(**Variant(method, **settings)._asdict())[0]


def along(name: str, method: str = "LoRA", **settings: object) -> dict[float, Result]:
    """{value: result} for every recorded number of one setting, in order, the others held: along("alpha")."""
    held = Variant(method, **settings)._asdict()
    del held[name]
    found = {getattr(result, name): result for result in results().where(**held)}
    numbers = sorted(value for value in found if not isinstance(value, str))
    return {value: found[value] for value in numbers}


def ranking() -> dict[str, Result]:
    """{a repair in words: its result}, the lowest mean first."""
    ways = {
        "all data from the start, 370 batches": find("from scratch"),
        "LoRA, nines only, perfect switch": find("oracle"),
        "LoRA, all data (90 % replay)": find(replay=0.9),
        "LoRA r = 8, all data": find(replay=0.9, r=8),
        "full, all data": find("full", replay=0.9),
        "LoRA, 75 % replay": find(replay=0.75),
        "LoRA, 75 % replay, 9 old nines only": find(replay=0.75, nines="seen"),
        "LoRA, 50 % replay": find(replay=0.5),
        "LoRA, 25 % replay": find(replay=0.25),
        "LoRA, 25 % replay, λ chosen": find(replay=0.25, lam="chosen"),
        "LoRA, 75 % replay, 1 kept of each": find(replay=0.75, kept=1),
        "LoRA, nines only, λ chosen": find(lam="chosen"),
        "LoRA, nines only (S3)": find("LoRA"),
        "full, nines only": find("full"),
        "base, no repair": find("base"),
    }
    return dict(sorted(ways.items(), key=lambda item: item[1].mean))
