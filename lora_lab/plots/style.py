"""The one style of the course, and the small helpers every figure uses."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

COLOURS = {
    "base": "#666666",
    "LoRA": "#0072B2",
    "full": "#D55E00",
    "floor": "#000000",
    "published": "#009E73",
    "other": "#CC79A7",
    "weights": "#999999",
    "gradient": "#E69F00",
    "Adam": "#56B4E9",
}
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE = {
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # a fixed place: searching for a free one is half the cost of drawing a panel
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "lines.linewidth": 2,
    "legend.frameon": False,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "image.interpolation": "nearest",
    "axes.prop_cycle": matplotlib.cycler(color=CYCLE),
}


def use_style() -> None:
    """Apply the course's style to all figures drawn from now on."""
    matplotlib.rcParams.update(STYLE)


def axes_of(ax: Axes | None, figsize: tuple[float, float]) -> Axes:
    return plt.subplots(figsize=figsize)[1] if ax is None else ax


def array(M: Tensor | np.ndarray) -> np.ndarray:
    return M.detach().float().cpu().numpy() if isinstance(M, Tensor) else np.asarray(M)


def short(x: float) -> str:
    """Two significant digits and no exponent: 992.3 -> '990', 0.0468 -> '0.047', 3e-5 -> 'below 0.001'."""
    if 0 <= x < 1e-3:
        return "below 0.001" if x else "0"
    return f"{float(f'{x:.2g}'):,.10g}"


def limit_of(*matrices: Tensor | np.ndarray) -> float:
    """The largest absolute entry of all of them: the common limit of heatmaps that are compared."""
    return max(float(np.abs(array(M)).max()) for M in matrices) or 1.0


def thinned(M: Tensor | np.ndarray, most: int = 160) -> np.ndarray:
    """Every k-th row and column, at most `most` of each: no screen shows more of a 1000 x 1001 matrix."""
    M = array(M)
    return M[:: -(-M.shape[0] // most), :: -(-M.shape[1] // most)]


def thinned_curve(x: Sequence[float], y: Sequence[float], most: int = 800) -> tuple[np.ndarray, np.ndarray]:
    """Every k-th point of a curve, and always its first and last: a figure is not wider than a few hundred points."""
    keep = np.unique(np.append(np.arange(0, len(y), -(-len(y) // most)), max(len(y) - 1, 0)))
    return np.asarray(x, dtype=float)[keep], np.asarray(y, dtype=float)[keep]
