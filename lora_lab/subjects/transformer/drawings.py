"""Page 08: ways to fine-tune compared, the paper's tables beside ours, subspaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, NullLocator
from torch import Tensor

from lora_lab.figures.style import COLOURS, FILLS, SHARES, array, axes_of

KINDS = {  # of ways to fine-tune: the beginning of their name, and how they are drawn
    "full": ("full", "D"),
    "q,v": ("LoRA", "o"),
    "all linears": ("LoRA2", "s"),
    "": ("other", "^"),
}


def _kind(way: str) -> tuple[str, str]:
    return next(style for start, style in KINDS.items() if way.startswith(start))


def _plain_log(ax: Axes, axis: str = "y") -> None:
    """Plain numbers at 1, 2 and 5 times the powers of ten; fewer on a long axis, more on a short one."""
    which = ax.yaxis if axis == "y" else ax.xaxis
    low, high = which.get_view_interval()
    steps = (1, 1.5, 2, 3, 5, 7) if high < 4 * low else (1, 2, 5) if high < 300 * low else (1,)
    which.set_major_locator(FixedLocator([m * 10.0**k for k in range(-5, 7) for m in steps]))
    which.set_minor_locator(NullLocator())
    which.set_major_formatter(lambda x, _: f"{x:,g}")


def ways(points: Mapping[str, tuple[int, float]], ax: Axes | None = None, *, title: str = "", ylabel: str = "") -> Axes:
    """Loss above the floor over trained numbers, both logarithmic. {way: (trained numbers, mean over seeds)}.

    LoRA's ranks are joined by lines; full fine-tuning, head, biases and last block stand alone, with their names.
    """
    ax = axes_of(ax, (7, 4.2))
    for start, label in (("q,v", "LoRA on q, v"), ("all linears", "LoRA on all linears")):
        chosen = [p for way, p in points.items() if way.startswith(start)]
        colour, marker = KINDS[start]
        ax.plot(*zip(*chosen), marker + "-", ms=7, color=COLOURS[colour], label=label)
    for way, point in points.items():
        if " r=" not in way:
            colour, marker = _kind(way)
            ax.plot(*point, marker, ms=9, color=COLOURS[colour])
            place = {"xytext": (0, 9), "textcoords": "offset points", "ha": "center"}
            edge = [withStroke(linewidth=4, foreground=FILLS["paper"])]  # lines end before the letters
            ax.annotate(way, point, fontsize=11, path_effects=edge, **place)
    ax.set(title=title, xlabel="trained numbers", ylabel=ylabel, xscale="log", yscale="log")
    low, high = ax.get_ylim()
    ax.set_ylim(low, 1.5 * high)  # room for the names
    _plain_log(ax, "x")
    _plain_log(ax)
    ax.legend(loc="best")
    return ax


def beside(
    ours: Mapping[str, Sequence[float]],
    published: Mapping[str, float],
    *,
    title: str = "",
    xlabel: str = "nats above the floor (a dot per seed; left is better)",
    limits: tuple[float, float] = (69, 75),
) -> list[Axes]:
    """Our losses (left) beside the paper's accuracy (right), the same rows. ours: {row: a value per seed}."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 0.38 * len(ours) + 1.5), sharey=True)
    rows = list(ours)
    for y, row in enumerate(rows):
        values = ours[row]
        left.plot(values, [y] * len(values), "o", ms=8, alpha=0.7, color=COLOURS["LoRA"])
        if row in published:
            right.plot(published[row], y, "o", mfc="none", mew=2, ms=9, color=COLOURS["published"])
    left.set(title=title, xlabel=xlabel, xscale="log")
    left.xaxis.set_minor_locator(NullLocator())
    ticks = [t for t in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2) if _spans(ours, t)]
    left.set_xticks(ticks, [f"{t:g}" for t in ticks])
    left.set_yticks(range(len(rows)), rows)
    left.invert_yaxis()
    right.set(title="the paper, GPT-3", xlabel="accuracy on WikiSQL, % (right is better)", xlim=limits)
    for ax in (left, right):
        ax.grid(axis="y", lw=0.5, color=FILLS["grid"])
        ax.tick_params(axis="y", length=0)
    fig.tight_layout()
    return [left, right]


def _spans(values: Mapping[str, Sequence[float]], tick: float) -> bool:
    everything = [v for row in values.values() for v in row]
    return min(everything) / 1.5 <= tick <= max(everything) * 1.5


def rank_lines(
    ours: Mapping[str, Mapping[int, Sequence[float]]], published: Mapping[str, Mapping[int, float]]
) -> list[Axes]:
    """Table 6: loss above the floor against rank, a dot per seed (left), and the paper's accuracy (right)."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.8))
    tasks = list(dict.fromkeys(label.split(",")[0] for label in ours))
    for (label, by_rank), marker in zip(ours.items(), "os^D"):
        task, _, way = label.partition(",")
        look = {"color": COLOURS[_kind(way.strip())[0]], "ls": ("-", "-.", ":")[tasks.index(task) % 3]}
        left.plot(list(by_rank), [np.mean(v) for v in by_rank.values()], label=label, marker=marker, ms=1, **look)
        for r, values in by_rank.items():
            left.plot([r] * len(values), values, marker, ms=6, color=look["color"])
    for (label, by_rank), marker, dashes in zip(published.items(), "os^D", ("-", "-.", ":", "-")):
        look = {"color": COLOURS["published"], "ls": dashes, "marker": marker, "mfc": "none", "mew": 2}
        right.plot(list(by_rank), list(by_rank.values()), label=label, **look)
    left.set(title="here", ylabel="nats above the floor", yscale="log")
    _plain_log(left)
    right.set(title="the paper, GPT-3, WikiSQL", ylabel="accuracy, %")
    for ax in (left, right):
        ax.set(xlabel="rank r", xscale="log")
        ax.set_xticks((1, 2, 4, 8, 16, 64), ("1", "2", "4", "8", "16", "64"))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.legend()
    for line in left.get_legend().get_lines():
        line.set_markersize(7)
    fig.tight_layout()
    return [left, right]


def phi_map(phi: Tensor | np.ndarray, ax: Axes | None = None, *, title: str = "", most: int = 64) -> Axes:
    """The subspace similarity φ(i, j): rows i, columns j, from 0 (white) to 1 (dark)."""
    ax = axes_of(ax, (7, 3))
    phi = array(phi)[:, :most]
    rows, columns = phi.shape
    image = ax.imshow(
        phi, cmap=SHARES, vmin=0, vmax=1, aspect="auto", origin="lower", extent=(0.5, columns + 0.5, 0.5, rows + 0.5)
    )
    ax.set(title=title, xlabel="j: directions of the second", ylabel="i: directions of the first")
    ax.figure.colorbar(image, ax=ax, fraction=0.05, pad=0.02)
    return ax


def update_phi_map(ax: Axes, phi: Tensor | np.ndarray, most: int = 64) -> None:
    """Show another φ, of any shape, in a map that is drawn already."""
    phi = array(phi)[:, :most]
    rows, columns = phi.shape
    ax.images[0].set_data(phi)
    ax.images[0].set_extent((0.5, columns + 0.5, 0.5, rows + 0.5))
    ax.set(xlim=(0.5, columns + 0.5), ylim=(0.5, rows + 0.5))


def projections(groups: Mapping[str, Mapping[str, float]], *, title: str = "") -> Axes:
    """Table 7: how large W is on ΔW's, on its own and on random directions, as shares of ‖W‖, logarithmic.

    groups: {label: {"on_delta": ..., "on_own": ..., "on_random": ..., "norm": ...}}.
    """
    ax = axes_of(None, (10.5, 3.6))
    kinds = {"on_own": ("W's own", "base"), "on_delta": ("ΔW's", "LoRA"), "on_random": ("random", "rest")}
    width = 0.27
    for k, (key, (label, colour)) in enumerate(kinds.items()):
        shares = [g[key] / g["norm"] for g in groups.values()]
        bars = ax.bar(
            np.arange(len(groups)) + (k - 1) * width,
            shares,
            width * 0.9,
            label=label,
            color=COLOURS[colour],
            hatch=("", "", "///")[k],
            edgecolor=FILLS["paper"],
        )
        ax.bar_label(bars, [f"{s:.2g}" if s >= 0.001 else f"{s:.1g}" for s in shares], fontsize=9, padding=1)
    ax.set(title=title, ylabel="‖projection of W‖ / ‖W‖", yscale="log", ylim=(1e-4, 4))
    _plain_log(ax)
    ax.set_xticks(range(len(groups)), list(groups))
    ax.legend(title="directions", loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def learned_forgotten(points: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]) -> list[Axes]:
    """What was forgotten against what was left to learn, a panel per task, a dot per run, both axes logarithmic.

    points: {task: {way: [(above the floor on the task, above the floor on other voices)]}}.
    """
    fig, axes = plt.subplots(1, len(points), figsize=(11, 3.9), sharey=True, squeeze=False)
    for ax, (task, by_way) in zip(axes[0], points.items()):
        for way, runs in by_way.items():
            colour, marker = _kind(way)
            ax.plot(*zip(*runs), marker, ms=9, alpha=0.8, color=COLOURS[colour], label=way)
        ax.set(title=task, xscale="log", yscale="log")
        _plain_log(ax, "x")
    fig.supxlabel("above the floor on the task (left: learned more)", fontsize=12)
    axes[0, 0].set_ylabel("above it on other voices\n(down: forgot less)")
    _plain_log(axes[0, 0])
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    fig.tight_layout()
    return list(axes[0])
