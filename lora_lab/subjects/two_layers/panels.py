"""Model, change, rank and layers over recorded runs, and a button that trains the choice live."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lora_lab import figures
from lora_lab.figures.live import TrainingFigure, choice, menu

from . import drawings
from .experiment import CHANGES, CHOICES, EPOCHS, MODELS, RANKS, Experiment, Result, Run, find_run


def span(values: list[float]) -> str:
    """ "34 to 56", or one number where both ends look alike."""
    low, high = figures.short(min(values)), figures.short(max(values))
    return low if low == high else f"{low} to {high}"


class LayerPanel(TrainingFigure):
    """Loss curve of the chosen layers beside the losses of all three choices, over five recorded seeds.

    pins: {(model, change, r, layers): Result} of what has been trained here, with a seed that is not in the record.
    """

    def __init__(self) -> None:
        controls = {
            "model": menu("model", list(MODELS)),
            "change": menu("change", list(CHANGES)),
            "r": choice("rank r", RANKS),
            "layers": menu("adapter on", list(CHOICES), "both"),
        }
        super().__init__(
            self._draw_runs,
            controls,
            label="train this choice",
            tooltip="for real, with a seed of its own; a star",
            name="which layers",
            figsize=(10.5, 4.2),
        )

    def caption_of(self, model: str, change: str, r: int, layers: str) -> str:
        run, pin = find_run(model, layers, change, r), self.pins.get((model, change, r, layers))
        where = "both layers" if layers == "both" else f"{layers} alone"
        floor = "bound" if layers == "both" else "floor"
        text = f"{where}, r = {r}: loss {span(run.loss)} over five seeds, {floor} {span(run.floor)}"
        return text + (f"; trained live with seed {pin.seed}: {figures.short(pin.loss)}" if pin else "")

    def _draw_runs(self, fig: Figure, model: str, change: str, r: int, layers: str) -> str:
        where = {"left": 0.09, "right": 0.985, "bottom": 0.14, "top": 0.79, "wspace": 0.12, "width_ratios": (1.2, 1)}
        left, right = fig.subplots(1, 2, sharey=True, gridspec_kw=where)
        runs = [find_run(model, choice, change, r) for choice in CHOICES]
        drawings.loss_dots(right, runs)
        right.set_title("five seeds: dots, their floors: dashes")
        for x, run in enumerate(runs):
            pin = self.pins.get((model, change, r, run.layers))
            if pin:
                look = {"ms": 15, "color": figures.COLOURS["other"], "mec": figures.COLOURS["chosen"]}
                right.plot(x, max(pin.loss, drawings.LOW), "*", **look)
            if run.layers == layers:
                right.axvspan(x - 0.45, x + 0.45, color=figures.FILLS["picked"], lw=0, zorder=0)
                self._draw_curve(left, run, pin)
        d_in, hidden, d_out = MODELS[model]
        left.set_title(f"{d_in} → {hidden} → {d_out}, {change}, r = {r}: {layers}")
        handles, labels = left.get_legend_handles_labels()
        fig.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 1), ncols=len(labels))
        return self.caption_of(model, change, r, layers)

    def _draw_curve(self, ax: Axes, run: Run, pin: Result | None) -> None:
        """The first seed's loss after each epoch, and the live run's."""
        ax.axhline(run.before[0], lw=1.2, color=figures.COLOURS["base"], label="without an adapter")
        curve = np.maximum([run.before[0], *run.curve], drawings.LOW)
        ax.plot(curve, color=figures.COLOURS["LoRA"], label="recorded, seed 0")
        floor = max(run.floor[0], drawings.LOW)
        ax.axhline(floor, ls="--", lw=1.5, color=figures.COLOURS["floor"], label="floor")
        if pin:
            live = np.maximum(pin.curve, drawings.LOW)
            ax.plot(range(1, EPOCHS + 1), live, color=figures.COLOURS["other"], label=f"live, seed {pin.seed} (★)")
        ax.set(xlim=(0, EPOCHS + 0.5), xticks=range(0, EPOCHS + 1, 5), xlabel="epoch", ylabel="loss (from 0.001 up)")

    def train_now(self) -> str:
        """What the button does: train the choice with the next seed that is not recorded, pin it, return the caption.

        When the training raises, or is interrupted, the panel stays as it was.
        """
        model, change, r, layers = key = tuple(self.values.values())
        pin = self.pins.get(key)
        seed = pin.seed + 1 if pin else len(find_run(model, layers, change, r).loss)
        with torch.enable_grad():  # a callback may run in a thread with other settings
            result = Experiment(model, change, seed).train(layers, r)
        return self._pin(key, result)


def layer_panel() -> LayerPanel:
    """Which layers need the adapter, on three models, two changes and four ranks."""
    return LayerPanel()
