"""The course's general figures, one function each: data and an optional Axes in, the Axes out.

Colours mean the same on every page: base grey, LoRA blue, full fine-tuning orange, floor black and dashed,
published figures green circles (from Okabe and Ito's palette, told apart by colour-blind readers too); style.py has
them all, and no other file names a colour.
A matrix of weights is drawn with a diverging map centred at zero; matrices that are compared share its limits.
"""

import matplotlib
import matplotlib.pyplot as plt

from .bars import memory_bars, ratio_bars
from .curves import early_curves, floor_curves, loss_curves, spectra
from .maps import loss_map, update_loss_map
from .matrices import heatmap, heatmap_row, heatmaps, update_heatmap
from .style import (
    COLOURS,
    CYCLE,
    FILLS,
    STYLE,
    array,
    axes_of,
    limit_of,
    lines_for,
    ring,
    short,
    thinned,
    thinned_curve,
    use_style,
)

__all__ = [
    "COLOURS",
    "CYCLE",
    "FILLS",
    "STYLE",
    "array",
    "axes_of",
    "early_curves",
    "floor_curves",
    "heatmap",
    "heatmap_row",
    "heatmaps",
    "limit_of",
    "lines_for",
    "loss_curves",
    "loss_map",
    "matplotlib",
    "memory_bars",
    "plt",
    "ratio_bars",
    "ring",
    "short",
    "spectra",
    "thinned",
    "thinned_curve",
    "update_heatmap",
    "update_loss_map",
    "use_style",
]
