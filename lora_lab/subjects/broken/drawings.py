"""The symptom of a broken LoRA program: loss curve and update, each beside the correct program's."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from torch import Tensor

from lora_lab.figures.matrices import heatmap, update_heatmap
from lora_lab.figures.style import COLOURS, FILLS, array

LIMIT = 1.5  # of the heatmaps: what is to be drawn has entries 0 and 1


def symptom(
    fig: Figure,
    correct: tuple[list[float], float, Tensor],
    broken: tuple[list[float], float, Tensor],
    title: str = "",
    lines: tuple[str, str] | None = None,
) -> None:
    """Draw on an empty figure, or update what an earlier call drew there.

    correct, broken: (losses, loss of the shipped model, its update (d_out, d_in)). lines: (broken, correct) line of
    code to show below, or None.
    """
    if not fig.axes:
        grid = {"left": 0.07, "right": 0.99, "bottom": 0.28, "top": 0.9, "wspace": 0.22, "width_ratios": (1.7, 1, 1)}
        curves, right, wrong = fig.subplots(1, 3, gridspec_kw=grid)
        for label, colour, width in (("correct", "LoRA", 6), ("this one", "bad", 2)):  # seen where they coincide
            curves.plot([], [], color=COLOURS[colour], lw=width, alpha=0.5 if width > 2 else 1, label=label)
            curves.plot([], [], "D", ms=9, color=COLOURS[colour], mec=FILLS["paper"])
        curves.set(xlabel="step; ◆ the shipped model", ylabel="loss", yscale="log")
        curves.yaxis.set_minor_locator(NullLocator())
        curves.yaxis.set_major_formatter(lambda x, _: f"{x:g}")
        curves.legend(loc="lower left")
        heatmap(correct[2], right, title="correct ΔW", limit=LIMIT, colorbar=False)
        heatmap(broken[2], wrong, title="ΔW of this one", limit=LIMIT, colorbar=False)
        wrong.set_ylabel("")
        for y, colour in ((0.095, "bad"), (0.03, "good")):
            fig.text(0.012, y, "", family="monospace", fontsize=11, color=COLOURS[colour])
    curves, right, wrong = fig.axes
    steps = len(correct[0])
    for i, (losses, shipped, _) in enumerate((correct, broken)):
        curves.lines[2 * i].set_data(range(len(losses)), array(losses))
        curves.lines[2 * i + 1].set_data([1.06 * steps], [shipped])
    values = [v for losses, shipped, _ in (correct, broken) for v in (*losses, shipped)]
    curves.set(xlim=(0, 1.1 * steps), ylim=(min(values) / 2, 3 * max(values)))
    curves.set_title(title)
    update_heatmap(right, correct[2], "correct ΔW", LIMIT)
    update_heatmap(wrong, broken[2], "ΔW of this one", LIMIT)
    shown = ("", "") if lines is None else (f"✗ {lines[0]}", f"✓ {lines[1]}")
    for text, line in zip(fig.texts, shown, strict=True):
        text.set_text(line)
