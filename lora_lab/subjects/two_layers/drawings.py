"""Figures of page 06: S2's two phases, where it stops, which layer, which words moved, what the model writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from lora_lab.figures.style import COLOURS, axes_of


def _plain_log(axis) -> None:
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda x, _: f"{x:g}")


def two_phases(
    base: Sequence[float],
    lora: Sequence[float],
    published: tuple[Sequence[int], Sequence[float], Sequence[float]],
    *,
    residual: float,
    floor: float,
) -> list[Axes]:
    """S2: the loss after each epoch of pretraining (left) and of LoRA (right), the published figures as circles.

    published: (epochs, base, lora). residual: the base's own loss at the end, a line. floor: dashed.
    """
    fig, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
    fig.subplots_adjust(left=0.08, right=0.98, bottom=0.14, top=0.91, wspace=0.06)
    epochs, *circles = published
    phases = (("base", base, "pretraining: the spike is Adam's"), ("LoRA", lora, "LoRA, r = 1 on both layers"))
    for ax, (name, losses, title), dots in zip(axes, phases, circles, strict=True):
        ax.plot(range(1, len(losses) + 1), losses, color=COLOURS[name], label="ours")
        ax.plot(epochs, dots, "o", mfc="none", mew=2, ms=8, color=COLOURS["published"], label="published (S2)")
        ax.set(title=title, xlabel="epoch", yscale="log")
        _plain_log(ax.yaxis)
    axes[0].set_ylabel("loss (mean squared error)")
    axes[1].axhline(residual, lw=1.2, color=COLOURS["base"], label="the base's own residual")
    axes[1].axhline(floor, ls="--", lw=1.5, color=COLOURS["floor"], label="floor (computed before training)")
    axes[0].legend(loc="upper right")
    axes[1].legend(loc="lower left")
    return list(axes)


def stops_at_the_base(
    residuals: Sequence[float], reached: Sequence[float], floors: Sequence[float], *, title: str = ""
) -> Axes:
    """Where LoRA ends (dots) against the residual of the base it started from; on the line, the two are equal."""
    ax = axes_of(None, (6.5, 4.4))
    low, high = min(*floors, *residuals) / 2, max(*reached, *residuals) * 2
    ax.plot([low, high], [low, high], lw=1.2, color=COLOURS["base"], label="the base's own residual")
    ax.plot(residuals, floors, "_", ms=26, mew=2, color=COLOURS["floor"], label="floor of both layers, r = 1")
    ax.plot(residuals, reached, "o", ms=9, color=COLOURS["LoRA"], label="LoRA, r = 1 on both layers")
    ax.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), title=title)
    ax.set(xlabel="residual of the base on its own task", ylabel="loss on the new task")
    _plain_log(ax.xaxis), _plain_log(ax.yaxis)
    ax.legend(loc="upper left")
    return ax


def layer_choices(
    models: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]], *, before: Mapping[str, float]
) -> list[Axes]:
    """Loss by choice of layers, a dot per seed, and each seed's floor as a dash. {model: {choice: (losses, floors)}}.

    Drawn from 0.001 up. before: {model: the loss without an adapter}, a line.
    """
    fig, axes = plt.subplots(1, len(models), figsize=(11, 3.9), sharey=True)
    fig.subplots_adjust(left=0.08, right=0.98, bottom=0.11, top=0.78, wspace=0.08)
    for ax, (name, choices) in zip(axes, models.items(), strict=True):
        ax.axhline(before[name], lw=1.2, color=COLOURS["base"], label="without an adapter")
        for x, (losses, floors) in enumerate(choices.values()):
            shift = x + np.linspace(-0.22, 0.22, len(losses))
            ax.plot(shift, np.maximum(losses, 1e-3), "o", ms=7, color=COLOURS["LoRA"], label="trained, a dot per seed")
            ax.plot(shift, np.maximum(floors, 1e-3), "_", ms=11, mew=2, color=COLOURS["floor"], label="its floor")
        ax.set(title=name, yscale="log", ylim=(7e-4, 300), xlim=(-0.5, len(choices) - 0.5))
        ax.set_xticks(range(len(choices)), list(choices))
        ax.tick_params(axis="x", length=0)
        _plain_log(ax.yaxis)
    axes[0].set_ylabel("loss (from 0.001 up)")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(*zip(*{lab: (h, lab) for h, lab in zip(handles, labels)}.values()), loc="upper center", ncols=3)
    return list(axes)






