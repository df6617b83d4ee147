"""A figure with sliders: one matplotlib Figure, one `widgets.Image`, and what every panel shares.

A move of a slider redraws the figure and replaces the picture. It trains nothing and needs nothing but core ipywidgets.
Stored in a notebook it is also a plain picture with one line of text, so the page reads on GitHub, and strict nbval
compares that line.
"""

from __future__ import annotations

import base64
import html
import io
import textwrap
import traceback
from collections.abc import Callable, Mapping, Sequence

import ipywidgets as w
import torch
from IPython import get_ipython
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from lora_lab import figures

# Shown by the browser alone, when the panel's comm is gone: a page reopened, a kernel restarted or shut down.
ASLEEP = (
    "<style>.lora-lab-asleep {display: none} .jupyter-widgets-disconnected .lora-lab-asleep {display: block}</style>"
    "<div class='lora-lab-asleep' style='font-weight: bold'>This is a still picture: "
    "<i>Run ▸ Run All Cells</i> wakes the sliders.</div>"
)


_made: dict[str, tuple[str, list[w.Widget]]] = {}  # by each cell of the page: in which run, which panels and cards


def _close(widget: w.Widget) -> None:
    """Close a widget and all that it is made of."""
    for name in widget.keys:
        value = getattr(widget, name)
        for part in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(part, w.Widget):
                _close(part)
    widget.close()


def replace_last_run(widget: w.Widget) -> None:
    """Close what an earlier run of this cell has made: the kernel and the saved page would keep it all."""
    kernel = getattr(get_ipython(), "kernel", None)
    parent = kernel.get_parent() if kernel else {}
    cell = parent.get("metadata", {}).get("cellId")  # JupyterLab sends it; elsewhere nothing is closed
    if cell is None:
        return
    run, made = parent["header"]["msg_id"], []
    if cell in _made:
        last, made = _made[cell]
        if last != run:
            for old in made:
                _close(old)
            made = []
    _made[cell] = run, [*made, widget]


class LiveFigure(w.VBox):
    """A figure that follows its controls.

    draw(fig, **values) -> caption draws on an empty Figure and returns one line of text with the figure's numbers.
    With keep=True the Figure is not emptied between calls, and draw updates the artists it made in the first one:
    two to four times faster. controls: {argument of draw: a core ipywidget with a `value`}. An error while a slider
    moves is shown in place of the caption (JupyterLab hides it otherwise) and kept in `error`; the next move recovers.
    lines: how many lines of text to leave room for, so that a longer caption does not push the picture down.
    """

    def __init__(
        self,
        draw: Callable[..., str],
        controls: Mapping[str, w.Widget],
        *,
        name: str = "panel",
        figsize: tuple[float, float] = (9, 4),
        dpi: int = 100,
        keep: bool = False,
        lines: int = 1,
    ) -> None:
        self._draw, self._controls, self._name, self._keep = draw, dict(controls), name, keep
        self.error: BaseException | None = None
        self._caption, self._text, self._lines = w.HTML(), "", lines
        self._figure = Figure(figsize=figsize, dpi=dpi)
        self._picture = w.Image(format="png", width=int(figsize[0] * dpi), height=int(figsize[1] * dpi))
        # The picture shrinks with a narrow window instead of being cut off.
        self._picture.layout.max_width, self._picture.layout.height = "100%", "auto"
        for control in self._controls.values():
            control.style.description_width = "initial"
        bar = w.HBox(list(self._controls.values()), layout=w.Layout(flex_flow="row wrap"))
        super().__init__([bar, self._caption, self._picture])
        for control in self._controls.values():
            control.observe(self._moved, "value")
        self._redraw()  # an error in the first drawing is raised in the cell
        replace_last_run(self)

    @property
    def values(self) -> dict[str, object]:
        return {k: c.value for k, c in self._controls.items()}

    @property
    def caption(self) -> str:
        """The line of text under the controls: the figure's numbers."""
        return self._text

    def _moved(self, change: Mapping | None) -> None:
        if change and change["new"] is None:  # a menu without a choice: no browser sends it, ipywidgets takes it
            change["owner"].value = change["old"]
            return
        self.error = None
        try:
            self._redraw()
        except KeyboardInterrupt as e:  # Kernel > Interrupt, just now
            self.error = e
            self._say("Interrupted while drawing: this picture is of an earlier position. Move a control.")
        except Exception as e:
            self._show(e)

    def _show(self, error: BaseException) -> None:
        """In the handler of `error`: put it where the caption is."""
        self.error = error
        shown = html.escape(traceback.format_exc(limit=-2))
        self._caption.value = f"{ASLEEP}<pre style='color:var(--jp-error-color1, #b00020)'>{shown}</pre>"

    def _redraw(self) -> None:
        if not self._keep:
            self._figure.clear()
        try:
            text, png = self._drawn(self._figure, self.values)
        except BaseException:  # what is half drawn is not built on: the next move begins anew
            self._figure.clear()
            raise
        self._text = text
        self._picture.value = png
        self._say(text)

    def _drawn(self, figure: Figure, values: Mapping[str, object]) -> tuple[str, bytes]:
        # Callbacks may run in another thread than the cells: no gradients, and nothing shared is changed.
        with torch.no_grad(), figures.matplotlib.rc_context(figures.STYLE):
            text = self._draw(figure, **values)
            buffer = io.BytesIO()
            # The least compression: a tenth more bytes, a tenth less time.
            figure.savefig(buffer, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": 1})
        return text, buffer.getvalue()

    def _say(self, text: str) -> None:
        style = f"font-size:110%; line-height:1.4; min-height:{1.4 * self._lines:.1f}em"
        self._caption.value = f"{ASLEEP}<div style='{style}'>{html.escape(text)}</div>"

    def fresh(self, **values: object) -> tuple[str, bytes]:
        """(caption, png) at these positions, drawn on a new Figure; the panel itself stays as it is.

        What the panel must show there, however it got there. Controls that are not named stand where they stand.
        """
        if unknown := [name for name in values if name not in self._controls]:
            raise ValueError(f"this panel has no control {unknown[0]!r}; it has {', '.join(self._controls)}.")
        figure = Figure(figsize=self._figure.get_size_inches(), dpi=self._figure.dpi)
        return self._drawn(figure, {**self.values, **values})

    def set(self, **values: object) -> str:
        """Move controls from code, as the mouse would; returns the caption. Raises what the drawing raised."""
        for name, value in values.items():
            if name not in self._controls:
                raise ValueError(f"this panel has no control {name!r}; it has {', '.join(self._controls)}.")
            control = self._controls[name]
            options = getattr(control, "options", None)
            try:
                control.value = value
            except Exception:
                allowed = f"one of {list(options)}" if options else f"{control.min} to {control.max}"
                raise ValueError(f"{name}={value!r} is not a position of this control; choose {allowed}.") from None
            if control.value != value:  # ipywidgets moves a value that is out of range to the nearest end
                raise ValueError(
                    f"{name}={value!r} is not a position of this control; choose {control.min} to {control.max}."
                )
            if self.error is not None:
                raise self.error
        return self._text

    def positions(self, name: str, most: int = 11) -> list[object]:
        """The values of one control, thinned evenly to at most `most`, ends included."""
        if name not in self._controls:
            raise ValueError(f"this panel has no control {name!r}; it has {', '.join(self._controls)}.")
        control = self._controls[name]
        if isinstance(control, w.Checkbox):
            return [False, True]
        if hasattr(control, "options"):
            values = [o[1] if isinstance(o, tuple) else o for o in control.options]
        else:
            count = round((control.max - control.min) / control.step) + 1
            values = [type(control.value)(control.min + i * control.step) for i in range(count)]
        every = -(-(len(values) - 1) // (most - 1)) or 1  # rounded up
        return values[::every] + values[-1:] * ((len(values) - 1) % every > 0)

    def walk(self, name: str) -> None:
        """Move one control through its positions, print the caption at each, and put it back.

        The panel in words, for a reader without pictures; and the page's own test of the slider's callback.
        """
        before = self._controls[name].value if name in self._controls else None
        try:
            for value in self.positions(name):
                print(f"{name} = {value}: {self.set(**{name: value})}")
        finally:
            if before is not None:
                self._controls[name].value = before

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, object]:
        bundle = super()._repr_mimebundle_(**kwargs)
        if isinstance(bundle, tuple):
            bundle = bundle[0]
        shown = ", ".join(f"{k} = {v}" for k, v in self.values.items())
        bundle["text/plain"] = f"[{self._name}: {shown}] {self._text}"
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
            box, buffer = Bbox.from_extents(0, 0, width, top), io.BytesIO()
            self._figure.savefig(buffer, format="png", metadata={"Software": None}, bbox_inches=box)
            text.remove()
        return buffer.getvalue()


class TrainingFigure(LiveFigure):
    """A LiveFigure with a button that trains for real: `train_now` does the work and returns the caption.

    A second press while it trains does nothing. What the training raises is shown in place of the caption and kept in
    `error`, an interrupt as a sentence before it; the panel stays usable. pins: {point: result} of what has been
    trained here; the drawing shows them.
    """

    def __init__(self, *args, label: str, tooltip: str, **kwargs) -> None:
        self._busy, self._label = False, label
        self.pins: dict = {}
        self.button = w.Button(description=label, tooltip=tooltip)
        self.button.on_click(self._pressed)
        super().__init__(*args, **kwargs)
        self.children[0].children += (self.button,)

    def train_now(self) -> str:
        raise NotImplementedError

    def _pin(self, key: object, result: object) -> str:
        """Keep a result and show it; returns the caption. Interrupted while drawing, it is not kept."""
        before = dict(self.pins)
        self.pins[key] = result
        self.error = None
        try:
            self._redraw()
        except BaseException:
            self.pins = before
            raise
        return self._text

    def _pressed(self, _button: w.Button) -> None:
        if self._busy:
            return
        try:
            self._busy, self.error = True, None
            self.button.disabled, self.button.description = True, "training …"  # an interrupt may come here, too
            self.train_now()
        except KeyboardInterrupt as e:  # Kernel > Interrupt
            self.error = e
            self._say(f"Interrupted: this run was not kept. {self._text}")
        except Exception as e:
            self._show(e)
        finally:
            try:
                self._ready()
            except KeyboardInterrupt:
                self._ready()

    def _ready(self) -> None:
        self._busy, self.button.disabled, self.button.description = False, False, self._label


# ------------------------------------------------------------------------------------------------ controls


def choice(description: str, options: Sequence[object], value: object | None = None) -> w.SelectionSlider:
    """A slider over a list of values, such as ranks 1, 2, 4, 8."""
    value = options[0] if value is None else value
    return w.SelectionSlider(options=list(options), value=value, description=description, continuous_update=True)


def menu(description: str, options: Sequence[object]) -> w.Dropdown:
    return w.Dropdown(options=list(options), value=options[0], description=description)
