"""Figures of the transformer: ways to fine-tune compared, the paper's tables beside ours, subspaces."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, NullLocator
from torch import Tensor

from lora_lab.figures.style import COLOURS, FILLS, SHARES, array, axes_of
from lora_lab.published import Accuracy
from lora_lab.subjects.tables import Table
from lora_lab.theory import Amplification

LOOKS = {  # how a way to fine-tune is drawn, by where it has LoRA: colour and marker
    "q,v": (COLOURS["LoRA"], "o"),
    "all linears": (COLOURS["LoRA2"], "s"),
    "full": (COLOURS["full"], "D"),
}
OTHER = (COLOURS["other"], "^")
RANK_TICKS = (1, 2, 4, 8, 16, 64)


def look_of(run) -> tuple[str, str]:
    return LOOKS.get(run.where or run.way, OTHER)


def plain_log(axis) -> None:
    """Plain numbers on a logarithmic axis: few on a long one, more on a short one."""
    low, high = axis.get_view_interval()
    steps = (1, 1.5, 2, 3, 5, 7)
    if high > 4 * low:
        steps = (1, 2, 5)
    if high > 300 * low:
        steps = (1,)
    axis.set_major_locator(FixedLocator([step * 10.0**k for k in range(-5, 7) for step in steps]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda x, _: f"{x:,g}")


def ways(runs: Table, column: str, ax: Axes | None = None, *, title: str = "", ylabel: str = "") -> Axes:
    """The mean of a column over the seeds against trained numbers, both logarithmic. runs: of one task.

    LoRA's ranks are joined by lines; full fine-tuning, head, biases and last block stand alone, with their names.
    """
    ax = axes_of(ax, (7, 4.2))
    for where in ("q,v", "all linears"):
        by_size = runs.where(where=where).by("trained")
        colour, marker = LOOKS[where]
        means = [seeds.mean(column) for seeds in by_size.values()]
        ax.plot(list(by_size), means, marker + "-", ms=7, color=colour, label=f"LoRA on {where}")
    edge = [withStroke(linewidth=4, foreground=FILLS["paper"])]  # lines end before the letters
    place = {"xytext": (0, 9), "textcoords": "offset points", "ha": "center", "path_effects": edge}
    for way, seeds in runs.where(where=None).by("way").items():
        colour, marker = look_of(seeds[0])
        point = (seeds[0].trained, seeds.mean(column))
        ax.plot(*point, marker, ms=9, color=colour)
        ax.annotate(way, point, fontsize=11, **place)
    ax.set(title=title, xlabel="trained numbers", ylabel=ylabel, xscale="log", yscale="log")
    low, high = ax.get_ylim()
    ax.set_ylim(low, 1.5 * high)  # room for the names
    plain_log(ax.xaxis)
    plain_log(ax.yaxis)
    ax.legend(loc="best")
    return ax


def beside(runs: Table, published: Mapping[str, Accuracy], *, title: str = "") -> list[Axes]:
    """Table 5: our losses, a dot per seed (left), and the paper's accuracy on WikiSQL (right), the same rows."""
    rows = runs.by("way")
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 0.38 * len(rows) + 1.5), sharey=True)
    for y, (way, seeds) in enumerate(rows.items()):
        left.plot(seeds.column("loss"), [y] * len(seeds), "o", ms=8, alpha=0.7, color=COLOURS["LoRA"])
        if way in published:
            right.plot(published[way].wikisql, y, "o", mfc="none", mew=2, ms=9, color=COLOURS["published"])
    left.set(title=title, xlabel="nats above the floor (a dot per seed; left is better)", xscale="log")
    plain_log(left.xaxis)
    left.set_yticks(range(len(rows)), list(rows))
    left.invert_yaxis()
    right.set(title="the paper, GPT-3", xlabel="accuracy on WikiSQL, % (right is better)", xlim=(69, 75))
    for ax in (left, right):
        ax.grid(axis="y", lw=0.5, color=FILLS["grid"])
        ax.tick_params(axis="y", length=0)
    fig.tight_layout()
    return [left, right]


def rank_lines(runs: Table, published: Mapping[str, Mapping[int, float]]) -> list[Axes]:
    """Table 6: loss above the floor against rank, a dot per seed (left), and the paper's accuracy (right)."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.8))
    lora = [run for run in runs if run.where]
    for (task, dashes), marker in zip({"bard": "-", "swap 8": "-."}.items(), "o^"):
        for where in ("q,v", "all linears"):
            colour = LOOKS[where][0]
            mine = Table(run for run in lora if run.task == task and run.where == where)
            by_rank = mine.by("rank")
            means = [seeds.mean("loss") for seeds in by_rank.values()]
            left.plot(list(by_rank), means, dashes, color=colour, marker=marker, ms=7, label=f"{task}, {where}")
            left.plot(mine.column("rank"), mine.column("loss"), marker, ms=6, alpha=0.6, color=colour)
    for (label, by_rank), marker, dashes in zip(published.items(), "os^", ("-", "-.", ":")):
        style = {"marker": marker, "ls": dashes, "mfc": "none", "mew": 2, "color": COLOURS["published"]}
        right.plot(list(by_rank), list(by_rank.values()), label=label, **style)
    left.set(title="here", ylabel="nats above the floor", yscale="log")
    plain_log(left.yaxis)
    right.set(title="the paper, GPT-3, WikiSQL", ylabel="accuracy, %")
    for ax in (left, right):
        ax.set(xlabel="rank r", xscale="log")
        ax.set_xticks(RANK_TICKS, [f"{r}" for r in RANK_TICKS])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.legend()
    fig.tight_layout()
    return [left, right]


def phi_map(phi: Tensor | np.ndarray, ax: Axes | None = None, *, title: str = "", most: int = 64) -> Axes:
    """The subspace similarity φ(i, j): rows i, columns j, from 0 (white) to 1 (dark)."""
    ax = axes_of(ax, (7, 3))
    image = ax.imshow(array(phi)[:, :most], cmap=SHARES, vmin=0, vmax=1, aspect="auto", origin="lower")
    ax.set(title=title, xlabel="j: directions of the second", ylabel="i: directions of the first")
    ax.figure.colorbar(image, ax=ax, fraction=0.05, pad=0.02)
    update_phi_map(ax, phi, most)
    return ax


def update_phi_map(ax: Axes, phi: Tensor | np.ndarray, most: int = 64) -> None:
    """Show another φ, of any shape, in a map that is drawn already."""
    phi = array(phi)[:, :most]
    rows, columns = phi.shape
    ax.images[0].set_data(phi)
    ax.images[0].set_extent((0.5, columns + 0.5, 0.5, rows + 0.5))
    ax.set(xlim=(0.5, columns + 0.5), ylim=(0.5, rows + 0.5))


def projections(measured: Mapping[str, Amplification], *, title: str = "") -> Axes:
    """Table 7: how large W is on ΔW's, on its own and on random directions, as shares of ‖W‖, logarithmic."""
    ax = axes_of(None, (10.5, 3.6))
    x, width = np.arange(len(measured)), 0.27
    kinds = [("W's own", "on_own", "base", ""), ("ΔW's", "on_delta", "LoRA", ""), ("random", "on_random", "rest", "//")]
    for k, (label, norm, colour, hatch) in enumerate(kinds):
        shares = [getattr(m, norm) / m.norm for m in measured.values()]
        style = {"color": COLOURS[colour], "hatch": hatch, "edgecolor": FILLS["paper"]}
        bars = ax.bar(x + (k - 1) * width, shares, width * 0.9, label=label, **style)
        ax.bar_label(bars, [f"{share:.2g}" for share in shares], fontsize=9, padding=1)
    ax.set(title=title, ylabel="‖projection of W‖ / ‖W‖", yscale="log", ylim=(1e-4, 4))
    plain_log(ax.yaxis)
    ax.set_xticks(x, list(measured))
    ax.legend(title="directions", loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def learned_forgotten(runs: Table) -> list[Axes]:
    """What was forgotten against what was left to learn, a panel per task, a dot per run, both axes logarithmic."""
    by_task = runs.by("task")
    fig, axes = plt.subplots(1, len(by_task), figsize=(11, 3.9), sharey=True, squeeze=False)
    for ax, (task, here) in zip(axes[0], by_task.items()):
        for way, mine in here.by("way").items():
            colour, marker = look_of(mine[0])
            ax.plot(mine.column("loss"), mine.column("others"), marker, ms=9, alpha=0.8, color=colour, label=way)
        ax.set(title=task, xscale="log", yscale="log")
        plain_log(ax.xaxis)
    fig.supxlabel("above the floor on the task (left: learned more)", fontsize=12)
    axes[0, 0].set_ylabel("above it on other voices\n(down: forgot less)")
    plain_log(axes[0, 0].yaxis)
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    fig.tight_layout()
    return list(axes[0])
