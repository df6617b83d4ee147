"""The panel of the first page: a word and its rank."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

from lora_lab import figures
from lora_lab.figures.live import LiveFigure, choice
from lora_lab.subjects.low_rank.panels import LowRankView


def taste_panel(delta: Tensor, ranks: Sequence[int]) -> LiveFigure:
    """Page 00: the best rank-r copy of a matrix, and what it misses."""
    view = LowRankView(delta)
    limit, size = figures.limit_of(delta), " × ".join(map(str, delta.shape))

    def draw(fig: Figure, r: int) -> str:
        copy = view.copy(r)
        shown = {f"the best rank-{r} copy of ΔW, {size}": copy, "what it misses": view.delta - copy}
        if not fig.axes:
            place = {"left": 0.005, "right": 0.995, "bottom": 0.015, "top": 0.84, "wspace": 0.04}
            axes = fig.subplots(1, 2, gridspec_kw=place)
            for ax, (title, M) in zip(axes, shown.items(), strict=True):
                figures.heatmap(M, ax, title=title, limit=limit, colorbar=False)
                ax.set(xticks=[], yticks=[], xlabel="", ylabel="")  # low: it stands on the course's first screen
        for ax, (title, M) in zip(fig.axes, shown.items(), strict=True):
            figures.update_heatmap(ax, M, title, limit)
        return view.caption(r)

    return LiveFigure(draw, {"r": choice("rank r", ranks)}, name="low-rank copy", figsize=(9.8, 1.75), keep=True)
