"""Page 07: digits as pictures, errors per digit, who is taken for whom, and repairs compared over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from torch import Tensor

from lora_lab.figures.style import COLOURS, COUNTS, FILLS, INK, array, kind_of, plt

from .record import Result


def ink(ax: Axes, image: Tensor | np.ndarray) -> Axes:
    """One digit (64 numbers from 0 to 1) as dark ink on white."""
    ax.imshow(array(image).reshape(8, 8), cmap=INK, vmin=0, vmax=1)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(True)
    ax.spines[:].set_color(FILLS["frame"])
    return ax


def digit_rows(
    rows: Mapping[str, Sequence[tuple[Tensor, str]]], *, colours: Mapping[str, str] | None = None
) -> Figure:
    """Rows of digits, each with a word below it. rows: {title: [(image (64,), word), …]}; colours: {title: colour}."""
    most = max(map(len, rows.values()))
    fig = plt.figure(figsize=(0.98 * most + 0.2, 1.55 * len(rows)))
    parts = fig.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, (title, images) in zip(parts, rows.items()):
        colour = (colours or {}).get(title, COLOURS["floor"])
        part.suptitle(title, x=0.02, y=0.98, ha="left", fontsize=13, color=colour)
        where = {"left": 0.02, "right": 0.99, "bottom": 0.2, "top": 0.78}
        for i, ax in enumerate(part.subplots(1, most, squeeze=False, gridspec_kw=where)[0]):
            if i >= len(images):
                ax.axis("off")
                continue
            ink(ax, images[i][0]).set_xlabel(images[i][1], color=colour, labelpad=3)
    return fig


def digit_errors(
    groups: Mapping[str, Mapping[str, Sequence[int]]],
    counts: Mapping[str, Sequence[int]],
    *,
    colours: Mapping[str, str],
) -> list[Axes]:
    """Per cent of each digit that is wrong, side by side. groups: {title: {label: ten counts}}; counts: likewise."""
    fig, axes = plt.subplots(1, len(groups), figsize=(5.6 * len(groups), 3.7), sharey=True, squeeze=False)
    fig.subplots_adjust(left=0.075, right=0.99, bottom=0.16, top=0.76, wspace=0.06)
    for ax, (title, rows) in zip(axes[0], groups.items()):
        width = 0.8 / len(rows)
        for i, (label, wrong) in enumerate(rows.items()):
            place = np.arange(10) + (i - (len(rows) - 1) / 2) * width
            share = 100 * np.asarray(wrong) / np.asarray(counts[title])
            ax.bar(place, share, width, color=colours[label], label=label)
        ax.set(title=title, xlabel="digit", ylim=(0, 100))
        ax.set_xticks(range(10), range(10))
    axes[0, 0].set_ylabel("% of its images wrong")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="upper center", ncols=3)
    return list(axes[0])


def confusions(tables: Mapping[str, Tensor]) -> list[Axes]:
    """10 x 10 counts: row the true digit, column the answer; right answers left blank. {title: (10, 10)}"""
    fig, axes = plt.subplots(1, len(tables), figsize=(5.1 * len(tables), 4.9), squeeze=False)
    fig.subplots_adjust(left=0.06, right=0.99, bottom=0.12, top=0.92, wspace=0.14)
    wrong = {title: array(table) * (1 - np.eye(10)) for title, table in tables.items()}
    highest = max(table.max() for table in wrong.values()) or 1
    for ax, (title, table) in zip(axes[0], wrong.items()):
        ax.imshow(table, cmap=COUNTS, vmin=0, vmax=highest)
        for row, column in zip(*table.nonzero()):
            n = int(table[row, column])
            colour = FILLS["paper"] if n > highest / 2 else COLOURS["floor"]
            ax.text(column, row, n, ha="center", va="center", fontsize=11, color=colour)
        ax.plot(range(10), range(10), "s", ms=4, color=FILLS["frame"])
        ax.set(title=title, xlabel="answer", xticks=range(10), yticks=range(10))
        ax.tick_params(length=0)
        ax.spines[:].set_visible(True)
    axes[0, 0].set_ylabel("true digit")
    return list(axes[0])


def repair_dots(
    results: Mapping[str, Result], *, base: Result, n: int, title: str = "", figsize: tuple[float, float] | None = None
) -> Axes:
    """A row per repair, a dot per seed: errors on the whole test half. base: drawn as a grey band from min to max."""
    fig, ax = plt.subplots(figsize=figsize or (9, 0.32 * len(results) + 1.2))
    ax.axvspan(min(base.total), max(base.total), color=FILLS["band"], lw=0)
    for i, (label, result) in enumerate(results.items()):
        colour = kind_of(label) or ("base" if result.variant.method == "base" else "other")
        ax.plot(result.total, [i] * len(result.total), "o", ms=7, alpha=0.6, color=COLOURS[colour])
        ax.plot(result.mean, i, "|", ms=17, mew=2.5, color=COLOURS[colour])
    ax.set(title=title, xscale="log", xlabel=f"errors on {n} test images (a dot per seed, a bar at the mean)")
    ax.set_yticks(range(len(results)), list(results))
    ax.set_ylim(len(results) - 0.4, -0.6)
    plain_ticks(ax.xaxis, [30, 50, 100, 200, 400, 800])
    ax.set_xlim(28, 950)
    ax.tick_params(axis="y", length=0)
    band = plt.Rectangle((0, 0), 1, 1, facecolor=FILLS["band"], edgecolor=FILLS["weights"])
    ax.legend([band], ["base, before any repair (range)"], loc="upper right")
    fig.tight_layout()
    return ax


def plain_ticks(axis, values: Sequence[float]) -> None:
    axis.set_major_locator(plt.FixedLocator(values))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda x, _: f"{x:g}")


def repair_curves(
    panels: Mapping[str, Mapping[str, Mapping[float, Result]]], *, base: Result, log: Sequence[str] = ()
) -> list[Axes]:
    """Errors against one setting, side by side: the mean over the seeds as a line, their range as a band.

    panels: {name of the setting: {label: {value: result}}}; log: the settings with a logarithmic axis.
    """
    width = 2.8 if len(panels) > 2 else 4.4
    fig, axes = plt.subplots(1, len(panels), figsize=(width * len(panels), 3.9), sharey=True, squeeze=False)
    fig.subplots_adjust(left=0.07, right=0.99, bottom=0.17, top=0.84, wspace=0.1)
    marks = {"LoRA": "o", "full": "s"}
    for ax, (name, curves) in zip(axes[0], panels.items()):
        ax.axhspan(min(base.total), max(base.total), color=FILLS["band"], lw=0, label="base (range)")
        for label, results in curves.items():
            x, method = list(results), next(iter(results.values())).variant.method
            colour = COLOURS[method] if label.split()[0] in ("LoRA", "full") else COLOURS["other"]
            ax.plot(x, [r.mean for r in results.values()], marker=marks.get(method), color=colour, label=label)
            low, high = ([pick(r.total) for r in results.values()] for pick in (min, max))
            ax.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
        ax.set(xlabel=name, yscale="log")
        if name in log:
            ax.set_xscale("log")
            values = sorted({v for results in curves.values() for v in results})
            plain_ticks(ax.xaxis, values[:: 2 if len(values) > 5 else 1])
        plain_ticks(ax.yaxis, [50, 100, 200, 400, 800])
    axes[0, 0].set_ylabel("errors on the test half")
    unique = {label: line for ax in axes[0] for line, label in zip(*ax.get_legend_handles_labels())}
    fig.legend(unique.values(), unique.keys(), loc="upper center", ncols=len(unique))
    return list(axes[0])


def margins(margin: Sequence[float], shift: Sequence[float], lost: Sequence[float]) -> Axes:
    """For the digits 0 to 8: the base's lead of the right digit over nine, the push towards nine, and who is lost.

    margin, shift: in logits, means over a digit's images; lost: share that is taken for a nine afterwards.
    """
    fig, ax = plt.subplots(figsize=(9.5, 4))
    place = np.arange(len(margin))
    ax.bar(place - 0.2, margin, 0.4, color=COLOURS["base"], label="base: lead of the right digit over nine")
    ax.bar(place + 0.2, shift, 0.4, color=COLOURS["LoRA"], label="adapter: push towards nine")
    top = max(*margin, *shift)
    for x, share in zip(place, lost):
        ax.text(x, 1.04 * max(margin[x], shift[x]), f"{100 * share:.0f} %", ha="center", color=COLOURS["bad"])
    ax.set(title="A digit is lost where the push exceeds its lead (red: lost)", xlabel="digit", ylabel="logits")
    ax.set_xticks(place, place)
    ax.set_ylim(0, 1.35 * top)
    ax.legend(loc="upper right", ncols=2)
    return ax


def class_shifts(shifts: Mapping[str, Sequence[float]], *, colours: Mapping[str, str]) -> Axes:
    """The mean change of each class's logit, a group of bars per class. {label: ten numbers}"""
    fig, ax = plt.subplots(figsize=(9.5, 3.8))
    width = 0.8 / len(shifts)
    for i, (label, values) in enumerate(shifts.items()):
        place = np.arange(10) + (i - (len(shifts) - 1) / 2) * width
        ax.bar(place, values, width, color=colours[label], label=label)
    ax.axhline(0, color=COLOURS["floor"], lw=1)
    ax.set(title="Mean change of the scores on images of other digits", xlabel="class", ylabel="logits")
    ax.set_xticks(range(10), range(10))
    ax.legend(loc="upper left")
    return ax
