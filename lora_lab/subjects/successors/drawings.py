"""Figures of what came after LoRA: digits a quarter turned, and methods compared."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lora_lab.figures.style import COLOURS, CYCLE, DASHES, FILLS, axes_of, log_axis, plt
from lora_lab.subjects.digits.drawings import ink
from lora_lab.subjects.tables import Table

LOSS_TICKS = (0.1, 0.3, 1, 3, 10)


def image_pairs(first: Tensor, second: Tensor, labels: Sequence[int], names: tuple[str, str]) -> list[Axes]:
    """Two rows of small pictures. first, second (n, 64): 8 x 8 pixels each."""
    fig, axes = plt.subplots(2, len(first), figsize=(0.95 * len(first) + 0.6, 2.4), squeeze=False)
    fig.subplots_adjust(left=0.12, right=0.99, bottom=0.02, top=0.88, wspace=0.1, hspace=0.1)
    for row, pictures in zip(axes, (first, second)):
        for ax, picture in zip(row, pictures):
            ink(ax, picture)
    for ax, label in zip(axes[0], labels):
        ax.set_title(f"{int(label)}", loc="center")
    for row, name in zip(axes, names):
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    return list(axes.flat)


def variants(fig: Figure, runs: Table, steps: Sequence[int], method: str, live: Sequence[float] | None = None) -> None:
    """Left: test loss against step, LoRA's runs in blue, one method's in brown, the live run dotted. Right: every run's
    last loss. Drawn once; then only the method changes.
    """
    nothing, by_method = [np.nan] * len(steps), runs.by("method")
    if not fig.axes:
        grid = {"left": 0.08, "right": 0.98, "bottom": 0.15, "top": 0.9, "wspace": 0.42}
        left, right = fig.subplots(1, 2, gridspec_kw=grid)
        for colour in ("LoRA", "variant"):
            left.plot(steps, nothing, color=COLOURS[colour])
        left.plot(steps, nothing, ":", color=COLOURS["chosen"], label="trained on this page")
        _band(left, 0, by_method["LoRA"], steps)
        log_axis(left.yaxis, LOSS_TICKS)
        left.set(title="test loss while training", xlabel="step", ylabel="cross-entropy (nats)", ylim=(0.07, 30))
        for row, mine in enumerate(by_method.values()):
            losses = mine.column("loss")
            right.plot(losses, [row] * len(losses), "o", ms=7, alpha=0.6, mew=0)
            right.plot(np.median(losses), row, "|", ms=18, mew=2.5)
        right.axvline(np.median(by_method["LoRA"].column("loss")), lw=1, ls=":", color=COLOURS["LoRA"])
        log_axis(right.xaxis, (0.1, 0.2, 0.4, 0.8))
        right.set_yticks(range(len(by_method)), list(by_method))
        right.invert_yaxis()
        right.set(title="test loss at the end, a dot per base", xlabel="cross-entropy (nats)")
    left, right = fig.axes
    if len(left.collections) > 1:
        left.collections[1].remove()
    _band(left, 1, by_method[method], steps)
    left.lines[2].set_ydata(nothing if live is None else live)
    left.legend(handles=left.lines, loc="upper right")  # "best" would search for a place at every redraw
    for row, name in enumerate(by_method):
        colour = COLOURS["variant"] if name == method else COLOURS.get(name, COLOURS["rest"])
        for line in right.lines[2 * row : 2 * row + 2]:
            line.set_color(colour)


def _band(ax: Axes, line: int, runs: Table, steps: Sequence[int]) -> None:
    """The median of the curves as a line that is there already, and their range as a band."""
    curves = np.array(runs.column("curve"))  # (bases, points)
    ax.lines[line].set_ydata(np.median(curves, 0))
    ax.lines[line].set_label(f"{runs[0].method}: median and all bases")
    ax.fill_between(steps, curves.min(0), curves.max(0), color=ax.lines[line].get_color(), alpha=0.2, lw=0)


def rate_curves(tuning: Table) -> Axes:
    """Mean test loss of the tuning runs against the learning rate; a filled dot at the best rate."""
    ax = axes_of(None, (8.5, 4.2))
    rest = ((colour, dashes) for dashes in DASHES[:3] for colour in CYCLE)
    for marker, (method, tries) in zip("os^vD<>Phd", tuning.by("method").items()):
        means = {lr: seeds.mean("loss") for lr, seeds in tries.by("lr").items()}
        colour, dashes = (COLOURS[method], "-") if method in COLOURS else next(rest)
        style = {"marker": marker, "mfc": FILLS["paper"], "lw": 1.5, "ls": dashes, "color": colour}
        ax.plot(list(means), list(means.values()), label=method, **style)
        best = min(means, key=means.get)
        ax.plot(best, means[best], marker, ms=9, color=colour)
    log_axis(ax.yaxis, LOSS_TICKS)
    log_axis(ax.xaxis, (0.001, 0.01, 0.1))
    ax.set(title="The best learning rate (filled) depends on the method", ylim=(0.08, 30))
    ax.set(xlabel="learning rate (of A, where B has another)", ylabel="test loss (nats)")
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    ax.figure.subplots_adjust(right=0.78, bottom=0.14, left=0.1)
    return ax


def rank_transfer(tries: Table) -> Axes:
    """Last test loss against rank with the learning rate found at r = 4, a dot per base: alpha/r and alpha/sqrt r."""
    ax = axes_of(None, (7, 3.8))
    shown = [("LoRA", "LoRA: α/r", "LoRA", -0.06), ("rsLoRA", "rsLoRA: α/√r", "variant", 0.06)]
    for method, label, colour, aside in shown:
        mine = tries.where(method=method)
        medians = {rank: np.median(runs.column("loss")) for rank, runs in mine.by("r").items()}
        ax.plot(np.log2(list(medians)) + aside, list(medians.values()), color=COLOURS[colour], label=label)
        ax.plot(np.log2(mine.column("r")) + aside, mine.column("loss"), "o", color=COLOURS[colour], alpha=0.5, mew=0)
    ranks = tries.kinds("r")
    ax.set_xticks(np.log2(ranks), [f"{r}" for r in ranks])
    log_axis(ax.yaxis, (0.1, 0.2, 0.4, 0.8, 1.6))
    ax.set(title="At large ranks α/√r is ahead (a dot per base)", ylabel="test loss (nats)")
    ax.set_xlabel("rank r, at the learning rate tuned for r = 4")
    ax.legend()
    return ax
