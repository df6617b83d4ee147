"""The (r, alpha) map: what it shows and says at positions of its sliders."""

from __future__ import annotations

import numpy as np
import pytest

from lora_lab import figures, theory
from lora_lab.subjects.linear_task.bases import exact_base
from lora_lab.subjects.linear_task.tasks import linear_task, normal, shift
from lora_lab.subjects.rank_and_alpha.panels import caption, map_panel
from lora_lab.sweeps import Sweep, sweep

THETA = normal(6, 9, seed=3)
BASE = exact_base(THETA)
KINDS = ("rank-1", "decaying")
GRID = {"r": [1, 2, 4], "alpha": [1, 4, 16, 256.0], "lr": [0.05, 0.2], "optimizer": "sgd", "steps": 40}


@pytest.fixture(scope="module")
def sweeps() -> dict[str, Sweep]:
    tasks = {kind: linear_task(THETA + shift(kind, 6, 9) / 3, n=60, seed=4) for kind in KINDS}
    return {kind: sweep(BASE, t.X, t.y, **GRID, batch_size=20, progress=None) for kind, t in tasks.items()}


def test_positions_draw_and_say_their_own_numbers(sweeps):
    changes = {kind: shift(kind, 6, 9) / 3 for kind in KINDS}
    floors = {kind: {r: theory.rank_floor(changes[kind], r) for r in GRID["r"]} for kind in KINDS}
    panel = map_panel(sweeps, changes, floors)
    run, floor = sweeps["decaying"].run(r=2, alpha=4, lr=0.05), floors["decaying"][2]
    said = f"scaling 2, learning rate 0.05: loss {figures.short(run.loss)}, floor {figures.short(floor)}"
    assert caption(run, floor) == f"r = 2, α = 4, {said}"
    assert caption(sweeps["decaying"].run(r=1, alpha=256, lr=0.2), 1).endswith("learning rate 0.2: diverged")
    left, middle, right = panel._figure.axes[:3]
    for kind in KINDS:
        for lr in GRID["lr"]:
            panel.set(target=kind, lr=lr)
            losses, lowest_and_highest = left.images[0].get_array(), left.images[0].get_clim()
            for run in sweeps[kind].runs(lr=lr):
                x, y = GRID["r"].index(run.r), GRID["alpha"].index(run.alpha)
                assert losses.mask[y, x] == ([x, y] in left.lines[0].get_xydata().tolist()) == run.diverged
                assert run.diverged or losses[y, x] == np.clip(run.loss, *lowest_and_highest)
            for r, alpha in ((1, 256.0), (2, 16), (4, 1)):
                point = sweeps[kind].run(r=r, alpha=alpha, lr=lr)
                circle = GRID["r"].index(r), GRID["alpha"].index(alpha)
                assert panel.set(r=r, alpha=alpha) == caption(point, floors[kind][r])
                assert tuple(v[0] for v in left.lines[1].get_data()) == circle
                np.testing.assert_allclose(middle.lines[0].get_ydata(), point.losses, rtol=1e-6)
                if point.diverged:
                    assert not right.images[0].get_array().any()
                else:
                    np.testing.assert_allclose(right.images[0].get_array(), point.delta, rtol=1e-6)
