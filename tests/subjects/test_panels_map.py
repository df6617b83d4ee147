"""The (r, alpha) map: what it shows (without widgets), and its sliders."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lora_lab import figures, theory
from lora_lab.subjects.linear_task.bases import exact_base
from lora_lab.subjects.linear_task.tasks import linear_task, normal, shift
from lora_lab.subjects.rank_and_alpha.panels import RankAlphaMap, map_panel
from lora_lab.sweeps import Sweep, sweep

THETA = normal(6, 9, seed=3)
BASE = exact_base(THETA)
KINDS = ("rank-1", "decaying")
GRID = {"r": [1, 2, 4], "alpha": [1, 4, 16, 256.0], "lr": [0.05, 0.2], "optimizer": "sgd", "steps": 40}


@pytest.fixture(scope="module")
def sweeps() -> dict[str, Sweep]:
    tasks = {kind: linear_task(THETA + shift(kind, 6, 9) / 3, n=60, seed=4) for kind in KINDS}
    return {kind: sweep(BASE, t.X, t.y, **GRID, batch_size=20, progress=None) for kind, t in tasks.items()}


def test_the_map_is_the_sweep_and_its_changes_and_floors_are_those_of_the_task(sweeps):
    m = RankAlphaMap(sweeps)
    found = [[sweeps["decaying"].run(r=r, alpha=alpha, lr=0.05).loss for r in GRID["r"]] for alpha in GRID["alpha"]]
    assert m.losses("decaying", 0.05).tolist() == found
    assert np.isinf(m.losses("decaying", 0.2)[3, 0]) and np.isfinite(found[0]).all()
    for kind in KINDS:
        change, X = shift(kind, 6, 9) / 3, sweeps[kind].data[1]
        torch.testing.assert_close(m.changes[kind].float(), change, rtol=1e-3, atol=1e-4)
        for r in GRID["r"]:
            assert m.floors[kind][r] == pytest.approx(theory.rank_floor(change, r, X), rel=1e-3, abs=1e-6)


def test_the_floor_of_a_noisy_task_is_below_every_loss():
    task = linear_task(THETA + shift("rank-1", 6, 9) / 3, n=60, seed=4, noise=0.5)
    s = sweep(BASE, task.X, task.y, r=[1, 6], alpha=8, lr=0.03, steps=400, batch_size=60, progress=None)
    m = RankAlphaMap({"noisy": s})
    for r, loss in zip((1, 6), m.losses("noisy", 0.03)[0]):
        assert 0.9999 * m.floors["noisy"][r] <= loss < 1.05 * m.floors["noisy"][r]


def test_positions_draw_and_say_their_own_numbers(sweeps):
    m, panel = RankAlphaMap(sweeps), map_panel(sweeps)
    loss, floor = figures.short(m.run("decaying", 2, 4, 0.05).loss), figures.short(m.floors["decaying"][2])
    said = f"r = 2, α = 4, scaling 2, learning rate 0.05: loss {loss}, floor {floor}"
    assert m.caption("decaying", 2, 4, 0.05) == said
    assert m.caption("decaying", 1, 256.0, 0.2).endswith("learning rate 0.2: diverged")
    left, middle, right = panel._figure.axes[:3]
    for kind in KINDS:
        for lr in GRID["lr"]:
            panel.set(target=kind, lr=lr)
            losses = m.losses(kind, lr)
            x, y = left.lines[0].get_data()
            assert sorted(zip(y, x)) == sorted(map(tuple, np.argwhere(np.isinf(losses)))), "× where diverged"
            for r, alpha in ((1, 256.0), (2, 16), (4, 1)):
                point, circle = m.run(kind, r, alpha, lr), (GRID["r"].index(r), GRID["alpha"].index(alpha))
                assert panel.set(r=r, alpha=alpha) == m.caption(kind, r, alpha, lr)
                assert tuple(v[0] for v in left.lines[1].get_data()) == circle
                np.testing.assert_allclose(middle.lines[0].get_ydata(), point.losses, rtol=1e-6)
                if point.diverged:
                    assert not right.images[0].get_array().any()
                else:
                    np.testing.assert_allclose(right.images[0].get_array(), point.delta, rtol=1e-6)
