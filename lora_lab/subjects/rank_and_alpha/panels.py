"""Page 04: the map of final losses over (r, alpha), and the run at one of its points."""

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.figure import Figure

from lora_lab import figures, theory
from lora_lab.figures.live import LiveFigure, choice, menu
from lora_lab.sweeps import Run, Sweep

from . import drawings


class RankAlphaMap:
    """What the map shows, without widgets.

    sweeps: {target: a sweep over r, alpha and lr with one rule and one seed}, all with the same axes. changes: {target:
    the ΔW of any rank that fits the target's data best}. floors: {target: {r: the best loss}}.
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

    def caption(self, target: str, r: int, alpha: float, lr: float) -> str:
        run = self.run(target, r, alpha, lr)
        text = f"r = {r}, α = {alpha:g}, scaling {run.scaling:.3g}, learning rate {lr:g}: "
        if run.diverged:
            return text + "diverged"
        return text + f"loss {figures.short(run.loss)}, floor {drawings.floor_text(self.floors[target][r])}"


def map_panel(sweeps: Mapping[str, Sweep], **start: object) -> LiveFigure:
    """The map of these sweeps, a ring where the sliders stand (at first: start), that run's loss curve and its ΔW."""
    shown = RankAlphaMap(sweeps)
    ranks, alphas = shown.axes["r"], shown.axes["alpha"]

    def draw(fig: Figure, target: str, r: int, alpha: float, lr: float) -> str:
        run, change = shown.run(target, r, alpha, lr), shown.changes[target]
        if not fig.axes:
            drawings.map_and_run(fig, ranks, alphas, run, high=shown.base)
        left, middle, right, *_ = fig.axes
        drawings.update_loss_map(left, shown.losses(target, lr))
        left.set_title(f"final loss, {target}")
        left.lines[1].set_data([ranks.index(r)], [alphas.index(alpha)])
        middle.lines[0].set_data(range(len(run.losses)), run.losses)
        lowest = 1.2 * middle.get_ylim()[0]  # a floor of 0 is drawn at the bottom
        middle.lines[1].set_ydata([max(shown.floors[target][r], lowest)] * 2)
        away = 100 * float((run.delta - change).norm() / change.norm())
        if run.diverged:
            delta, title = torch.zeros_like(run.delta), "no ΔW: diverged"
        else:
            delta, title = run.delta, f"its ΔW, {away:.0f} % off" if away >= 1 else "its ΔW, below 1 % off"
        figures.update_heatmap(right, delta, title, limit=figures.limit_of(change))
        return shown.caption(target, r, alpha, lr)

    controls = {"target": menu("target", list(sweeps), start.get("target"))}
    for name, label in (("r", "rank r"), ("alpha", "α"), ("lr", "learning rate")):
        values = shown.axes[name]
        controls[name] = choice(label, values, start.get(name, values[len(values) // 2]))
    return LiveFigure(draw, controls, name="the (r, α) map", figsize=(10.5, 3.6), keep=True)
