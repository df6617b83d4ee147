"""The digits' panels with their controls set; their figures by what they contain."""

import pytest
import torch
from matplotlib.colors import to_hex

from lora_lab import figures
from lora_lab.subjects.digits import drawings, panels, record, repair


@pytest.fixture(scope="module")
def updates(digits, digits_base):
    adapted = {share: repair.adapt(digits_base, repair.mixture(digits, share), steps=60) for share in (0.0, 0.75)}
    return {(1, share): repair.lora_update(model) for share, model in adapted.items()}


def heights(ax, start, count=10):
    return [bar.get_height() for bar in ax.patches[start : start + count]]


def test_the_bars_are_the_errors_of_base_plus_lambda_delta(digits, digits_base, updates):
    panel = panels.repair_panel(digits_base, digits, updates)
    text = panel.set(lam=0.4, replay=0.75)
    before = repair.errors(repair.logits(digits_base, digits.test_X), digits.test_y)
    wrong = repair.errors(repair.logits(digits_base, digits.test_X, updates[1, 0.75], 0.4), digits.test_y)
    ax = panel._figure.axes[0]
    assert heights(ax, 0) == before and heights(ax, 10) == wrong
    assert [t.get_text() for t in ax.texts] == [str(n) for n in wrong]
    others = 100 * (1 - sum(wrong[:9]) / sum(digits.counts[:9]))
    nines = panels.percent(1 - wrong[9] / 90, 5)
    assert text == f"right: about {nines} of the nines, {others:.0f} % of the others"
    assert panels.percent(0.87, 5) == "85 %" and panels.percent(0.876) == "88 %"


def test_drawing_starts_from_an_image_in_three_shades_and_a_click_takes_the_next(digits, digits_base, updates):
    images = {f"{d}": digits.test_X[digits.test_y == d][0] for d in (8, 9)}
    kept = images["8"].clone()
    panel = panels.DrawPanel(digits_base, updates[1, 0.0], images)
    assert set(panel.ink.tolist()) <= {0.0, 0.5, 1.0} and (panel.ink - images["8"]).abs().max() <= 0.25
    said = repair.logits(digits_base, panel.ink[None])[0].softmax(0)
    says = repair.logits(digits_base, panel.ink[None], updates[1, 0.0])[0].softmax(0)
    right = panel._figure.axes[1]
    assert heights(right, 0) == pytest.approx(said.tolist()) and heights(right, 10) == pytest.approx(says.tolist())
    assert heights(right, 10)[9] > heights(right, 0)[9] and panel.caption.startswith(f"base says {int(said.argmax())}")
    panel.set(start="9")
    assert torch.equal(panel.ink, (2 * images["9"]).round() / 2)
    panel.set(start="empty")
    assert panel.ink.sum() == 0 and {p.style.button_color for p in panel.pixels} == {"#ffffff"}
    seen = []
    for _ in range(3):
        panel.pixels[10].click()
        seen.append((float(panel.ink[10]), panel.pixels[10].style.button_color))
    assert seen == [(0.5, "#999999"), (1.0, "#222222"), (0.0, "#ffffff")]
    panel.press(63)
    assert panel.ink.sum() == 0.5 and panel._figure.axes[0].images[0].get_array()[7, 7] == 0.5
    assert panel.at() == panel.caption != panel.at(start="8"), "elsewhere it starts from the image, not from the ink"
    assert panel.set(start="8") != panel.set(start="empty") and panel.ink.sum() == 0, "a new start is a clean one"
    assert torch.equal(images["8"], kept)
    line = panel._repr_mimebundle_()["text/plain"]
    assert line.startswith("[your digit: start = empty, lam = 1.0] base says")


def test_repairs_have_a_dot_per_seed_and_the_colour_of_their_method():
    results = {"LoRA": record.find(), "full": record.find("full"), "base, no repair": record.find("base")}
    ax = drawings.repair_dots(results)
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [list(d.get_xdata()) for d in dots] == [r.total for r in results.values()]
    assert [to_hex(d.get_color()) for d in dots] == [figures.COLOURS[k].lower() for k in ("LoRA", "full", "base")]
    assert [t.get_text() for t in ax.get_yticklabels()] == list(results)
    curves = {"λ": [record.along("lam"), record.along("lam", "full")], "α": [record.along("alpha")]}
    axes = drawings.repair_curves(curves, log=("α",))
    assert [len(ax.lines) for ax in axes] == [2, 1] and axes[1].get_xscale() == "log"
    assert list(axes[0].lines[0].get_ydata()) == [r.mean for r in record.along("lam").values()]
