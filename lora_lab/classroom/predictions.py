"""What a prediction is, where they are, and what was chosen in this session. No widget and no torch.

The order is predict, observe, explain. A choice is answered at once, but not with right or wrong: the answer takes up
the thought behind the choice and says what to look for. The page's cells are the evidence. After them,
`Prediction.compare` puts the choice beside what was found.
"""

from __future__ import annotations

import re
import textwrap
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .pages import PAGES, find_page

SUBJECTS = Path(__file__).resolve().parents[1] / "subjects"
LETTERS = "ABCD"
_votes: dict[str, list[str]] = {}


@dataclass(frozen=True)
class Choice:
    """One answer. text: on its button. response: what is said when it is chosen, without saying whether it is right."""

    text: str
    response: str
    right: bool = False


@dataclass(frozen=True)
class Prediction:
    """A prompt of a page that is also a card.

    number: "1.2", as in the page's **Predict 1.2**. question: the prompt's text, as the page has it. look: where the
    evidence is. found: what the page shows, for the comparison afterwards. evidence: lines that cells below the
    card print, which the tests look for.
    """

    number: str
    question: str
    choices: tuple[Choice, ...]
    look: str
    found: str
    evidence: tuple[str, ...]

    @property
    def page(self) -> str:
        return f"{int(self.number.split('.')[0]):02d}"

    @property
    def letters(self) -> str:
        return LETTERS[: len(self.choices)]

    @property
    def right(self) -> str:
        """The letter of the right choice."""
        return next(letter for letter, choice in zip(self.letters, self.choices) if choice.right)

    def choice(self, letter: str) -> Choice:
        """Raises ValueError that names the letters."""
        if not (isinstance(letter, str) and len(letter) == 1 and letter in self.letters):
            raise ValueError(f"Predict {self.number} has no choice {letter!r}; choose {', '.join(self.letters)}.")
        return self.choices[self.letters.index(letter)]

    def named(self, letter: str) -> str:
        """ "B · about 30" """
        return f"{letter} · {self.choice(letter).text}"

    def respond(self, letter: str) -> str:
        """What is said when this choice is made: a thought about it, and in a second line where to look."""
        return f"{self.choice(letter).response}\n{self.look}"

    def compare(self, said: tuple[str, ...]) -> str:
        """The choices made, in order, beside what the page shows."""
        first, last, right = (f"{x}, “{self.choice(x).text}”" for x in (said[0], said[-1], self.right))
        again = "" if said[0] == said[-1] else f", and then {last}"
        verdict = "So does the page" if last == right else f"The page says {right}"
        return f"You said {first}{again}. {verdict}: {self.found}"

    def __str__(self) -> str:
        """The question and its choices, for who has no widget."""
        question = self.question.replace("*", "").replace("`", "")
        asked = textwrap.wrap(f"Predict {self.number}: {question}", 100)
        return "\n".join([*asked, *(f"   {self.named(letter)}" for letter in self.letters)])


def of_page(page: str) -> tuple[Prediction, ...]:
    """The predictions of page "04", from `predictions.toml` beside the page's subject."""
    return _read(page, SUBJECTS / find_page(page).subject / "predictions.toml")


@cache
def _read(page: str, file: Path) -> tuple[Prediction, ...]:
    if not file.exists():
        return ()
    rows = tomllib.loads(file.read_text(encoding="utf-8"))["prediction"]
    for row in rows:
        row["number"] = f"{int(page)}.{row['number']}"
        row["choices"] = tuple(Choice(**choice) for choice in row["choices"])
        row["evidence"] = tuple(row["evidence"])
    return tuple(Prediction(**row) for row in rows)


def all_numbers() -> list[str]:
    """Every prediction that is a card, in order: ["0.1", "1.2", ...]."""
    return [p.number for page in PAGES for p in of_page(page.number)]


def find(number: str) -> Prediction:
    """The prediction "4.2" (or "04.2"). Raises ValueError that names those there are."""
    m = re.fullmatch(r"(\d{1,2})\.(\d{1,2})", number) if isinstance(number, str) else None
    there = of_page(f"{int(m[1]):02d}") if m and int(m[1]) < len(PAGES) else ()
    for prediction in there:
        if prediction.number == f"{int(m[1])}.{int(m[2])}":
            return prediction
    listed = ", ".join(f'"{p.number}"' for p in there) if there else ", ".join(f'"{n}"' for n in all_numbers())
    where = f"page {there[0].page}" if there else "the course"
    raise ValueError(f"there is no card for prediction {number!r}; {where} has {listed}.")


# ------------------------------------------------------------------------------------------------ in this session


def vote(number: str, letter: str) -> None:
    """Keep a choice until the kernel ends. The first is never lost: a second one is a change of mind."""
    find(number).choice(letter)
    kept = _votes.setdefault(find(number).number, [])
    if kept[-1:] != [letter]:
        kept.append(letter)


def votes(number: str) -> tuple[str, ...]:
    """What was chosen in this session, in order; () if nothing was. Raises ValueError for a number that is none."""
    return tuple(_votes.get(find(number).number, ()))


def voted() -> list[str]:
    """The numbers of the predictions made in this session, in the course's order."""
    return [n for n in all_numbers() if _votes.get(n)]


def forget() -> None:
    """Forget every choice of this session, for a second class with the same kernel."""
    _votes.clear()


def predict(number: str):
    """The card of Predict `number`, such as "1.2". A number that is none gets a line, and the page goes on."""
    try:
        prediction = find(number)
    except ValueError as e:
        print(f"predict: {e}")
        return None
    from .cards import Card  # here, because the exercises count predictions where ipywidgets may be missing

    return Card(prediction)
