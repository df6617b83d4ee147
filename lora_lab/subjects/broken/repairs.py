"""The programs to mend, as exercises: each is given whole, runs, and is wrong in one line (one of them is right).

    check("11.3", stops_at_twelve)      # the learner's function; judge.py runs it on tasks that the page does not show
    check("11.6", "nothing is wrong")   # is an answer, too

The programs and all that is said about them are in repairs.toml; the exercises' order is the table's.
"""

import copy
import textwrap
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lora_lab.classroom.comparing import has_dots, shown
from lora_lab.classroom.judging import Exercise, NotAttempted

from . import judge
from .programs import replaced

ACQUITTED = "nothing is wrong"
NOTHING_MENDED = ("what it ships is right, and what the given one ships, too: which symptom is gone? If you find no "
                  f'fault, answer "{ACQUITTED}".')
HEAD = "def {}(base, X, y, steps):  # X, y: (256, 35) -> shipped model, losses\n"


def fit(model: nn.Module, X: Tensor, y: Tensor, steps: int) -> list[float]:
    """Train what requires a gradient; the loss before each step."""
    losses = []
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.04)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    for _ in range(steps):
        loss = F.mse_loss(model(X), y)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return losses


def as_function(text: str, name: str) -> Callable:
    """The function that a program's text defines, with the names that the page imports."""
    names = {"torch": torch, "nn": nn, "F": F, "copy": copy, "fit": fit, "__name__": __name__}
    exec(compile(text, f"<{name}>", "exec"), names)
    return names[name]


@dataclass(frozen=True)
class Repair(Exercise):
    """A program to mend. given, mended: its text as the page shows it, and as it should be. The rest: repairs.toml."""

    given: str = ""
    mended: str = ""
    symptom: str = ""
    clue: str = ""
    line: tuple[str, str] = ("", "")
    shipped: tuple[float, ...] = ()
    limit: float = 0.2
    innocent: bool = False

    def stub(self, number: str) -> str:
        return f'{self.given}\n\ncheck("{number}", {self.reference.__name__})'

    def solution(self, number: str) -> str:
        name = self.reference.__name__
        verdict = f'{name} = "{ACQUITTED}"' if self.innocent else self.mended
        return f'{verdict}\n\ncheck("{number}", {name})'

    def complaint(self, answer: object) -> str:
        """What is still wrong with a learner's program, in a sentence; "" if it is mended. Raises NotAttempted."""
        if has_dots(answer):
            raise NotAttempted
        if isinstance(answer, str) and answer.strip().rstrip(".").lower() == ACQUITTED:
            return "" if self.innocent else judge.still_wrong(self, as_function(self.given, self.reference.__name__))
        if not callable(answer):
            return f'the answer is {shown(answer)}; the function itself is wanted, or the words "{ACQUITTED}".'
        given = as_function(self.given, self.reference.__name__)
        if _same_code(getattr(answer, "__code__", None), given.__code__):
            raise NotAttempted("This is the program as it was given: change its line and run the cell")
        return judge.still_wrong(self, answer) or (NOTHING_MENDED if self.innocent else "")


def _same_code(one: object, other: object) -> bool:
    """Whether two functions are the same but for comments."""
    if not hasattr(one, "co_code") or not hasattr(other, "co_code"):
        return one == other
    alike = (one.co_code, one.co_names, len(one.co_consts)) == (other.co_code, other.co_names, len(other.co_consts))
    return alike and all(_same_code(a, b) for a, b in zip(one.co_consts, other.co_consts))


def _read(row: dict, pieces: dict[str, str]) -> Repair:
    name, broken, correct = (row.pop(key) for key in ("name", "broken", "correct"))
    body = row.pop("text", "{class}\n{linear}").strip()
    for piece, text in pieces.items():
        body = body.replace(f"{{{piece}}}", text.lstrip("\n"))
    body = body.rstrip()
    for part, other in row.pop("changes", []):
        body = replaced(body, part, other)
    given = HEAD.format(name) + textwrap.indent(body, "    ")
    mended = HEAD.format(name) + textwrap.indent(replaced(body, broken, correct), "    ")
    return Repair(as_function(mended, name), given=given, mended=mended, line=(broken, correct), **row)


_table = tomllib.loads(Path(__file__).with_name("repairs.toml").read_text(encoding="utf-8"))
REPAIRS = {row["name"]: _read(dict(row), _table["pieces"]) for row in _table["repair"]}
