"""A figure with sliders: one matplotlib Figure, one `widgets.Image`, and what every panel shares.

It trains nothing and needs nothing but core ipywidgets. Stored in a notebook it is also a plain picture with one line
of text, so the page reads on GitHub, and strict nbval compares that line.
"""

import base64
import html
import io
import math
import textwrap
import traceback
from collections.abc import Callable, Mapping, Sequence

import ipywidgets as w
import torch
from IPython import get_ipython
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from lora_lab import figures

DPI = 100


def asleep(what: str, parts: str) -> str:
    """A line that only the browser shows, when the kernel is gone: a page reopened, a kernel restarted or shut down."""
    return (
        "<style>.lora-lab-asleep {display: none} "
        ".jupyter-widgets-disconnected .lora-lab-asleep {display: block}</style><div class='lora-lab-asleep' "
        f"style='font-weight: bold'>{what}: <i>Run ▸ Run All Cells</i> wakes {parts}.</div>"
    )


ASLEEP = asleep("This is a still picture", "the sliders")


class LiveFigure(w.VBox):
    """A figure that follows its controls.

    draw(fig, **values) -> caption draws on an empty Figure and returns one line of text with the figure's numbers.
    With keep=True the Figure is not emptied between calls, and draw updates the artists it made in the first one:
    two to four times faster. controls: {argument of draw: a `choice`, a `menu` or a Checkbox}. lines: how many lines
    of text to leave room for, so that a longer caption does not push the picture down.

    An error in the first drawing is raised. An error while a slider moves is shown in place of the caption (JupyterLab
    hides it otherwise) and kept in `error`; the next move recovers.
    """

    def __init__(
        self,
        draw: Callable[..., str],
        controls: Mapping[str, w.Widget],
        *,
        name: str = "panel",
        figsize: tuple[float, float] = (9, 4),
        keep: bool = False,
        lines: int = 1,
    ) -> None:
        self._draw, self._controls, self._name, self._keep = draw, dict(controls), name, keep
        self.error: BaseException | None = None
        self._caption, self._lines = w.HTML(), lines
        self.caption = ""  # the line of text under the controls: the figure's numbers
        self._figure = Figure(figsize=figsize, dpi=DPI)
        self._picture = w.Image(format="png", width=int(DPI * figsize[0]), height=int(DPI * figsize[1]))
        # The picture shrinks with a narrow window instead of being cut off.
        self._picture.layout.max_width, self._picture.layout.height = "100%", "auto"
        for control in self._controls.values():
            control.style.description_width = "initial"
            control.observe(self._moved, "value")
        bar = w.HBox(list(self._controls.values()), layout=w.Layout(flex_flow="row wrap", grid_gap="0 20px"))
        super().__init__([bar, self._caption, self._picture])
        self._redraw()
        replace_last_run(self)

    @property
    def values(self) -> dict[str, object]:
        """Where the controls stand."""
        return {name: control.value for name, control in self._controls.items()}

    # ---- read the panel at other positions; what is shown does not move

    def at(self, **values: object) -> str:
        """The caption at these positions. Controls that are not named stand where they stand."""
        return self._elsewhere(values)[0]

    def walk(self, name: str, **values: object) -> None:
        """Print the caption at each position of one control: the panel in words, for a reader without pictures."""
        for value in self.positions(name):
            print(f"{name} = {value}: {self.at(**{**values, name: value})}")

    def fresh(self, **values: object) -> tuple[str, bytes]:
        """(caption, png) at these positions, drawn from nothing: what the panel must show however it got there."""
        text, figure = self._elsewhere(values)
        return text, png_of(figure)

    def _elsewhere(self, values: Mapping[str, object]) -> tuple[str, Figure]:
        figure = Figure(figsize=self._figure.get_size_inches(), dpi=DPI)
        return self._draw_on(figure, {**self.values, **self._checked(values)}), figure

    def positions(self, name: str, most: int = 11) -> list[object]:
        """The values of one control, thinned evenly to at most `most` and the last one."""
        values = self._all_positions(name)
        step = max(1, math.ceil((len(values) - 1) / (most - 1)))
        return [*values[:-1:step], values[-1]]

    def _all_positions(self, name: str) -> list[object]:
        if name not in self._controls:
            raise ValueError(f"this panel has no control {name!r}; it has {', '.join(self._controls)}.")
        control = self._controls[name]
        if isinstance(control, w.Checkbox):
            return [False, True]
        return [option[1] if isinstance(option, tuple) else option for option in control.options]

    def _checked(self, values: Mapping[str, object]) -> Mapping[str, object]:
        for name, value in values.items():
            there = self._all_positions(name)
            if value not in there:
                allowed = ", ".join(map(str, there))
                raise ValueError(f"{name}={value!r} is not a position of this control; choose one of {allowed}.")
        return values

    # ---- move the panel

    def set(self, **values: object) -> str:
        """Move controls from code, as the mouse would; returns the caption. Raises what the drawing raised."""
        for name, value in self._checked(values).items():
            self._controls[name].value = value
            if self.error is not None:
                raise self.error
        return self.caption

    def _moved(self, _change: Mapping | None) -> None:
        """What goes wrong is kept in `error` and shown in place of the caption, an interrupt as a sentence."""
        self.error = None
        try:
            self._redraw()
        except KeyboardInterrupt as e:  # Kernel > Interrupt
            self.error = e
            self._say("Interrupted while drawing: this picture is of an earlier position. Move a control.")
        except Exception as e:
            self.error = e
            shown = html.escape(traceback.format_exc(limit=-2))
            self._caption.value = f"{ASLEEP}<pre style='color:var(--jp-error-color1, #b00020)'>{shown}</pre>"

    def _redraw(self) -> None:
        try:
            text = self._draw_on(self._figure, self.values)
            picture = png_of(self._figure)
        except BaseException:  # what is half drawn is not built on: the next move begins anew
            self._figure.clear()
            raise
        self.caption, self._picture.value = text, picture
        self._say(text)

    def _draw_on(self, figure: Figure, values: Mapping[str, object]) -> str:
        # Callbacks may run in another thread than the cells: no gradients, and nothing shared is changed.
        with torch.no_grad(), figures.matplotlib.rc_context(figures.STYLE):
            if not self._keep:
                figure.clear()
            return self._draw(figure, **values)

    def _say(self, text: str) -> None:
        style = f"font-size:110%; line-height:1.4; min-height:{1.4 * self._lines:.1f}em"
        self._caption.value = f"{ASLEEP}<div style='{style}'>{html.escape(text)}</div>"

    # ---- store the panel in a notebook

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, object]:
        bundle = super()._repr_mimebundle_(**kwargs)
        shown = ", ".join(f"{name} = {value}" for name, value in self.values.items())
        bundle["text/plain"] = f"[{self._name}: {shown}] {self.caption}"
        bundle["image/png"] = base64.b64encode(self._still(bundle["text/plain"])).decode()
        return bundle

    def _still(self, line: str) -> bytes:
        """The picture with a line of text above it, wrapped: GitHub and nbconvert show neither sliders nor caption."""
        width, height = self._figure.get_size_inches()
        lines = textwrap.wrap(line, int(11.5 * width))
        top = height + 0.2 * len(lines) + 0.1  # inches
        with figures.matplotlib.rc_context(figures.STYLE):
            place = {"x": 0.1 / width, "y": (top - 0.05) / height, "ha": "left", "va": "top"}
            text = self._figure.text(**place, s="\n".join(lines), fontsize=11, color=figures.COLOURS["base"])
            picture = png_of(self._figure, bbox_inches=Bbox.from_extents(0, 0, width, top))
            text.remove()
        return picture


# ---- controls


def choice(description: str, options: Sequence[object], value: object | None = None) -> w.SelectionSlider:
    """A slider over a list of values, such as ranks 1, 2, 4, 8."""
    value = options[0] if value is None else value
    return w.SelectionSlider(options=list(options), value=value, description=description, continuous_update=True)


def menu(description: str, options: Sequence[str], value: str | None = None) -> w.ToggleButtons | w.SelectionSlider:
    """Names to choose from: buttons, or a slider where they are too long for buttons.

    Never a drop-down list: it lets the keyboard through to the notebook, where typing "dd" deletes the cell.
    """
    value = options[0] if value is None else value
    if sum(map(len, options)) > 50:  # more letters do not fit beside a panel's other controls
        return choice(description, options, value)
    layout = {"display": "flex"}  # the name beside the buttons, not above them
    style = {"button_width": "auto"}
    return w.ToggleButtons(options=list(options), value=value, description=description, style=style, layout=layout)


# ---- what panels and the cards of predictions share


def png_of(figure: Figure, **kwargs: object) -> bytes:
    """The figure in the course's style. The least compression: a tenth more bytes, a tenth less time."""
    buffer = io.BytesIO()
    with figures.matplotlib.rc_context(figures.STYLE):
        figure.savefig(buffer, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": 1}, **kwargs)
    return buffer.getvalue()


_made_by: dict[str, tuple[str, list[w.Widget]]] = {}  # cell -> (its last run, the panels and cards made in it)


def replace_last_run(widget: w.Widget) -> None:
    """Close what an earlier run of this cell has made: the kernel and the saved page would keep it all."""
    kernel = getattr(get_ipython(), "kernel", None)
    request = kernel.get_parent() if kernel else {}
    cell = request.get("metadata", {}).get("cellId")  # JupyterLab sends it; elsewhere nothing is closed
    if cell is None:
        return
    run = request["header"]["msg_id"]
    last_run, made = _made_by.get(cell, (run, []))
    if last_run != run:
        for old in made:
            close_whole(old)
        made = []
    _made_by[cell] = run, [*made, widget]


def close_whole(widget: w.Widget) -> None:
    """Close a widget, its children, and their layouts and styles."""
    for child in getattr(widget, "children", ()):
        close_whole(child)
    if style := getattr(widget, "style", None):
        style.close()
    widget.layout.close()
    widget.close()
