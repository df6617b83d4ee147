"""Page 09: the broken-LoRA gallery. The symptom first; the learner picks the cause; then the line is shown."""

from __future__ import annotations

from collections.abc import Mapping

import ipywidgets as w
from matplotlib.figure import Figure

from lora_lab.figures.live import LiveFigure, choice

from . import drawings
from .gallery import FAULTS, Fault, Run

ASK = "… choose"


class Symptoms:
    """What the gallery shows, without widgets: every program run once, and what a guess deserves as an answer."""

    def __init__(self, faults: Mapping[str, Fault] = FAULTS) -> None:
        self.faults = list(faults.values())
        self.runs = [(f.run_correct(), f.run()) for f in self.faults]
        self.start = self.runs[0][0].losses[0]  # the base's loss on the new task

    @property
    def causes(self) -> list[str]:
        """In alphabetical order, so that the number of a symptom does not give it away."""
        return sorted((f.name for f in self.faults), key=lambda name: name.lower().removeprefix("the "))

    def level(self, loss: float) -> str:
        """A loss in words that are the same on every computer."""
        if not loss < 1.05 * self.start:
            return "far above the base's" if loss > 100 * self.start or loss != loss else "above the base's"
        if loss > 0.95 * self.start:
            return "the base's"
        return "correct" if loss < 0.04 else "in between"

    def judge(self, number: int, guess: str) -> str:
        """ "right"; "alike" if that mistake gives the same picture; else "wrong"."""
        fault, (_, run) = self.faults[number - 1], self.runs[number - 1]
        if guess == fault.name:
            return "right"
        other = next((r for f, (_, r) in zip(self.faults, self.runs) if f.name == guess), None)
        return "alike" if other is not None and alike(run, other) else "wrong"

    def caption(self, number: int, guess: str, reveal: bool) -> str:
        fault, (_, run) = self.faults[number - 1], self.runs[number - 1]
        verdict = None if guess == ASK else self.judge(number, guess)
        if verdict == "right" or reveal:
            return f"{'Right: ' if verdict == 'right' else ''}{fault.name} ({fault.source}). {fault.cure}"
        levels = f"Loss after training: {self.level(run.losses[-1])}; shipped: {self.level(run.shipped_loss)}."
        said = f"{fault.symptom[0].upper()}{fault.symptom[1:]}. {levels}"
        if verdict is None:
            return said
        no = "That would look just like this, but here it is another cause." if verdict == "alike" else "Not that."
        return f"{no} {said}"


def alike(one: Run, other: Run) -> bool:
    """Whether two programs show the same: losses and update within 5 %."""
    far = max(abs(a - b) / max(a, b) for a, b in zip(one.losses, other.losses, strict=True))
    return far < 0.05 and float((one.delta - other.delta).norm()) < 0.05 * float(one.delta.norm() + 1)


def gallery_panel(faults: Mapping[str, Fault] = FAULTS) -> LiveFigure:
    """A slider over the symptoms, a menu of causes, a box that shows the line. Runs every program first (seconds)."""
    symptoms = Symptoms(faults)

    def draw(fig: Figure, symptom: int, guess: str, reveal: bool) -> str:
        fault, runs = symptoms.faults[symptom - 1], symptoms.runs[symptom - 1]
        shown = reveal or symptoms.judge(symptom, guess) == "right"
        pair = [(run.losses, run.shipped_loss, run.delta) for run in runs]
        lines = (fault.broken_line, fault.correct_line) if shown else None
        drawings.symptom(fig, *pair, title=f"symptom {symptom}", lines=lines)
        return symptoms.caption(symptom, guess, reveal)

    controls = {
        "symptom": choice("symptom", range(1, len(symptoms.faults) + 1)),
        "guess": w.Dropdown(options=[ASK, *symptoms.causes], value=ASK, description="the cause",
                            layout=w.Layout(width="440px")),
        "reveal": w.Checkbox(value=False, description="show the line", indent=False),
    }  # fmt: skip
    return LiveFigure(draw, controls, name="broken LoRA", figsize=(10.5, 4.2), keep=True, lines=2)
