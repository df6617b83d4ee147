"""What a prediction is, where they are, and what is chosen in this session. No widget and no torch.

The order is predict, observe, explain. A choice is answered at once, but not with right or wrong: the answer takes up
the thought behind it and says what to look for. After the page's cells, `Prediction.compare` puts the choice beside
what was found. The texts are in `predictions.toml` beside each subject.
"""

import textwrap
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from .pages import PAGES, SUBJECTS, goes_on, split_number


@dataclass(frozen=True)
class Choice:
    """One answer. text: on its button. response: what is said when it is chosen, without saying whether it is right."""

    text: str
    response: str
    right: bool = False


@dataclass(eq=False)
class Prediction:
    """A prompt of a page that is also a card.

    number: "1.2", as in the page's **Predict 1.2**. question: the prompt's text, as the page has it. choices: by their
    letters. look: where the evidence is. found: what the page shows, for the comparison afterwards. evidence: lines
    that cells below the card print, which the tests look for. chosen: the letters chosen until the kernel ends.
    """

    number: str
    question: str
    choices: dict[str, Choice]
    look: str
    found: str
    evidence: list[str]
    chosen: list[str] = field(default_factory=list)

    @property
    def right(self) -> str:
        """The letter of the right choice."""
        return next(letter for letter, choice in self.choices.items() if choice.right)

    def choose(self, letter: str) -> None:
        """The first choice is never lost: a second one is a change of mind."""
        if self.chosen[-1:] != [letter]:
            self.chosen.append(letter)

    def respond(self, letter: str) -> str:
        """What is said when this choice is made: a thought about it, and in a second line where to look."""
        return f"{self.choices[letter].response}\n{self.look}"

    def compare(self, letters: Sequence[str]) -> str:
        """The choices made, in order, beside what the page shows."""
        quoted = {letter: f"{letter}, “{choice.text}”" for letter, choice in self.choices.items()}
        first, last = letters[0], letters[-1]
        then = f", and then {quoted[last]}" if last != first else ""
        verdict = "So does the page" if last == self.right else f"The page says {quoted[self.right]}"
        return f"You said {quoted[first]}{then}. {verdict}: {self.found}"

    def __str__(self) -> str:
        """The question and its choices, for who has no widget."""
        question = self.question.replace("*", "").replace("`", "")
        asked = textwrap.wrap(f"Predict {self.number}: {question}", 100)
        return "\n".join([*asked, *(f"   {letter} · {choice.text}" for letter, choice in self.choices.items())])


@cache
def all_predictions() -> tuple[Prediction, ...]:
    """Every prediction that is a card, in the course's order."""
    found = []
    for page in PAGES:
        file = SUBJECTS / page.subject / "predictions.toml"
        rows = tomllib.loads(file.read_text(encoding="utf-8"))["prediction"] if file.exists() else []
        for row in rows:
            row["number"] = f"{int(page.number)}.{row['number']}"
            row["choices"] = {letter: Choice(**choice) for letter, choice in zip("ABCD", row["choices"])}
            found.append(Prediction(**row))
    return tuple(found)


def find(number: str) -> Prediction:
    """The prediction "4.2" (or "04.2"). Raises ValueError that names those there are."""
    there = all_predictions()
    for prediction in there:
        if split_number(prediction.number) == split_number(number):
            return prediction
    numbers = ", ".join(prediction.number for prediction in there)
    raise ValueError(f"there is no card for prediction {number!r}; the course has {numbers}.")


@goes_on
def predict(number: str):
    """The card of Predict `number`, such as "1.2". A number that is none gets a line, and the page goes on."""
    prediction = find(number)
    from .cards import Card  # here, because the exercises count predictions where ipywidgets may be missing

    return Card(prediction)
