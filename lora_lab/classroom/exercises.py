"""The exercises of all pages: `check`, `hint`, `solution`, and a file of the learner's own that keeps the progress."""

from __future__ import annotations

import html
import json
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .claims import say
from .pages import PAGES, find_page, open_subject
from .predictions import voted

if TYPE_CHECKING:
    from .judging import Exercise

MARKS = {"right": "✓", "wrong": "✗", "open": "○"}
_hints_given: dict[str, int] = {}


def _of_page(page: str) -> tuple[Exercise, ...]:
    part = open_subject(find_page(page).subject, "exercises")
    return part.EXERCISES if part else ()


def all_numbers() -> list[str]:
    """Every exercise of the course, in order: ["0.1", "0.2", ...]."""
    return [e.number for page in PAGES for e in _of_page(page.number)]


def find(number: str) -> Exercise:
    """The exercise of that number. Raises ValueError that names those there are."""
    m = re.fullmatch(r"(\d{1,2})\.(\d{1,2})", str(number))
    page = f"{int(m[1]):02d}" if m else ""
    there = _of_page(page) if m and int(m[1]) < len(PAGES) else ()
    for exercise in there:
        if exercise.number == str(number):
            return exercise
    listed = ", ".join(e.number for e in there) if there else "one of " + ", ".join(all_numbers())
    raise ValueError(f"there is no exercise {number!r}; {'this page has' if there else 'the course has'} {listed}.")


def check(number: str, answer: object = ...) -> None:
    """Say whether `answer` solves the exercise, and if not, what is wrong with it. Prints one line, never raises.

    An answer that still holds a `...` counts as not attempted. Functions are called on a few small cases, for at most
    ten seconds. What is solved is kept for `progress`.
    """
    try:
        exercise = find(number)
    except ValueError as e:
        say(f"check: {e}")
        return
    from .judging import examine

    verdict, sentence = examine(exercise, answer)
    say(f"{MARKS[verdict]} Exercise {number}: {sentence}")
    if verdict != "open":
        keep(exercise.number, verdict)


def hint(number: str) -> None:
    """Print the first hint; called again, the second."""
    try:
        exercise = find(number)
    except ValueError as e:
        say(f"hint: {e}")
        return
    i = min(_hints_given.get(number, 0), len(exercise.hints) - 1)
    _hints_given[number] = i + 1
    more = "" if i + 1 == len(exercise.hints) else f' (lora_lab.hint("{number}") again for the next one)'
    say(f"Hint {i + 1} of {len(exercise.hints)} for exercise {number}: {exercise.hints[i]}{more}")


class Solution:
    """A solution: folded away in Jupyter, plain text elsewhere."""

    def __init__(self, exercise: Exercise) -> None:
        self.exercise = exercise

    def __repr__(self) -> str:
        return f"Exercise {self.exercise.number}, a solution:\n\n{self.exercise.solution}"

    def _repr_html_(self) -> str:
        code = html.escape(self.exercise.solution)
        head = f"Exercise {self.exercise.number}: show a solution"
        return f"<details><summary>{head}</summary><pre>{code}</pre></details>"


def solution(number: str) -> Solution | None:
    """A solution of the exercise, folded: click to see it."""
    try:
        return Solution(find(number))
    except ValueError as e:
        say(f"solution: {e}")


# ------------------------------------------------------------------------------------------------------ progress


def progress_file() -> Path:
    """Where progress is kept: LORA_LAB_PROGRESS if it is set, otherwise a file in the home directory."""
    chosen = os.environ.get("LORA_LAB_PROGRESS")
    return Path(chosen) if chosen else Path.home() / ".lora_lab_progress.json"


def read_progress() -> dict[str, str]:
    """{number: "right" or "wrong"}. A file that cannot be read counts as empty."""
    try:
        kept = json.loads(progress_file().read_text(encoding="utf-8"))
        return {str(k): v for k, v in kept.items() if v in ("right", "wrong")}
    except (OSError, ValueError, AttributeError, RuntimeError):
        return {}


def keep(number: str, verdict: str) -> None:
    """Note a verdict. What was right once stays right. A file that is not ours is never overwritten; nothing is
    written where that is not allowed, and the page goes on."""
    try:
        path = progress_file()
        if path.exists() and not read_progress() and path.read_text(encoding="utf-8").strip() not in ("", "{}"):
            return  # damaged, or somebody else's file
        kept = read_progress()
        if kept.get(number) == "right" or kept.get(number) == verdict:
            return
        kept[number] = verdict
        text = json.dumps(dict(sorted(kept.items(), key=lambda item: [int(x) for x in item[0].split(".")])), indent=1)
        fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as f:
                f.write(text)
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except (OSError, ValueError, RuntimeError):
        return


def progress() -> None:
    """Print what has been solved, page by page."""
    kept, numbers = read_progress(), all_numbers()
    for page in PAGES:
        marks = [f"{n} {MARKS[kept.get(n, 'open')]}" for n in numbers if n.split(".")[0] == str(int(page))]
        say(f"page {page}:  " + "   ".join(marks))
    say(f"{sum(kept.get(n) == 'right' for n in numbers)} of {len(numbers)} solved")
    if made := voted():
        say(f"predictions made in this session: {', '.join(made)}")
