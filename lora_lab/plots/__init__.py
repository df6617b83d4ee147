"""Every figure of the course, one function each: data and an optional Axes in, the Axes out.

Colours mean the same on every page: base grey, LoRA blue, full fine-tuning orange, floor black and dashed,
published figures green circles (Okabe and Ito's palette, told apart by colour-blind readers too).
A matrix of weights is drawn with a diverging map centred at zero; matrices that are compared share its limits.
"""

import matplotlib
import matplotlib.pyplot as plt

from .bars import memory_bars, ratio_bars
from .curves import early_curves, floor_curves, loss_curves, spectra
from .maps import loss_map, update_loss_map
from .matrices import heatmap, heatmap_row, heatmaps, update_heatmap
from .style import COLOURS, CYCLE, STYLE, array, axes_of, limit_of, short, thinned, thinned_curve, use_style
from .transformer import beside, learned_forgotten, phi_map, projections, rank_lines, ways

__all__ = [
    "COLOURS",
    "CYCLE",
    "STYLE",
    "array",
    "axes_of",
    "beside",
    "early_curves",
    "floor_curves",
    "heatmap",
    "heatmap_row",
    "heatmaps",
    "learned_forgotten",
    "limit_of",
    "loss_curves",
    "loss_map",
    "matplotlib",
    "memory_bars",
    "phi_map",
    "plt",
    "projections",
    "rank_lines",
    "ratio_bars",
    "short",
    "spectra",
    "thinned",
    "thinned_curve",
    "update_heatmap",
    "update_loss_map",
    "use_style",
    "ways",
]
