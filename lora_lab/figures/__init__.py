"""The course's general figures, one function each: data and an optional Axes in, the Axes out.

Colours mean the same on every page: base grey, LoRA blue, full fine-tuning orange, floor black and dashed, published
figures green circles (after Okabe and Ito's palette); style.py has them all, and no other file names a colour.
"""

import matplotlib
import matplotlib.pyplot as plt

from .curves import loss_curves, ratio_bars, spectra
from .matrices import heatmap, heatmaps, update_heatmap
from .style import COLOURS, FILLS, STYLE, limit_of, ring, short, thinned_curve, use_style

__all__ = [
    "COLOURS", "FILLS", "STYLE", "heatmap", "heatmaps", "limit_of", "loss_curves", "matplotlib", "plt", "ratio_bars",
    "ring", "short", "spectra", "thinned_curve", "update_heatmap", "use_style",
]  # fmt: skip
