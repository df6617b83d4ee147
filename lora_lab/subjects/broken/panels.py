"""The broken-LoRA gallery as a panel: the symptom first; the learner picks the cause; then the line is shown."""

from __future__ import annotations

import math

import ipywidgets as w
from matplotlib.figure import Figure

from lora_lab.figures.live import LiveFigure, choice, menu

from . import drawings
from .gallery import FAULTS, Fault, Run

ASK = "… choose"


def level(loss: float, base_loss: float) -> str:
    """A loss in words that are the same on every computer."""
    if math.isnan(loss) or loss > 100 * base_loss:
        return "far above the base's"
    if loss > 1.05 * base_loss:
        return "above the base's"
    if loss > 0.95 * base_loss:
        return "the base's"
    return "in between" if loss > 0.04 else "correct"


def caption(fault: Fault, guess: str, reveal: bool) -> str:
    """The symptom in words, after what a wrong guess deserves; or, when it is found or given up, the cause."""
    run, base_loss = fault.run(), fault.run_correct().losses[0]
    if reveal or guess == fault.name:
        return f"{'Right: ' * (guess == fault.name)}{fault.name} ({fault.source}). {fault.cure}"
    answer = ""
    if guess != ASK:
        looks_like_it = alike(run, FAULTS[guess].run())
        answer = "That would look just like this, but here it is another cause. " if looks_like_it else "Not that. "
    return (
        f"{answer}{fault.symptom[0].upper()}{fault.symptom[1:]}. "
        f"Loss after training: {level(run.losses[-1], base_loss)}; shipped: {level(run.shipped_loss, base_loss)}."
    )


def alike(one: Run, other: Run) -> bool:
    """Whether two programs show the same: losses and update within 5 %."""
    far = max(abs(a - b) / max(a, b) for a, b in zip(one.losses, other.losses, strict=True))
    return far < 0.05 and float((one.delta - other.delta).norm()) < 0.05 * float(one.delta.norm() + 1)


def gallery_panel() -> LiveFigure:
    """A slider over the symptoms, a menu of causes, a box that shows the line. A program runs when it is first shown.

    A new symptom begins unsolved: without the guess and the line of the one before.
    """
    faults = list(FAULTS.values())

    def draw(fig: Figure, symptom: int, guess: str, reveal: bool) -> str:
        fault = faults[symptom - 1]
        shown = reveal or guess == fault.name
        lines = (fault.broken_line, fault.correct_line) if shown else ("", "")
        drawings.symptom(fig, fault.run_correct(), fault.run(), f"symptom {symptom}", lines)
        return caption(fault, guess, reveal)

    controls = {
        "symptom": choice("symptom", range(1, len(faults) + 1)),
        # in alphabetical order, so that the number of a symptom does not give it away
        "guess": menu("the cause", [ASK, *sorted(FAULTS, key=lambda name: name.lower().removeprefix("the "))]),
        "reveal": w.Checkbox(value=False, description="show the line", indent=False),
    }

    def begin_anew(_change) -> None:
        controls["guess"].value, controls["reveal"].value = ASK, False

    controls["symptom"].observe(begin_anew, "value")
    return LiveFigure(draw, controls, name="broken LoRA", figsize=(10.5, 4.2), keep=True, lines=2)
