"""Pages 00 and 02: a matrix as a stack of rank-1 pieces, its best rank-r copy, and what the copy misses."""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from lora_lab import costs, figures
from lora_lab.figures.live import LiveFigure, choice, menu


class LowRankView:
    """A matrix and its best rank-r copies, with the SVD done once. delta (d_out, d_in)."""

    def __init__(self, delta: Tensor) -> None:
        self.delta = delta.detach().float()
        self.U, self.S, self.Vh = torch.linalg.svd(self.delta.double(), full_matrices=False)

    def copy(self, r: int) -> Tensor:
        return ((self.U[:, :r] * self.S[:r]) @ self.Vh[:r]).float()

    def piece(self, i: int) -> Tensor:
        """The i-th largest rank-1 piece, counted from 1: a column times a row times its singular value."""
        return self.copy(i) - self.copy(i - 1)

    def error(self, r: int) -> float:
        """||delta - copy|| / ||delta||, from the singular values that were cut off (Eckart-Young)."""
        return float((self.S[r:].square().sum() / self.S.square().sum()).sqrt())

    def missing(self, r: int) -> str:
        error = 100 * self.error(r)
        return "nothing is missing" if error < 0.01 else f"{error:.2g} % of the norm is missing"

    def caption(self, r: int) -> str:
        full, kept = self.delta.numel(), costs.lora_numbers(*self.delta.shape, r)
        return f"{kept:,} numbers instead of {full:,} ({100 * kept / full:.3g} %); {self.missing(r)}"


def taste_panel(delta: Tensor, ranks: Sequence[int]) -> LiveFigure:
    """Page 00: the best rank-r copy of a matrix, and what it misses."""
    view = LowRankView(delta)
    limit, size = figures.limit_of(delta), " × ".join(map(str, delta.shape))

    def draw(fig: Figure, r: int) -> str:
        copy = view.copy(r)
        shown = {f"the best rank-{r} copy of ΔW, {size}": copy, "what it misses": view.delta - copy}
        if not fig.axes:
            place = {"left": 0.005, "right": 0.995, "bottom": 0.015, "top": 0.84, "wspace": 0.04}
            for ax in fig.subplots(1, 2, gridspec_kw=place):
                figures.heatmap(copy, ax, limit=limit, colorbar=False)
                ax.set(xticks=[], yticks=[], xlabel="", ylabel="")  # low: it stands on the course's first screen
        for ax, (title, M) in zip(fig.axes, shown.items(), strict=True):
            figures.update_heatmap(ax, M, title, limit)
        return view.caption(r)

    return LiveFigure(draw, {"r": choice("rank r", ranks)}, name="low-rank copy", figsize=(9.8, 1.75), keep=True)


def rank_panel(targets: Mapping[str, Tensor], ranks: Sequence[int] = (1, 2, 3, 4, 5, 8, 16, 32)) -> LiveFigure:
    """Page 02: target, its rank-r copy and the residual on one scale, for several targets of one shape."""
    views = {name: LowRankView(delta) for name, delta in targets.items()}

    def draw(fig: Figure, target: str, r: int) -> str:
        view = views[target]
        copy, limit = view.copy(r), figures.limit_of(view.delta)
        shown = {f"ΔΘ: {target}": view.delta, f"rank-{r} copy": copy, "residual": view.delta - copy}
        if not fig.axes:
            figures.heatmaps(shown, fig, limit=limit)
        for ax, (title, M) in zip(fig.axes, shown.items(), strict=False):  # the last Axes is the colour bar's
            figures.update_heatmap(ax, M, title, limit)
        return view.caption(r)

    controls = {"target": menu("target", list(views)), "r": choice("rank r", ranks)}
    return LiveFigure(draw, controls, name="target, copy, residual", figsize=(10, 3.35), keep=True)


def stack_panel(delta: Tensor, pieces: int = 7) -> LiveFigure:
    """Page 02: the SVD as a stack. Each piece is a column times a row; the slider adds them up, largest first."""
    view = LowRankView(delta)
    limit = figures.limit_of(delta)
    nothing = torch.zeros_like(view.delta)

    def draw(fig: Figure, n: int) -> str:
        if not fig.axes:
            grid = fig.add_gridspec(2, 6, left=0.01, right=0.99, bottom=0.02, top=0.88, wspace=0.08, hspace=0.5)
            places = [grid[i // 4, i % 4] for i in range(pieces)] + [grid[:, 4:]]
            for place in places:
                ax = figures.heatmap(nothing, fig.add_subplot(place), limit=limit, colorbar=False)
                ax.set(xticks=[], yticks=[], xlabel="", ylabel="")
        for i, ax in enumerate(fig.axes[:-1], 1):
            added = i <= n
            title = f"{i}: σ = {view.S[i - 1]:.0f}" if added else ""
            figures.update_heatmap(ax, view.piece(i) if added else nothing, title, limit)
        figures.update_heatmap(fig.axes[-1], view.copy(n), f"their sum, rank {n}", limit)
        return f"{n} of {pieces} pieces, the last of size σ = {view.S[n - 1]:.1f}: " + view.missing(n)

    controls = {"n": choice("pieces", range(1, pieces + 1))}
    return LiveFigure(draw, controls, name="a stack of pieces", figsize=(11, 2.3), keep=True)
