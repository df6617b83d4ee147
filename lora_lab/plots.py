"""Every figure of the course, one function each: data and an optional Axes in, the Axes out.

Colours mean the same on every page: base grey, LoRA blue, full fine-tuning orange, floor black and dashed,
published figures green circles (Okabe and Ito's palette, told apart by colour-blind readers too).
A matrix of weights is drawn with a diverging map centred at zero; matrices that are compared share its limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import FixedLocator, NullLocator
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


def _axes(ax: Axes | None, figsize: tuple[float, float]) -> Axes:
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


def heatmap(
    M: Tensor | np.ndarray,
    ax: Axes | None = None,
    *,
    title: str = "",
    limit: float | None = None,
    colorbar: bool = True,
) -> Axes:
    """A weight matrix (d_out, d_in): rows are outputs, columns are inputs; red positive, blue negative, white zero."""
    ax = _axes(ax, (5, 4))
    limit = limit_of(M) if limit is None else limit
    rows, cols = M.shape
    aspect = "equal" if cols > 2 * rows else cols / rows  # drawn square, unless it is a band
    image = ax.imshow(thinned(M), cmap="RdBu_r", vmin=-limit, vmax=limit, extent=(0, cols, rows, 0), aspect=aspect)
    ax.set(title=title, xlabel="input", ylabel="output")
    ax.set_xticks([0, cols], [0, cols])
    ax.set_yticks([0, rows], [0, rows])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(True)
    if colorbar:
        ax.figure.colorbar(image, ax=ax, fraction=0.046, pad=0.04)
    return ax


def update_heatmap(ax: Axes, M: Tensor | np.ndarray, title: str, limit: float) -> None:
    """Show another matrix of the same shape in a heatmap that is drawn already: several times faster than anew."""
    ax.images[0].set_data(thinned(M))
    ax.images[0].set_clim(-limit, limit)
    ax.set_title(title)


def heatmaps(
    matrices: Mapping[str, Tensor], *, limit: float | None = None, figsize: tuple[float, float] | None = None
) -> list[Axes]:
    """Several matrices side by side on one colour scale, with one colour bar. {title: (d_out, d_in)}."""
    n = len(matrices)
    fig = plt.figure(figsize=figsize or (3.4 * n + 0.6, 3.6))
    return heatmap_row(fig, matrices, limit)


def heatmap_row(fig, matrices: Mapping[str, Tensor], limit: float | None = None, **margins: float) -> list[Axes]:
    """The same on a figure that exists already (a slider panel redraws on its own figure)."""
    limit = limit_of(*matrices.values()) if limit is None else limit
    where = {"left": 0.07, "right": 0.9, "bottom": 0.14, "top": 0.88, "wspace": 0.25} | margins
    axes = fig.subplots(1, len(matrices), squeeze=False, gridspec_kw=where)[0]
    for i, (ax, (title, M)) in enumerate(zip(axes, matrices.items(), strict=True)):
        heatmap(M, ax, title=title, limit=limit, colorbar=False)
        if i:
            ax.set_ylabel("")
    bar = fig.add_axes((where["right"] + 0.02, where["bottom"], 0.015, where["top"] - where["bottom"]))
    fig.colorbar(axes[0].images[0], cax=bar)
    return list(axes)


def loss_curves(
    curves: Mapping[str, Sequence[float] | tuple[Sequence[float], Sequence[float]]],
    ax: Axes | None = None,
    *,
    title: str = "",
    xlabel: str = "step",
    floor: float | None = None,
    levels: Mapping[str, float] | None = None,
    published: tuple[Sequence[float], Sequence[float]] | None = None,
    colours: Mapping[str, str] | None = None,
    log: bool = True,
) -> Axes:
    """Loss against step. curves: {label: losses} or {label: (x, losses)}; floor: a dashed line; levels: named lines;
    published: (x, losses) as open circles."""
    ax = _axes(ax, (7.5, 4))
    for label, curve in curves.items():
        x, y = curve if isinstance(curve, tuple) else (range(1, len(curve) + 1), curve)
        ax.plot(*thinned_curve(x, y), label=label, color=(colours or COLOURS).get(label))
    if published:
        ax.plot(*published, "o", mfc="none", mew=2, ms=8, color=COLOURS["published"], label="published (S1)")
    for name, level in (levels or {}).items():
        ax.axhline(level, lw=1.2, color=COLOURS["base"])
        ax.annotate(
            name, (1, level), xycoords=("axes fraction", "data"), ha="right", va="bottom", color=COLOURS["base"]
        )
    if floor is not None:
        ax.axhline(floor, ls="--", lw=1.5, color=COLOURS["floor"], label="floor (computed before training)")
    if log:
        ax.set_yscale("log")
        ax.yaxis.set_minor_locator(NullLocator())  # hundreds of ticks that nobody reads, on every redraw
        ax.yaxis.set_major_formatter(lambda x, _: f"{x:g}")  # 0.01, not a formula that has to be typeset
    ax.set(title=title, xlabel=xlabel, ylabel="loss (mean squared error)")
    if len(curves) + bool(published) + (floor is not None) > 1:
        ax.legend()
    return ax


def spectra(
    matrices: Mapping[str, Tensor | Sequence[float]], ax: Axes | None = None, *, title: str = "", log: bool = False
) -> Axes:
    """Singular values, largest first. {label: values}."""
    ax = _axes(ax, (7.5, 4))
    for marker, (label, values) in zip("osD^v", matrices.items(), strict=False):
        values = np.asarray(values)
        ax.plot(np.arange(1, len(values) + 1), values, marker=marker if len(values) <= 40 else None, label=label)
    if log:
        ax.set_yscale("log")
    ax.set(title=title, xlabel="index i", ylabel="singular value σᵢ")
    if len(matrices) > 1:
        ax.legend()
    return ax


def memory_bars(
    bars: Mapping[str, object], ax: Axes | None = None, *, title: str = "", unit: float = 1e6, name: str = "MB"
) -> Axes:
    """Stacked bars of weights, gradients and Adam's moments. {label: costs.Memory}."""
    ax = _axes(ax, (7, 3))
    labels = list(bars)
    left = np.zeros(len(labels))
    parts = (("weights", "weights", ""), ("gradients", "gradient", "///"), ("adam", "Adam", "..."))
    for part, colour, hatch in parts:
        width = np.array([getattr(bars[label], part) for label in labels]) / unit
        shown = {"weights": "weights", "gradients": "gradients", "adam": "Adam's two moments"}[part]
        ax.barh(labels, width, left=left, color=COLOURS[colour], label=shown, hatch=hatch, edgecolor="white")
        left += width
    ax.invert_yaxis()
    ax.set(title=title, xlabel=name)
    ax.legend(ncols=3, loc="upper left", bbox_to_anchor=(-0.02, -0.22))
    return ax


def ratio_bars(times: Mapping[str, float], baseline: str, ax: Axes | None = None, *, title: str = "") -> Axes:
    """Times as bars relative to `baseline`. {name: seconds}."""
    ax = _axes(ax, (8, 0.5 * len(times) + 1))
    ratios = {name: t / times[baseline] for name, t in times.items()}
    kinds = ["full" if "full" in n else "LoRA" if "factored" in n or "merged" in n else "base" for n in ratios]
    colours = [COLOURS[kind] for kind in kinds]
    ax.bar_label(ax.barh(list(ratios), list(ratios.values()), color=colours), fmt="%.2f", padding=3)
    ax.axvline(1, lw=1, color=COLOURS["base"])
    ax.invert_yaxis()
    ax.set(title=title, xlabel=f"time, {baseline} = 1")
    return ax


# ------------------------------------------------------------------------------------------------ maps (page 04)


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
    ax = _axes(ax, (6, 4.4))
    colours = matplotlib.colormaps["viridis"].with_extremes(bad="#dddddd")
    image = ax.imshow(np.zeros(np.shape(losses)), cmap=colours, norm=LogNorm(low, high), origin="lower", aspect="auto")
    ax.plot([], [], "x", ms=9, mew=2, color=COLOURS["full"])
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


def early_curves(
    groups: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    at: int | None = None,
    figsize: tuple[float, float] = (11, 3.8),
) -> list[Axes]:
    """Loss curves side by side on one scale, one panel per group, from light and thick to dark and thin in each.

    groups: {title: {label: losses}}. at: a step to mark, where the page compares the curves.
    """
    fig, axes = plt.subplots(1, len(groups), figsize=figsize, sharey=True, squeeze=False)
    fig.subplots_adjust(left=0.08, right=0.88, bottom=0.16, top=0.9, wspace=0.08)
    for ax, (title, curves) in zip(axes[0], groups.items()):
        shades = matplotlib.colormaps["viridis_r"](np.linspace(0.1, 1, len(curves)))
        widths = np.linspace(5, 1.5, len(curves))  # so that a curve is seen under one that coincides with it
        for shade, width, (label, losses) in zip(shades, widths, curves.items()):
            ax.plot(np.arange(len(losses)), losses, color=shade, lw=width, label=label)
        if at is not None:
            ax.axvline(at, lw=1, ls=":", color=COLOURS["base"])
        ax.set(title=title, xlabel="step", yscale="log")
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes[0, 0].set_ylabel("loss (mean squared error)")
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return list(axes[0])


def floor_curves(
    targets: Mapping[str, tuple[Sequence[int], Sequence[float], Sequence[Sequence[float]]]], *, low: float = 1e-3
) -> list[Axes]:
    """Reached loss against rank, a dot per seed, over the floor (dashed). {target: (ranks, floors, [losses per seed])}.

    Losses and floors below `low` are drawn at `low`.
    """
    fig, axes = plt.subplots(1, len(targets), figsize=(2.75 * len(targets), 3.6), sharey=True, squeeze=False)
    fig.subplots_adjust(left=0.09, right=0.98, bottom=0.17, top=0.78, wspace=0.08)
    for ax, (title, (ranks, floors, seeds)) in zip(axes[0], targets.items()):
        for i, losses in enumerate(seeds):
            label = "" if i else f"trained, a dot per seed (drawn from {low:g} up)"
            ax.plot(ranks, np.maximum(losses, low), "o", ms=7, color=COLOURS["LoRA"], label=label)
        ax.plot(ranks, np.maximum(floors, low), "--", color=COLOURS["floor"], label="floor (computed before training)")
        ax.set(title=title, xlabel="rank r", xscale="log", yscale="log", ylim=(low / 1.5, 2))
        ax.set_xticks(ranks, [f"{r}" for r in ranks])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes[0, 0].set_ylabel("loss (mean squared error)")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="upper center", ncols=2)
    return list(axes[0])
