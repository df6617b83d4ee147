"""Page 05: several adapters mixed on one base."""

import itertools
from collections.abc import Mapping

from matplotlib.figure import Figure
from torch import Tensor

from lora_lab import figures, theory
from lora_lab.figures.live import LiveFigure, choice


def mixture_losses(
    wanted: Mapping[str, Tensor], updates: Mapping[str, Tensor], weights: Mapping[str, float]
) -> dict[str, float]:
    """Expected loss on each task (inputs of covariance 1) when the base carries sum_k weights[k] * updates[k].

    wanted: {task: the change it needs, (d_out, d_in)}.
    """
    total = sum(weights[name] * delta for name, delta in updates.items())
    return {task: theory.expected_shift_loss(total - delta) for task, delta in wanted.items()}


def mixture_panel(wanted: Mapping[str, Tensor], updates: Mapping[str, Tensor]) -> LiveFigure:
    """Page 05: W0 + sum of lam_k * ΔW_k: a slider for each adapter, a bar for each task, and the sum as a heatmap."""
    names = list(updates)
    limit = figures.limit_of(*updates.values())
    steps = [i / 4 for i in range(-2, 7)]
    corners = [dict(zip(names, lams)) for lams in itertools.product((steps[0], steps[-1]), repeat=len(names))]
    highest = max(max(mixture_losses(wanted, updates, lams).values()) for lams in corners)  # at the sliders' ends

    def draw(fig: Figure, **values: float) -> str:
        lams = {name: values[f"lam{i + 1}"] for i, name in enumerate(names)}
        total = sum(lams[name] * delta for name, delta in updates.items())
        losses = mixture_losses(wanted, updates, lams)
        if not fig.axes:
            grid = {"left": 0.06, "right": 0.97, "bottom": 0.14, "top": 0.88, "wspace": 0.6}
            left, right = fig.subplots(1, 2, gridspec_kw=grid)
            figures.heatmap(total, left, title="the sum of the updates", limit=limit)
            right.barh(list(losses), list(losses.values()), color=figures.COLOURS["LoRA"])
            right.set(title="loss on each task", xlabel="expected mean squared error", xlim=(0, highest))
            right.invert_yaxis()
        figures.update_heatmap(fig.axes[0], total, "the sum of the updates", limit)
        for bar, loss in zip(fig.axes[1].patches, losses.values(), strict=True):
            bar.set_width(loss)
        return "loss " + ", ".join(f"{task} {figures.short(loss)}" for task, loss in losses.items())

    controls = {f"lam{i + 1}": choice(f"λ of {name}", steps, 1.0 if i == 0 else 0.0) for i, name in enumerate(names)}
    return LiveFigure(draw, controls, name="mixing adapters", figsize=(9.5, 4), keep=True)
