"""A prediction as a card of core ipywidgets: a button for each choice, what is said about it, and the comparison."""

import html
import re

import ipywidgets as w

from lora_lab.figures.live import asleep, replace_last_run

from .predictions import Prediction

BOX = "<div role='status' style='border-left: 4px solid {}; padding: 2px 12px; line-height: 1.45'>{}</div>"
BLUE, GREY = "var(--jp-brand-color1, #0072b2)", "var(--jp-ui-font-color2, #666)"


def as_html(text: str) -> str:
    """Plain text with *emphasis* and ends of lines, escaped."""
    return re.sub(r"(?<!\w)\*(\w[^*]*)\*", r"<em>\1</em>", html.escape(text)).replace("\n", "<br>")


class Card(w.VBox):
    """The choices of a prediction, none of them chosen. A choice is answered at once and kept for the session.

    *Compare* becomes available with the first choice and ends the vote: what is pressed afterwards is answered, too,
    but no longer counts. Run again, the card has the choice that was made. As stored text it is the question with its
    choices, whatever was chosen, so that a page reads without a kernel and strict nbval can compare it.
    """

    def __init__(self, prediction: Prediction) -> None:
        self.prediction, self._compared = prediction, False
        head = f"<b>Predict {prediction.number}.</b> Choose before you look further down."
        options = [(f"{letter} · {choice.text}", letter) for letter, choice in prediction.choices.items()]
        self.buttons = w.ToggleButtons(options=options, value=None, style={"button_width": "auto"})
        self.compare = w.Button(description="Compare with the page", disabled=True, layout={"width": "auto"})
        self.answer, self.verdict = w.HTML(), w.HTML()
        top = w.HTML(asleep("Nobody answers here", "the buttons") + head)
        super().__init__([top, self.buttons, self.answer, w.HBox([self.compare]), self.verdict])
        self.buttons.observe(self._pressed, "value")
        self.compare.on_click(self._compare)
        if prediction.chosen:
            self.buttons.value = prediction.chosen[-1]
        replace_last_run(self)

    def _pressed(self, change: dict) -> None:
        letter = change["new"]
        if not self._compared:
            self.prediction.choose(letter)
        text = f"<b>You chose {letter}.</b> {as_html(self.prediction.respond(letter))}"
        self.answer.value = BOX.format(BLUE, text)
        self.compare.disabled = False

    def _compare(self, _button: w.Button) -> None:
        self._compared = True
        text = self.prediction.compare(self.prediction.chosen)
        self.verdict.value = BOX.format(GREY, as_html(text))

    def __repr__(self) -> str:
        return str(self.prediction)

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, object]:
        return super()._repr_mimebundle_(**kwargs) | {"text/plain": str(self.prediction)}
