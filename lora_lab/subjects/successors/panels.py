"""The panel of LoRA's successors."""

from collections.abc import Mapping, Sequence
from statistics import median

from matplotlib.figure import Figure

from lora_lab.figures.live import LiveFigure, menu
from lora_lab.subjects.tables import Table

from . import drawings


def wins_against(runs: Table, others: Table) -> int:
    """On how many bases the first ended with the smaller loss."""
    pairs = zip(runs.column("loss"), others.column("loss"), strict=True)
    return sum(mine < theirs for mine, theirs in pairs)


def variant_panel(runs: Table, steps: Sequence[int], live: Mapping[str, Sequence[float]]) -> LiveFigure:
    """The recorded curves of one method over LoRA's, and the last losses of all methods.

    live: {method: test losses at `steps`} of the run that the page itself has made.
    """

    def draw(fig: Figure, method: str) -> str:
        drawings.variants(fig, runs, steps, method, live.get(method))
        mine = runs.where(method=method)
        losses = mine.column("loss")
        return (
            f"{method}: {mine[0].trained:,} numbers, learning rate {mine[0].lr:g}, loss {median(losses):.2g} "
            f"({min(losses):.2g} to {max(losses):.2g}); "
            f"below LoRA on {wins_against(mine, runs.where(method='LoRA'))} of {len(mine)}"
        )

    names = [name for name in runs.kinds("method") if name != "LoRA"]
    controls = {"method": menu("method", names, "PiSSA")}
    return LiveFigure(draw, controls, name="what came after", figsize=(10, 4.4), keep=True)
