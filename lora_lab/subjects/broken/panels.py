"""The broken-LoRA gallery as a panel: the symptom first; the learner picks the cause; then the line is shown."""

import math
from types import SimpleNamespace

import ipywidgets as w
from matplotlib.figure import Figure

from lora_lab.figures.live import LiveFigure, choice, menu
from lora_lab.figures.matrices import heatmap, update_heatmap
from lora_lab.figures.style import COLOURS, FILLS, array, log_axis

from .gallery import FAULTS, Fault

ASK = "… choose"
LIMIT = 1.5  # of the heatmaps: what is to be drawn has entries 0 and 1


def level(loss: float, base_loss: float) -> str:
    """A loss in words that are the same on every computer."""
    if math.isnan(loss) or loss > 100 * base_loss:
        return "far above the base's"
    if loss > 1.05 * base_loss:
        return "above the base's"
    if loss > 0.95 * base_loss:
        return "the base's"
    return "in between" if loss > 0.04 else "correct"


def caption(fault: Fault, guess: str, reveal: bool) -> str:
    """The symptom in words, after what a wrong guess deserves; or, when it is found or given up, the cause."""
    run, base_loss = fault.run(), fault.run_correct().losses[0]
    if reveal or guess == fault.name:
        return f"{'Right: ' * (guess == fault.name)}{fault.name} ({fault.source}). {fault.cure}"
    answer = ""
    if guess != ASK:
        looks_like_it = alike(run, FAULTS[guess].run())
        looks = "would look just like this, but here it is another cause" if looks_like_it else "is not it"
        answer = f"“{guess}” {looks}. "
    return (
        f"{answer}{fault.symptom[0].upper()}{fault.symptom[1:]}. "
        f"Loss after training: {level(run.losses[-1], base_loss)}; shipped: {level(run.shipped_loss, base_loss)}."
    )


def alike(one: SimpleNamespace, other: SimpleNamespace) -> bool:
    """Whether two programs show the same: losses and update within 5 %."""
    far = max(abs(a - b) / max(a, b) for a, b in zip(one.losses, other.losses, strict=True))
    return far < 0.05 and float((one.delta - other.delta).norm()) < 0.05 * float(one.delta.norm() + 1)


def draw_symptom(fig: Figure, fault: Fault, title: str, lines: tuple[str, str]) -> None:
    """Draw on an empty figure, or update what an earlier call drew there. lines: the broken and the correct line of
    code, to show below; empty for none."""
    correct, broken = fault.run_correct(), fault.run()
    if not fig.axes:
        begin_symptom(fig, correct, broken)
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


def begin_symptom(fig: Figure, correct: SimpleNamespace, broken: SimpleNamespace) -> None:
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


def gallery_panel() -> LiveFigure:
    """A slider over the symptoms, a menu of causes, a box that shows the line. A program runs when it is first shown.

    A new symptom begins unsolved: without the guess and the line of the one before.
    """
    faults = list(FAULTS.values())

    def draw(fig: Figure, symptom: int, guess: str, reveal: bool) -> str:
        fault = faults[symptom - 1]
        shown = reveal or guess == fault.name
        lines = (fault.broken_line, fault.correct_line) if shown else ("", "")
        draw_symptom(fig, fault, f"symptom {symptom}", lines)
        return caption(fault, guess, reveal)

    # in alphabetical order, so that the number of a symptom does not give it away
    causes = sorted(FAULTS, key=lambda name: name.lower().removeprefix("the "))
    controls = {
        "symptom": choice("symptom", range(1, len(faults) + 1)),
        "guess": menu("choose the cause", [ASK, *causes]),
        "reveal": w.Checkbox(value=False, description="show the line", indent=False),
    }
    controls["guess"].readout = False  # names are longer than a slider shows; the caption has them

    def begin_anew(_change) -> None:
        controls["guess"].value, controls["reveal"].value = ASK, False

    controls["symptom"].observe(begin_anew, "value")
    return LiveFigure(draw, controls, name="broken LoRA", figsize=(10.5, 4.2), keep=True, lines=2)
