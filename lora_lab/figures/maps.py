"""Final losses over (r, alpha) as a map (page 04)."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import FixedLocator, NullLocator

from .style import COLOURS, FILLS, LOSSES, axes_of


def loss_map(
    ranks: Sequence[int],
    alphas: Sequence[float],
    losses: np.ndarray,
    ax: Axes | None = None,
    *,
    title: str = "",
    low: float = 1e-3,
    high: float = 1.0,
) -> Axes:
    """Final losses over (r, alpha) on a logarithmic colour scale from `low` to `high`; × where the run diverged.

    losses: (len(alphas), len(ranks)), not finite where diverged.
    """
    ax = axes_of(ax, (6, 4.4))
    colours = matplotlib.colormaps[LOSSES].with_extremes(bad=FILLS["band"])
    image = ax.imshow(np.zeros(np.shape(losses)), cmap=colours, norm=LogNorm(low, high), origin="lower", aspect="auto")
    ax.plot([], [], "x", ms=9, mew=2, color=COLOURS["bad"])
    update_loss_map(ax, losses)
    ax.set(title=title, xlabel="rank r", ylabel="α")
    ax.set_xticks(range(len(ranks)), [f"{r}" for r in ranks])
    ax.set_yticks(range(len(alphas)), [f"{a:g}" for a in alphas])
    ax.tick_params(length=0)
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.06, pad=0.03)
    ticks = [10.0**k for k in range(-12, 13) if low <= 10.0**k <= high]
    bar.ax.yaxis.set_major_locator(FixedLocator(ticks))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(lambda x, _: f"{x:g}")  # no formula, as in loss_curves
    return ax


def update_loss_map(ax: Axes, losses: np.ndarray) -> None:
    """Show other losses over the same ranks and alphas in a map that is drawn already."""
    losses = np.asarray(losses, dtype=float)
    bad = ~np.isfinite(losses)
    ax.images[0].set_data(np.ma.masked_array(np.clip(np.where(bad, 1, losses), *ax.images[0].get_clim()), bad))
    y, x = bad.nonzero()
    ax.lines[0].set_data(x, y)
