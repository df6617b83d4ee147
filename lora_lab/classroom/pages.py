"""The one table of the course's pages: their order is their number, and each has a subject.

A page's number, its notebook and the folder `lora_lab/subjects/<subject>` are looked up here and nowhere else. A new
page is a line more. Numbers of exercises and predictions follow from the lines' order; those that the pages and the
teacher's texts say themselves (headings, links, "page 08") do not, so that the last place is the cheap one.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from .claims import say

SUBJECTS = Path(__file__).resolve().parents[1] / "subjects"
NOTEBOOKS = SUBJECTS.parents[1] / "notebooks"


class Page(NamedTuple):
    """number "04", name "rank_and_alpha" (of the notebook, without the number), subject "rank_and_alpha"."""

    number: str
    name: str
    subject: str

    @property
    def file(self) -> Path:
        return NOTEBOOKS / f"{self.number}_{self.name}.ipynb"


_NAMES_AND_SUBJECTS = (
    ("start_here", "start_here"),
    ("fine_tuning_objective", "objective"),
    ("low_rank_decomposition", "low_rank"),
    ("lora_in_torch", "torch_layer"),
    ("rank_and_alpha", "rank_and_alpha"),
    ("merging", "merging"),
    ("two_layers", "two_layers"),
    ("language_model", "language_model"),
    ("digits", "digits"),
    ("transformer", "transformer"),
    ("files_and_costs", "files_and_costs"),
    ("broken_lora", "broken"),
    ("after_lora", "successors"),
    ("a_real_model", "real_model"),
)
PAGES = tuple(Page(f"{i:02d}", name, subject) for i, (name, subject) in enumerate(_NAMES_AND_SUBJECTS))


def find_page(number: str) -> Page:
    """The page "04" (or "4"). Raises ValueError that names those there are."""
    for page in PAGES:
        if str(number).zfill(2) == page.number:
            return page
    raise ValueError(f"there is no page {number!r}; the course has {PAGES[0].number} to {PAGES[-1].number}.")


def split_number(number: object) -> tuple[str, str]:
    """A page and a place on it: "4.2" and "04.2" are both ("04", "2")."""
    page, _, place = str(number).partition(".")
    return page and page.zfill(2), place


def goes_on(call: Callable) -> Callable:
    """A call that answers a number that is none in a line instead of an error, so that Run All goes on."""

    @functools.wraps(call)
    def answered(*arguments, **named):
        try:
            return call(*arguments, **named)
        except ValueError as e:
            say(f"{call.__name__}: {e}")

    return answered
