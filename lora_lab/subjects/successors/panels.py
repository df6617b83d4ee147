"""The panel of LoRA's successors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from lora_lab.figures.live import LiveFigure, menu

from . import drawings


def against_lora(record: Mapping, name: str) -> str:
    """One method beside LoRA in a sentence: trained numbers, rate, median and range, seeds on which it is better."""
    method, lora = record["methods"][name], record["methods"]["LoRA"]
    losses = method["loss"]
    text = (
        f"{name}: {method['trained']:,} numbers, learning rate {method['lr']:g}, loss {np.median(losses):.2g} "
        f"({min(losses):.2g} to {max(losses):.2g})"
    )
    if name == "LoRA":
        return f"{text} over {len(losses)} seeds"
    return f"{text}; below LoRA on {sum(a < b for a, b in zip(losses, lora['loss']))} of {len(losses)}"


def variant_panel(record: Mapping, live: Mapping[str, Sequence[float]] | None = None) -> LiveFigure:
    """Page 09: the recorded curves of one method over LoRA's, and the last losses of all methods.

    live: {method: test losses at record["steps"]} of the run that the page itself has made.
    """

    def draw(fig: Figure, method: str) -> str:
        if not fig.axes:
            left, right = drawings.variant_axes(fig)
            drawings.variant_curves(record, method, left)
            drawings.variant_dots(record, method, right)
        drawings.update_variant(fig.axes, record, method, (live or {}).get(method))
        return against_lora(record, method)

    names = [name for name in record["methods"] if name != "LoRA"]
    return LiveFigure(draw, {"method": menu("method", names)}, name="what came after", figsize=(10, 4.4), keep=True)
