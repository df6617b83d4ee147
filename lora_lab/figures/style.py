"""The one style of the course, and the small helpers every figure uses."""

import itertools
import re
from collections.abc import Mapping, Sequence

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, NullLocator
from torch import Tensor

# One meaning each, on every page. tests/figures/test_looks.py holds their contrast, also for colour-blind readers.
LINES = {
    "base": "#4D4D4D",
    "LoRA": "#0072B2",
    "full": "#D55E00",
    "floor": "#000000",  # dashed
    "published": "#009E73",  # open circles
    "other": "#CC79A7",  # neither LoRA nor full; a run made live
    "LoRA2": "#3A9BDC",  # a second LoRA beside the first
    "variant": "#7A4305",  # the method chosen from a menu, beside LoRA
    "rest": "#949494",  # the methods that are not chosen
    "good": "#009E73",
    "bad": "#B2182B",
    "marked": "#5E3C99",  # words the task changes
    "chosen": "#000000",  # where the slider stands: a ring or a dot with a white edge
}
FILLS = {  # of bars and bands, never of lines: too light for that, so each has its own hatch or a label
    "weights": "#999999",
    "gradient": "#E69F00",
    "Adam": "#56B4E9",
    "activations": "#CC79A7",
    "band": "#dddddd",  # a range; a cell without a value
    "picked": "#cfe3f1",
    "frame": "#bbbbbb",
    "grid": "#e6e6e6",
    "paper": "#ffffff",
    "ink": "#222222",
}
COLOURS = LINES | FILLS
CYCLE = ("#5E3C99", "#7A4305", "#009E73", "#CC79A7")  # for what has no colour of its own
BESIDE = (COLOURS["other"], COLOURS["published"])  # the same, where LoRA or full is in the figure, too
DASHES = ("-", "-.", ":", (0, (6, 1)))  # a dashed line is a floor
DIVERGING, SHARES, LOSSES, INK = "RdBu_r", "Blues", "viridis", "gray_r"
KINDS = {  # what a label is, by its beginning; a target of full rank is no full fine-tuning
    "LoRA": r"LoRA\b(?!\+)",
    "full": r"full\b(?! rank)",
    "base": r"base\b",
    "floor": r"floor\b",
}
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


def kind_of(label: str) -> str | None:
    """"LoRA, r = 4" -> "LoRA"; None for what is neither LoRA, nor full fine-tuning, nor the base."""
    return next((kind for kind, pattern in KINDS.items() if re.match(pattern, label)), None)


def shades(n: int) -> list[tuple]:
    """Colours of an order, such as ranks: from green (dark enough for a line on white) to nearly black."""
    return [tuple(c) for c in matplotlib.colormaps[LOSSES](np.linspace(0.58, 0, n))]


def lines_for(labels: Sequence[str], colours: Mapping[str, str] | None = None) -> list[dict[str, object]]:
    """Colour and dashes of a line for each label: by its meaning, by its rank if all are ranks, else a cycle.

    A second line of one kind is dash-dotted. colours: {label: colour} goes first.
    """
    labels = list(labels)
    if len(labels) > 1 and all(re.fullmatch(r"r = \d+", label) for label in labels):
        return [{"color": shade, "linestyle": "-"} for shade in shades(len(labels))]
    kinds = [kind_of(label) for label in labels]
    other_colours, other_dashes = itertools.cycle(BESIDE if any(kinds) else CYCLE), itertools.cycle(DASHES)
    found = []
    for i, (label, kind) in enumerate(zip(labels, kinds)):
        if label in (colours or {}) or kind:
            colour = (colours or {}).get(label) or COLOURS[kind]
            dashes = DASHES[1] if kind and kind in kinds[:i] else DASHES[0]
            dashes = "--" if kind == "floor" else dashes
        else:
            colour, dashes = next(other_colours), next(other_dashes)
        found.append({"color": colour, "linestyle": dashes})
    return found


def use_style() -> None:
    """Apply the course's style to all figures drawn from now on."""
    matplotlib.rcParams.update(STYLE)


def axes_of(ax: Axes | None, figsize: tuple[float, float]) -> Axes:
    return plt.subplots(figsize=figsize)[1] if ax is None else ax


def log_axis(axis: Axis, ticks: Sequence[float] | None = None) -> None:
    """Make `ax.xaxis` or `ax.yaxis` logarithmic, with plain numbers at its ticks."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_minor_locator(NullLocator())  # hundreds of ticks that nobody reads, on every redraw
    axis.set_major_formatter(lambda x, _: f"{x:,g}")  # 0.01, not a formula that has to be typeset
    if ticks is not None:
        axis.set_major_locator(FixedLocator(ticks))


def ring(ax: Axes, size: float) -> None:
    """Where a slider stands: an empty black ring with a white edge, seen on every colour; the last of ax.lines."""
    edge = [withStroke(linewidth=5.5, foreground=FILLS["paper"])]
    ax.plot([], [], "o", ms=size, mfc="none", mec=COLOURS["chosen"], mew=2.5, clip_on=False, path_effects=edge)


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
