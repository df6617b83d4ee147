"""Every slider panel: a pure function (values -> numbers and a figure) and a thin widget around it (`LiveFigure`)."""

from __future__ import annotations

import html
import itertools
import traceback
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import ipywidgets as w
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from . import costs, plots, theory
from .live import LiveFigure, choice, menu
from .sweeps import Sweep

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


def _in_units(biggest: float) -> tuple[float, str]:
    """The unit in which a number of bytes is at least 1: (1e6, "MB")."""
    return next((s, u) for s, u in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if max(biggest, 1e3) >= s)


def cost_panel(width: int = 1000, r: int = 1) -> LiveFigure:
    """Page 01: what one square layer costs to fine-tune, fully and with LoRA, for one task and for many."""
    labels = ["full", f"r = {r}"]

    def draw(fig: Figure, width: int, tasks: int, dtype: str) -> str:
        memory = [costs.full_memory(width, width, dtype), costs.lora_memory(width, width, r, dtype)]
        disk = [costs.disk_bytes(width, width, tasks, rank, dtype) for rank in (None, r)]
        if not fig.axes:
            grid = {"left": 0.09, "right": 0.97, "bottom": 0.3, "top": 0.87, "wspace": 0.3}
            left, right = fig.subplots(1, 2, gridspec_kw=grid)
            plots.memory_bars(dict(zip(labels, memory)), left, title="while training one task")
            right.barh(labels, disk, color=[plots.COLOURS["full"], plots.COLOURS["LoRA"]])
            right.invert_yaxis()
        left, right = fig.axes
        scale, unit = _in_units(memory[0].total)
        for bar, (part, m) in zip(left.patches, ((part, m) for part in range(3) for m in memory)):
            bar.set_x(sum(m[:part]) / scale)
            bar.set_width(m[part] / scale)
        left.set(xlim=(0, 1.05 * memory[0].total / scale), xlabel=unit)
        scale, unit = _in_units(max(disk))
        for bar, size in zip(right.patches, disk):
            bar.set_width(size / scale)
        right.set(xlim=(0, 1.05 * max(disk) / scale), xlabel=unit)
        right.set_title(f"on disk for {tasks} task{'s' * (tasks > 1)}")
        full, lora = memory
        return (
            f"training {costs.human(full.total)} full, {costs.human(lora.total)} LoRA; "
            f"disk {costs.human(disk[0])} full, {costs.human(disk[1])} LoRA"
        )

    controls = {
        "width": choice("width d", (250, 500, 1000, 2000, 4096, 8192, 12288), width),
        "tasks": choice("tasks", (1, 2, 5, 10, 20, 50, 100), 10),
        "dtype": menu("dtype", list(costs.BYTES)),
    }
    return LiveFigure(draw, controls, name="what fine-tuning costs", figsize=(9.5, 3.6), keep=True)


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
            if floors and right.get_legend():
                right.get_legend().remove()  # it costs more than the curve; the title says what is dashed
        left, right = fig.axes[0], fig.axes[1]
        plots.update_heatmap(left, delta, f"ΔΘ after epoch {epoch}", limit)
        right.lines[0].set_data(*curve)
        right.lines[-1].set_data([epoch], [loss])
        floor = floors[int(key["r"])] if floors else 0.0
        if floors:
            right.lines[1].set_ydata([floor, floor])  # below the picture when it is 0
        right.set_title(f"loss {plots.short(loss)}" + (", floor dashed" if floors else ""))
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


# ------------------------------------------------------------------------------------------ the (r, α) map (page 04)


class RankAlphaMap:
    """What the map shows, without widgets: sweeps over (r, alpha, lr), one per target, all with the same axes."""

    def __init__(self, sweeps: Mapping[str, Sweep]) -> None:
        self.sweeps = dict(sweeps)
        if not self.sweeps:
            raise ValueError("sweeps is empty; the map needs at least one {target: sweep}.")
        axes = {name: self._axes(name) for name in self.sweeps}
        self.ranks, self.alphas, self.lrs = first = next(iter(axes.values()))
        if other := next((name for name, found in axes.items() if found != first), None):
            raise ValueError(f"the sweep of {other!r} has other ranks, alphas or learning rates than the first one.")
        # What each target asks for is the best delta of any rank; the floor adds what even that one leaves over.
        self.residuals, self.targets, self.floors = {}, {}, {}
        for name, (base, X, y) in ((name, s.data) for name, s in self.sweeps.items()):
            self.residuals[name] = rest = residual_of(base, X, y)
            self.targets[name] = delta = torch.linalg.lstsq(X.double(), rest.double()).solution.T  # (d_out, d_in)
            noise = float((X.double() @ delta.T - rest).square().mean())
            self.floors[name] = {r: theory.rank_floor(delta, r, X) + noise for r in self.ranks}

        self.base = max(float(rest.square().mean()) for rest in self.residuals.values())  # the loss of doing nothing
        shape = [len(values) for values in first]
        self.final = {name: sweep.final.view(shape).numpy() for name, sweep in self.sweeps.items()}

    def _axes(self, name: str) -> tuple[list, list, list]:
        points = self.sweeps[name].points
        if len({(p.rule, p.seed) for p in points}) > 1:
            raise ValueError(f"the sweep of {name!r} has several rules or seeds; a map shows one of each.")
        return tuple(list(dict.fromkeys(getattr(p, k) for p in points)) for k in ("r", "alpha", "lr"))

    def index(self, target: str, r: int, alpha: float, lr: float) -> int:
        return self.sweeps[target].index(r=r, alpha=alpha, lr=lr)

    def losses(self, target: str, lr: float) -> np.ndarray:
        """Final losses, (len(alphas), len(ranks)); inf where diverged."""
        return self.final[target][:, :, self.lrs.index(lr)].T

    def away(self, target: str, delta: Tensor) -> float:
        """||delta - wanted|| / ||wanted||"""
        wanted = self.targets[target]
        return float((delta - wanted).norm() / wanted.norm())

    def caption(self, target: str, r: int, alpha: float, lr: float) -> str:
        sweep = self.sweeps[target]
        i = self.index(target, r, alpha, lr)
        head = f"r = {r}, α = {alpha:g}, scaling {sweep.points[i].scaling:.3g}, learning rate {lr:g}: "
        if sweep.diverged_at[i] is not None:
            return head + "diverged"
        floor, loss = self.floors[target][r], float(sweep.final[i])
        return head + f"loss {plots.short(loss)}, floor {plots.short(floor) if floor > 1e-9 else '0'}"

    def train_point(self, target: str, r: int, alpha: float, lr: float, seed: int) -> Pin:
        """Train one point for real, through `training.train`, with a start and batches of its own."""
        layer, history = self.sweeps[target].train_alone(self.index(target, r, alpha, lr), seed)
        diverged = history.diverged_at is not None
        with torch.no_grad():
            X = self.sweeps[target].data[1]
            loss = float("inf") if diverged else float((layer.update(X) - self.residuals[target]).square().mean())
        return Pin(seed, loss, history.losses, history.interrupted)


class Pin(NamedTuple):
    """One live run: its seed, its loss on all data (inf where it diverged), its curve."""

    seed: int
    loss: float
    losses: list[float]
    interrupted: bool = False


def residual_of(base: torch.nn.Linear, X: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return y - base(X)


class MapPanel(LiveFigure):
    """Page 04: the map, the dot that the sliders move, the dot's loss curve and ΔW; a button that trains the dot live.

    pins: {(target, r, alpha, lr): Pin} of the points that have been trained here.
    """

    def __init__(self, map_: RankAlphaMap) -> None:
        self.map, self.pins, self._busy = map_, {}, False
        middle = [values[len(values) // 2] for values in (map_.ranks, map_.alphas, map_.lrs)]
        controls = {
            "target": menu("target", list(map_.sweeps)),
            "r": choice("rank r", map_.ranks, middle[0]),
            "alpha": choice("α", map_.alphas, middle[1]),
            "lr": choice("learning rate", map_.lrs, middle[2]),
        }
        self.button = w.Button(description="train this point", tooltip="for real, with another seed; pinned as a star")
        self.button.on_click(self._pressed)
        super().__init__(self._draw_map, controls, name="the (r, α) map", figsize=(10.5, 3.6), keep=True)
        self.children[0].children += (self.button,)

    def _draw_map(self, fig: Figure, target: str, r: int, alpha: float, lr: float) -> str:
        m, key = self.map, (target, r, alpha, lr)
        i = m.index(*key)
        delta, limit = m.sweeps[target].delta(i), plots.limit_of(m.targets[target])
        losses, pin = m.sweeps[target].losses[i], self.pins.get(key)
        low, high = m.base * 1e-3, m.base
        if not fig.axes:
            where = {"left": 0.06, "right": 0.985, "bottom": 0.16, "top": 0.89, "wspace": 0.5}
            left, middle, right = fig.subplots(1, 3, gridspec_kw=where | {"width_ratios": (1.25, 0.95, 1)})
            plots.loss_map(m.ranks, m.alphas, m.losses(target, lr), left, low=low, high=high)
            left.plot([], [], "*", ms=15, color="white", mec="black")
            left.plot([], [], "o", ms=12, mfc="none", mec="#ff2a00", mew=3)
            plots.loss_curves({"LoRA": losses}, middle)
            middle.set_ylabel("")
            middle.plot([], [], color=plots.COLOURS["full"], lw=1.2)
            middle.plot([], [], ls="--", lw=1.5, color=plots.COLOURS["floor"])
            plots.heatmap(delta, right, limit=limit, colorbar=False)
        left, middle, right = fig.axes[:3]
        plots.update_loss_map(left, m.losses(target, lr))
        left.set_title(f"final loss, {target}")
        stars = [(m.ranks.index(k[1]), m.alphas.index(k[2])) for k in self.pins if (k[0], k[3]) == (target, lr)]
        left.lines[1].set_data(*(zip(*stars) if stars else ([], [])))
        left.lines[2].set_data([m.ranks.index(r)], [m.alphas.index(alpha)])
        steps = range(len(losses))
        middle.lines[0].set_data(*plots.thinned_curve(steps, losses, 150))
        live = pin.losses if pin else []
        middle.lines[1].set_data(*plots.thinned_curve(range(len(live)), live, 150) if live else ([], []))
        floor = m.floors[target][r]
        middle.lines[2].set_data([0, len(losses)], [max(floor, low / 10)] * 2)
        middle.set(xlim=(0, len(losses)), ylim=(low / 2, 4 * high), title="its loss, floor dashed")
        if m.sweeps[target].diverged_at[i] is None:
            away = 100 * m.away(target, delta)
            off = f"{away:.0f} % off" if away >= 1 else "below 1 % off"
            plots.update_heatmap(right, delta, f"its ΔW, {off}", limit)
        else:
            plots.update_heatmap(right, torch.zeros_like(delta), "no ΔW: diverged", limit)
        text = m.caption(*key)
        if pin:
            loss = "diverged" if pin.loss == float("inf") else f"loss {plots.short(pin.loss)}"
            text += f"; trained live with seed {pin.seed}: {loss}"
        return text

    def train_point(self) -> str:
        """What the button does: train the dot's point with the next seed, pin it, and return the caption.

        An interrupted run is not pinned. Raises what the training raised; the panel stays as it was.
        """
        key = tuple(self.values[name] for name in ("target", "r", "alpha", "lr"))
        i = self.map.index(*key)
        before = self.pins.get(key)
        seed = (before.seed if before else self.map.sweeps[key[0]].points[i].seed) + 1
        with torch.enable_grad():  # a callback may run in a thread with other settings
            pin = self.map.train_point(*key, seed)
        if not pin.interrupted:
            self.pins[key] = pin
        self._moved(None)
        return self._text

    def _pressed(self, _button: w.Button) -> None:
        if self._busy:  # a second press while it trains
            return
        self._busy, self.error = True, None
        self.button.disabled, self.button.description = True, "training …"
        try:
            self.train_point()
        except (Exception, KeyboardInterrupt) as e:
            self.error = e
            self._caption.value = f"<pre style='color:#b00020'>{html.escape(traceback.format_exc(limit=-2))}</pre>"
        finally:
            self._busy, self.button.disabled, self.button.description = False, False, "train this point"


def map_panel(sweeps: Mapping[str, Sweep]) -> MapPanel:
    """Page 04: {target: a sweep over r, alpha and lr with one rule and one seed}, all with the same axes."""
    return MapPanel(RankAlphaMap(sweeps))


# ------------------------------------------------------------------------------------------ merging (page 05)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def lost_entries(weight: Tensor, delta: Tensor, ratio: float, dtype: str) -> tuple[Tensor, float, float]:
    """Merge delta, scaled to ratio = ||delta|| / ||weight||, into a weight stored in `dtype`.

    Returns where nothing changed (out, in) as booleans, the share of such entries, and the share of ||delta|| that
    arrived: the projection of the stored change on delta. The sum is formed in float32 and rounded once.
    """
    stored = weight.to(DTYPES[dtype])
    wanted = delta * (ratio * stored.float().norm() / delta.norm())
    merged = (stored.float() + wanted).to(DTYPES[dtype])
    change = merged.double() - stored.double()
    lost = merged == stored
    arrived = float((change * wanted).sum() / wanted.double().square().sum())
    return lost, float(lost.float().mean()), arrived


def lost_panel(weight: Tensor, delta: Tensor, ratios: Sequence[float] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)) -> LiveFigure:
    """Page 05: which entries of a merged weight did not change at all, by dtype and size of the update."""

    def draw(fig: Figure, dtype: str, ratio: float) -> str:
        lost, share, _ = lost_entries(weight, delta, ratio, dtype)
        scaled = delta * (ratio * weight.norm() / delta.norm())
        limit = plots.limit_of(scaled)
        stored = torch.where(lost, torch.zeros_like(scaled), scaled)
        shown = {"ΔW": scaled, "ΔW where the weight moved": stored, "where it did not move": lost.float() * limit}
        if not fig.axes:
            plots.heatmap_row(fig, shown, limit)
            fig.axes[-1].set_visible(False)  # the scale follows the slider; what matters is which entries are left
        for ax, (title, M) in zip(fig.axes, shown.items(), strict=False):
            plots.update_heatmap(ax, M, title, limit)
        return f"{dtype}, ‖ΔW‖ = {ratio:g} ‖W‖: {100 * share:.0f} % of the weights do not change at all"

    controls = {
        "dtype": menu("stored in", list(DTYPES)),
        "ratio": choice("‖ΔW‖ / ‖W‖", ratios, ratios[1]),
    }
    return LiveFigure(draw, controls, name="what a merge loses", figsize=(10, 3.35), keep=True)


def mixture_losses(
    wanted: Mapping[str, Tensor], updates: Mapping[str, Tensor], weights: Mapping[str, float]
) -> dict[str, float]:
    """Expected loss on each task when the base carries sum_k weights[k] * updates[k].

    wanted: {task: the change it needs, (d_out, d_in)}; inputs of covariance 1, so the loss is ||sum - wanted||^2/d_out.
    """
    total = sum(weights[name] * delta for name, delta in updates.items())
    return {task: float((total - delta).square().sum() / len(delta)) for task, delta in wanted.items()}


def mixture_panel(wanted: Mapping[str, Tensor], updates: Mapping[str, Tensor]) -> LiveFigure:
    """Page 05: W0 + sum of lam_k * ΔW_k: a slider for each adapter, a bar for each task, and the sum as a heatmap."""
    names = list(updates)
    limit = plots.limit_of(*updates.values())
    steps = [i / 4 for i in range(-2, 7)]
    corners = [dict(zip(names, lams)) for lams in itertools.product((steps[0], steps[-1]), repeat=len(names))]
    highest = max(max(mixture_losses(wanted, updates, lams).values()) for lams in corners)  # at the sliders' ends

    def draw(fig: Figure, **values: float) -> str:
        lams = {name: values[f"lam{i + 1}"] for i, name in enumerate(names)}
        total = sum(lams[name] * delta for name, delta in updates.items())
        losses = mixture_losses(wanted, updates, lams)
        if not fig.axes:
            grid = {"left": 0.06, "right": 0.97, "bottom": 0.14, "top": 0.88, "wspace": 0.6}
            left, right = fig.subplots(1, 2, gridspec_kw=grid)
            plots.heatmap(total, left, title="the sum of the updates", limit=limit)
            right.barh(list(losses), list(losses.values()), color=plots.COLOURS["LoRA"])
            right.set(title="loss on each task", xlabel="expected mean squared error", xlim=(0, highest))
            right.invert_yaxis()
        plots.update_heatmap(fig.axes[0], total, "the sum of the updates", limit)
        for bar, loss in zip(fig.axes[1].patches, losses.values(), strict=True):
            bar.set_width(loss)
        return "loss " + ", ".join(f"{task} {plots.short(loss)}" for task, loss in losses.items())

    controls = {f"lam{i + 1}": choice(f"λ of {name}", steps, 1.0 if i == 0 else 0.0) for i, name in enumerate(names)}
    return LiveFigure(draw, controls, name="mixing adapters", figsize=(9.5, 4), keep=True)
