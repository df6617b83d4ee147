"""Page 06: which layers need the adapter, at other ranks and for another change, over recorded runs."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lora_lab import figures
from lora_lab.figures.live import LiveFigure, choice, menu
from lora_lab.figures.style import log_axis
from lora_lab.subjects.tables import Table

from .experiment import CHANGES, RANKS, recorded_runs

LOW = 1e-3  # losses below are drawn here


def layer_choices(runs: Table, fig: Figure | None = None) -> list[Axes]:
    """Loss by choice of layers, a panel per model: a dot per seed, each seed's floor as a dash, drawn from 0.001 up; a
    line at the loss without an adapter. fig: an empty figure that exists already, such as a slider panel's."""
    models = runs.by("model")
    fig = fig or figures.plt.figure(figsize=(11, 3.9))
    axes = fig.subplots(1, len(models), sharey=True, squeeze=False)
    fig.subplots_adjust(left=0.08, right=0.98, bottom=0.11, top=0.78, wspace=0.08)
    dots = {"marker": "o", "ms": 7, "color": figures.COLOURS["LoRA"], "label": "trained, a dot per seed"}
    dashes = {"marker": "_", "ms": 11, "mew": 2, "color": figures.COLOURS["floor"], "label": "its floor"}
    for ax, (model, here) in zip(axes[0], models.items()):
        ax.axhline(here[0].before[0], lw=1.2, color=figures.COLOURS["base"], label="without an adapter")
        for x, run in enumerate(here):
            places = x + np.linspace(-0.22, 0.22, len(run.loss))
            ax.plot(places, np.maximum(run.loss, LOW), ls="", **dots)
            ax.plot(places, np.maximum(run.floor, LOW), ls="", **dashes)
        log_axis(ax.yaxis)
        ax.set(title=model, ylim=(LOW / 1.5, 300), xlim=(-0.5, len(here) - 0.5))
        ax.set_xticks(range(len(here)), [run.layers for run in here])
        ax.tick_params(axis="x", length=0)
    axes[0, 0].set_ylabel("loss (from 0.001 up)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles[:3], labels[:3], loc="upper center", bbox_to_anchor=(0.5, 1), ncols=3)
    return list(axes[0])


def layer_panel() -> LiveFigure:
    """The losses of all choices of layers in all three models, at a chosen change and rank."""

    def draw(fig: Figure, change: str, r: int) -> str:
        runs = recorded_runs().where(change=change, r=r)
        if not fig.axes:
            layer_choices(runs, fig)
        worst = []
        for ax, (model, here) in zip(fig.axes, runs.by("model").items()):
            ax.lines[0].set_ydata([here[0].before[0]] * 2)
            for line, losses in zip(ax.lines[1:], (part for run in here for part in (run.loss, run.floor))):
                line.set_ydata(np.maximum(losses, LOW))
            losses = (figures.short(max(run.loss)).replace("below ", "<") for run in here)
            worst.append(f"{model} {' / '.join(losses)}")
        return f"worst of 5 seeds, layer 1 / 2 / both: {'; '.join(worst)}"

    controls = {"change": menu("change", list(CHANGES)), "r": choice("rank r", RANKS)}
    return LiveFigure(draw, controls, name="which layers", figsize=(11, 3.9), keep=True)
