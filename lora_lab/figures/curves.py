"""Loss curves, spectra, and times as bars."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from .style import COLOURS, FILLS, axes_of, kind_of, lines_for, log_axis, thinned_curve


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
    published: (x, losses) as open circles. colours: {label: colour}, for what its label does not say."""
    ax = axes_of(ax, (7.5, 4))
    for (label, curve), look in zip(curves.items(), lines_for(curves, colours)):
        x, y = curve if isinstance(curve, tuple) else (range(1, len(curve) + 1), curve)
        ax.plot(*thinned_curve(x, y), label=label, **look)
    if published:
        ax.plot(*published, "o", mfc="none", mew=2, ms=8, color=COLOURS["published"], label="published")
    for name, level in (levels or {}).items():
        ax.axhline(level, lw=1.2, color=COLOURS["base"])
        place = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
        ax.annotate(name, (1, level), color=COLOURS["base"], **place)
    if floor is not None:
        ax.axhline(floor, ls="--", lw=1.5, color=COLOURS["floor"], label="floor (computed before training)")
    if log:
        log_axis(ax.yaxis)
    ax.set(title=title, xlabel=xlabel, ylabel="loss (mean squared error)")
    if len(curves) + bool(published) + (floor is not None) > 1:
        ax.legend()
    return ax


def spectra(
    matrices: Mapping[str, Tensor | Sequence[float]], ax: Axes | None = None, *, title: str = "", log: bool = False
) -> Axes:
    """Singular values, largest first. {label: values}."""
    ax = axes_of(ax, (7.5, 4))
    for marker, (label, values), look in zip("osD^v", matrices.items(), lines_for(matrices), strict=False):
        values = np.asarray(values)
        look["marker"] = marker if len(values) <= 40 else None
        ax.plot(np.arange(1, len(values) + 1), values, label=label, **look)
    if log:
        log_axis(ax.yaxis)
    ax.set(title=title, xlabel="index i", ylabel="singular value σᵢ")
    if len(matrices) > 1:
        ax.legend()
    return ax


def ratio_bars(times: Mapping[str, float], baseline: str, *, title: str = "") -> Axes:
    """Times as bars relative to `baseline`. {name: seconds}. Hatched: LoRA that forms BA."""
    ax = axes_of(None, (8, 0.5 * len(times) + 1))
    ratios = [t / times[baseline] for t in times.values()]
    colours = [COLOURS[kind_of(name) or "LoRA"] for name in times]
    hatches = ["//" if "materialised" in name else "" for name in times]
    ax.axvline(1, lw=1, color=COLOURS["base"])
    bars = ax.barh(list(times), ratios, color=colours, hatch=hatches, edgecolor=FILLS["paper"], lw=0)
    room = {"facecolor": FILLS["paper"], "edgecolor": "none", "pad": 1}  # the line at 1 ends before the number
    ax.bar_label(bars, fmt="%.2f", padding=4, bbox=room)
    ax.invert_yaxis()
    ax.set(title=title, xlabel=f"time, {baseline} = 1")
    return ax
