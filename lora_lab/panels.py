"""Every slider panel. A panel is a pure function (values -> numbers and a figure) and a thin widget around it.

`LiveFigure` keeps one matplotlib Figure and one `widgets.Image`; a move of a slider redraws that figure and replaces
the picture. It trains nothing and needs nothing but core ipywidgets. Stored in a notebook it is also a plain picture
with one line of text, so the page reads on GitHub, and strict nbval compares that line.
"""

from __future__ import annotations

import base64
import html
import io
import traceback
from collections.abc import Callable, Mapping, Sequence

import ipywidgets as w
import torch
from matplotlib.figure import Figure
from torch import Tensor

from . import costs, plots


class LiveFigure(w.VBox):
    """A figure that follows its controls.

    draw(fig, **values) -> caption draws on an empty Figure and returns one line of text with the figure's numbers.
    With keep=True the Figure is not emptied between calls, and draw updates the artists it made in the first one:
    two to four times faster. controls: {argument of draw: a core ipywidget with a `value`}. An error while a slider
    moves is shown in place of the caption (JupyterLab hides it otherwise) and kept in `error`; the next move recovers.
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
    ) -> None:
        self._draw, self._controls, self._name, self._keep = draw, dict(controls), name, keep
        self.error: Exception | None = None
        self._caption, self._text = w.HTML(), ""
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

    @property
    def values(self) -> dict[str, object]:
        return {k: c.value for k, c in self._controls.items()}

    @property
    def caption(self) -> str:
        """The line of text under the controls: the figure's numbers."""
        return self._text

    def _moved(self, _change: object) -> None:
        self.error = None
        try:
            self._redraw()
        except Exception as e:
            self.error = e
            shown = html.escape(traceback.format_exc(limit=-2))
            self._caption.value = f"<pre style='color:#b00020'>{shown}</pre>"

    def _redraw(self) -> None:
        if not self._keep:
            self._figure.clear()
        # Callbacks may run in another thread than the cells: no gradients, and nothing shared is changed.
        with torch.no_grad(), plots.matplotlib.rc_context(plots.STYLE):
            text = self._draw(self._figure, **self.values)
            buffer = io.BytesIO()
            self._figure.savefig(buffer, format="png", metadata={"Software": None})
        self._text = text
        self._picture.value = buffer.getvalue()
        self._caption.value = f"<div style='font-size:110%; line-height:1.4'>{html.escape(text)}</div>"

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
        bundle["image/png"] = base64.b64encode(self._picture.value).decode()
        return bundle


# ------------------------------------------------------------------------------------------------ controls


def choice(description: str, options: Sequence[object], value: object | None = None) -> w.SelectionSlider:
    """A slider over a list of values, such as ranks 1, 2, 4, 8."""
    return w.SelectionSlider(
        options=list(options), value=value or options[0], description=description, continuous_update=True
    )


def menu(description: str, options: Sequence[object]) -> w.Dropdown:
    return w.Dropdown(options=list(options), value=options[0], description=description)


# ------------------------------------------------------------------------------------- low rank (pages 00, 02)


class LowRankView:
    """A matrix and its best rank-r copies, with the SVD done once. delta (d_out, d_in)."""

    def __init__(self, delta: Tensor) -> None:
        self.delta = delta.detach().float()
        self.U, self.S, self.Vh = torch.linalg.svd(self.delta.double(), full_matrices=False)

    def copy(self, r: int) -> Tensor:
        return ((self.U[:, :r] * self.S[:r]) @ self.Vh[:r]).float()

    def error(self, r: int) -> float:
        """||delta - copy|| / ||delta||, from the singular values that were cut off (Eckart-Young)."""
        return float((self.S[r:].square().sum() / self.S.square().sum()).sqrt())

    def numbers(self, r: int) -> int:
        return costs.lora_numbers(*self.delta.shape, r)

    def caption(self, r: int) -> str:
        full = self.delta.numel()
        share = 100 * self.numbers(r) / full
        error = 100 * self.error(r)
        missing = "nothing is missing" if error < 0.01 else f"{error:.2g} % of the norm is missing"
        return f"{self.numbers(r):,} numbers instead of {full:,} ({share:.3g} %); {missing}"


def taste_panel(delta: Tensor, ranks: Sequence[int]) -> LiveFigure:
    """Page 00: the best rank-r copy of a matrix, and what it misses."""
    view = LowRankView(delta)
    limit = plots.limit_of(delta)

    def draw(fig: Figure, r: int) -> str:
        copy = view.copy(r)
        shown = {f"the best rank-{r} copy of ΔW": copy, "what it misses": view.delta - copy}
        if not fig.axes:
            axes = fig.subplots(
                2, 1, gridspec_kw={"left": 0.08, "right": 0.98, "bottom": 0.09, "top": 0.94, "hspace": 0.45}
            )
            for ax, (title, M) in zip(axes, shown.items(), strict=True):
                plots.heatmap(M, ax, title=title, limit=limit, colorbar=False)
        for ax, (title, M) in zip(fig.axes, shown.items(), strict=True):
            plots.update_heatmap(ax, M, title, limit)
        return view.caption(r)

    return LiveFigure(draw, {"r": choice("rank r", ranks)}, name="low-rank copy", figsize=(7.5, 5.6), keep=True)


def rank_panel(targets: Mapping[str, Tensor], ranks: Sequence[int] = (1, 2, 3, 4, 5, 8, 16, 32)) -> LiveFigure:
    """Page 02: target, its rank-r copy and the residual on one scale, for several targets of one shape."""
    views = {name: LowRankView(delta) for name, delta in targets.items()}

    def draw(fig: Figure, target: str, r: int) -> str:
        view = views[target]
        copy, limit = view.copy(r), plots.limit_of(view.delta)
        shown = {f"ΔΘ: {target}": view.delta, f"rank-{r} copy": copy, "residual": view.delta - copy}
        if not fig.axes:
            plots.heatmap_row(fig, shown, limit)
        for ax, (title, M) in zip(fig.axes, shown.items(), strict=False):  # the last Axes is the colour bar's
            plots.update_heatmap(ax, M, title, limit)
        return view.caption(r)

    controls = {"target": menu("target", list(views)), "r": choice("rank r", ranks)}
    return LiveFigure(draw, controls, name="target, copy, residual", figsize=(10, 3.35), keep=True)


# ------------------------------------------------------------------------------------------- costs (page 01)


def cost_panel(width: int = 1000, r: int = 1) -> LiveFigure:
    """Page 01: what one square layer costs to fine-tune, fully and with LoRA, for one task and for many."""

    def draw(fig: Figure, width: int, tasks: int, dtype: str) -> str:
        full, lora = costs.full_memory(width, width, dtype), costs.lora_memory(width, width, r, dtype)
        disk = {
            "full": costs.disk_bytes(width, width, tasks, None, dtype),
            "LoRA": costs.disk_bytes(width, width, tasks, r, dtype),
        }
        left, right = fig.subplots(
            1, 2, gridspec_kw={"left": 0.09, "right": 0.97, "bottom": 0.3, "top": 0.87, "wspace": 0.3}
        )
        scale, unit = next(
            (s, u) for s, u in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if max(full.total, 1000) >= s
        )
        plots.memory_bars(
            {"full": full, f"r = {r}": lora}, left, title="while training one task", unit=scale, name=unit
        )
        scale, unit = next(
            (s, u) for s, u in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if max(disk.values()) >= s
        )
        right.barh(
            ["full", f"r = {r}"],
            [disk["full"] / scale, disk["LoRA"] / scale],
            color=[plots.COLOURS["full"], plots.COLOURS["LoRA"]],
        )
        right.invert_yaxis()
        right.set(title=f"on disk for {tasks} task{'s' * (tasks > 1)}", xlabel=unit)
        return (
            f"training {costs.human(full.total)} full, {costs.human(lora.total)} LoRA; "
            f"disk {costs.human(disk['full'])} full, {costs.human(disk['LoRA'])} LoRA"
        )

    controls = {
        "width": choice("width d", (250, 500, 1000, 2000, 4096, 8192, 12288), width),
        "tasks": choice("tasks", (1, 2, 5, 10, 20, 50, 100), 10),
        "dtype": menu("dtype", list(costs.BYTES)),
    }
    return LiveFigure(draw, controls, name="what fine-tuning costs", figsize=(9.5, 3.6))


# ---------------------------------------------------------------------------------- a film of training (page 03)


class Film:
    """Snapshots of one low-rank training run: at each epoch the factors, from which delta is rebuilt on demand.

    losses: the loss at every step; frames: {epoch: (lora_A (r, in), lora_B (out, r))}.
    """

    def __init__(self, history, scaling: float) -> None:
        self.losses, self.per_epoch = history.losses, history.steps_per_epoch
        self.frames = {
            round(step / self.per_epoch): (scaling * state["lora_B"], state["lora_A"])
            for step, state in history.snapshots.items()
        }

    def delta(self, epoch: int) -> Tensor:
        B, A = self.frames[epoch]
        return B @ A  # (out, in)

    def loss(self, epoch: int) -> float:
        """The loss of the first batch after this epoch (of the last batch, at the end)."""
        return self.losses[min(epoch * self.per_epoch, len(self.losses) - 1)]


def film_panel(
    films: Mapping[object, Film],
    target: Tensor,
    *,
    names: Sequence[str] = (),
    floors: Mapping[int, float] | None = None,
    limit: float = 1.5,
) -> LiveFigure:
    """Page 03: ΔΘ at a chosen epoch beside the loss curve with a marker, and the floor of its rank.

    films: {key: Film}. One film needs only the epoch slider; with `names` (say "r", "alpha") the keys are tuples and
    each name gets a slider of its own. target (out, in): what ΔΘ should become. floors: {r: best possible loss}.
    """
    first = next(iter(films.values()))
    epochs = sorted(first.frames)
    constant = bool((target == target.flatten()[0]).all())

    lowest = max(min(min(f.losses) for f in films.values()) / 2, 1e-4)
    highest = 2 * max(f.losses[0] for f in films.values())

    def draw(fig: Figure, epoch: int, **key: object) -> str:
        film = films[tuple(key.values())] if names else first
        delta, loss = film.delta(epoch), film.loss(epoch)
        curve = plots.thinned_curve([i / film.per_epoch for i in range(len(film.losses))], film.losses)
        if not fig.axes:
            left, right = fig.subplots(
                1, 2, gridspec_kw={"left": 0.07, "right": 0.97, "bottom": 0.16, "top": 0.88, "wspace": 0.45}
            )
            plots.heatmap(delta, left, limit=limit)
            plots.loss_curves({"LoRA": curve}, right, xlabel="epoch", floor=lowest if floors else None)
            right.plot([], [], "o", ms=10, color=plots.COLOURS["full"])
            right.set_ylim(lowest, highest)
            if floors:
                right.lines[1].set_label("floor")
                right.legend(loc="lower left")  # where a falling curve leaves room
        left, right = fig.axes[0], fig.axes[1]
        plots.update_heatmap(left, delta, f"ΔΘ after epoch {epoch}", limit)
        right.lines[0].set_data(*curve)
        right.lines[-1].set_data([epoch], [loss])
        floor = floors[int(key["r"])] if floors else 0.0
        if floors:
            right.lines[1].set_ydata([floor, floor])  # below the picture when it is 0
        right.set_title(f"loss {plots.short(loss)}")
        off = 100 * float((delta - target).norm() / target.norm())
        away = f"{off:.0f} % of its norm" if off >= 1 else "less than 1 %"
        mean = f"mean entry {float(delta.mean()):.2f}, " if constant else ""
        best = f", floor {plots.short(floor)}" if floors else ""
        return f"{mean}{away} away from the target, loss {plots.short(loss)}{best}"

    controls: dict[str, w.Widget] = {"epoch": choice("epoch", epochs, epochs[-1])}
    for i, name in enumerate(names):
        values = sorted({key[i] for key in films})
        controls[name] = choice({"alpha": "α", "r": "rank r"}.get(name, name), values)
    return LiveFigure(draw, controls, name="film of ΔΘ", figsize=(9.5, 4), keep=True)
