"""Every figure of the course, one function each: data and an optional Axes in, the Axes out.

Colours mean the same on every page: base grey, LoRA blue, full fine-tuning orange, floor black and dashed,
published figures green circles (from Okabe and Ito's palette, told apart by colour-blind readers too); style.py has
them all, and no other file names a colour.
A matrix of weights is drawn with a diverging map centred at zero; matrices that are compared share its limits.
"""

import matplotlib
import matplotlib.pyplot as plt

from .bars import memory_bars, ratio_bars
from .curves import early_curves, floor_curves, loss_curves, spectra
from .digits import class_shifts, confusions, digit_errors, digit_rows, ink, margins, repair_curves, repair_dots
from .gallery import symptom
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
from .transformer import beside, learned_forgotten, phi_map, projections, rank_lines, update_phi_map, ways
from .whole import layer_choices, stops_at_the_base, two_phases, ways_compared, words_that_moved, written_sentences
from .wild import (
    bill_bars,
    image_pairs,
    rank_transfer,
    rate_curves,
    update_bills,
    update_variant,
    variant_axes,
    variant_curves,
    variant_dots,
)

__all__ = [
    "COLOURS",
    "CYCLE",
    "FILLS",
    "STYLE",
    "array",
    "axes_of",
    "beside",
    "bill_bars",
    "class_shifts",
    "confusions",
    "digit_errors",
    "digit_rows",
    "early_curves",
    "floor_curves",
    "heatmap",
    "heatmap_row",
    "heatmaps",
    "image_pairs",
    "ink",
    "layer_choices",
    "learned_forgotten",
    "limit_of",
    "lines_for",
    "loss_curves",
    "loss_map",
    "margins",
    "matplotlib",
    "memory_bars",
    "phi_map",
    "plt",
    "projections",
    "rank_lines",
    "rank_transfer",
    "rate_curves",
    "ratio_bars",
    "repair_curves",
    "repair_dots",
    "ring",
    "short",
    "spectra",
    "stops_at_the_base",
    "symptom",
    "thinned",
    "thinned_curve",
    "two_phases",
    "update_bills",
    "update_heatmap",
    "update_loss_map",
    "update_phi_map",
    "update_variant",
    "use_style",
    "variant_axes",
    "variant_curves",
    "variant_dots",
    "ways",
    "ways_compared",
    "words_that_moved",
    "written_sentences",
]
