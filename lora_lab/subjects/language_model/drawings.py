"""Figures of the language model's page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from torch import Tensor

from lora_lab.figures.style import COLOURS, DIVERGING, FILLS, array, kind_of, limit_of


def _plain_log(axis) -> None:
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda x, _: f"{x:g}")


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
