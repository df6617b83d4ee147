"""The figures of page 13."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lora_lab import figures
from lora_lab.figures.style import SHARES, log_axis
from lora_lab.subjects.tables import Table, draw_over

from .record import FULL, LORA, exact, tuning
from .task import KINDS, Score

BLUE, ORANGE, GREY = figures.COLOURS["LoRA"], figures.COLOURS["full"], figures.COLOURS["base"]
LOSSES = (0.03, 0.05, 0.1, 0.2, 0.3, 0.5)


def counted(rows: Sequence[Sequence[tuple[str, bool]]], width: int = 145) -> Figure:
    """Token by token what a model is trained on: rows of (token, is it in the loss). Shaded is what counts."""
    lines = []  # (text, shaded, column, line)
    for row in rows:
        column, line = 0, len(lines) and lines[-1][3] + 2
        for token, counts in row:
            text = token.replace("\n", "⏎").replace("|", "")
            if column + len(text) > width:
                column, line = 0, line + 1
            lines.append((text, counts, column, line))
            column += len(text) + 1
    height = lines[-1][3] + 1
    fig, ax = figures.plt.subplots(figsize=(11, 0.27 * height + 0.45), layout="tight")
    ax.set(xlim=(0, width + 1), ylim=(height, -0.6), title="one batch: shaded tokens count in the loss")
    ax.axis("off")
    for text, counts, column, line in lines:
        shade = {"facecolor": figures.FILLS["picked" if counts else "paper"], "edgecolor": "none", "pad": 1.5}
        ink = figures.FILLS["ink"] if counts else GREY
        ax.text(column, line, text, family="monospace", fontsize=8.6, va="center", color=ink, bbox=shade)
    return fig


def exact_bars(groups: Mapping[str, Mapping[str, Score]], title: str) -> Axes:
    """Test sentences with every fact right, in %, by kind. {label: {kind: Score}}."""
    _, ax = figures.plt.subplots(figsize=(10.5, 3.6), layout="tight")
    width = 0.8 / len(groups)
    for i, (label, scores) in enumerate(groups.items()):
        x = np.arange(len(KINDS)) + (i - (len(groups) - 1) / 2) * width
        shares = [100 * scores[kind].exact / scores[kind].n for kind in KINDS]
        colour = ORANGE if label.startswith(FULL) else BLUE if label.startswith("LoRA") else figures.COLOURS["rest"]
        bars = ax.bar(x, shares, 0.92 * width, label=label, color=colour)
        ax.bar_label(bars, fmt="%.0f", fontsize=10)
    ax.set_xticks(range(len(KINDS)), KINDS)
    ax.set(title=title, ylabel="all six facts right, %", ylim=(0, 112))
    ax.legend(loc="upper center", ncols=len(groups), bbox_to_anchor=(0.5, -0.1), frameon=False)
    return ax


def losses(live: Sequence[float], recorded: Mapping[str, Sequence[float]], title: str) -> Axes:
    """Training losses: of the shipped adapters from the record, and of the steps that this page has made."""
    _, ax = figures.plt.subplots(figsize=(10.5, 3.4), layout="tight")
    colours = {label: shade for label, shade in zip(recorded, (BLUE, figures.COLOURS["LoRA2"], GREY))}
    curves = dict(recorded) | ({"live, here": live} if len(live) else {})
    figures.loss_curves(curves, ax, title=title, colours=colours | {"live, here": figures.COLOURS["other"]})
    ax.set_ylabel("nats per answer token")
    return ax


def rates(title: str) -> Axes:
    """Answers' loss against the learning rate, a dot per seed, for LoRA and for full fine-tuning."""
    _, ax = figures.plt.subplots(figsize=(10.5, 3.6), layout="tight")
    for way, label, colour in ((LORA, "LoRA, r = 8", BLUE), (FULL, "full", ORANGE)):
        draw_over(ax, tuning(way), "lr", "tuned_on", color=colour, label=label)
    log_axis(ax.xaxis, (2.5e-5, 1e-4, 4e-4, 1.6e-3))
    log_axis(ax.yaxis, LOSSES)
    ax.set(title=title, xlabel="learning rate (small: each seed)", ylabel="nats per answer token")
    ax.legend()
    return ax


def dots(rows: Mapping[str, Table], title: str) -> list[Axes]:
    """Loss and right answers, a row for each way and a dot per seed; a stroke is the mean."""
    fig, axes = figures.plt.subplots(1, 2, figsize=(10.5, 0.42 * len(rows) + 1.3), sharey=True, layout="tight")
    measured = {"nats per answer token": lambda run: run.loss, "all right, of 64 (a dot per seed, stroke: mean)": exact}
    for ax, (label, measure) in zip(axes, measured.items()):
        for y, (name, runs) in enumerate(rows.items()):
            colour, values = ORANGE if name.startswith(FULL) else BLUE, [measure(run) for run in runs]
            ax.plot(values, [y] * len(values), "o", ms=8, alpha=0.7, color=colour)
            ax.plot(sum(values) / len(values), y, "|", ms=22, mew=2, color=colour)
        ax.set_xlabel(label)
        ax.set_yticks(range(len(rows)), list(rows))
        ax.grid(axis="y", lw=0.5, color=figures.FILLS["grid"])
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    fig.suptitle(title, x=0.01, ha="left", fontsize=13)
    return list(axes)


def layer_maps(matrices: Mapping[str, Sequence[Sequence[float]]], title: str) -> list[Axes]:
    """‖ΔW‖/‖W‖ and the directions that hold 90 % of ‖ΔW‖², for each matrix (rows) of each layer (columns)."""
    fig, axes = figures.plt.subplots(1, 2, figsize=(11, 3.2), sharey=True, layout="tight")
    for ax, i, label in zip(axes, (0, 1), ("‖ΔW‖ / ‖W‖", "directions with 90 % of ‖ΔW‖²")):
        values = [[entry[i] for entry in row] for row in matrices.values()]
        image = ax.imshow(values, cmap=SHARES, aspect="auto", vmin=0)
        ax.set(title=label, xlabel="layer")
        ax.set_yticks(range(len(matrices)), [name.removesuffix("_proj") for name in matrices])
        fig.colorbar(image, ax=ax, fraction=0.05, pad=0.02)
    fig.suptitle(title, x=0.01, ha="left", fontsize=13)
    return list(axes)


def cut_and_trained(cut: Sequence[Mapping[int, float]], trained: Table, full: float, title: str) -> Axes:
    """Full fine-tuning's ΔW cut to rank r, a line per seed, beside LoRA trained at rank r, a dot per seed."""
    _, ax = figures.plt.subplots(figsize=(10.5, 3.6), layout="tight")
    for i, losses in enumerate(cut):
        label = None if i else "full fine-tuning's ΔW, cut to rank r"
        ax.plot(list(losses), list(losses.values()), "s--", color=ORANGE, alpha=0.7, label=label)
    ax.plot([int(run.way.split("=")[1]) for run in trained], trained.column("loss"), "o", color=BLUE, ms=8, alpha=0.7,
            label="LoRA on all matrices, trained at rank r")  # fmt: skip
    ax.axhline(full, color=ORANGE, lw=1, ls=":", label="full fine-tuning, not cut")
    log_axis(ax.xaxis, (1, 2, 4, 8, 16, 32))
    log_axis(ax.yaxis, LOSSES)
    ax.set(title=title, xlabel="rank r", ylabel="nats per answer token")
    ax.legend()
    return ax


def forgotten(runs: Table, base: float, title: str) -> Axes:
    """Loss on plain English text against loss on the answers, a dot per run; the line is the untouched model."""
    _, ax = figures.plt.subplots(figsize=(10.5, 3.8), layout="tight")
    for label, full, colour in (("LoRA", False, BLUE), ("full", True, ORANGE)):
        rows = Table(run for run in runs if (run.way == FULL) == full)
        ax.plot(rows.column("loss"), rows.column("text"), "o", color=colour, ms=8, alpha=0.7, label=label)
    ax.axhline(base, color=GREY, lw=1.5, label="the untouched model")
    log_axis(ax.xaxis, LOSSES)
    ax.set(title=title, xlabel="the task: nats per answer token", ylabel="plain text: nats per token")
    ax.legend()
    return ax


def say(sentence: str) -> None:
    """A sentence as a picture: it may differ from machine to machine, and strict nbval compares no pictures."""
    fig, ax = figures.plt.subplots(figsize=(10.5, 0.9))
    ax.axis("off")
    ax.text(0, 0.5, sentence, va="center", fontsize=12)
