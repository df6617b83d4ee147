"""What a figure looks like to a person, in numbers: colour blindness, contrast, text that is cut off or overlaps."""
from __future__ import annotations

import itertools

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

# Machado, Oliveira, Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency", IEEE TVCG
# 15(6), 2009, table 1, severity 1.0. They multiply linear RGB.
SIGHT = {
    "usual": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                            [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                              [-0.011820, 0.042940, 0.968881]]),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                            [0.004733, 0.691367, 0.303900]]),
}
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],  # IEC 61966-2-1, D65
                [0.0193339, 0.1191920, 0.9503041]])


def linear(srgb: np.ndarray) -> np.ndarray:
    srgb = np.asarray(srgb, dtype=float)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def seen(colour: object, sight: str = "usual") -> np.ndarray:
    """A colour as a person with this sight sees it: linear RGB, (3,). 'grey' is a printer without colour."""
    rgb = linear(to_rgb(colour))
    return np.full(3, XYZ[1] @ rgb) if sight == "grey" else np.clip(SIGHT[sight] @ rgb, 0, 1)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of a linear RGB colour."""
    t = (XYZ @ rgb) / XYZ.sum(1)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(one: object, other: object, sight: str = "usual") -> float:
    """The CIELAB distance (CIE 1976; about 2 is just noticeable) of two colours as this person sees them."""
    return float(np.linalg.norm(lab(seen(one, sight)) - lab(seen(other, sight))))


def contrast(one: object, other: object = "white") -> float:
    """WCAG 2's contrast ratio, 1 to 21; lines and bars need 3, text 4.5."""
    light, dark = sorted((XYZ[1] @ seen(one), XYZ[1] @ seen(other)), reverse=True)
    return float((light + 0.05) / (dark + 0.05))


def _texts(figure: Figure) -> list[Text]:
    """All texts that are drawn. A tick outside the axis' range has a text, too, but shows none."""
    drawn = [t for part in (figure, *figure.subfigs) for t in (*part.texts, part._suptitle, part._supxlabel) if t]
    for legend in (legend for part in (figure, *figure.subfigs) for legend in part.legends):
        drawn += legend.get_texts()
    for ax in figure.findobj(lambda a: hasattr(a, "get_xaxis") and hasattr(a, "texts")):
        if not ax.get_visible():
            continue
        drawn += [*ax.texts, ax.title, ax._left_title, ax._right_title]
        if ax.get_legend():
            drawn += [*ax.get_legend().get_texts(), ax.get_legend().get_title()]
        if ax.axison:
            for axis in (ax.xaxis, ax.yaxis):
                drawn += [axis.label, *(t.label1 for t in axis._update_ticks())]
    return [t for t in {id(t): t for t in drawn}.values() if t.get_visible() and t.get_text().strip()]


def flaws(figure: Figure, *, tight: bool = False, smallest: float = 9) -> list[str]:
    """Texts that are cut off, lie over each other, or are smaller than `smallest` points; in sentences.

    tight: saved with bbox_inches="tight", as Jupyter's inline figures are: nothing is cut off.
    """
    before, canvas, edge = figure.canvas, FigureCanvasAgg(figure), figure.bbox
    canvas.draw()
    texts, renderer = _texts(figure), canvas.get_renderer()
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in texts]
    figure.set_canvas(before)
    found = [f"{t.get_text()!r} has {t.get_fontsize():.0f} points" for t in texts if t.get_fontsize() < smallest]
    for text, box in boxes:
        if not tight and (box.x0 < -1 or box.y0 < -1 or box.x1 > edge.width + 1 or box.y1 > edge.height + 1):
            found.append(f"{text!r} is cut off")
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        high = min(a.y1, b.y1) - max(a.y0, b.y0)
        if wide > 1 and high > 3:  # a text's box has empty lines above and below
            found.append(f"{one!r} lies over {other!r}")
    return found
