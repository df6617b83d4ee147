"""Page 06: rank, model and a checkbox for each layer over recorded runs, and a button that trains the choice live."""

from __future__ import annotations

from typing import NamedTuple

import ipywidgets as w
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lora_lab import figures
from lora_lab.figures.live import TrainingFigure, choice, menu
from lora_lab.subjects.records import read_record

from .experiment import CHANGES, CHOICES, RANKS, SHAPES, Experiment, Result

LOW, HIGH = 1e-3, 300.0  # of the loss axis


class Run(NamedTuple):
    """One recorded choice: per seed the loss before and after and the floor; the first seed's curve."""

    before: list[float]
    floor: list[float]
    loss: list[float]
    curve: list[float]


def choice_of(layer1: bool, layer2: bool) -> str | None:
    """The checkboxes as a key of CHOICES; None without any adapter."""
    return {(True, False): "layer 1", (False, True): "layer 2", (True, True): "both"}.get((layer1, layer2))


def recorded_runs() -> dict[tuple[str, str, int, str], Run]:
    """{(model, change, r, choice of layers): Run}, from the record that python -m lora_lab.subjects.two_layers.make_record writes."""
    runs = {}
    for key, values in read_record("two_layers")["runs"].items():
        shape, change, r, layers = key.split("|")
        runs[shape, change, int(r), layers] = Run(**values)
    return runs


def _said(values: list[float]) -> str:
    low, high = (figures.short(f(values)) for f in (min, max))
    return low if low == high else f"{low} to {high}"


class LayerPanel(TrainingFigure):
    """Loss curve of the chosen layers beside the losses of all three choices, over five recorded seeds.

    pins: {(model, change, r, layers): Result} of what has been trained here, with a seed that is not in the record.
    """

    def __init__(self) -> None:
        self.runs, self._experiments = recorded_runs(), {}
        controls = {
            "model": menu("model", list(SHAPES)),
            "change": menu("change", list(CHANGES)),
            "r": choice("rank r", RANKS),
            "layer1": w.Checkbox(value=True, description="layer 1", indent=False, layout=w.Layout(width="90px")),
            "layer2": w.Checkbox(value=True, description="layer 2", indent=False, layout=w.Layout(width="90px")),
        }
        super().__init__(
            self._draw_choice,
            controls,
            label="train this choice",
            tooltip="for real, with a seed of its own; a star",
            name="which layers",
            figsize=(10.5, 3.9),
            keep=True,
        )

    def _key(self) -> tuple[str, str, int, str | None]:
        v = self.values
        return v["model"], v["change"], v["r"], choice_of(v["layer1"], v["layer2"])

    def caption_of(self, model: str, change: str, r: int, layers: str | None) -> str:
        first = self.runs[model, change, r, "both"]
        if layers is None:
            return f"no adapter: the loss stays at {_said(first.before)}"
        run, pin = self.runs[model, change, r, layers], self.pins.get((model, change, r, layers))
        where = "both layers" if layers == "both" else f"{layers} alone"
        floor = "no choice of this rank goes below" if layers == "both" else "floor"
        text = f"{where}, r = {r}: loss {_said(run.loss)} over five seeds, {floor} {_said(run.floor)}"
        return text + (f"; trained live with seed {pin.seed}: {figures.short(pin.loss)}" if pin else "")

    def _draw_choice(self, fig: Figure, model: str, change: str, r: int, layer1: bool, layer2: bool) -> str:
        layers = choice_of(layer1, layer2)
        runs = {c: self.runs[model, change, r, c] for c in CHOICES}
        if not fig.axes:
            where = {"left": 0.09, "right": 0.985, "bottom": 0.15, "top": 0.89, "wspace": 0.12}
            left, right = fig.subplots(1, 2, sharey=True, gridspec_kw=where | {"width_ratios": (1.2, 1)})
            curves = {"LoRA": [1.0], "live": [1.0]}
            figures.loss_curves(curves, left, xlabel="epoch", colours={"live": figures.COLOURS["other"]})
            left.get_legend().remove()
            left.plot([], [], ls="--", lw=1.5, color=figures.COLOURS["floor"])
            left.plot([], [], lw=1.2, color=figures.COLOURS["base"])
            left.set(xlim=(0, 20.5), ylim=(LOW / 1.5, HIGH), xticks=range(0, 21, 5))
            for _ in CHOICES:
                right.plot([], [], "o", ms=7, color=figures.COLOURS["LoRA"])
                right.plot([], [], "_", ms=11, mew=2, color=figures.COLOURS["floor"])
            right.plot([], [], "*", ms=15, color=figures.COLOURS["other"], mec=figures.COLOURS["chosen"])
            right.add_patch(Rectangle((0, LOW / 2), 0.9, 2 * HIGH, color=figures.FILLS["picked"], lw=0, zorder=0))
            right.set_xticks(range(len(CHOICES)), list(CHOICES))
            right.set(xlim=(-0.5, 2.5), title="five seeds, floors dashed")
            right.tick_params(length=0, labelleft=False)
        left, right = fig.axes
        run = runs[layers or "both"]
        curve = [run.before[0], *run.curve] if layers else [run.before[0]] * 21
        pin = self.pins.get((model, change, r, layers))
        live = pin.curve if pin else []
        left.lines[0].set_data(range(len(curve)), np.maximum(curve, LOW))
        left.lines[1].set_data(range(1, len(live) + 1), np.maximum(live, LOW))
        left.lines[2].set_data([0, 20.5], [max(run.floor[0], LOW)] * 2 if layers else [np.nan] * 2)
        left.lines[3].set_data([0, 20.5], [run.before[0]] * 2)
        left.set_title(f"{change}, r = {r}: " + (f"{layers}" if layers else "no adapter"))
        for x, other in enumerate(runs.values()):
            seeds = x + np.linspace(-0.22, 0.22, len(other.loss))
            right.lines[2 * x].set_data(seeds, np.maximum(other.loss, LOW))
            right.lines[2 * x + 1].set_data(seeds, np.maximum(other.floor, LOW))
        stars = [(x, p.loss) for x, c in enumerate(CHOICES) if (p := self.pins.get((model, change, r, c)))]
        right.lines[2 * len(CHOICES)].set_data(*(zip(*stars) if stars else ([], [])))
        right.patches[0].set_x(list(CHOICES).index(layers) - 0.45 if layers else -9)
        return self.caption_of(model, change, r, layers)

    def train_choice(self) -> str:
        """What the button does: train the choice with the next seed that is not recorded, pin it, return the caption.

        Raises ValueError when no layer is checked, KeyboardInterrupt when the run was interrupted, and what the
        training raises; the panel stays as it was.
        """
        model, change, r, layers = key = self._key()
        if layers is None:
            raise ValueError("no layer is checked: there is nothing to train. Check layer 1, layer 2 or both.")
        before = self.pins.get(key)
        with torch.enable_grad():  # a callback may run in a thread with other settings
            if (model, change) not in self._experiments:
                self._experiments[model, change] = Experiment(model, change, seed=len(self.runs[key].loss))
            experiment = self._experiments[model, change]
            pin: Result = experiment.train(layers, r, seed=(before.seed if before else experiment.seed - 1) + 1)
        if pin.interrupted:
            raise KeyboardInterrupt
        return self._pin(key, pin)

    def train_now(self) -> str:
        return self.train_choice()


def layer_panel() -> LayerPanel:
    """Page 06: which layers need the adapter, on three models, two changes and four ranks."""
    return LayerPanel()
