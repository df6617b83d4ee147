"""Page 04: the map of final losses over (r, alpha), and a button that trains one of its points."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure

from lora_lab import figures, theory
from lora_lab.figures.live import TrainingFigure, choice, menu
from lora_lab.layers import LoRALinear
from lora_lab.sweeps import Run, Sweep
from lora_lab.training import evaluate, train

from . import drawings


class LiveRun(NamedTuple):
    """One point trained by itself: its seed, its loss on all data (inf where it diverged), its curve."""

    seed: int
    loss: float
    losses: list[float]


class RankAlphaMap:
    """What the map shows, without widgets: sweeps over (r, alpha, lr), one per target, all with the same axes.

    changes: {target: the ΔW of any rank that fits the target's data best}. floors: {target: {r: the best loss}}.
    """

    def __init__(self, sweeps: Mapping[str, Sweep]) -> None:
        self.sweeps, self.changes, self.floors = dict(sweeps), {}, {}
        self.axes = next(iter(self.sweeps.values())).axes
        self.base = 0.0  # the largest loss of doing nothing
        for target, sweep in self.sweeps.items():
            base, X, y = sweep.data
            with torch.no_grad():
                residual = y - base(X)
            change = torch.linalg.lstsq(X.double(), residual.double()).solution.T  # (d_out, d_in)
            left_over = float((X.double() @ change.T - residual).square().mean())
            self.changes[target] = change
            self.floors[target] = {r: theory.rank_floor(change, r, X) + left_over for r in self.axes["r"]}
            self.base = max(self.base, float(residual.square().mean()))

    def run(self, target: str, r: int, alpha: float, lr: float) -> Run:
        return self.sweeps[target].run(r=r, alpha=alpha, lr=lr)

    def losses(self, target: str, lr: float) -> np.ndarray:
        """Final losses, (alphas, ranks); inf where diverged."""
        losses = [run.loss for run in self.sweeps[target].runs(lr=lr)]
        return np.reshape(losses, (len(self.axes["r"]), len(self.axes["alpha"]))).T

    def caption(self, target: str, r: int, alpha: float, lr: float, live: LiveRun | None = None) -> str:
        run = self.run(target, r, alpha, lr)
        text = f"r = {r}, α = {alpha:g}, scaling {run.scaling:.3g}, learning rate {lr:g}: {loss_text(run.loss)}"
        if not run.diverged:
            text += f", floor {drawings.floor_text(self.floors[target][r])}"
        if live:
            text += f"; trained live with seed {live.seed}: {loss_text(live.loss)}"
        return text

    def train_point(self, target: str, r: int, alpha: float, lr: float, seed: int) -> LiveRun:
        """Train one point for real, with a start and batches of its own. Raises KeyboardInterrupt."""
        sweep, run = self.sweeps[target], self.run(target, r, alpha, lr)
        base, X, y = sweep.data
        how = dict(sweep.settings)
        with torch.random.fork_rng(devices=[]), torch.enable_grad():  # a button's callback may run without gradients
            layer = LoRALinear(base, r, run.scaling * r)
            layer.reset_lora(how.pop("std"), generator=torch.Generator().manual_seed(seed))
            history = train(layer, X, y, lr=lr, seed=seed, cache_base=True, progress=None, **how)
        if history.interrupted:
            raise KeyboardInterrupt
        diverged = history.diverged_at is not None
        return LiveRun(seed, math.inf if diverged else evaluate(layer, X, y), history.losses)


def loss_text(loss: float) -> str:
    return "diverged" if loss == math.inf else f"loss {figures.short(loss)}"


class MapPanel(TrainingFigure):
    """The map, the dot that the sliders move, the dot's loss curve and ΔW; a button that trains the dot live."""

    def __init__(self, map_: RankAlphaMap) -> None:
        self.map = map_
        controls = {"target": menu("target", list(map_.sweeps))}
        for name, label in (("r", "rank r"), ("alpha", "α"), ("lr", "learning rate")):
            values = map_.axes[name]
            controls[name] = choice(label, values, values[len(values) // 2])
        tooltip = "for real, with another seed; pinned as a star"
        look = {"name": "the (r, α) map", "figsize": (10.5, 3.6), "keep": True}
        super().__init__(self._draw_map, controls, label="train this point", tooltip=tooltip, **look)

    def _draw_map(self, fig: Figure, target: str, r: int, alpha: float, lr: float) -> str:
        m, point = self.map, (target, r, alpha, lr)
        run, live, change = m.run(*point), self.pins.get(point), m.changes[target]
        ranks, alphas = m.axes["r"], m.axes["alpha"]
        if not fig.axes:
            drawings.map_and_run(fig, ranks, alphas, run, high=m.base)
        here = [pin for pin in self.pins if (pin[0], pin[3]) == (target, lr)]
        stars = [(ranks.index(pin[1]), alphas.index(pin[2])) for pin in here]
        circle = (ranks.index(r), alphas.index(alpha))
        drawings.update_map(fig.axes[0], m.losses(target, lr), stars, circle, title=f"final loss, {target}")
        drawings.update_run(fig.axes[1], run.losses, live.losses if live else [], m.floors[target][r])
        away = 100 * float((run.delta - change).norm() / change.norm())
        if run.diverged:
            delta, title = torch.zeros_like(run.delta), "no ΔW: diverged"
        else:
            delta, title = run.delta, f"its ΔW, {away:.0f} % off" if away >= 1 else "its ΔW, below 1 % off"
        figures.update_heatmap(fig.axes[2], delta, title, limit=figures.limit_of(change))
        return m.caption(*point, live)

    def train_now(self) -> str:
        """What the button does: train the dot's point with the next seed, pin it, and return the caption."""
        point = tuple(self.values.values())
        last = self.pins[point].seed if point in self.pins else self.map.axes["seed"][0]
        return self._pin(point, self.map.train_point(*point, seed=last + 1))


def map_panel(sweeps: Mapping[str, Sweep]) -> MapPanel:
    """Page 04: {target: a sweep over r, alpha and lr with one rule and one seed}, all with the same axes."""
    return MapPanel(RankAlphaMap(sweeps))
