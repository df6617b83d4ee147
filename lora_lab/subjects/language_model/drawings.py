"""Figures of the language model: ways to adapt compared, which words moved, what it writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from lora_lab.figures.style import COLOURS, DIVERGING, FILLS, array, kind_of, limit_of, log_axis
from lora_lab.subjects.tables import Table


def ways_compared(runs: Table) -> list[Axes]:
    """Excess loss of each way to adapt (`recorded_runs()`), a dot per seed, a panel per dialect, smaller is better.

    The base before adapting is a grey band. 0 is the entropy: the axis is logarithmic and never there.
    """
    dialects = runs.by("dialect")
    fig, axes = plt.subplots(1, len(dialects), figsize=(12, 5), sharex=True, sharey=True, squeeze=False)
    fig.subplots_adjust(left=0.285, right=0.985, bottom=0.15, top=0.93, wspace=0.08)
    for ax, (dialect, (before, *ways)) in zip(axes[0], dialects.items()):
        ax.axvspan(min(before.excess), max(before.excess), color=COLOURS["base"], alpha=0.35, lw=0)
        for y, run in enumerate(ways):
            colour = COLOURS[kind_of(run.way) or "other"]
            ax.plot([min(run.excess), max(run.excess)], [y, y], lw=1.5, color=colour)
            ax.plot(run.excess, [y] * len(run.excess), "o", ms=6, color=colour)
        ax.set_title(dialect)
        log_axis(ax.xaxis, [0.02, 0.05, 0.1, 0.2, 0.5, 1])
        ax.set_yticks(range(len(ways)), [run.way for run in ways])
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", color=FILLS["grid"])
        ax.set_axisbelow(True)
    axes[0, 0].invert_yaxis()
    fig.supxlabel("nats per word above the dialect's entropy, a dot per seed; grey: before adapting", fontsize=12)
    return list(axes[0])


def words_that_moved(delta: Tensor, words: Sequence[str], changed: Sequence[str]) -> list[Axes]:
    """An embedding's update (words, width): its 18 longest rows as a heatmap, and the length of every row.

    changed: the words the dialect changed; their names and bars are violet.
    """
    norms, limit = array(delta.norm(dim=1)), limit_of(delta)
    order = np.argsort(-norms)
    longest = order[:18]
    fig, (left, right) = plt.subplots(1, 2, figsize=(11, 5), gridspec_kw={"width_ratios": (1.1, 1)})
    fig.subplots_adjust(left=0.1, right=0.98, bottom=0.12, top=0.92, wspace=0.25)
    image = left.imshow(array(delta)[longest], cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
    fig.colorbar(image, ax=left, fraction=0.046, pad=0.03)
    left.set_yticks(range(len(longest)), [words[i] for i in longest])
    for label in left.get_yticklabels():
        if label.get_text() in changed:
            label.set(color=COLOURS["marked"], fontweight="bold")
    left.set(title=f"ΔW of the embedding, {len(longest)} longest rows", xlabel="embedding dimension")
    left.tick_params(length=0)
    colours = [COLOURS["marked"] if words[i] in changed else FILLS["weights"] for i in order]
    right.bar(range(len(order)), norms[order], width=1, color=colours)
    right.plot([], [], "s", ms=9, color=COLOURS["marked"], label="the dialect changed it")
    right.plot([], [], "s", ms=9, color=FILLS["weights"], label="it did not")
    right.set(title="length of each word's row", xlabel="word, longest first", ylabel="‖row‖")
    right.legend()
    return [left, right]


def written_sentences(
    columns: Mapping[str, Sequence[str]], changed: Sequence[str], allowed: Callable[[str], bool]
) -> list[Axes]:
    """Sentences side by side, {title: sentences}; words of `changed` in violet, × before what is not allowed."""
    longest = max(len(texts) for texts in columns.values())
    width, height, size = 12.5, 0.34 * longest + 0.6, 11  # inches, inches, points
    fig, axes = plt.subplots(1, len(columns), figsize=(width, height), squeeze=False)
    fig.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=1 - 0.5 / height, wspace=0.02)
    letter = 0.602 * size / 72 / (axes[0, 0].get_position().width * width)  # its width, as a share of the panel's
    for ax, (title, texts) in zip(axes[0], columns.items()):
        ax.set(xlim=(0, 1), ylim=(longest - 0.3, -0.6), title=title)
        ax.axis("off")
        look = {"family": "monospace", "fontsize": size}
        for y, text in enumerate(texts):
            if not allowed(text):
                ax.text(0, y, "×", color=COLOURS["bad"], weight="bold", **look)
            column = 2
            for word in text.split():
                marked = {"color": COLOURS["marked"], "weight": "bold"} if word in changed else {}
                ax.text(column * letter, y, word, **marked, **look)
                column += len(word) + 1
    return list(axes[0])
