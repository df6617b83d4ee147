"""The digits' panels with their controls set; their figures by what they contain."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from lora_lab import figures
from lora_lab.subjects.digits import drawings, panels, record, repair


@pytest.fixture(scope="module")
def updates(digits, digits_base):
    found = {}
    for r, share in ((1, 0.0), (1, 0.75), (2, 0.0), (2, 0.75)):
        found[r, share] = repair.lora_update(repair.adapt(digits_base, repair.mixture(digits, share), r=r, steps=60))
    return found


@pytest.fixture(scope="module")
def images(digits):
    return {f"{d}": digits.test_X[digits.test_y == d][0] for d in (8, 9)}


def heights(ax, start, count=10):
    return [bar.get_height() for bar in ax.patches[start : start + count]]


# -------------------------------------------------------------------------------------------------------- panels


@pytest.mark.parametrize(("lam", "replay", "r"), [(1.0, 0.0, 1), (0.4, 0.75, 2), (0.0, 0.75, 1)])
def test_the_bars_are_the_errors_of_base_plus_lambda_delta(digits, digits_base, updates, lam, replay, r):
    panel = panels.repair_panel(digits_base, digits, updates)
    text = panel.set(lam=lam, replay=replay, r=r)
    before = repair.errors(repair.logits(digits_base, digits.test_X), digits.test_y)
    wrong = repair.errors(repair.logits(digits_base, digits.test_X, updates[r, replay], lam), digits.test_y)
    ax = panel._figure.axes[0]
    assert heights(ax, 0) == before and heights(ax, 10) == wrong and (lam or wrong == before)
    assert [t.get_text() for t in ax.texts] == [str(n) for n in wrong]
    others = 100 * (1 - sum(wrong[:9]) / sum(digits.counts[:9]))
    nines = panels.percent(1 - wrong[9] / 90, 5)
    assert text == f"right: about {nines} of the nines, {others:.0f} % of the others"


def test_shares_are_shown_in_per_cent(digits, digits_base, updates):
    assert panels.percent(0.87, 5) == "85 %" and panels.percent(0.876) == "88 %"
    panel = panels.repair_panel(digits_base, digits, updates)
    assert [o[0] for o in panel._controls["replay"].options] == ["0 %", "75 %"]


def test_probabilities_follow_lambda_and_the_nine_that_is_laid_over(digits_base, updates, images):
    panel = panels.picture_panel(digits_base, updates[1, 0.0], images, nine=images["9"])
    assert panel.set(image="8", lam=0.0).startswith("base says 8")
    right = panel._figure.axes[1]
    assert heights(right, 0) == heights(right, 10) and sum(heights(right, 0)) == pytest.approx(1, abs=1e-5)
    panel.set(lam=1.0)
    right = panel._figure.axes[1]
    assert heights(right, 10)[9] > heights(right, 0)[9]
    for mix in (1.0, 0.5):
        panel.set(mix=mix)
        shown = panel._figure.axes[0].images[0].get_array()
        assert np.allclose(shown, ((1 - mix) * images["8"] + mix * images["9"]).view(8, 8))


def test_drawing_starts_from_an_image_in_three_shades_and_a_click_takes_the_next(digits_base, updates, images):
    kept = images["8"].clone()
    panel = panels.DrawPanel(digits_base, updates[1, 0.0], images)
    assert set(panel.ink.tolist()) <= {0.0, 0.5, 1.0} and (panel.ink - images["8"]).abs().max() <= 0.25
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


# ----------------------------------------------------------------------------------------------------- figures


def test_digits_are_shown_with_their_words(images):
    pictures = torch.stack([images["8"], images["9"]])
    said, says = torch.eye(10)[[8, 3]], torch.eye(10)[[9, 9]]
    fig = drawings.answers_changed(pictures, said, says, repaired=[1], broken=[0, 1])
    shown = [ax for ax in fig.axes if ax.images]
    assert [ax.get_xlabel() for ax in shown] == ["3 → 9", "8 → 9", "3 → 9"]
    assert np.allclose(shown[1].images[0].get_array(), images["8"].view(8, 8))


def test_errors_are_shares_of_each_digit_and_confusions_leave_the_diagonal_out():
    wrong = [10] * 10, [5] * 10
    left, right = drawings.before_and_after({"a": (*wrong, [20] * 10), "b": (*wrong, [1000] * 10)})
    assert heights(left, 0) == [50.0] * 10 and heights(left, 10) == [25.0] * 10 and heights(right, 0) == [1.0] * 10
    assert left.get_ylim() == right.get_ylim()
    small, large = torch.eye(10) * 90, torch.eye(10) * 90
    small[3, 5], large[8, 9] = 1, 40
    axes = drawings.confusions({"small": small, "large": large})
    assert [ax.images[0].get_clim() for ax in axes] == [(0, 40)] * 2
    assert [(t.get_text(), t.get_position()) for t in axes[1].texts] == [("40", (9, 8))]


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


def test_margins_and_class_shifts_draw_what_they_are_given():
    ax = drawings.margins([repair.Push(digit, 5.0, 4.0, 0.25) for digit in range(9)])
    assert heights(ax, 0, 9) == [5.0] * 9 and heights(ax, 9, 9) == [4.0] * 9 and ax.texts[0].get_text() == "25 %"
    ax = drawings.class_shifts({"a": range(10), "b": [1] * 10})
    assert heights(ax, 0) == list(range(10)) and heights(ax, 10) == [1] * 10
