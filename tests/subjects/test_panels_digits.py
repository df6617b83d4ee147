"""Page 07's panels as pure functions and with their controls set; its figures by what they contain."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from lora_lab import figures
from lora_lab.figures import digits as pd
from lora_lab.subjects.digits import drawings, panels
from lora_lab.subjects.digits import repair as dg
from lora_lab.subjects.digits.record import recorded


@pytest.fixture(autouse=True)
def no_open_figures():
    yield
    figures.plt.close("all")


@pytest.fixture(scope="module")
def data():
    return dg.load(seed=0)


@pytest.fixture(scope="module")
def base(data):
    return dg.pretrain(data, seed=0)


@pytest.fixture(scope="module")
def updates(data, base):
    return {
        (r, share): dg.lora_update(dg.adapt(base, dg.mixture(data, share), r=r, steps=60))
        for r in (1, 2)
        for share in (0.0, 0.75)
    }


@pytest.fixture(scope="module")
def images(data):
    return {f"{d}": data.test_X[data.test_y == d][0] for d in (8, 9)}


# ----------------------------------------------------------------------------------------- errors per digit


def heights(ax, start, count=10):
    return [bar.get_height() for bar in ax.patches[start : start + count]]


def test_the_bars_are_the_errors_of_base_plus_lambda_delta(data, base, updates):
    panel = panels.repair_panel(base, data, updates)
    before = dg.errors(dg.logits(base, data.test_X), data.test_y)
    for values in ({"lam": 1.0, "replay": 0.0, "r": 1}, {"lam": 0.4, "replay": 0.75, "r": 2}):
        panel.set(**values)
        update = updates[values["r"], values["replay"]]
        wrong = dg.errors(dg.logits(base, data.test_X, update, values["lam"]), data.test_y)
        ax = panel._figure.axes[0]
        assert heights(ax, 0) == before and heights(ax, 10) == wrong
        assert [t.get_text() for t in ax.texts] == [str(n) for n in wrong]
        assert ax.get_title(loc="left") == f"{sum(wrong)} of 901 wrong (base: {sum(before)})"
    panel.set(lam=0.0)
    assert heights(panel._figure.axes[0], 10) == before


def test_the_caption_counts_what_is_right(data, base, updates):
    panel = panels.repair_panel(base, data, updates)
    wrong = dg.errors(dg.logits(base, data.test_X, updates[1, 0.0]), data.test_y)
    others = 100 * (1 - sum(wrong[:9]) / sum(data.counts[:9]))
    nines = pd.percent(1 - wrong[9] / 90, 5)
    assert panel.caption == f"right: about {nines} of the nines, {others:.0f} % of the others"
    assert pd.percent(0.87, 5) == "85 %" and pd.percent(0.876) == "88 %"


def test_the_slider_of_replay_shows_per_cent_and_takes_shares(data, base, updates):
    panel = panels.repair_panel(base, data, updates)
    assert [o[0] for o in panel._controls["replay"].options] == ["0 %", "75 %"]
    assert panel.positions("replay") == [0.0, 0.75]
    with pytest.raises(ValueError, match="not a position"):
        panel.set(replay=0.3)


# ------------------------------------------------------------------------------------------ one image, drawing


def test_probabilities_follow_lambda_and_the_nine_that_is_laid_over(base, updates, images):
    panel = panels.picture_panel(base, updates[1, 0.0], images, nine=images["9"])
    left, right = panel._figure.axes
    panel.set(image="8", lam=0.0)
    assert heights(right, 0) == heights(right, 10) and sum(heights(right, 0)) == pytest.approx(1, abs=1e-5)
    assert panel.caption.startswith("base says 8")
    panel.set(lam=1.0)
    assert heights(right, 10)[9] > heights(right, 0)[9]
    panel.set(mix=1.0)
    assert np.allclose(left.images[0].get_array(), images["9"].view(8, 8))
    panel.set(mix=0.5)
    assert np.allclose(left.images[0].get_array(), (images["8"] + images["9"]).view(8, 8) / 2)


def test_a_click_takes_a_pixel_from_white_over_grey_to_black(base, updates, images):
    panel = panels.DrawPanel(base, updates[1, 0.0], images)
    panel.begin("empty")
    assert panel.ink.sum() == 0 and {p.style.button_color for p in panel.pixels} == {"#ffffff"}
    seen = []
    for _ in range(3):
        panel.pixels[10].click()
        seen.append((float(panel.ink[10]), panel.pixels[10].style.button_color))
    assert seen == [(0.5, "#999999"), (1.0, "#222222"), (0.0, "#ffffff")]
    panel.press(63)
    assert panel.ink.sum() == 0.5 and panel._figure.axes[0].images[0].get_array()[7, 7] == 0.5


def test_drawing_starts_from_an_image_in_three_shades_and_leaves_it_alone(base, updates, images):
    kept = images["8"].clone()
    panel = panels.DrawPanel(base, updates[1, 0.0], images)
    assert set(panel.ink.tolist()) <= {0.0, 0.5, 1.0} and (panel.ink - images["8"]).abs().max() <= 0.25
    picture = panel._picture.value
    panel.press(0)
    assert torch.equal(images["8"], kept) and panel._picture.value != picture
    panel._start.value = "9"  # as the menu does it
    assert torch.equal(panel.ink, (2 * images["9"]).round() / 2)
    assert panel._repr_mimebundle_()["text/plain"].startswith("[your digit: lam = 1.0] base says")
    panel.set(lam=0.0)
    right = panel._figure.axes[1]
    assert heights(right, 0) == heights(right, 10)


def test_changed_images_are_clear_cases_only():
    y = torch.tensor([9, 9, 9, 8, 8, 3])
    before, after = torch.zeros(6, 10), torch.zeros(6, 10)
    for i, (said, says) in enumerate([(8, 9), (9, 9), (4, 9), (8, 9), (8, 9), (3, 3)]):
        before[i, said], after[i, says] = 5.0, 5.0
    before[2, 4] = 0.1  # the base had hardly an opinion
    repaired, broken = panels.changed_images(before, after, y)
    assert repaired == [0] and broken == {8: 3}


# ----------------------------------------------------------------------------------------------------- figures


def test_digit_rows_show_each_image_with_its_word(images):
    fig = drawings.digit_rows({"top": [(images["8"], "8"), (images["9"], "9")], "below": [(images["9"], "x")]})
    shown = [ax for ax in fig.axes if ax.images]
    assert [ax.get_xlabel() for ax in shown] == ["8", "9", "x"]
    assert np.allclose(shown[0].images[0].get_array(), images["8"].view(8, 8))
    assert shown[0].images[0].get_clim() == (0, 1)


def test_errors_are_drawn_as_shares_of_each_digit():
    rows, colours = {"before": [10] * 10, "after": [5] * 10}, {"before": "#666666", "after": "#0072B2"}
    left, right = drawings.digit_errors({"a": rows, "b": rows}, {"a": [20] * 10, "b": [1000] * 10}, colours=colours)
    assert heights(left, 0) == [50.0] * 10 and heights(left, 10) == [25.0] * 10 and heights(right, 0) == [1.0] * 10
    assert left.get_ylim() == right.get_ylim()


def test_confusions_leave_the_diagonal_out_and_share_a_scale():
    small, large = torch.eye(10) * 90, torch.eye(10) * 90
    small[3, 5], large[8, 9] = 1, 40
    axes = drawings.confusions({"small": small, "large": large})
    assert [ax.images[0].get_clim() for ax in axes] == [(0, 40)] * 2
    assert [(t.get_text(), t.get_position()) for t in axes[1].texts] == [("40", (9, 8))]


def test_repairs_have_a_dot_per_seed_and_the_colour_of_their_method():
    record = recorded()
    results = {"LoRA": record.find(), "full": record.find("full"), "none": record.find("base")}
    ax = drawings.repair_dots(results, base=record.find("base"), n=901)
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [list(d.get_xdata()) for d in dots] == [r.total for r in results.values()]
    assert [to_hex(d.get_color()) for d in dots] == [figures.COLOURS[k].lower() for k in ("LoRA", "full", "base")]
    assert [t.get_text() for t in ax.get_yticklabels()] == list(results)


def test_curves_are_means_over_seeds_within_their_range():
    record = recorded()
    curves = {"λ": {m: record.along("lam", m) for m in ("LoRA", "full")}, "α": {"LoRA": record.along("alpha")}}
    axes = drawings.repair_curves(curves, base=record.find("base"), log=("α",))
    assert [len(ax.lines) for ax in axes] == [2, 1] and axes[1].get_xscale() == "log"
    assert list(axes[0].lines[0].get_ydata()) == [r.mean for r in record.along("lam").values()]


def test_margins_and_class_shifts_draw_what_they_are_given():
    ax = drawings.margins([5.0] * 9, [4.0] * 9, [0.25] * 9)
    assert heights(ax, 0, 9) == [5.0] * 9 and heights(ax, 9, 9) == [4.0] * 9 and ax.texts[0].get_text() == "25 %"
    ax = drawings.class_shifts({"a": range(10), "b": [1] * 10}, colours={"a": "red", "b": "blue"})
    assert heights(ax, 0) == list(range(10)) and heights(ax, 10) == [1] * 10
