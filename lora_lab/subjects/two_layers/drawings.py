"""Figures of the two-layer model: which layer carries the adapter."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lora_lab.figures.style import COLOURS, log_axis
from lora_lab.subjects.tables import Table

from .experiment import Run

LOW = 1e-3  # losses below are drawn here


def loss_dots(ax: Axes, runs: Sequence[Run]) -> None:
    """Loss by choice of layers: a dot per seed and each seed's floor as a dash. Drawn from 0.001 up."""
    for x, run in enumerate(runs):
        places = x + np.linspace(-0.22, 0.22, len(run.loss))
        label = {} if x else {"label": "trained, a dot per seed"}
        ax.plot(places, np.maximum(run.loss, LOW), "o", ms=7, color=COLOURS["LoRA"], **label)
        label = {} if x else {"label": "its floor"}
        ax.plot(places, np.maximum(run.floor, LOW), "_", ms=11, mew=2, color=COLOURS["floor"], **label)
    log_axis(ax.yaxis)
    ax.set(ylim=(LOW / 1.5, 300), xlim=(-0.5, len(runs) - 0.5))
    ax.set_xticks(range(len(runs)), [run.layers for run in runs])
    ax.tick_params(axis="x", length=0)


def layer_choices(runs: Table, fig: Figure | None = None) -> list[Axes]:
    """`loss_dots` for each model of these runs, side by side; a line at the loss without an adapter.

    fig: an empty figure that exists already, such as a slider panel's.
    """
    models = runs.by("model")
    fig = fig or plt.figure(figsize=(11, 3.9))
    axes = fig.subplots(1, len(models), sharey=True, squeeze=False)
    fig.subplots_adjust(left=0.08, right=0.98, bottom=0.11, top=0.78, wspace=0.08)
    for ax, (model, here) in zip(axes[0], models.items()):
        ax.axhline(here[0].before[0], lw=1.2, color=COLOURS["base"], label="without an adapter")
        loss_dots(ax, here)
        ax.set_title(model)
    axes[0, 0].set_ylabel("loss (from 0.001 up)")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, 1), ncols=3)
    return list(axes[0])
