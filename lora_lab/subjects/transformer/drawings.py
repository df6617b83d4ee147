"""Figures of the transformer: ways to fine-tune compared, the paper's tables beside ours, subspaces."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from lora_lab.figures.style import COLOURS, FILLS, SHARES, array, axes_of, log_axis
from lora_lab.subjects.tables import Table

from .published import Accuracy, Amplification

LOOKS = {  # how a way to fine-tune is drawn, by where it has LoRA: colour and marker
    "q,v": (COLOURS["LoRA"], "o"),
    "all linears": (COLOURS["LoRA2"], "s"),
    "full": (COLOURS["full"], "D"),
}
OTHER = (COLOURS["other"], "^")
LOSS_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1)
RANK_TICKS = (1, 2, 4, 8, 16, 64)


def look_of(run) -> tuple[str, str]:
    return LOOKS.get(run.where or run.way, OTHER)


def ways(runs: Table, column: str, ax: Axes, *, title: str = "") -> None:
    """The mean of a column over the seeds against trained numbers, both logarithmic. runs: of one task.

    LoRA's ranks are joined by lines; full fine-tuning, head, biases and last block stand alone, with their names.
    """
    for where in ("q,v", "all linears"):
        by_size = runs.where(where=where).by("trained")
        colour, marker = LOOKS[where]
        means = [seeds.mean(column) for seeds in by_size.values()]
        ax.plot(list(by_size), means, marker + "-", ms=7, color=colour, label=f"LoRA on {where}")
    for way, seeds in runs.where(where=None).by("way").items():
        colour, marker = look_of(seeds[0])
        point = (seeds[0].trained, seeds.mean(column))
        ax.plot(*point, marker, ms=9, color=colour)
        ax.annotate(way, point, (0, 9), textcoords="offset points", ha="center", fontsize=11)
    ax.set(title=title, xlabel="trained numbers")
    log_axis(ax.xaxis, (1e3, 1e4, 1e5))
    log_axis(ax.yaxis, LOSS_TICKS)
    low, high = ax.get_ylim()
    ax.set_ylim(low, 1.5 * high)  # room for the names


def beside(runs: Table, published: Mapping[str, Accuracy], *, title: str = "") -> list[Axes]:
    """Table 5: our losses, a dot per seed (left), and the paper's accuracy on WikiSQL (right), the same rows."""
    rows = runs.by("way")
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.2), sharey=True)
    for y, (way, seeds) in enumerate(rows.items()):
        left.plot(seeds.column("loss"), [y] * len(seeds), "o", ms=8, alpha=0.7, color=COLOURS["LoRA"])
        right.plot(published[way].wikisql, y, "o", mfc="none", mew=2, ms=9, color=COLOURS["published"])
    left.set(title=title, xlabel="nats above the floor (a dot per seed; left is better)")
    log_axis(left.xaxis, LOSS_TICKS)
    left.set_yticks(range(len(rows)), list(rows))
    left.invert_yaxis()
    right.set(title="the paper, GPT-3", xlabel="accuracy on WikiSQL, % (right is better)", xlim=(69, 75))
    for ax in (left, right):
        ax.grid(axis="y", lw=0.5, color=FILLS["grid"])
    fig.tight_layout()
    return [left, right]


def rank_lines(runs: Table, published: Mapping[str, Mapping[int, float]]) -> list[Axes]:
    """Table 6: loss above the floor against rank, a dot per seed (left), and the paper's accuracy (right)."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.8))
    for task, style in (("bard", "o-"), ("swap 8", "^-.")):
        for where in ("q,v", "all linears"):
            colour = LOOKS[where][0]
            mine = runs.where(task=task, where=where)
            by_rank = mine.by("rank")
            means = [seeds.mean("loss") for seeds in by_rank.values()]
            left.plot(list(by_rank), means, style, color=colour, ms=7, label=f"{task}, {where}")
            left.plot(mine.column("rank"), mine.column("loss"), style[0], ms=6, alpha=0.6, color=colour)
    for (label, by_rank), style in zip(published.items(), ("o-", "s-.", "^:")):
        circles = {"mfc": "none", "mew": 2, "color": COLOURS["published"]}
        right.plot(list(by_rank), list(by_rank.values()), style, label=label, **circles)
    left.set(title="here", ylabel="nats above the floor")
    log_axis(left.yaxis, LOSS_TICKS)
    right.set(title="the paper, GPT-3, WikiSQL", ylabel="accuracy, %")
    for ax in (left, right):
        ax.set_xlabel("rank r")
        log_axis(ax.xaxis, RANK_TICKS)
        ax.legend()
    fig.tight_layout()
    return [left, right]


def phi_map(phi: Tensor, ax: Axes) -> None:
    """The subspace similarity φ(i, j): rows i, columns j, from 0 (white) to 1 (dark)."""
    image = ax.imshow(array(phi), cmap=SHARES, vmin=0, vmax=1, aspect="auto", origin="lower")
    ax.set(title="φ(i, j)", xlabel="j: directions of the second", ylabel="i: directions of the first")
    ax.figure.colorbar(image, ax=ax, fraction=0.05, pad=0.02)


def update_phi_map(ax: Axes, phi: Tensor) -> None:
    """Show another φ, of any shape, in a map that is drawn already."""
    phi = array(phi)
    rows, columns = phi.shape
    ax.images[0].set_data(phi)
    ax.images[0].set_extent((0.5, columns + 0.5, 0.5, rows + 0.5))
    ax.set(xlim=(0.5, columns + 0.5), ylim=(0.5, rows + 0.5))


def projections(measured: Mapping[str, Amplification], *, title: str = "") -> Axes:
    """Table 7: how large W is on ΔW's, on its own and on random directions, as shares of ‖W‖, logarithmic."""
    ax = axes_of(None, (10.5, 3.6))
    x = np.arange(len(measured))
    kinds = [("W's own", "on_own", "base", ""), ("ΔW's", "on_delta", "LoRA", ""), ("random", "on_random", "rest", "//")]
    for aside, (label, norm, colour, hatch) in zip((-0.27, 0, 0.27), kinds):
        shares = [getattr(m, norm) / m.norm for m in measured.values()]
        style = {"color": COLOURS[colour], "hatch": hatch, "edgecolor": FILLS["paper"]}
        bars = ax.bar(x + aside, shares, 0.24, label=label, **style)
        ax.bar_label(bars, [f"{share:.2g}" for share in shares], fontsize=9, padding=1)
    log_axis(ax.yaxis, (1e-3, 1e-2, 0.1, 1))
    ax.set(title=title, ylabel="‖projection of W‖ / ‖W‖", ylim=(1e-4, 4))
    ax.set_xticks(x, list(measured))
    ax.legend(title="directions", loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def learned_forgotten(runs: Table) -> list[Axes]:
    """What was forgotten against what was left to learn, a panel per task, a dot per run, both axes logarithmic."""
    by_task = runs.by("task")
    fig, axes = plt.subplots(1, len(by_task), figsize=(11, 3.9), sharey=True)
    for ax, (task, here) in zip(axes, by_task.items()):
        for way, mine in here.by("way").items():
            colour, marker = look_of(mine[0])
            ax.plot(mine.column("loss"), mine.column("others"), marker, ms=9, alpha=0.8, color=colour, label=way)
        ax.set_title(task)
        log_axis(ax.xaxis, (0.008, 0.01, 0.02, 0.05, 0.1))
        log_axis(ax.yaxis, LOSS_TICKS)
    fig.supxlabel("above the floor on the task (left: learned more)", fontsize=12)
    axes[0].set_ylabel("above it on other voices\n(down: forgot less)")
    axes[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    fig.tight_layout()
    return list(axes)
