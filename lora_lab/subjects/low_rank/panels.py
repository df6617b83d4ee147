"""Pages 00 and 02: a matrix as a stack of rank-1 pieces, its best rank-r copy, and what the copy misses."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from torch import Tensor

from lora_lab import costs, figures, theory
from lora_lab.figures.live import LiveFigure, choice, menu


def copy_error(delta: Tensor, r: int) -> float:
    """‖delta - its best rank-r copy‖ / ‖delta‖, from the singular values that are cut off (Eckart-Young)."""
    return (theory.rank_floor(delta, r) / theory.rank_floor(delta, 0)) ** 0.5


def missing(delta: Tensor, r: int) -> str:
    error = 100 * copy_error(delta, r)
    return "nothing is missing" if error < 0.01 else f"{error:.2g} % of the norm is missing"


def caption(delta: Tensor, r: int) -> str:
    full, kept = delta.numel(), costs.lora_numbers(*delta.shape, r)
    return f"{kept:,} numbers instead of {full:,} ({100 * kept / full:.3g} %); {missing(delta, r)}"


def taste_panel(delta: Tensor, ranks: Sequence[int]) -> LiveFigure:
    """Page 00: the best rank-r copy of a matrix, and what it misses."""
    limit, size = figures.limit_of(delta), " × ".join(map(str, delta.shape))

    def draw(fig: Figure, r: int) -> str:
        copy = theory.best_rank_r(delta, r)
        shown = {f"the best rank-{r} copy of ΔW, {size}": copy, "what it misses": delta - copy}
        if not fig.axes:
            place = {"left": 0.005, "right": 0.995, "bottom": 0.015, "top": 0.84, "wspace": 0.04}
            for ax in fig.subplots(1, 2, gridspec_kw=place):
                figures.heatmap(copy, ax, limit=limit, colorbar=False)
                ax.set(xticks=[], yticks=[], xlabel="", ylabel="")  # low: it stands on the course's first screen
        for ax, (title, M) in zip(fig.axes, shown.items(), strict=True):
            figures.update_heatmap(ax, M, title, limit)
        return caption(delta, r)

    return LiveFigure(draw, {"r": choice("rank r", ranks)}, name="low-rank copy", figsize=(9.8, 1.75), keep=True)


def rank_panel(targets: Mapping[str, Tensor], ranks: Sequence[int] = (1, 2, 3, 4, 5, 8, 16, 32)) -> LiveFigure:
    """Page 02: target, its rank-r copy and the residual on one scale, for several targets of one shape."""

    def draw(fig: Figure, target: str, r: int) -> str:
        delta = targets[target]
        copy, limit = theory.best_rank_r(delta, r), figures.limit_of(delta)
        shown = {f"ΔΘ: {target}": delta, f"rank-{r} copy": copy, "residual": delta - copy}
        if not fig.axes:
            figures.heatmaps(shown, fig, limit=limit)
        for ax, (title, M) in zip(fig.axes, shown.items(), strict=False):  # the last Axes is the colour bar's
            figures.update_heatmap(ax, M, title, limit)
        return caption(delta, r)

    controls = {"target": menu("target", list(targets)), "r": choice("rank r", ranks)}
    return LiveFigure(draw, controls, name="target, copy, residual", figsize=(10, 3.35), keep=True)


def stack_panel(delta: Tensor, pieces: int = 7) -> LiveFigure:
    """Page 02: the SVD as a stack. Each piece is a column times a row; the slider adds them up, largest first."""
    limit, sigma = figures.limit_of(delta), theory.spectrum(delta)
    copies = [theory.best_rank_r(delta, r) for r in range(pieces + 1)]  # the first one is all zeros

    def draw(fig: Figure, n: int) -> str:
        if not fig.axes:
            grid = fig.add_gridspec(2, 6, left=0.01, right=0.99, bottom=0.02, top=0.88, wspace=0.08, hspace=0.5)
            places = [grid[i // 4, i % 4] for i in range(pieces)] + [grid[:, 4:]]
            for place in places:
                ax = figures.heatmap(copies[0], fig.add_subplot(place), limit=limit, colorbar=False)
                ax.set(xticks=[], yticks=[], xlabel="", ylabel="")
        for i, ax in enumerate(fig.axes[:-1], 1):
            piece, title = copies[i] - copies[i - 1], f"{i}: σ = {sigma[i - 1]:.0f}"
            if i > n:  # not added yet
                piece, title = copies[0], ""
            figures.update_heatmap(ax, piece, title, limit)
        figures.update_heatmap(fig.axes[-1], copies[n], f"their sum, rank {n}", limit)
        return f"{n} of {pieces} pieces, the last of size σ = {sigma[n - 1]:.1f}: {missing(delta, n)}"

    controls = {"n": choice("pieces", range(1, pieces + 1))}
    return LiveFigure(draw, controls, name="a stack of pieces", figsize=(11, 2.3), keep=True)
