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
    limit = figures.limit_of(delta)

    def draw(fig: Figure, r: int) -> str:
        copy = view.copy(r)
        shown = {f"the best rank-{r} copy of ΔW": copy, "what it misses": view.delta - copy}
        if not fig.axes:
            place = {"left": 0.03, "right": 0.99, "bottom": 0.13, "top": 0.86, "wspace": 0.1}
            axes = fig.subplots(1, 2, gridspec_kw=place)
            for ax, (title, M) in zip(axes, shown.items(), strict=True):
                figures.heatmap(M, ax, title=title, limit=limit, colorbar=False)
                ax.set(xlabel="", ylabel="")  # the picture is the first of the course and stands on its first screen
        for ax, (title, M) in zip(fig.axes, shown.items(), strict=True):
            figures.update_heatmap(ax, M, title, limit)
        return view.caption(r)

    return LiveFigure(draw, {"r": choice("rank r", ranks)}, name="low-rank copy", figsize=(11, 2.1), keep=True)
