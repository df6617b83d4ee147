"""Figures of page 06: S2's two phases, where it stops, which layer, which words moved, what the model writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from torch import Tensor

from .style import COLOURS, DIVERGING, FILLS, array, axes_of, kind_of, limit_of


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


def ways_compared(
    tasks: Mapping[str, Mapping[str, Sequence[float]]], *, before: Mapping[str, Sequence[float]]
) -> list[Axes]:
    """Excess loss of each way to adapt, a dot per seed, one panel per task, smaller is better. {task: {way: losses}}.

    before: {task: losses without adapting}, a grey band. 0 is the entropy: the axis is logarithmic and never there.
    """
    fig, axes = plt.subplots(1, len(tasks), figsize=(12, 5), sharex=True, sharey=True, squeeze=False)
    fig.subplots_adjust(left=0.285, right=0.985, bottom=0.15, top=0.93, wspace=0.08)
    for ax, (name, ways) in zip(axes[0], tasks.items(), strict=True):
        ax.axvspan(min(before[name]), max(before[name]), color=COLOURS["base"], alpha=0.35, lw=0)
        for y, (way, losses) in enumerate(ways.items()):
            kind = kind_of(way) or "other"
            ax.plot([min(losses), max(losses)], [y, y], lw=1.5, color=COLOURS[kind])
            ax.plot(losses, [y] * len(losses), "o", ms=6, color=COLOURS[kind])
        ax.set(title=name, xscale="log")
        ax.set_yticks(range(len(ways)), list(ways))
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", color=FILLS["grid"])
        ax.set_axisbelow(True)
        ax.set_xticks([0.02, 0.05, 0.1, 0.2, 0.5, 1])
        _plain_log(ax.xaxis)
    axes[0, 0].invert_yaxis()
    fig.supxlabel("nats per word above the dialect's entropy, a dot per seed; grey: before adapting", fontsize=12)
    return list(axes[0])


def words_that_moved(delta: Tensor, words: Sequence[str], changed: Sequence[str], *, rows: int = 18) -> list[Axes]:
    """An embedding's update, words as rows: the longest rows as a heatmap, and the length of every row.

    delta (words, width). changed: the words the source changed; their names and bars are violet.
    """
    norms = array(delta.norm(dim=1))
    order = np.argsort(-norms)
    top, limit = order[:rows], limit_of(delta)
    fig, (left, right) = plt.subplots(1, 2, figsize=(11, 5), gridspec_kw={"width_ratios": (1.1, 1)})
    fig.subplots_adjust(left=0.1, right=0.98, bottom=0.12, top=0.92, wspace=0.25)
    image = left.imshow(array(delta)[top], cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
    fig.colorbar(image, ax=left, fraction=0.046, pad=0.03)
    left.set_yticks(range(rows), [words[i] for i in top])
    for label, i in zip(left.get_yticklabels(), top):
        if words[i] in changed:
            label.set(color=COLOURS["marked"], fontweight="bold")
    left.set(title=f"ΔW of the embedding, {rows} longest rows", xlabel="embedding dimension")
    left.tick_params(length=0)
    colours = [COLOURS["marked"] if words[i] in changed else FILLS["weights"] for i in order]
    right.bar(range(len(order)), norms[order], width=1, color=colours)
    right.plot([], [], "s", ms=9, color=COLOURS["marked"], label="the source changed it")
    right.plot([], [], "s", ms=9, color=FILLS["weights"], label="it did not")
    right.set(title="length of each word's row", xlabel="word, longest first", ylabel="‖row‖")
    right.legend()
    return [left, right]


def written_sentences(
    columns: Mapping[str, Sequence[str]], changed: Sequence[str], allowed: Callable[[str], bool]
) -> list[Axes]:
    """Sentences side by side, {title: sentences}; words of `changed` in violet, × before what is not allowed."""
    longest = max(len(texts) for texts in columns.values())
    width, size = 12.5, 11  # inches, points
    fig, axes = plt.subplots(1, len(columns), figsize=(width, 0.34 * longest + 0.6), squeeze=False)
    fig.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=1 - 0.5 / (0.34 * longest + 0.6), wspace=0.02)
    per_letter = 0.602 * size / 72 / (axes[0, 0].get_position().width * width)  # of a panel, in the monospaced font
    for ax, (title, texts) in zip(axes[0], columns.items(), strict=True):
        ax.set(xlim=(0, 1), ylim=(longest - 0.3, -0.6), title=title)
        ax.axis("off")
        for y, text in enumerate(texts):
            column = 2
            if not allowed(text):
                ax.text(0, y, "×", family="monospace", fontsize=size, color=COLOURS["bad"], weight="bold")
            for word in text.split():
                mark = {"color": COLOURS["marked"], "weight": "bold"} if word in changed else {}
                ax.text(column * per_letter, y, word, family="monospace", fontsize=size, **mark)
                column += len(word) + 1
    return list(axes[0])
