"""Digits as pictures, errors per digit, and repairs compared over seeds."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lora_lab.figures.style import COLOURS, FILLS, INK, array, kind_of, log_axis, plt

from .record import Result, find
from .repair import Push


def ink(ax: Axes, image: Tensor) -> Axes:
    """One digit (64 numbers from 0 to 1) as dark ink on white."""
    ax.imshow(array(image).reshape(8, 8), cmap=INK, vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color=FILLS["frame"])
    return ax


def digit_rows(rows: Mapping[str, Sequence[tuple[Tensor, str]]], colours: Sequence[str]) -> Figure:
    """Rows of digits, {title: (image (64,), the word below it)}. colours: a key of COLOURS for each row."""
    most = max(len(row) for row in rows.values())
    fig = plt.figure(figsize=(0.98 * most + 0.2, 1.55 * len(rows)))
    where = {"left": 0.02, "right": 0.99, "bottom": 0.2, "top": 0.78}
    parts = fig.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, (title, row), colour in zip(parts, rows.items(), colours):
        part.suptitle(title, x=0.02, y=0.98, ha="left", fontsize=13, color=COLOURS[colour])
        places = part.subplots(1, most, squeeze=False, gridspec_kw=where)[0]
        for ax, (image, word) in zip(places, row):
            ink(ax, image).set_xlabel(word, color=COLOURS[colour], labelpad=3)
        for ax in places[len(row) :]:
            ax.axis("off")
    return fig


def pairs_of_bars(ax: Axes, base: Sequence[float], adapted: Sequence[float], labels: Sequence[str]) -> None:
    """At each digit from 0 two bars beside each other."""
    for heights, kind, label, place in zip((base, adapted), ("base", "LoRA"), labels, (-0.2, 0.2)):
        ax.bar(np.arange(len(heights)) + place, heights, 0.4, color=COLOURS[kind], label=label)
    ax.set(xlabel="digit", xticks=range(len(base)))


def bars_on_bars(ax: Axes, base: Sequence[float], adapted: Sequence[float]) -> None:
    """At each digit a wide bar for the base, and on it a narrow one for the base with an update."""
    ax.bar(range(10), base, 0.8, color=COLOURS["base"], label="base")
    ax.bar(range(10), adapted, 0.5, color=COLOURS["LoRA"], label="base + λ ΔW")
    ax.set(xlabel="digit", xticks=range(10))
    ax.legend(loc="upper left", ncols=2)


def before_and_after(groups: Mapping[str, tuple[Sequence[int], Sequence[int], Sequence[int]]]) -> list[Axes]:
    """Per cent of each digit that is wrong. groups: {title: (wrong before, wrong after, images)}, ten counts each."""
    fig, axes = plt.subplots(1, len(groups), figsize=(5.6 * len(groups), 3.7), sharey=True, squeeze=False)
    fig.subplots_adjust(left=0.075, right=0.99, bottom=0.16, top=0.76, wspace=0.06)
    for ax, (title, (before, after, counts)) in zip(axes[0], groups.items()):
        before, after = (100 * np.array(wrong) / np.array(counts) for wrong in (before, after))
        pairs_of_bars(ax, before, after, ("before", "after"))
        ax.set(title=title, ylim=(0, 100))
    axes[0, 0].set_ylabel("% of its images wrong")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="upper center", ncols=2)
    return list(axes[0])


def repair_dots(results: Mapping[str, Result], *, title: str = "") -> Axes:
    """A row per repair, a dot per seed: errors on the whole test half. The base's range is a grey band."""
    fig, ax = plt.subplots(figsize=(9, 0.32 * len(results) + 1.2))
    base = find("base").total
    ax.axvspan(min(base), max(base), color=FILLS["band"], lw=0, label="base (range)")
    for i, (label, result) in enumerate(results.items()):
        colour = COLOURS[kind_of(label) or "other"]
        ax.plot(result.total, [i] * len(result.total), "o", ms=7, alpha=0.6, color=colour)
        ax.plot(result.mean, i, "|", ms=17, mew=2.5, color=colour)
    log_axis(ax.xaxis, [30, 50, 100, 200, 400, 800])
    ax.set(title=title, xlabel="errors on 901 test images (a dot per seed, a bar at the mean)", xlim=(28, 950))
    ax.set_yticks(range(len(results)), list(results))
    ax.set_ylim(len(results) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.legend(loc="upper right")
    fig.tight_layout()
    return ax


def repair_curves(settings: Mapping[str, Sequence[Mapping[float, Result]]], *, log: Sequence[str] = ()) -> list[Axes]:
    """Errors against one setting, side by side: the mean over the seeds as a line, their range as a band.

    settings: {name: [{value: result}, …]}, a curve for each method; log: the settings with a logarithmic axis.
    """
    width = 2.8 if len(settings) > 2 else 4.4
    fig, axes = plt.subplots(1, len(settings), figsize=(width * len(settings), 3.9), sharey=True, squeeze=False)
    fig.subplots_adjust(left=0.07, right=0.99, bottom=0.17, top=0.84, wspace=0.1)
    base = find("base").total
    for ax, (name, curves) in zip(axes[0], settings.items()):
        ax.axhspan(min(base), max(base), color=FILLS["band"], lw=0, label="base (range)")
        for results in curves:
            x, there = list(results), list(results.values())
            method = there[0].method
            marker, colour = {"LoRA": "o", "full": "s"}[method], COLOURS[method]
            ax.plot(x, [result.mean for result in there], marker=marker, color=colour, label=method)
            low, high = [min(result.total) for result in there], [max(result.total) for result in there]
            ax.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
        ax.set_xlabel(name)
        if name in log:
            log_axis(ax.xaxis, x if len(x) < 6 else x[::2])
        log_axis(ax.yaxis, [50, 100, 200, 400, 800])
    axes[0, 0].set_ylabel("errors on the test half")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="upper center", ncols=3)
    return list(axes[0])


def margins(pushes: Sequence[Push]) -> Axes:
    """For each digit 0 to 8: the base's lead of the right digit over nine, the push towards nine, and who is lost."""
    ax = plt.subplots(figsize=(9.5, 4))[1]
    leads, shifts = [row.lead for row in pushes], [row.push for row in pushes]
    pairs_of_bars(ax, leads, shifts, ("base: lead of the right digit over nine", "adapter: push towards nine"))
    for row in pushes:
        place = row.digit, 1.04 * max(row.lead, row.push)
        ax.text(*place, f"{100 * row.lost:.0f} %", ha="center", color=COLOURS["bad"])
    ax.set(title="A digit is lost where the push exceeds its lead (red: lost)", ylabel="logits")
    ax.set_ylim(0, 1.35 * max(leads + shifts))
    ax.legend(loc="upper right", ncols=2)
    return ax
