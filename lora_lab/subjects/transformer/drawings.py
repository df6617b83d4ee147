"""Figures of the transformer: ways to fine-tune compared, the paper's tables beside ours, subspaces."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from lora_lab.figures.style import COLOURS, DASHES, FILLS, SHARES, array, axes_of, log_axis
from lora_lab.published import Accuracy, Amplification
from lora_lab.subjects.tables import Table, draw_over

LOOKS = {  # how a way to fine-tune is drawn, by where it has LoRA: colour and marker
    "q,v": (COLOURS["LoRA"], "o"),
    "all linears": (COLOURS["LoRA2"], "s"),
    "full": (COLOURS["full"], "D"),
}
OTHER = (COLOURS["other"], "^")
LOSS_TICKS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1)
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
        below = way in ("linears", "biases") or (way, column) == ("head", "others")  # above, a line is in the way
        ax.annotate(way, point, (0, -20 if below else 9), textcoords="offset points", ha="center", fontsize=11)
    ax.set(title=title, xlabel="trained numbers")
    log_axis(ax.xaxis, (1e3, 1e4, 1e5))
    log_axis(ax.yaxis, LOSS_TICKS)
    low, high = ax.get_ylim()
    ax.set_ylim(low / 1.25, 1.5 * high)  # room for the names


def beside(runs: Table, published: Mapping[str, Accuracy], *, title: str = "") -> list[Axes]:
    """Table 5: our losses, a dot per seed (left), and the paper's accuracy on WikiSQL (right), the same rows."""
    rows = runs.by("way")
    _, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.2), sharey=True, layout="tight")
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
    return [left, right]


def rank_lines(runs: Table, published: Mapping[str, Mapping[int, float]]) -> list[Axes]:
    """Table 6: loss above the floor against rank, a dot per seed (left), and the paper's accuracy (right)."""
    _, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.8), layout="tight")
    for task, style in (("bard", "o-"), ("swap 8", "^-.")):
        for where in ("q,v", "all linears"):
            look = {"marker": style[0], "ls": style[1:], "ms": 7, "color": LOOKS[where][0]}
            draw_over(left, runs.where(task=task, where=where), "rank", "loss", **look, label=f"{task}, {where}")
    for (label, by_rank), style in zip(published.items(), ("o-", "s-.", "^:")):
        circles = {"mfc": "none", "mew": 2, "color": COLOURS["published"]}
        right.plot(list(by_rank), list(by_rank.values()), style, label=label, **circles)
    left.set(title="here (small: each seed)", ylabel="nats above the floor")
    log_axis(left.yaxis, LOSS_TICKS)
    right.set(title="the paper, GPT-3, WikiSQL", ylabel="accuracy, %")
    for ax in (left, right):
        ax.set_xlabel("rank r")
        log_axis(ax.xaxis, RANK_TICKS)
        ax.legend()
    return [left, right]


def phi_map(phi: Tensor, ax: Axes) -> None:
    """The subspace similarity φ(i, j): rows i, columns j, from 0 (white) to 1 (dark); anew or in place of the last."""
    rows, columns = phi.shape
    if not ax.images:
        image = ax.imshow(array(phi), cmap=SHARES, vmin=0, vmax=1, aspect="auto", origin="lower")
        ax.set(xlabel="j: directions of the second", ylabel="i: directions of the first")
        ax.figure.colorbar(image, ax=ax, fraction=0.05, pad=0.02)
    ax.images[0].set(data=array(phi), extent=(0.5, columns + 0.5, 0.5, rows + 0.5))
    ax.set(xlim=(0.5, columns + 0.5), ylim=(0.5, rows + 0.5))


def projections(measured: Mapping[str, Amplification], *, title: str = "") -> Axes:
    """Table 7: how large W is on ΔW's, on its own and on random directions, as shares of ‖W‖, logarithmic."""
    ax = axes_of(None, (10.5, 3.6))
    x = np.arange(len(measured))
    kinds = [("W's own", "on_own", "base", ""), ("ΔW's", "on_delta", "LoRA", ""), ("random", "on_random", "rest", "//")]
    for aside, (label, norm, colour, hatch) in zip((-0.31, 0, 0.31), kinds):
        shares = [getattr(m, norm) / m.norm for m in measured.values()]
        style = {"color": COLOURS[colour], "hatch": hatch, "edgecolor": FILLS["paper"]}
        bars = ax.bar(x + aside, shares, 0.22, label=label, **style)
        ax.bar_label(bars, [f"{share:.2g}" for share in shares], fontsize=9, padding=1)
    log_axis(ax.yaxis, (1e-3, 1e-2, 0.1, 1))
    ax.set(title=title, ylabel="‖projection of W‖ / ‖W‖", ylim=(1e-4, 4))
    ax.set_xticks(x, list(measured))
    ax.legend(title="directions", loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def cut_and_trained(runs: Table) -> list[Axes]:
    """Rank that is cut against rank that is trained, a panel per task: loss above the floor over r, both logarithmic.

    runs: 600 steps at the tuned rate, with the way "linears", whose rows know their loss after cutting.
    """
    _, axes = plt.subplots(1, 2, figsize=(10.5, 3.8), sharey=True, layout="tight")
    for ax, (task, here) in zip(axes, runs.by("task").items()):
        whole = here.where(way="linears")
        cut = Table.of({"rank": r, "loss": loss} for run in whole for r, loss in run.cut.items())
        trained = Table(run for run in here.where(where="all linears") if run.rank in cut.kinds("rank"))
        draw_over(ax, cut, "rank", "loss", "D", ls="--", color=COLOURS["full"], label="cut to rank r")
        draw_over(ax, trained, "rank", "loss", "s", color=COLOURS["LoRA2"], label="LoRA of rank r")
        ax.axhline(whole.mean("loss"), lw=1, ls=":", color=COLOURS["full"], label="not cut")
        ax.set(title=task, xlabel="rank r (small: each seed)")
        log_axis(ax.xaxis, cut.kinds("rank"))
        log_axis(ax.yaxis, LOSS_TICKS)
    axes[0].set_ylabel("nats above the floor")
    axes[1].legend()
    return list(axes)


def same_loss(runs: Table) -> list[Axes]:
    """How far the weights moved, how many intruders, what was forgotten: each against the loss on the task.

    runs: of one task, several ways, learning rates and numbers of steps. A dot per run.
    """
    columns = {"moved": "‖ΔW‖ / ‖W‖", "intruders": "intruders among ten", "others": "other voices: forgotten"}
    fig, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="tight")
    for ax, (column, label) in zip(axes, columns.items()):
        for way, mine in runs.by("way").items():
            colour, marker = look_of(mine[0])
            ax.plot(mine.column("loss"), mine.column(column), marker, ms=7, alpha=0.7, color=colour, label=way)
        ax.set(title=label, xlabel="loss above the floor")
        log_axis(ax.xaxis, (0.005, 0.02, 0.1))
    fig.legend(*axes[0].get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=3)
    return list(axes)


def by_chance(
    values: Tensor, marks: Mapping[str, float], *, title: str = "", xlabel: str = "", log: bool = False
) -> Axes:
    """A null distribution as a histogram, and what was measured as lines with their names."""
    ax = axes_of(None, (10.5, 2.8))
    high = max(float(values.max()), *marks.values()) * (1.3 if log else 1.05)
    low = float(values.min()) / 1.3 if log else 0.0
    bins = np.geomspace(low, high, 70) if log else np.linspace(low, high, 70)
    ax.hist(array(values), bins=bins, color=COLOURS["rest"], label=f"{len(values)} random ones")
    top = ax.get_ylim()[1]
    for k, (label, x) in enumerate(marks.items()):
        colour = COLOURS["published" if "paper" in label else "LoRA"]
        ax.axvline(x, color=colour, lw=2)
        place, right = (x, top * (0.92 - 0.17 * (k % 5))), x > 0.7 * high
        text = {"textcoords": "offset points", "color": colour, "fontsize": 11, "ha": "right" if right else "left"}
        ax.annotate(label, place, (-5 if right else 5, 0), **text, bbox={"fc": FILLS["paper"], "ec": "none", "pad": 1})
    if log:
        log_axis(ax.xaxis, (0.5, 1, 2, 5, 10, 20))
    ax.set(title=title, xlabel=xlabel, xlim=(low, high), yticks=[])
    ax.legend(loc="upper right", bbox_to_anchor=(1, 1.22))  # above the lines
    return ax


def over(runs: Table, column: str, y: str, ax: Axes) -> None:
    """The mean of y over a column, a line for each way, its rank told by dashes, and a dot for each seed."""
    for way, mine in runs.by("way").items():
        (colour, marker), dashes = look_of(mine[0]), {1: ":", 8: "-."}.get(mine[0].rank, "-")
        draw_over(ax, mine, column, y, marker, ms=7, ls=dashes, color=colour, label=way)
    log_axis(ax.xaxis, sorted(runs.kinds(column)))


def regret(data: Table, batch: Table, *, title: str = "") -> list[Axes]:
    """Loss above the floor over the amount of data (left) and over the batch (right), a line for each way."""
    _, axes = plt.subplots(1, 2, figsize=(10.5, 3.8), sharey=True, layout="tight")
    for ax, runs, column in zip(axes, (data, batch), ("lines", "batch")):
        over(runs, column, "loss", ax)
    axes[0].set(title=title, xlabel="lines to learn from (small: each seed)")
    axes[0].set(ylabel="nats above the floor", ylim=(0, None))
    axes[1].set(xlabel="lines in a step, 4,800 seen in all")
    axes[0].legend(loc="lower left")
    return list(axes)


def rewards(runs: Table, *, title: str = "") -> list[Axes]:
    """Mean reward over how many sentences were drawn, a panel for each way and a line for each seed."""
    ways = runs.by("way")
    fig, axes = plt.subplots(1, len(ways), figsize=(10.5, 3.2), sharey=True, layout="tight")
    for ax, (way, mine) in zip(axes, ways.items()):
        for run in mine:
            drawn = [640 * (i + 0.5) for i in range(len(run.curve))]
            ax.plot(drawn, run.curve, color=look_of(run)[0], ls=DASHES[run.seed])
        ax.set(title=way, xlabel="sentences", ylim=(0, 1), xticks=(0, 6400, 12_800))
    axes[0].set_ylabel("mean reward")
    fig.suptitle(title, x=0.01, ha="left")
    return list(axes)
