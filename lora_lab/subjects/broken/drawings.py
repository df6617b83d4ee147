"""The symptom of a broken LoRA program: loss curve and update, each beside the correct program's."""

from __future__ import annotations

from matplotlib.figure import Figure

from lora_lab.figures.matrices import heatmap, update_heatmap
from lora_lab.figures.style import COLOURS, FILLS, array, log_axis

from .gallery import Run

LIMIT = 1.5  # of the heatmaps: what is to be drawn has entries 0 and 1


def symptom(fig: Figure, correct: Run, broken: Run, title: str = "", lines: tuple[str, str] = ("", "")) -> None:
    """Draw on an empty figure, or update what an earlier call drew there.

    lines: the broken and the correct line of code, to show below; empty for none.
    """
    if not fig.axes:
        _begin(fig, correct, broken)
    curves, right, wrong = fig.axes
    steps = len(correct.losses)
    for run, (curve, diamond) in zip((correct, broken), (curves.lines[:2], curves.lines[2:])):
        curve.set_data(range(len(run.losses)), array(run.losses))
        diamond.set_data([1.06 * steps], [run.shipped_loss])
    values = [*correct.losses, *broken.losses, correct.shipped_loss, broken.shipped_loss]
    curves.set(xlim=(0, 1.1 * steps), ylim=(min(values) / 2, 3 * max(values)))
    curves.set_title(title)
    update_heatmap(right, correct.delta, "correct ΔW", LIMIT)
    update_heatmap(wrong, broken.delta, "ΔW of this one", LIMIT)
    for text, mark, line in zip(fig.texts, "✗✓", lines):
        text.set_text(f"{mark} {line}" if line else "")


def _begin(fig: Figure, correct: Run, broken: Run) -> None:
    """The axes, and artists that are filled later."""
    grid = {"left": 0.07, "right": 0.99, "bottom": 0.28, "top": 0.9, "wspace": 0.22, "width_ratios": (1.7, 1, 1)}
    curves, right, wrong = fig.subplots(1, 3, gridspec_kw=grid)
    for label, colour, width, alpha in (("correct", "LoRA", 6, 0.5), ("this one", "bad", 2, 1)):  # both are seen
        curves.plot([], [], color=COLOURS[colour], lw=width, alpha=alpha, label=label)
        curves.plot([], [], "D", ms=9, color=COLOURS[colour], mec=FILLS["paper"])
    curves.set(xlabel="step; ◆ the shipped model", ylabel="loss")
    log_axis(curves.yaxis)
    curves.legend(loc="lower left")
    heatmap(correct.delta, right, title="correct ΔW", limit=LIMIT, colorbar=False)
    heatmap(broken.delta, wrong, title="ΔW of this one", limit=LIMIT, colorbar=False)
    wrong.set_ylabel("")
    for y, colour in ((0.095, "bad"), (0.03, "good")):
        fig.text(0.012, y, "", family="monospace", fontsize=11, color=COLOURS[colour])
