"""Page 04: the map of final losses over (r, alpha), and a button that trains one of its points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from lora_lab import figures, theory
from lora_lab.figures.live import TrainingFigure, choice, menu
from lora_lab.sweeps import Sweep

from . import drawings


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
        return head + f"loss {figures.short(loss)}, floor {figures.short(floor) if floor > 1e-9 else '0'}"

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


class MapPanel(TrainingFigure):
    """Page 04: the map, the dot that the sliders move, the dot's loss curve and ΔW; a button that trains the dot live.

    pins: {(target, r, alpha, lr): Pin} of the points that have been trained here.
    """

    def __init__(self, map_: RankAlphaMap) -> None:
        self.map = map_
        middle = [values[len(values) // 2] for values in (map_.ranks, map_.alphas, map_.lrs)]
        controls = {
            "target": menu("target", list(map_.sweeps)),
            "r": choice("rank r", map_.ranks, middle[0]),
            "alpha": choice("α", map_.alphas, middle[1]),
            "lr": choice("learning rate", map_.lrs, middle[2]),
        }
        super().__init__(
            self._draw_map,
            controls,
            label="train this point",
            tooltip="for real, with another seed; pinned as a star",
            name="the (r, α) map",
            figsize=(10.5, 3.6),
            keep=True,
        )

    def _draw_map(self, fig: Figure, target: str, r: int, alpha: float, lr: float) -> str:
        m, key = self.map, (target, r, alpha, lr)
        i = m.index(*key)
        delta, limit = m.sweeps[target].delta(i), figures.limit_of(m.targets[target])
        losses, pin = m.sweeps[target].losses[i], self.pins.get(key)
        low, high = m.base * 1e-3, m.base
        if not fig.axes:
            where = {"left": 0.06, "right": 0.985, "bottom": 0.16, "top": 0.89, "wspace": 0.5}
            left, middle, right = fig.subplots(1, 3, gridspec_kw=where | {"width_ratios": (1.25, 0.95, 1)})
            drawings.loss_map(m.ranks, m.alphas, m.losses(target, lr), left, low=low, high=high)
            left.plot([], [], "*", ms=15, color=figures.FILLS["paper"], mec=figures.COLOURS["chosen"])
            figures.ring(left, 12)
            figures.loss_curves({"LoRA": losses}, middle)
            middle.set_ylabel("")
            middle.plot([], [], color=figures.COLOURS["other"], lw=1.5)
            middle.plot([], [], ls="--", lw=1.5, color=figures.COLOURS["floor"])
            figures.heatmap(delta, right, limit=limit, colorbar=False)
        left, middle, right = fig.axes[:3]
        drawings.update_loss_map(left, m.losses(target, lr))
        left.set_title(f"final loss, {target}")
        stars = [(m.ranks.index(k[1]), m.alphas.index(k[2])) for k in self.pins if (k[0], k[3]) == (target, lr)]
        left.lines[1].set_data(*(zip(*stars) if stars else ([], [])))
        left.lines[2].set_data([m.ranks.index(r)], [m.alphas.index(alpha)])
        steps = range(len(losses))
        middle.lines[0].set_data(*figures.thinned_curve(steps, losses, 150))
        live = pin.losses if pin else []
        middle.lines[1].set_data(*figures.thinned_curve(range(len(live)), live, 150) if live else ([], []))
        floor = m.floors[target][r]
        middle.lines[2].set_data([0, len(losses)], [max(floor, low / 10)] * 2)
        middle.set(xlim=(0, len(losses)), ylim=(low / 2, 4 * high), title="its loss, floor dashed")
        if m.sweeps[target].diverged_at[i] is None:
            away = 100 * m.away(target, delta)
            off = f"{away:.0f} % off" if away >= 1 else "below 1 % off"
            figures.update_heatmap(right, delta, f"its ΔW, {off}", limit)
        else:
            figures.update_heatmap(right, torch.zeros_like(delta), "no ΔW: diverged", limit)
        text = m.caption(*key)
        if pin:
            loss = "diverged" if pin.loss == float("inf") else f"loss {figures.short(pin.loss)}"
            text += f"; trained live with seed {pin.seed}: {loss}"
        return text

    def train_point(self) -> str:
        """What the button does: train the dot's point with the next seed, pin it, and return the caption.

        An interrupted run is not pinned: KeyboardInterrupt. Raises what the training raised; the panel stays as it was.
        """
        key = tuple(self.values[name] for name in ("target", "r", "alpha", "lr"))
        i = self.map.index(*key)
        before = self.pins.get(key)
        seed = (before.seed if before else self.map.sweeps[key[0]].points[i].seed) + 1
        with torch.enable_grad():  # a callback may run in a thread with other settings
            pin = self.map.train_point(*key, seed)
        if pin.interrupted:
            raise KeyboardInterrupt
        return self._pin(key, pin)

    def train_now(self) -> str:
        return self.train_point()


def map_panel(sweeps: Mapping[str, Sweep]) -> MapPanel:
    """Page 04: {target: a sweep over r, alpha and lr with one rule and one seed}, all with the same axes."""
    return MapPanel(RankAlphaMap(sweeps))
