"""A prediction as a card of core ipywidgets: a button for each choice, what is said about it, and the comparison."""

from __future__ import annotations

import html
import re

import ipywidgets as w

from lora_lab.figures.live import replace_last_run

from .predictions import Prediction, vote, votes

BOX = "border-left: 4px solid {}; padding: 2px 12px; font-size: 110%; line-height: 1.45; max-width: 60em"

# Shown by the browser alone, when the kernel behind the buttons is gone: a page reopened, a kernel shut down.
ASLEEP = (
    "<style>.lora-lab-card-asleep {display: none} "
    ".jupyter-widgets-disconnected .lora-lab-card-asleep {display: inline}</style>"
    "<b class='lora-lab-card-asleep'>Nobody answers here: <i>Run ▸ Run All Cells</i> wakes the buttons.</b>"
)


def _html(text: str) -> str:
    """Plain text with *emphasis* and ends of lines, escaped."""
    return re.sub(r"(?<!\w)\*(\w[^*]*)\*", r"<em>\1</em>", html.escape(text)).replace("\n", "<br>")


class Card(w.VBox):
    """The choices of a prediction, none of them chosen. A choice is answered at once and kept for the session.

    *Compare* becomes available with the first choice and ends the vote: what is pressed afterwards is answered, too,
    but no longer counts. Run again, the card has the choice that was made. As stored text it is the question with its
    choices, whatever was chosen, so that a page reads without a kernel and strict nbval can compare it.
    """

    def __init__(self, prediction: Prediction) -> None:
        self.prediction, self._closed = prediction, False
        p = prediction
        head = w.HTML(f"<b>Predict {p.number}.</b> Choose before you look further down. {ASLEEP}")
        self.buttons = w.ToggleButtons(options=[(p.named(letter), letter) for letter in p.letters], value=None)
        self.buttons.style.button_width = "auto"
        self.answer, self.verdict = w.HTML(), w.HTML()
        self.compare = w.Button(
            description="Compare with the page", tooltip="After you have seen the evidence", disabled=True
        )
        self.compare.layout.width = "auto"
        super().__init__([head, self.buttons, self.answer, w.HBox([self.compare]), self.verdict])
        if kept := votes(p.number):
            self.buttons.value = kept[-1]
            self._say()
        self.buttons.observe(self._chosen, "value")
        self.compare.on_click(self._settle)
        replace_last_run(self)

    def choose(self, letter: str) -> str:
        """Press a button from code; returns what is said. Raises ValueError for a letter that is none."""
        self.prediction.choice(letter)
        self.buttons.value = letter
        return self.prediction.respond(letter)

    def _chosen(self, change: dict) -> None:
        if change["new"] is None:
            return
        if not self._closed:
            vote(self.prediction.number, change["new"])
        self._say()

    def _say(self) -> None:
        letter = self.buttons.value
        style = BOX.format("var(--jp-brand-color1, #0072b2)")
        text = f"<b>You chose {letter}.</b> {_html(self.prediction.respond(letter))}"
        self.answer.value = f"<div role='status' style='{style}'>{text}</div>"
        self.compare.disabled = False

    def _settle(self, _button: w.Button) -> None:
        self._closed = True
        said = votes(self.prediction.number) or (self.buttons.value,)  # forgotten since
        text = _html(self.prediction.compare(said))
        style = BOX.format("var(--jp-ui-font-color2, #666)")
        self.verdict.value = f"<div role='status' style='{style}'>{text}</div>"

    def __repr__(self) -> str:
        return str(self.prediction)

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, object]:
        bundle = super()._repr_mimebundle_(**kwargs)
        if isinstance(bundle, tuple):
            bundle = bundle[0]
        bundle["text/plain"] = str(self.prediction)
        return bundle
