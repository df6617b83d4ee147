"""Pages 00 and 02: a matrix, its best rank-r copy, and what the copy misses."""

from __future__ import annotations

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

    def error(self, r: int) -> float:
        """||delta - copy|| / ||delta||, from the singular values that were cut off (Eckart-Young)."""
        return float((self.S[r:].square().sum() / self.S.square().sum()).sqrt())

    def numbers(self, r: int) -> int:
        return costs.lora_numbers(*self.delta.shape, r)

    def caption(self, r: int) -> str:
        full = self.delta.numel()
        share = 100 * self.numbers(r) / full
        error = 100 * self.error(r)
        missing = "nothing is missing" if error < 0.01 else f"{error:.2g} % of the norm is missing"
        return f"{self.numbers(r):,} numbers instead of {full:,} ({share:.3g} %); {missing}"


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
