"""The panel of which layers: over recorded runs, and the button that trains the choice live."""

from __future__ import annotations

import pytest

from lora_lab import figures
from lora_lab.subjects.two_layers import panels
from lora_lab.subjects.two_layers.experiment import CHANGES, CHOICES, MODELS, Experiment, Result, find_run


@pytest.fixture
def panel() -> panels.LayerPanel:
    return panels.layer_panel()


def lines(panel) -> dict[str, list[float]]:
    """The lines on the left, by their names in the legend."""
    return {line.get_label(): list(line.get_ydata()) for line in panel._figure.axes[0].lines}


def test_every_position_draws_and_says_its_own_numbers(panel):
    for model in MODELS:
        for change, r in zip(CHANGES, (1, 8)):
            for layers in CHOICES:
                text = panel.set(model=model, change=change, r=r, layers=layers)
                run = find_run(model, layers, change, r)
                assert f"r = {r}" in text and figures.short(min(run.loss)) in text
                assert figures.short(max(run.floor)) in text and "below 0.001 to below 0.001" not in text
                shown = lines(panel)
                assert shown["recorded, seed 0"] == [max(loss, 1e-3) for loss in (run.before[0], *run.curve)]
                assert shown["floor"][0] == max(run.floor[0], 1e-3)


def test_the_picture_follows_the_controls(panel):
    before = panel._picture.value
    for move in ({"model": "narrowing"}, {"change": "rank-4"}, {"r": 4}, {"layers": "layer 1"}):
        panel.set(**move)
        assert panel._picture.value != before, move
        before = panel._picture.value


def test_a_choice_is_trained_for_real_and_pinned(panel):
    before = panel.set(model="narrowing", change="ones", r=1, layers="layer 2")
    text = panel.train_now()
    key = "narrowing", "ones", 1, "layer 2"
    pin, experiment = panel.pins[key], Experiment("narrowing", "ones", seed=5)
    assert text == before + f"; trained live with seed 5: {figures.short(pin.loss)}" == panel.caption
    assert pin == experiment.train("layer 2", 1)
    assert pin.loss > experiment.floor("layer 2", 1) > 20  # what it can not read, no training brings
    assert lines(panel)["live, seed 5 (★)"] == pin.curve
    star = panel._figure.axes[1].lines[-1]
    assert star.get_marker() == "*" and list(star.get_xydata()[0]) == [1, pin.loss]
    assert "trained live" not in panel.set(r=2) and "trained live" in panel.set(r=1)


def test_a_press_while_it_trains_is_ignored_and_each_run_has_the_next_seed(panel, monkeypatch):
    seeds = []

    class Fake:
        def __init__(self, model, change, seed):
            self.seed = seed

        def train(self, layers, r):
            seeds.append(self.seed)
            panel.button.click()
            return Result([5.0, 1.0] * 10, self.seed)

    monkeypatch.setattr(panels, "Experiment", Fake)
    panel.button.click()
    panel.button.click()
    assert seeds == [5, 6] and "trained live with seed 6" in panel.caption
