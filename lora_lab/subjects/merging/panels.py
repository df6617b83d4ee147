"""Page 05: several adapters mixed on one base."""

import itertools
from collections.abc import Iterable, Mapping

from matplotlib.figure import Figure
from torch import Tensor

from lora_lab import figures, theory
from lora_lab.figures.live import LiveFigure, choice


def mixture_panel(wanted: Mapping[str, Tensor], updates: Mapping[str, Tensor]) -> LiveFigure:
    """W0 + sum of lam_k * ΔW_k: a slider for each adapter, a bar for each task, and the sum as a heatmap.

    wanted: {task: the change it needs, (d_out, d_in)}. updates: {adapter: its ΔW}.
    """
    steps = [i / 4 for i in range(-2, 7)]
    limit = figures.limit_of(*updates.values())

    def mixed(lams: Iterable[float]) -> tuple[Tensor, dict[str, float]]:
        """The sum of the updates, and the expected loss on each task (inputs of covariance 1) with it on the base."""
        total = sum(lam * delta for lam, delta in zip(lams, updates.values(), strict=True))
        return total, {task: theory.expected_shift_loss(total - delta) for task, delta in wanted.items()}

    corners = itertools.product((steps[0], steps[-1]), repeat=len(updates))
    highest = max(max(mixed(lams)[1].values()) for lams in corners)  # at the sliders' ends

    def draw(fig: Figure, **lams: float) -> str:
        total, losses = mixed(lams.values())
        if not fig.axes:
            grid = {"left": 0.06, "right": 0.97, "bottom": 0.14, "top": 0.88, "wspace": 0.6}
            left, right = fig.subplots(1, 2, gridspec_kw=grid)
            figures.heatmap(total, left, limit=limit)
            right.barh(list(losses), list(losses.values()), color=figures.COLOURS["LoRA"])
            right.set(title="loss on each task", xlabel="expected mean squared error", xlim=(0, highest))
            right.invert_yaxis()
        figures.update_heatmap(fig.axes[0], total, "the sum of the updates", limit)
        for bar, loss in zip(fig.axes[1].patches, losses.values(), strict=True):
            bar.set_width(loss)
        return "loss " + ", ".join(f"{task} {figures.short(loss)}" for task, loss in losses.items())

    controls = {f"lam{i + 1}": choice(f"λ of {name}", steps, 1.0 if i == 0 else 0.0) for i, name in enumerate(updates)}
    return LiveFigure(draw, controls, name="mixing adapters", figsize=(9.5, 4), keep=True)
