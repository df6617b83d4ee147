"""The exercises of all pages: `check`, `hint`, `solution`, and a file of the learner's own that keeps the progress.

How one is written and judged: see judging.py. An exercise's number follows from its page's place in the table of pages
and its place in its subject's file.
"""

from __future__ import annotations

import contextlib
import html
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from .claims import say
from .pages import PAGES, find_page, open_subject
from .predictions import voted

if TYPE_CHECKING:
    from .judging import Exercise

MARKS = {"right": "✓", "wrong": "✗", "open": "○"}
_hints_given: dict[str, int] = {}


def of_page(page: str) -> dict[str, Exercise]:
    """{"4.1": exercise, "4.2": ...} of page "04", in the order of its subject's file."""
    part = open_subject(find_page(page).subject, "exercises")
    if part is None:
        return {}
    from .judging import Exercise

    there = [thing for thing in vars(part).values() if isinstance(thing, Exercise)]
    return {f"{int(page)}.{i}": exercise for i, exercise in enumerate(there, start=1)}


def all_exercises() -> dict[str, Exercise]:
    """Every exercise of the course by its number, in order."""
    return {number: exercise for page in PAGES for number, exercise in of_page(page.number).items()}


def find(number: str) -> tuple[str, Exercise]:
    """The number "4.2" (also of "04.2") and its exercise. Raises ValueError that names those there are."""
    page, _, position = str(number).partition(".")
    try:
        there = of_page(find_page(page).number)
        wanted = f"{int(page)}.{position}"
    except ValueError:
        there, wanted = {}, ""
    if wanted in there:
        return wanted, there[wanted]
    listed = f"this page has {', '.join(there)}" if there else f"the course has {', '.join(all_exercises())}"
    raise ValueError(f"there is no exercise {number!r}; {listed}.")


def check(number: str, answer: object = ...) -> None:
    """Say whether `answer` solves the exercise, and if not, what is wrong with it. Prints one line, never raises.

    An answer that still holds a `...` counts as not attempted. Functions are called on a few small cases, for at most
    ten seconds. What is solved is kept for `progress`.
    """
    try:
        number, exercise = find(number)
    except ValueError as e:
        say(f"check: {e}")
        return
    from .judging import examine

    verdict, sentence = examine(exercise, answer, number)
    say(f"{MARKS[verdict]} Exercise {number}: {sentence}")
    if verdict != "open":
        keep(exercise.name, verdict)


def hint(number: str) -> None:
    """Print the first hint; called again, the second."""
    try:
        number, exercise = find(number)
    except ValueError as e:
        say(f"hint: {e}")
        return
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


def solution(number: str) -> Solution | None:
    """A solution of the exercise, folded: click to see it."""
    try:
        number, exercise = find(number)
    except ValueError as e:
        say(f"solution: {e}")
        return None
    return Solution(number, exercise.solution(number))


# ------------------------------------------------------------------------------------------------------ progress

# The first edition kept progress by number; page by page, what its exercises 1, 2 and 3 are called now.
FIRST_EDITION = (
    ("start_here.stored_numbers", "start_here.word_of_rank_2", "start_here.one_percent"),
    ("objective.objective", "objective.expected_loss", "objective.training_bytes"),
    ("low_rank.groups_of_outputs", "low_rank.break_even", "low_rank.best_loss"),
    ("torch_layer.delta_weight", "torch_layer.lora_forward", "torch_layer.prepare"),
    ("rank_and_alpha.same_run", "rank_and_alpha.smallest_rank", "rank_and_alpha.alpha_for"),
    ("merging.merged", "merging.add", "merging.double_merge"),
    ("language_model.conv_update", "two_layers.end_to_end", "two_layers.adapted"),
    ("digits.errors_by_digit", "digits.becomes_nine", "digits.choose"),
    ("transformer.trained", "transformer.phi", "transformer.by_chance"),
    ("files_and_costs.header", "files_and_costs.count", "successors.wrong_rule"),
)


def progress_file() -> Path:
    """Where progress is kept: LORA_LAB_PROGRESS if it is set, otherwise a file in the home directory."""
    chosen = os.environ.get("LORA_LAB_PROGRESS")
    return Path(chosen) if chosen else Path.home() / ".lora_lab_progress.json"


def _lasting_name(kept: str) -> str:
    """Of a number of the first edition such as "4.2"; a name stays what it is."""
    page, _, position = kept.partition(".")
    if page.isdecimal() and int(page) < len(FIRST_EDITION) and position in ("1", "2", "3"):
        return FIRST_EDITION[int(page)][int(position) - 1]
    return kept


def read_progress() -> dict[str, str]:
    """{lasting name: "right" or "wrong"}. A file that cannot be read counts as empty."""
    try:
        kept = json.loads(progress_file().read_text(encoding="utf-8"))
        verdicts = [(_lasting_name(k), v) for k, v in kept.items() if v in ("right", "wrong")]
        return dict(sorted(verdicts, key=lambda item: item[1] == "right"))  # right stays right
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
    if made := voted():
        say(f"predictions made in this session: {', '.join(made)}")
