"""Rank, model and a checkbox for each layer over recorded runs, and a button that trains the choice live."""

from __future__ import annotations

import ipywidgets as w
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lora_lab import figures
from lora_lab.figures.live import TrainingFigure, choice, menu

from . import drawings
from .experiment import CHANGES, CHOICES, EPOCHS, MODELS, RANKS, Experiment, Run, find_run


def choice_of(layer1: bool, layer2: bool) -> str | None:
    """The checkboxes as a key of CHOICES; None without any adapter."""
    if layer1 and layer2:
        return "both"
    if layer1 or layer2:
        return "layer 1" if layer1 else "layer 2"
    return None


def span(values: list[float]) -> str:
    """ "34 to 56", or one number where both ends look alike."""
    low, high = figures.short(min(values)), figures.short(max(values))
    return low if low == high else f"{low} to {high}"


class LayerPanel(TrainingFigure):
    """Loss curve of the chosen layers beside the losses of all three choices, over five recorded seeds.

    pins: {(model, change, r, layers): Result} of what has been trained here, with a seed that is not in the record.
    """

    def __init__(self) -> None:
        self._experiments: dict[tuple[str, str], Experiment] = {}
        controls = {
            "model": menu("model", list(MODELS)),
            "change": menu("change", list(CHANGES)),
            "r": choice("rank r", RANKS),
            "layer1": w.Checkbox(value=True, description="layer 1", indent=False, layout=w.Layout(width="90px")),
            "layer2": w.Checkbox(value=True, description="layer 2", indent=False, layout=w.Layout(width="90px")),
        }
        super().__init__(
            self._draw_runs,
            controls,
            label="train this choice",
            tooltip="for real, with a seed of its own; a star",
            name="which layers",
            figsize=(10.5, 4.2),
        )

    def caption_of(self, model: str, change: str, r: int, layers: str | None) -> str:
        if layers is None:
            return f"no adapter: the loss stays at {span(find_run(model, 'both', change, r).before)}"
        run, pin = find_run(model, layers, change, r), self.pins.get((model, change, r, layers))
        where = "both layers" if layers == "both" else f"{layers} alone"
        floor = "bound" if layers == "both" else "floor"
        text = f"{where}, r = {r}: loss {span(run.loss)} over five seeds, {floor} {span(run.floor)}"
        return text + (f"; trained live with seed {pin.seed}: {figures.short(pin.loss)}" if pin else "")

    def _draw_runs(self, fig: Figure, model: str, change: str, r: int, layer1: bool, layer2: bool) -> str:
        chosen = choice_of(layer1, layer2)
        where = {"left": 0.09, "right": 0.985, "bottom": 0.14, "top": 0.79, "wspace": 0.12, "width_ratios": (1.2, 1)}
        left, right = fig.subplots(1, 2, sharey=True, gridspec_kw=where)
        runs = [find_run(model, layers, change, r) for layers in CHOICES]
        drawings.loss_dots(right, runs)
        right.set_title("five seeds: dots, their floors: dashes")
        for x, run in enumerate(runs):
            pin = self.pins.get((model, change, r, run.layers))
            if run.layers == chosen:
                right.axvspan(x - 0.45, x + 0.45, color=figures.FILLS["picked"], lw=0, zorder=0)
            if pin:
                self._star(right, x, pin.loss)
        self._draw_curve(left, runs[0], None if chosen is None else find_run(model, chosen, change, r))
        d_in, hidden, d_out = MODELS[model]
        left.set_title(f"{d_in} → {hidden} → {d_out}, {change}, r = {r}: {chosen or 'no adapter'}")
        handles, labels = left.get_legend_handles_labels()
        fig.legend(handles, labels, loc="upper center", ncols=len(labels))
        return self.caption_of(model, change, r, chosen)

    def _draw_curve(self, ax: Axes, any_run: Run, run: Run | None) -> None:
        """The first seed's loss after each epoch; run: None without an adapter."""
        ax.axhline(any_run.before[0], lw=1.2, color=figures.COLOURS["base"], label="without an adapter")
        if run is not None:
            curve = [max(loss, drawings.LOW) for loss in [run.before[0], *run.curve]]
            ax.plot(curve, color=figures.COLOURS["LoRA"], label="recorded, seed 0")
            floor = max(run.floor[0], drawings.LOW)
            ax.axhline(floor, ls="--", lw=1.5, color=figures.COLOURS["floor"], label="floor")
            pin = self.pins.get((run.model, run.change, run.r, run.layers))
            if pin:
                live = [max(loss, drawings.LOW) for loss in pin.curve]
                ax.plot(range(1, EPOCHS + 1), live, color=figures.COLOURS["other"], label=f"live, seed {pin.seed} (★)")
        ax.set(xlim=(0, EPOCHS + 0.5), xticks=range(0, EPOCHS + 1, 5), xlabel="epoch", ylabel="loss (from 0.001 up)")

    def _star(self, ax: Axes, x: float, loss: float) -> None:
        look = {"ms": 15, "color": figures.COLOURS["other"], "mec": figures.COLOURS["chosen"]}
        ax.plot(x, max(loss, drawings.LOW), "*", **look)

    def train_now(self) -> str:
        """What the button does: train the choice with the next seed that is not recorded, pin it, return the caption.

        Raises ValueError when no layer is checked, KeyboardInterrupt when the run was interrupted, and what the
        training raises; the panel stays as it was.
        """
        values = self.values
        model, change, r = values["model"], values["change"], values["r"]
        layers = choice_of(values["layer1"], values["layer2"])
        if layers is None:
            raise ValueError("no layer is checked: there is nothing to train. Check layer 1, layer 2 or both.")
        before = self.pins.get((model, change, r, layers))
        with torch.enable_grad():  # a callback may run in a thread with other settings
            if (model, change) not in self._experiments:
                seed = len(find_run(model, layers, change, r).loss)
                self._experiments[model, change] = Experiment(model, change, seed)
            experiment = self._experiments[model, change]
            result = experiment.train(layers, r, seed=before.seed + 1 if before else experiment.seed)
        return self._pin((model, change, r, layers), result)


def layer_panel() -> LayerPanel:
    """Which layers need the adapter, on three models, two changes and four ranks."""
    return LayerPanel()
