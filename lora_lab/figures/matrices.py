"""Weight matrices as heatmaps, on a diverging scale centred at zero."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mpl_toolkits.axes_grid1 import make_axes_locatable
from torch import Tensor

from .style import DIVERGING, axes_of, limit_of, thinned


def heatmap(
    M: Tensor | np.ndarray,
    ax: Axes | None = None,
    *,
    title: str = "",
    limit: float | None = None,
    colorbar: bool = True,
) -> Axes:
    """A weight matrix (d_out, d_in): rows are outputs, columns are inputs; red positive, blue negative, white zero."""
    ax = axes_of(ax, (5, 4))
    limit = limit_of(M) if limit is None else limit
    rows, cols = M.shape
    aspect = "equal" if cols > 2 * rows else cols / rows  # drawn square, unless it is a band
    image = ax.imshow(thinned(M), cmap=DIVERGING, vmin=-limit, vmax=limit, extent=(0, cols, rows, 0), aspect=aspect)
    ax.set(title=title, xlabel="input", ylabel="output")
    ax.set_xticks([0, cols], [0, cols])
    ax.set_yticks([0, rows], [0, rows])
    # The numbers stand inside the frame, so that those of neighbours do not touch.
    for label, side in zip(ax.get_xticklabels(), ("left", "right")):
        label.set_ha(side)
    for label, side in zip(ax.get_yticklabels(), ("top", "bottom")):
        label.set_va(side)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(True)
    if colorbar:
        if aspect == "equal":  # a band: the bar as high as the picture, not as the Axes
            ax.figure.colorbar(image, cax=make_axes_locatable(ax).append_axes("right", size="3%", pad=0.12))
        else:
            ax.figure.colorbar(image, ax=ax, fraction=0.046, pad=0.04)
    return ax


def update_heatmap(ax: Axes, M: Tensor | np.ndarray, title: str, limit: float) -> None:
    """Show another matrix of the same shape in a heatmap that is drawn already: several times faster than anew."""
    ax.images[0].set_data(thinned(M))
    ax.images[0].set_clim(-limit, limit)
    ax.set_title(title)


def heatmaps(matrices: Mapping[str, Tensor], fig: Figure | None = None, *, limit: float | None = None) -> list[Axes]:
    """Several matrices side by side on one colour scale, with one colour bar. {title: (d_out, d_in)}.

    fig: a figure that exists already, such as a slider panel's.
    """
    fig = fig or plt.figure(figsize=(3.4 * len(matrices) + 0.6, 3.6))
    limit = limit_of(*matrices.values()) if limit is None else limit
    place = {"left": 0.07, "right": 0.9, "bottom": 0.14, "top": 0.88, "wspace": 0.25}
    axes = fig.subplots(1, len(matrices), squeeze=False, gridspec_kw=place)[0]
    for i, (ax, (title, M)) in enumerate(zip(axes, matrices.items(), strict=True)):
        heatmap(M, ax, title=title, limit=limit, colorbar=False)
        if i:
            ax.set_ylabel("")
    bar = fig.add_axes((place["right"] + 0.02, place["bottom"], 0.015, place["top"] - place["bottom"]))
    fig.colorbar(axes[0].images[0], cax=bar)
    return list(axes)
