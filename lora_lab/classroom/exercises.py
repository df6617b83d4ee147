"""The exercises of all pages: `check`, `hint`, `solution`, and a file of the learner's own that keeps the progress.

How one is written: EXERCISES.md; how it is judged: judging.py. An exercise's number follows from its page's place in
the table of pages and its place in its subject's file.
"""

from __future__ import annotations

import contextlib
import html
import importlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from .claims import say
from .pages import PAGES, SUBJECTS, find_page, goes_on, split_number
from .predictions import all_predictions

if TYPE_CHECKING:
    from .judging import Exercise

MARKS = {"right": "✓", "wrong": "✗", "open": "○"}
_hints_given: dict[str, int] = {}


def of_page(page: str) -> dict[str, Exercise]:
    """{"4.1": exercise, "4.2": ...} of page "04", in the order of its subject's file."""
    subject = find_page(page).subject
    if not (SUBJECTS / subject / "exercises.py").exists():
        return {}
    from .judging import Exercise

    module = importlib.import_module(f"lora_lab.subjects.{subject}.exercises")
    there = [thing for thing in vars(module).values() if isinstance(thing, Exercise)]
    return {f"{int(page)}.{i}": exercise for i, exercise in enumerate(there, start=1)}


def all_exercises() -> dict[str, Exercise]:
    """Every exercise of the course by its number, in order."""
    return {number: exercise for page in PAGES for number, exercise in of_page(page.number).items()}


def find(number: str) -> tuple[str, Exercise]:
    """The number "4.2" (also of "04.2") and its exercise. Raises ValueError that names those there are."""
    page, _ = wanted = split_number(number)
    there = of_page(page) if page in {known.number for known in PAGES} else {}
    for found, exercise in there.items():
        if split_number(found) == wanted:
            return found, exercise
    listed = f"this page has {', '.join(there)}" if there else f"the course has {', '.join(all_exercises())}"
    raise ValueError(f"there is no exercise {number!r}; {listed}.")


@goes_on
def check(number: str, answer: object = ...) -> None:
    """Say whether `answer` solves the exercise, and if not, what is wrong with it. Prints one line, never raises.

    An answer that still holds a `...` counts as not attempted. Functions are called on a few small cases, for at most
    ten seconds of CPU time. What is solved is kept for `progress`.
    """
    from .judging import examine

    number, exercise = find(number)
    verdict, sentence = examine(exercise, answer, number)
    say(f"{MARKS[verdict]} Exercise {number}: {sentence}")
    if verdict != "open":
        keep(exercise.name, verdict)


@goes_on
def hint(number: str) -> None:
    """Print the first hint; called again, the second."""
    number, exercise = find(number)
    i = min(_hints_given.get(exercise.name, 0), len(exercise.hints) - 1)
    _hints_given[exercise.name] = i + 1
    more = "" if i + 1 == len(exercise.hints) else f' (lora_lab.hint("{number}") again for the next one)'
    say(f"Hint {i + 1} of {len(exercise.hints)} for exercise {number}: {exercise.hints[i]}{more}")


class Solution:
    """A solution: folded away in Jupyter, plain text elsewhere."""

    def __init__(self, number: str, code: str) -> None:
        self.number, self.code = number, code

    def __repr__(self) -> str:
        return f"Exercise {self.number}, a solution:\n\n{self.code}"

    def _repr_html_(self) -> str:
        head = f"Exercise {self.number}: show a solution"
        return f"<details><summary>{head}</summary><pre>{html.escape(self.code)}</pre></details>"


@goes_on
def solution(number: str) -> Solution | None:
    """A solution of the exercise, folded: click to see it."""
    number, exercise = find(number)
    return Solution(number, exercise.solution(number))


def progress_file() -> Path:
    """Where progress is kept: LORA_LAB_PROGRESS if it is set, otherwise a file in the home directory."""
    chosen = os.environ.get("LORA_LAB_PROGRESS")
    return Path(chosen) if chosen else Path.home() / ".lora_lab_progress.json"


def read_progress() -> dict[str, str]:
    """{lasting name: "right" or "wrong"}. A file that cannot be read counts as empty."""
    try:
        kept = json.loads(progress_file().read_text(encoding="utf-8"))
        return {name: verdict for name, verdict in kept.items() if verdict in ("right", "wrong")}
    except (OSError, ValueError, AttributeError, RuntimeError):
        return {}


def keep(name: str, verdict: str) -> None:
    """Note a verdict. What was right once stays right. A file that is not ours is never overwritten; nothing is
    written where that is not allowed, and the page goes on."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        path, kept = progress_file(), read_progress()
        if path.exists() and not kept and path.read_text(encoding="utf-8").strip() not in ("", "{}"):
            return  # damaged, or somebody else's file
        if kept.get(name) not in ("right", verdict):
            draft = path.with_name(f"{path.name}.new")
            draft.write_text(json.dumps(dict(sorted({**kept, name: verdict}.items())), indent=1), encoding="utf-8")
            draft.replace(path)


def progress() -> None:
    """Print what has been solved, page by page."""
    kept, solved, total = read_progress(), 0, 0
    for page in PAGES:
        there = of_page(page.number)
        marks = [f"{number} {MARKS[kept.get(exercise.name, 'open')]}" for number, exercise in there.items()]
        if marks:
            say(f"page {page.number}:  " + "   ".join(marks))
        solved += sum(kept.get(exercise.name) == "right" for exercise in there.values())
        total += len(there)
    say(f"{solved} of {total} solved")
    if made := [prediction.number for prediction in all_predictions() if prediction.chosen]:
        say(f"predictions made in this session: {', '.join(made)}")
