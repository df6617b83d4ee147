"""The (r, alpha) map: what it shows (without widgets), its sliders, and the button that trains a point live."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from torch import nn

from lora_lab import evaluate, figures, theory
from lora_lab.figures.live import LiveFigure
from lora_lab.subjects.linear_task.tasks import linear_task, normal, shift
from lora_lab.subjects.rank_and_alpha.panels import MapPanel, RankAlphaMap, map_panel
from lora_lab.sweeps import Sweep, sweep

THETA = normal(6, 9, seed=3)
BASE = nn.Linear(9, 6, bias=False)
BASE.weight.data.copy_(THETA)
KINDS = ("rank-1", "decaying")
GRID = {"r": [1, 2, 4], "alpha": [1, 4, 16, 256.0], "lr": [0.05, 0.2], "optimizer": "sgd", "steps": 40}


def run(kind: str, **options) -> Sweep:
    task = linear_task(THETA + shift(kind, 6, 9) / 3, n=60, seed=4)
    return sweep(BASE, task.X, task.y, **{**GRID, "batch_size": 20, "progress": None, **options})


@pytest.fixture(scope="module")
def sweeps() -> dict[str, Sweep]:
    return {kind: run(kind) for kind in KINDS}


@pytest.fixture
def panel(sweeps) -> MapPanel:
    return map_panel(sweeps)


def picture(panel: MapPanel) -> np.ndarray:
    return imread(io.BytesIO(panel._picture.value))


# ----------------------------------------------------------------------------------------- what it shows, no widgets


def test_the_map_is_the_sweep(sweeps):
    m = RankAlphaMap(sweeps)
    assert [m.ranks, m.alphas, m.lrs] == [GRID[name] for name in ("r", "alpha", "lr")]
    for kind in KINDS:
        for lr in m.lrs:
            losses = m.losses(kind, lr)
            assert losses.shape == (4, 3)
            for i, alpha in enumerate(m.alphas):
                for j, r in enumerate(m.ranks):
                    point = sweeps[kind].index(r=r, alpha=alpha, lr=lr)
                    assert losses[i, j] == sweeps[kind].final[point]
    assert np.isinf(m.losses("decaying", 0.2)[3, 0]) and np.isfinite(m.losses("decaying", 0.05)[0]).all()


def test_targets_and_floors_are_those_of_the_task(sweeps):
    m = RankAlphaMap(sweeps)
    for kind in KINDS:
        change, X = shift(kind, 6, 9) / 3, sweeps[kind].data[1]
        torch.testing.assert_close(m.targets[kind].float(), change, rtol=1e-3, atol=1e-4)
        for r in m.ranks:
            assert m.floors[kind][r] == pytest.approx(theory.rank_floor(change, r, X), rel=1e-3, abs=1e-6)
        assert m.away(kind, torch.zeros(6, 9)) == pytest.approx(1.0)
        assert m.away(kind, change) < 1e-3


def test_the_floor_of_a_noisy_task_is_below_every_loss():
    task = linear_task(THETA + shift("rank-1", 6, 9) / 3, n=60, seed=4, noise=0.5)
    s = sweep(BASE, task.X, task.y, r=[1, 6], alpha=8, lr=0.03, steps=400, batch_size=60, progress=None)
    m = RankAlphaMap({"noisy": s})
    for r, loss in zip((1, 6), m.losses("noisy", 0.03)[0]):
        assert 0.9999 * m.floors["noisy"][r] <= loss < 1.05 * m.floors["noisy"][r]


def test_captions(sweeps):
    m = RankAlphaMap(sweeps)
    i = sweeps["decaying"].index(r=2, alpha=4, lr=0.05)
    loss = figures.short(float(sweeps["decaying"].final[i]))
    floor = figures.short(m.floors["decaying"][2])
    assert m.caption("decaying", 2, 4, 0.05) == (
        f"r = 2, α = 4, scaling 2, learning rate 0.05: loss {loss}, floor {floor}"
    )
    assert m.caption("decaying", 1, 256.0, 0.2).endswith("learning rate 0.2: diverged")
    assert m.caption("rank-1", 1, 4, 0.05).endswith("floor 0")


def test_wrong_sweeps_get_a_sentence(sweeps):
    for given, words in (
        ({}, "sweeps is empty"),
        ({"a": run("rank-1", seed=[0, 1], steps=1)}, "the sweep of 'a' has several rules or seeds"),
        ({**sweeps, "b": run("rank-1", alpha=[1, 2], steps=1)}, "the sweep of 'b' has other ranks, alphas"),
    ):
        with pytest.raises(ValueError, match=words):
            RankAlphaMap(given)


# ------------------------------------------------------------------------------------------------------------ sliders


def test_every_position_draws_and_says_its_own_numbers(panel):
    for kind in KINDS:
        for lr in GRID["lr"]:
            panel.set(target=kind, lr=lr)
            for r in GRID["r"]:
                for alpha in GRID["alpha"]:
                    assert panel.set(r=r, alpha=alpha) == panel.map.caption(kind, r, alpha, lr)
                    dot = panel._figure.axes[0].lines[2].get_data()
                    assert (dot[0][0], dot[1][0]) == (GRID["r"].index(r), GRID["alpha"].index(alpha))


def test_the_picture_follows_the_dot(panel):
    panel.set(target="decaying", r=2, alpha=4, lr=0.05)
    before = picture(panel)
    i = panel.map.index("decaying", 2, 4, 0.05)
    left, middle, right = panel._figure.axes[:3]
    np.testing.assert_allclose(right.images[0].get_array(), panel.map.sweeps["decaying"].delta(i), rtol=1e-6)
    np.testing.assert_allclose(middle.lines[0].get_ydata(), panel.map.sweeps["decaying"].losses[i], rtol=1e-6)
    assert middle.lines[2].get_ydata()[0] == panel.map.floors["decaying"][2]
    panel.set(alpha=16)
    assert not np.array_equal(before, picture(panel))
    panel.set(alpha=4)
    assert np.array_equal(before, picture(panel)), "the same position gives the same picture"


def test_diverged_cells_are_crossed_out(panel):
    panel.set(target="decaying", lr=0.2)
    losses = panel.map.losses("decaying", 0.2)
    crosses = panel._figure.axes[0].lines[0].get_data()
    assert sorted(zip(crosses[1], crosses[0])) == sorted(map(tuple, np.argwhere(np.isinf(losses))))
    assert len(crosses[0]) > 0
    assert panel.set(r=1, alpha=256.0).endswith("diverged") and panel.error is None


def test_walk(panel, capsys):
    panel.set(target="decaying", r=4)
    panel.walk("r")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["r = 1", "r = 2", "r = 4"] and panel.values["r"] == 4


# ------------------------------------------------------------------------------------------------------------- button


def test_the_button_trains_the_point_and_pins_it(panel):
    panel.set(target="decaying", r=2, alpha=4, lr=0.05)
    key, plain = ("decaying", 2, 4, 0.05), panel.caption
    panel.button.click()
    assert panel.error is None and not panel.button.disabled and panel.button.description == "train this point"
    pin = panel.pins[key]
    layer, history = panel.map.sweeps["decaying"].train_alone(panel.map.index(*key), seed=1)
    _, X, y = panel.map.sweeps["decaying"].data
    assert pin.seed == 1 and pin.losses == history.losses
    assert pin.loss == pytest.approx(evaluate(layer, X, y), rel=1e-4)
    assert panel.caption == f"{plain}; trained live with seed 1: loss {figures.short(pin.loss)}"
    left, middle = panel._figure.axes[:2]
    assert [tuple(v) for v in left.lines[1].get_data()] == [(1,), (1,)]
    assert list(middle.lines[1].get_ydata()) == pin.losses
    assert "seed 2" in panel.train_point() and panel.pins[key].seed == 2
    panel.set(r=4)  # elsewhere: the star stays, the second curve goes
    assert len(left.lines[1].get_xdata()) == 1 and len(middle.lines[1].get_xdata()) == 0
    assert panel.caption == panel.map.caption("decaying", 4, 4, 0.05)
    panel.set(target="rank-1")
    assert len(left.lines[1].get_xdata()) == 0, "the star belongs to its target"


def test_a_diverging_point_is_pinned_as_such(panel):
    panel.set(target="decaying", r=1, alpha=256.0, lr=0.2)
    assert panel.train_point().endswith("trained live with seed 1: diverged")


def test_training_changes_neither_map_nor_random_state_and_works_in_a_thread(panel):
    panel.set(target="decaying", r=2, alpha=4, lr=0.05)
    final, state = panel.map.sweeps["decaying"].final.clone(), torch.get_rng_state()
    thread = threading.Thread(target=panel.button.click)  # ipykernel 7 calls back in other threads
    with torch.no_grad():
        thread.start()
        thread.join()
        assert panel.train_point().count("trained live") == 1 and not torch.is_grad_enabled()
    assert panel.error is None and panel.pins["decaying", 2, 4, 0.05].seed == 2
    assert torch.equal(final, panel.map.sweeps["decaying"].final) and torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("error", [RuntimeError("no memory <here>"), KeyboardInterrupt()])
def test_an_error_is_shown_and_the_panel_goes_on(panel, monkeypatch, error):
    def fail(*_args, **_kwargs):
        raise error

    before = panel.caption
    monkeypatch.setattr(RankAlphaMap, "train_point", fail)
    panel.button.click()
    assert panel.error is error and not panel.button.disabled and not panel.pins
    said = "Interrupted: this run was not kept." if isinstance(error, KeyboardInterrupt) else "no memory &lt;here&gt;"
    assert said in panel._caption.value
    monkeypatch.undo()
    panel.button.click()
    assert panel.error is None and panel.caption.startswith(before) and len(panel.pins) == 1


def test_an_interrupted_run_is_not_pinned(panel, monkeypatch, capsys):
    panel.set(target="decaying", r=2, alpha=4, lr=0.05)
    real, calls = torch.randperm, []

    def randperm(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(torch, "randperm", randperm)
    panel.button.click()
    assert not panel.pins and "trained live" not in panel.caption and panel.caption in panel._caption.value
    assert "Interrupted: this run was not kept." in panel._caption.value and not panel.button.disabled
    assert "interrupted" in capsys.readouterr().out


def test_a_second_press_while_training_does_nothing(panel, monkeypatch):
    real, depth = RankAlphaMap.train_point, []

    def train_point(self, *args):
        depth.append(1)
        if len(depth) == 1:
            assert panel.button.disabled
            panel.button.click()
        return real(self, *args)

    monkeypatch.setattr(RankAlphaMap, "train_point", train_point)
    panel.button.click()
    assert len(depth) == 1 and panel.error is None


def test_stored_form(panel):
    bundle = panel._repr_mimebundle_()
    assert bundle["text/plain"].startswith("[the (r, α) map: target = rank-1, r = 2, alpha = 16, lr = 0.2]")
    assert bundle["image/png"] and LiveFigure in MapPanel.__mro__
