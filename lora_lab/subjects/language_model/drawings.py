"""Figures of the language model: ways to adapt compared, which words moved, what it writes."""

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from lora_lab.figures.style import COLOURS, FILLS, array, axes_of, kind_of, log_axis
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


def words_that_moved(delta: Tensor, words: Sequence[str], changed: Sequence[str]) -> Axes:
    """The length of each word's row in a layer's update (words, width), longest first; `changed` words are violet."""
    ax = axes_of(None, (9, 3.6))
    norms = array(delta.norm(dim=1))
    order = np.argsort(-norms)
    looks = {"the dialect changed it": COLOURS["marked"], "it did not": FILLS["weights"]}
    yes, no = looks.values()
    ax.bar(range(len(order)), norms[order], width=1, color=[yes if words[i] in changed else no for i in order])
    for label, colour in looks.items():
        ax.plot([], [], "s", ms=9, color=colour, label=label)
    ax.set(title="The longest rows of ΔW are mostly changed words', and none is zero")
    ax.set(xlabel="word, longest first", ylabel="length of its row")
    ax.legend()
    return ax


def written_sentences(columns: Mapping[str, Sequence[str]], allowed: Callable[[str], bool]) -> list[Axes]:
    """Sentences side by side, {title: sentences}; red and with a × what is not allowed."""
    longest = max(len(texts) for texts in columns.values())
    height = 0.34 * longest + 0.6  # inches
    fig, axes = plt.subplots(1, len(columns), figsize=(12.5, height), squeeze=False)
    fig.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=1 - 0.5 / height, wspace=0.02)
    for ax, (title, texts) in zip(axes[0], columns.items()):
        ax.set(xlim=(0, 1), ylim=(longest - 0.3, -0.6), title=title)
        ax.axis("off")
        for y, text in enumerate(texts):
            mark, colour = (" ", "floor") if allowed(text) else ("×", "bad")
            ax.text(0, y, f"{mark} {text}", family="monospace", fontsize=11, color=COLOURS[colour])
    return list(axes[0])
