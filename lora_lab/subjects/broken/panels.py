"""The broken-LoRA gallery as a panel: the symptom first; the learner picks the cause; then the line is shown."""

from __future__ import annotations

import math

import ipywidgets as w
from matplotlib.figure import Figure

from lora_lab.figures.live import LiveFigure, choice, menu

from . import drawings
from .gallery import FAULTS, Fault, Run

ASK = "… choose"
ANSWERS = {
    "none yet": "",
    "right": "Right: ",
    "alike": "That would look just like this, but here it is another cause. ",
    "wrong": "Not that. ",
}


class Symptoms:
    """What the gallery shows, without widgets: every program run once, and what a guess deserves as an answer."""

    def __init__(self) -> None:
        self.faults: list[Fault] = list(FAULTS.values())
        self.base_loss = self.faults[0].run_correct().losses[0]

    def level(self, loss: float) -> str:
        """A loss in words that are the same on every computer."""
        if math.isnan(loss) or loss > 100 * self.base_loss:
            return "far above the base's"
        if loss > 1.05 * self.base_loss:
            return "above the base's"
        if loss > 0.95 * self.base_loss:
            return "the base's"
        return "in between" if loss > 0.04 else "correct"

    def judge(self, number: int, guess: str) -> str:
        """Of a guess: "right"; "alike" if that mistake gives the same picture; else "wrong"."""
        fault = self.faults[number - 1]
        if guess == fault.name:
            return "right"
        return "alike" if alike(fault.run(), FAULTS[guess].run()) else "wrong"

    def caption(self, number: int, guess: str, reveal: bool) -> str:
        fault = self.faults[number - 1]
        run = fault.run()
        verdict = "none yet" if guess == ASK else self.judge(number, guess)
        if verdict == "right" or reveal:
            answer = ANSWERS["right"] if verdict == "right" else ""
            return f"{answer}{fault.name} ({fault.source}). {fault.cure}"
        return (
            f"{ANSWERS[verdict]}{fault.symptom[0].upper()}{fault.symptom[1:]}. "
            f"Loss after training: {self.level(run.losses[-1])}; shipped: {self.level(run.shipped_loss)}."
        )


def alike(one: Run, other: Run) -> bool:
    """Whether two programs show the same: losses and update within 5 %."""
    far = max(abs(a - b) / max(a, b) for a, b in zip(one.losses, other.losses, strict=True))
    return far < 0.05 and float((one.delta - other.delta).norm()) < 0.05 * float(one.delta.norm() + 1)


def gallery_panel() -> LiveFigure:
    """A slider over the symptoms, a menu of causes, a box that shows the line. Runs every program first (seconds).

    A new symptom begins unsolved: without the guess and the line of the one before.
    """
    symptoms = Symptoms()

    def draw(fig: Figure, symptom: int, guess: str, reveal: bool) -> str:
        fault = symptoms.faults[symptom - 1]
        shown = reveal or guess == fault.name
        lines = (fault.broken_line, fault.correct_line) if shown else ("", "")
        drawings.symptom(fig, fault.run_correct(), fault.run(), f"symptom {symptom}", lines)
        return symptoms.caption(symptom, guess, reveal)

    controls = {
        "symptom": choice("symptom", range(1, len(symptoms.faults) + 1)),
        # in alphabetical order, so that the number of a symptom does not give it away
        "guess": menu("the cause", [ASK, *sorted(FAULTS, key=lambda name: name.lower().removeprefix("the "))]),
        "reveal": w.Checkbox(value=False, description="show the line", indent=False),
    }

    def begin_anew(_change) -> None:
        controls["guess"].value, controls["reveal"].value = ASK, False

    controls["symptom"].observe(begin_anew, "value")
    return LiveFigure(draw, controls, name="broken LoRA", figsize=(10.5, 4.2), keep=True, lines=2)
