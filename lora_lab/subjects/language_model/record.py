"""The language model adapted in thirteen ways to three dialects, as `make_record` has run it."""

from functools import cache
from pathlib import Path
from statistics import median
from types import SimpleNamespace

from lora_lab.subjects.records import read_lines
from lora_lab.subjects.tables import Table

RECORD = Path(__file__).with_name("record.jsonl")


class Run(SimpleNamespace):
    """One way to adapt to one dialect; in excess and allowed a number for each of five seeds.

    way: "before" is the base itself. rate: the learning rate, the best of a sweep. trainable: how many numbers train.
    excess: nats per word above the dialect's own loss. allowed: the share of 200 sentences written afterwards that the
    dialect could have written (for the base and "LoRA r = 8"; empty for the others). longest_rows, for the swapped
    words and r = 8 in embedding and head only: {layer: of the 12 longest rows of its update, how many belong to a
    swapped word, for each seed}.
    """

    @property
    def median(self) -> float:
        return median(self.excess)

    def below(self, other: "Run") -> bool:
        """Whether this way ends lower than the other on each of the seeds."""
        return all(mine < theirs for mine, theirs in zip(self.excess, other.excess, strict=True))


@cache
def recorded_runs() -> Table:
    """A `Run` for every dialect and way; "before" is the first of each dialect."""
    return Table(Run(**row) for row in read_lines(RECORD))


def find_run(dialect: str, way: object) -> Run:
    """find_run("both", "LoRA r = 8"); a `Way` will do, too. Raises ValueError if there is none."""
    return recorded_runs().where(dialect=dialect, way=str(way))[0]
