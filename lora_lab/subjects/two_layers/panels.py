"""Page 06: which layers need the adapter, at other ranks and for another change, over recorded runs."""

from __future__ import annotations

from matplotlib.figure import Figure

from lora_lab import figures
from lora_lab.figures.live import LiveFigure, choice, menu

from . import drawings
from .experiment import CHANGES, RANKS, recorded_runs


def layer_panel() -> LiveFigure:
    """The losses of all choices of layers in all three models, at a chosen change and rank."""

    def draw(fig: Figure, change: str, r: int) -> str:
        runs = recorded_runs().where(change=change, r=r)
        drawings.layer_choices(runs, fig)
        worst = []
        for model, here in runs.by("model").items():
            losses = (figures.short(max(run.loss)) for run in here)
            worst.append(f"{model} {' / '.join(losses)}")
        return f"worst loss of five seeds with layer 1 / layer 2 / both: {'; '.join(worst)}"

    controls = {"change": menu("change", list(CHANGES)), "r": choice("rank r", RANKS)}
    return LiveFigure(draw, controls, name="which layers", figsize=(11, 3.9))
