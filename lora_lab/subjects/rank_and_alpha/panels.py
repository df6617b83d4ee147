"""Page 04: the map of final losses over (r, alpha), and the run at one of its points."""

from collections.abc import Mapping

import torch
from matplotlib.figure import Figure
from torch import Tensor

from lora_lab import figures, theory
from lora_lab.figures.live import LiveFigure, choice, menu
from lora_lab.sweeps import Run, Sweep

from . import drawings


def caption(run: Run, floor: float) -> str:
    """The run in words, beside the best loss of its rank."""
    text = f"r = {run.r}, α = {run.alpha:g}, scaling {run.scaling:.3g}, learning rate {run.lr:g}: "
    if run.diverged:
        return text + "diverged"
    return text + f"loss {figures.short(run.loss)}, floor {drawings.floor_text(floor)}"


def map_panel(
    sweeps: Mapping[str, Sweep], changes: Mapping[str, Tensor], floors: Mapping[str, Mapping[int, float]],
    **start: object,
) -> LiveFigure:  # fmt: skip
    """The map of a sweep, a ring where the sliders stand (at first: start), that run's loss curve and its ΔW.

    sweeps: {target: a sweep over r, alpha and lr with one rule and one seed}, all with the same axes. changes: {target:
    the ΔW that it needs, (d_out, d_in)}. floors: {target: {r: best possible loss}}.
    """
    high = max(theory.shift_loss(changes[target], sweep.data[1]) for target, sweep in sweeps.items())  # of the base
    axes = next(iter(sweeps.values())).axes

    def draw(fig: Figure, target: str, r: int, alpha: float, lr: float) -> str:
        runs, run = sweeps[target].runs(lr=lr), sweeps[target].run(r=r, alpha=alpha, lr=lr)
        change, floor = changes[target], floors[target][r]
        if not fig.axes:
            place = {"left": 0.06, "right": 0.985, "bottom": 0.17, "top": 0.89, "wspace": 0.5}
            left, middle, right = fig.subplots(1, 3, gridspec_kw={**place, "width_ratios": (1.25, 0.95, 1)})
            drawings.loss_map(runs, left, high=high)
            figures.ring(left, 17)
            figures.loss_curves({"LoRA": run.losses}, middle, floor=high)
            middle.get_legend().remove()  # the title says what is dashed
            middle.set(title="its loss, floor dashed", ylabel="")
            middle.set(xlim=(0, len(run.losses)), ylim=(0.5e-3 * high, 20 * high))
            figures.heatmap(run.delta, right, colorbar=False).set(xticks=[], yticks=[])  # as quick as can be
        left, middle, right, *_ = fig.axes
        drawings.loss_map(runs, left, title=f"final loss, {target}", high=high)
        left.lines[1].set_data([axes["r"].index(r)], [axes["alpha"].index(alpha)])
        middle.lines[0].set_data(range(len(run.losses)), run.losses)
        lowest = 1.2 * middle.get_ylim()[0]  # a floor of 0 is drawn at the bottom
        middle.lines[1].set_ydata([max(floor, lowest)] * 2)
        away = 100 * float((run.delta - change).norm() / change.norm())
        if run.diverged:
            delta, title = torch.zeros_like(run.delta), "no ΔW: diverged"
        else:
            delta, title = run.delta, f"its ΔW, {away:.0f} % off" if away >= 1 else "its ΔW, below 1 % off"
        figures.update_heatmap(right, delta, title, limit=figures.limit_of(change))
        return caption(run, floor)

    controls = {"target": menu("target", list(sweeps), start.get("target"))}
    for name, label in (("r", "rank r"), ("alpha", "α"), ("lr", "learning rate")):
        controls[name] = choice(label, axes[name], start.get(name, axes[name][len(axes[name]) // 2]))
    return LiveFigure(draw, controls, name="the (r, α) map", figsize=(10.5, 3.6), keep=True)
