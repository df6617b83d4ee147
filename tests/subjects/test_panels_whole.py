"""Page 06's panel: which layers, over recorded runs, and the button that trains the choice live."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from matplotlib.image import imread

from lora_lab import figures
from lora_lab.figures import whole
from lora_lab.subjects.linear_task.bases import record
from lora_lab.subjects.two_layers import panels
from lora_lab.subjects.two_layers.experiment import CHANGES, CHOICES, RANKS, SHAPES, Experiment, Result

NARROW = "narrowing, 101 → 60 → 40"


@pytest.fixture
def panel() -> panels.LayerPanel:
    return panels.layer_panel()


def picture(panel) -> np.ndarray:
    return imread(io.BytesIO(panel._picture.value))


def numbers(caption: str) -> list[float]:
    return [float(x) for x in re.findall(r"\d+\.?\d*", caption.split(":", 1)[1])]


def test_the_checkboxes_name_the_choice():
    assert [panels.choice_of(a, b) for a in (0, 1) for b in (0, 1)] == [None, "layer 2", "layer 1", "both"]


def test_the_panel_shows_the_record():
    runs, raw = panels.recorded_runs(), record("two_layers")["runs"]
    assert len(runs) == len(raw) == len(SHAPES) * len(CHANGES) * len(RANKS) * len(CHOICES)
    assert runs[NARROW, "ones", 2, "layer 2"].loss == raw[f"{NARROW}|ones|2|layer 2"]["loss"]


def test_every_position_draws_and_says_its_own_numbers(panel):
    for shape in SHAPES:
        for change in CHANGES:
            panel.set(model=shape, change=change)
            for r in (1,) if change == "ones" else (8,):
                for layer1, layer2 in ((True, False), (False, True), (True, True)):
                    text = panel.set(r=r, layer1=layer1, layer2=layer2)
                    run = panel.runs[shape, change, r, panels.choice_of(layer1, layer2)]
                    assert f"r = {r}" in text and figures.short(min(run.loss)) in text
                    assert figures.short(max(run.floor)) in text
                    left = panel._figure.axes[0]
                    assert list(left.lines[0].get_ydata()) == [max(x, 1e-3) for x in (run.before[0], *run.curve)]
                    assert left.lines[2].get_ydata()[0] == max(run.floor[0], 1e-3)


def test_the_picture_follows_the_controls(panel):
    seen = [picture(panel)]
    for move in ({"model": NARROW}, {"change": "rank-4"}, {"r": 4}, {"layer1": False}, {"layer2": False}):
        panel.set(**move)
        seen.append(picture(panel))
        assert not np.array_equal(seen[-1], seen[-2]), move


def test_without_an_adapter_the_loss_stays(panel):
    assert panel.set(layer1=False, layer2=False).startswith("no adapter: the loss stays at")
    with pytest.raises(ValueError, match="no layer is checked"):
        panel.train_choice()
    assert not panel.pins and len(set(panel._figure.axes[0].lines[0].get_ydata())) == 1


def test_a_choice_is_trained_for_real_and_pinned(panel):
    panel.set(model=NARROW, change="ones", r=1, layer1=False, layer2=True)
    before = panel._text
    text = panel.train_choice()
    key = NARROW, "ones", 1, "layer 2"
    pin = panel.pins[key]
    assert text == before + f"; trained live with seed 5: {figures.short(pin.loss)}" == panel.caption
    experiment = Experiment(NARROW, "ones", seed=5)
    assert pin == experiment.train("layer 2", 1, seed=5)
    assert pin.loss > experiment.floor("layer 2", 1) > 20  # what it can not read, no training brings
    star = panel._figure.axes[1].lines[-1].get_data()
    assert (star[0][0], star[1][0]) == (1, pin.loss)
    panel.set(r=2)
    assert "live" not in panel.caption and len(panel._figure.axes[1].lines[-1].get_xdata()) == 0
    panel.set(r=1)
    assert "live" in panel.caption


def fake(monkeypatch, train):
    class Fake:
        def __init__(self, shape, change, seed):
            self.seed = seed

        def train(self, layers, r, seed):
            return train(seed)

    monkeypatch.setattr(whole, "Experiment", Fake)


def test_a_second_press_takes_the_next_seed(panel, monkeypatch):
    fake(monkeypatch, lambda seed: Result([5.0, 1.0], seed))
    panel._pressed(panel.button)
    panel._pressed(panel.button)
    assert [p.seed for p in panel.pins.values()] == [6]
    assert not panel.button.disabled and panel.button.description == "train this choice"


def test_interrupted_runs_are_not_pinned(panel, monkeypatch):
    fake(monkeypatch, lambda seed: Result([5.0], seed, interrupted=True))
    panel._pressed(panel.button)
    assert not panel.pins and "Interrupted: this run was not kept." in panel._caption.value
    assert not panel.button.disabled and panel.set(r=4) and panel.error is None


def test_an_error_of_the_training_is_shown_and_the_panel_lives_on(panel, monkeypatch):
    def broken(seed):
        raise RuntimeError("out of <memory>")

    fake(monkeypatch, broken)
    panel._pressed(panel.button)
    assert isinstance(panel.error, RuntimeError) and "out of &lt;memory&gt;" in panel._caption.value
    assert not panel.button.disabled
    panel.set(r=2)
    assert "r = 2" in panel._caption.value
    panel.set(layer1=False, layer2=False)
    panel._pressed(panel.button)  # the sentence, not a dead button
    assert "no layer is checked" in panel._caption.value


def test_a_press_while_it_trains_is_ignored(panel, monkeypatch):
    calls = []

    def once(seed):
        calls.append(seed)
        panel._pressed(panel.button)
        return Result([1.0], seed)

    fake(monkeypatch, once)
    panel._pressed(panel.button)
    assert calls == [5]


def test_captions_have_no_empty_ranges(panel):
    for name in ("model", "change", "r"):
        for value in panel.positions(name):
            text = panel.set(**{name: value})
            assert numbers(text) and "nan" not in text and "below 0.001 to below 0.001" not in text
