"""Errors per digit under three sliders, and a digit to choose or to draw, with its probabilities under λ."""

from collections.abc import Mapping

import ipywidgets as w
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from lora_lab import figures
from lora_lab.figures.live import LiveFigure, choice, menu

from . import drawings
from .repair import Digits, Update, errors, logits

LAMS = tuple(i / 10 for i in range(11))


def percent(share: float, step: int = 1) -> str:
    """A share in steps that one image more or less seldom changes: percent(0.87, 5) -> '85 %'."""
    return f"{step * round(100 * share / step)} %"


def repair_panel(base: nn.Module, digits: Digits, updates: Mapping[tuple[int, float], Update]) -> LiveFigure:
    """Errors per digit of base + λ · update, beside the base's. updates: {(r, replay): update}."""
    before, counts = errors(logits(base, digits.test_X), digits.test_y), digits.counts

    def draw(fig: Figure, lam: float, replay: float, r: int) -> str:
        wrong = errors(logits(base, digits.test_X, updates[r, replay], lam), digits.test_y)
        ax = fig.subplots(gridspec_kw={"left": 0.08, "right": 0.98, "bottom": 0.15, "top": 0.88})
        drawings.bars_on_bars(ax, before, wrong)
        for digit, n in enumerate(wrong):
            ax.text(digit, max(n, before[digit]) + 1, n, ha="center", color=figures.COLOURS["LoRA"])
        ax.set(ylabel="wrong test images", ylim=(0, max(counts) + 12))
        ax.set_title(f"{sum(wrong)} of {sum(counts)} wrong (base: {sum(before)})")
        nines = 1 - wrong[9] / counts[9]
        others = 1 - sum(wrong[:9]) / sum(counts[:9])
        return f"right: about {percent(nines, 5)} of the nines, {percent(others)} of the others"

    shares = sorted({share for _, share in updates})
    controls = {
        "lam": choice("λ", LAMS, 1.0),
        "replay": choice("replayed others", [(f"{100 * share:.0f} %", share) for share in shares], shares[0]),
        "r": choice("rank r", sorted({r for r, _ in updates})),
    }
    return LiveFigure(draw, controls, name="errors per digit", figsize=(9, 4))


class DrawPanel(LiveFigure):
    """A digit to draw: 64 buttons, each a click from white over grey to black, and what base + λ · update says.

    images: {name: (64,)} to start from, in the three shades. ink: the image as it stands, (64,).
    """

    SHADES = dict(zip((0.0, 0.5, 1.0), (figures.FILLS[k] for k in ("paper", "weights", "ink"))))

    def __init__(self, base: nn.Module, update: Update, images: Mapping[str, Tensor]) -> None:
        rounded = {name: (2 * image).round() / 2 for name, image in images.items()}
        self._starts = {**rounded, "empty": torch.zeros(64)}
        self.ink = next(iter(self._starts.values())).clone()
        edge = f"1px solid {figures.FILLS['frame']}"
        small = {"width": "30px", "height": "30px", "padding": "0", "margin": "0", "border": edge}
        self.pixels = [w.Button(layout=w.Layout(**small)) for _ in range(64)]
        for i, pixel in enumerate(self.pixels):
            pixel.on_click(lambda _, i=i: self.press(i))
        self._paint()

        def draw(fig: Figure, start: str, lam: float) -> str:
            ink = self.ink if start == self.values["start"] else self._starts[start]
            said, says = (logits(base, ink[None], update, x)[0].softmax(0) for x in (0.0, lam))
            margins = {"left": 0.02, "right": 0.98, "bottom": 0.18, "top": 0.88, "wspace": 0.28}
            left, right = fig.subplots(1, 2, gridspec_kw={**margins, "width_ratios": (1, 2.1)})
            drawings.ink(left, ink).set_title("your digit")
            drawings.bars_on_bars(right, said.tolist(), says.tolist())
            right.set(ylim=(0, 1.18), ylabel="probability")
            right.set_title(f"base says {int(said.argmax())}, adapted {int(says.argmax())}")
            # one digit of a probability, because page texts are compared between machines
            words = [f"{int(p.argmax())} (probability {float(p.max()):.1f})" for p in (said, says)]
            return f"base says {words[0]}, with the adapter {words[1]}; nine now has {float(says[9]):.1f}"

        controls = {"start": menu("start from", list(self._starts)), "lam": choice("λ", LAMS, 1.0)}
        controls["start"].layout = w.Layout(width="390px")  # room for a name
        super().__init__(draw, controls, name="your digit", figsize=(6.6, 3.2))
        cells = {f"grid_template_{side}": "repeat(8, 30px)" for side in ("columns", "rows")}
        field = {"grid_gap": "2px", "align_self": "center", "min_width": "256px"}  # not squeezed by a wide picture
        grid = w.GridBox(self.pixels, layout=w.Layout(**cells, **field))
        bar, caption, picture = self.children
        picture.layout.min_width = "0"  # beside the field it shrinks, too
        self.children = (bar, caption, w.HBox([grid, picture]))

    def press(self, i: int) -> None:
        """One click on pixel i, counted row by row: white, grey, black, white."""
        self.ink[i] = (self.ink[i] + 0.5) % 1.5
        self._moved(None)

    def _moved(self, change: Mapping | None) -> None:
        if change and change["owner"] is self._controls["start"]:
            self.ink = self._starts[change["new"]].clone()
        self._paint()
        super()._moved(change)

    def _paint(self) -> None:
        for pixel, value in zip(self.pixels, self.ink.tolist(), strict=True):
            pixel.style.button_color = self.SHADES[value]  # the same colour again is no message
