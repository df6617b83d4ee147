"""Times as bars."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes

from .style import COLOURS, FILLS, axes_of, kind_of


def ratio_bars(times: Mapping[str, float], baseline: str, ax: Axes | None = None, *, title: str = "") -> Axes:
    """Times as bars relative to `baseline`. {name: seconds}. Hatched: LoRA that forms BA."""
    ax = axes_of(ax, (8, 0.5 * len(times) + 1))
    ratios = {name: t / times[baseline] for name, t in times.items()}
    colours = [COLOURS[kind_of(name) or "LoRA"] for name in ratios]
    ax.axvline(1, lw=1, color=COLOURS["base"])
    bars = ax.barh(list(ratios), list(ratios.values()), color=colours, edgecolor=FILLS["paper"], lw=0)
    for bar, name in zip(bars, ratios):
        bar.set_hatch("//" if "materialised" in name or "parametrization" in name else "")
    room = {"facecolor": FILLS["paper"], "edgecolor": "none", "pad": 1}  # the line at 1 ends before the number
    ax.bar_label(bars, fmt="%.2f", padding=4, bbox=room)
    ax.invert_yaxis()
    ax.set(title=title, xlabel=f"time, {baseline} = 1")
    return ax
