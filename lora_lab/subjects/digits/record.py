"""The digit experiments over five seeds, as recorded by `python -m lora_lab.subjects.digits.make_record`.

A variant is one way of repairing the weak digit; its result holds the errors per digit on the test half, a row a seed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from statistics import mean

FILE = Path(__file__).with_name("record.json")


@dataclass(frozen=True)
class Variant:
    """Settings of one repair; the defaults are S3's protocol.

    method: "base" (no repair), "LoRA", "full" (all parameters), "from scratch" (370 batches of everything), "bonus" (
    the base, its nine's logit raised by a constant chosen on the training half), and three that use the S3 adapter:
    "gate" (only where the base has nine among its first two guesses), "handicap" (its nine's logit lowered by a
    constant chosen on the training half), "oracle" (only on images that are nines).
    replay: share of other digits in the 100 batches. nines: "all" of the training half, or only those "seen" before.
    kept: replay from so many different images of each digit; None for the whole training half.
    layers: "all", "first", "second" or "last". lam: the update times lam; "chosen" means chosen on the training half.
    """

    method: str = "LoRA"
    replay: float = 0.0
    nines: str = "all"
    r: int = 1
    alpha: float = 1.0
    layers: str = "all"
    steps: int = 100
    lr: float = 1e-3
    lam: float | str = 1.0
    kept: int | None = None


@dataclass(frozen=True)
class Result:
    """errors: a row per seed, ten numbers each. chosen: the lam or handicap chosen, per seed."""

    variant: Variant
    errors: tuple[tuple[int, ...], ...]
    chosen: tuple[float, ...] = ()

    @property
    def total(self) -> list[int]:
        """Errors on the whole test half, per seed."""
        return [sum(row) for row in self.errors]

    @property
    def nines(self) -> list[int]:
        return [row[9] for row in self.errors]

    @property
    def others(self) -> list[int]:
        return [sum(row[:9]) for row in self.errors]

    @property
    def mean(self) -> float:
        return mean(self.total)

    def line(self) -> str:
        """Mean and range of all errors, ranges of the nines' and the others', over the seeds."""

        def span(values: list[int]) -> str:
            return f"{min(values)}-{max(values)}"

        total = f"({span(self.total)})"
        return f"{self.mean:4.0f} {total:9s}  nines {span(self.nines):5s}  others {span(self.others)}"


@dataclass(frozen=True)
class Inside:
    """One seed's update, layer by layer (first, second, last).

    r90: how many directions hold 90 % of the update's energy. intruders: theory.intruder_dimensions among the ten
    strongest directions. constant: share of the change of the other digits' scores that is the same for every image.
    """

    r90: tuple[int, ...]
    intruders: tuple[int, ...]
    constant: float


@dataclass(frozen=True)
class Record:
    """counts: test images of each digit. settings: how it was made."""

    results: dict[Variant, Result]
    counts: tuple[int, ...]
    seeds: tuple[int, ...]
    settings: dict[str, object]
    insides: dict[Variant, tuple[Inside, ...]]

    def inside(self, method: str = "LoRA", **settings: object) -> tuple[Inside, ...]:
        """What the update looks like, one `Inside` per seed; for S3's data and 75 % replay, LoRA and full."""
        return self.insides[self.find(method, **settings).variant]

    def find(self, method: str = "LoRA", **settings: object) -> Result:
        """The result of a variant, named by what differs from S3's protocol: find(replay=0.5, r=8).

        Raises ValueError, with what is there for that method, if it was not run.
        """
        known = {f.name for f in fields(Variant)}
        if unknown := [name for name in settings if name not in known]:
            raise ValueError(f"{unknown[0]!r} is no setting; there are {', '.join(sorted(known))}.")
        variant = Variant(method, **settings)
        if variant not in self.results:
            there = [describe(v) for v in self.results if v.method == method]
            raise ValueError(f"{describe(variant)} is not recorded; there are: {'; '.join(there) or 'no such method'}.")
        return self.results[variant]

    def along(self, name: str, method: str = "LoRA", **settings: object) -> dict[object, Result]:
        """{value: result} for every recorded value of one setting, the others held: along("alpha")."""
        held = asdict(Variant(method, **settings))
        found = {}
        for variant, result in self.results.items():
            if all(value == held[key] for key, value in asdict(variant).items() if key != name):
                found[getattr(variant, name)] = result
        return dict(sorted((item for item in found.items() if not isinstance(item[0], str)), key=lambda item: item[0]))


def describe(variant: Variant) -> str:
    """"LoRA, replay=0.5, r=8": the method and what differs from S3's protocol."""
    default = Variant(variant.method)
    changed = [f"{k}={v!r}" for k, v in asdict(variant).items() if v != getattr(default, k)]
    return ", ".join([variant.method, *changed])


@cache
def recorded() -> Record:
    """The record that `python -m lora_lab.subjects.digits.make_record` wrote."""
    data = json.loads(FILE.read_text(encoding="utf-8"))
    results = {}
    for row in data["results"]:
        variant = Variant(**row["variant"])
        errors = tuple(tuple(map(int, seed)) for seed in row["errors"])
        results[variant] = Result(variant, errors, tuple(row.get("chosen", ())))
    insides = {
        Variant(**row["variant"]): tuple(
            Inside(tuple(seed["r90"]), tuple(seed["intruders"]), seed["constant"]) for seed in row["seeds"]
        )
        for row in data["inside"]
    }
    return Record(results, tuple(data["counts"]), tuple(data["seeds"]), data["settings"], insides)
