"""Panels with the faults that the browser tests are there to catch; shown by a page of test_guards.py."""

from matplotlib.figure import Figure

from lora_lab.figures.live import LiveFigure, choice


def draw(fig: Figure, r: int) -> str:
    fig.subplots().plot([0, r], [0, r * r])
    return f"r = {r}, square {r * r}"


def raising(fig: Figure, r: int) -> str:
    if r == 2:
        raise ZeroDivisionError("broken at 2")
    return draw(fig, r)


class Dead(LiveFigure):
    """The slider moves and nothing happens."""

    def _moved(self, _change):
        pass


class StaleCaption(LiveFigure):
    """The caption is that of the values before."""

    def _say(self, text):
        super()._say(getattr(self, "_before", text))
        self._before = text


class Lagging(LiveFigure):
    """The picture, and it alone, is one event behind."""

    def _redraw(self):
        before = self._picture.value
        super()._redraw()
        self._picture.value, self._late = getattr(self, "_late", self._picture.value) or before, self._picture.value


class Residue(LiveFigure):
    """Right caption, and a curve of every earlier position left in the picture."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs, keep=True)


FAULTS = {"healthy": LiveFigure, "dead": Dead, "stale caption": StaleCaption, "lagging": Lagging, "residue": Residue}


def panel(name: str) -> LiveFigure:
    controls = {"r": choice("rank r", (1, 2, 4, 8))}
    if name == "raising":
        return LiveFigure(raising, controls, name=name, figsize=(4, 2))
    return FAULTS[name](draw, controls, name=name, figsize=(4, 2))
