"""The slider panel, with its controls set as a kernel sets them; panels of the first pages; the general figures."""

import base64
import io

import ipywidgets as w
import matplotlib
import numpy as np
import pages
import pytest
import torch
from ipywidgets.widgets.widget import _instances
from matplotlib.colors import to_hex

from lora_lab import figures, theory
from lora_lab.classroom.cards import Card
from lora_lab.classroom.predictions import find
from lora_lab.figures import live
from lora_lab.figures.live import LiveFigure, choice, menu
from lora_lab.subjects.linear_task import tasks
from lora_lab.subjects.low_rank.panels import caption, copy_error, rank_panel


def counter(fig, r, alpha):
    if r == 3:
        raise KeyboardInterrupt if alpha == 2 else ZeroDivisionError("broken at 3")
    fig.subplots().plot([0, r], [0, alpha])
    return f"r={r} alpha={alpha:g}"


def simple(keep=False):
    controls = {"r": choice("r", (1, 2, 3, 4)), "alpha": choice("alpha", (0.5, 1.0, 2.0), 1.0)}
    return LiveFigure(counter, controls, name="counter", figsize=(2, 2), keep=keep)


def two_targets():
    return rank_panel({kind: tasks.shift(kind, 20, 30) for kind in ("rank-4", "full rank")}, ranks=(1, 2, 4))


def test_a_move_replaces_the_picture_and_the_caption_and_leaves_torch_alone():
    panel, state = simple(), torch.get_rng_state()
    before = panel._picture.value
    panel._controls["r"].value = 2  # what a kernel does when a slider moves
    assert panel.caption == "r=2 alpha=1" and panel._picture.value != before
    assert bytes(panel._picture.value).startswith(b"\x89PNG")
    assert torch.equal(state, torch.get_rng_state()) and torch.is_grad_enabled()


def test_an_error_is_shown_kept_and_raised_by_set_and_the_next_move_recovers():
    panel = simple()
    panel._controls["r"].value = 3
    assert isinstance(panel.error, ZeroDivisionError) and "broken at 3" in panel._caption.value
    assert "Run All Cells" in panel._caption.value  # without a kernel it says how to wake it, beside an error, too
    panel._controls["r"].value = 4
    assert panel.error is None and panel.caption == "r=4 alpha=1" and "Run All Cells" in panel._caption.value
    panel._controls["alpha"].value = 2.0
    panel._controls["r"].value = 3
    assert "Interrupted while drawing: this picture is of an earlier position" in panel._caption.value
    panel.set(r=4, alpha=1.0)
    for call in (lambda: panel.set(r=3), lambda: panel.at(r=3), lambda: panel.walk("r")):
        with pytest.raises(ZeroDivisionError, match="broken at 3"):
            call()
    with pytest.raises(ZeroDivisionError):
        LiveFigure(counter, {"r": choice("r", (3,)), "alpha": choice("alpha", (1.0,))})


def test_walk_and_at_read_the_panel_elsewhere_and_move_nothing(capsys):
    panel = two_targets()
    before = panel.values, panel.caption, panel._picture.value
    panel.walk("r", target="full rank")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["r = 1", "r = 2", "r = 4"]
    assert all("nothing is missing" not in line for line in lines)
    assert panel.at(target="rank-4", r=4).endswith("nothing is missing")
    assert (panel.values, panel.caption, panel._picture.value) == before


def test_a_position_gives_the_same_picture_however_it_was_reached():
    panel = two_targets()
    straight, fresh = panel._picture.value, panel.fresh(target="full rank", r=4)
    assert (panel.set(target="full rank", r=4), panel._picture.value) == fresh
    panel.set(target="rank-4", r=1)
    assert panel._picture.value == straight != fresh[1]


def test_positions_thin_long_lists_and_keep_both_ends():
    panel = LiveFigure(lambda fig, **values: "", {"r": choice("r", range(1, 101)), "box": w.Checkbox()})
    found = panel.positions("r")
    assert found[0] == 1 and found[-1] == 100 and 2 < len(found) <= 12 and panel.positions("box") == [False, True]


@pytest.mark.parametrize("name, value", [("beta", 1), ("r", 9), ("r", "two"), ("alpha", 5.0)])
def test_what_is_no_position_is_refused_with_what_is(name, value):
    panel = simple()
    for call in (panel.set, panel.at, panel.fresh):
        with pytest.raises(ValueError, match="it has r, alpha|one of 1, 2, 3, 4|one of 0.5, 1.0, 2.0"):
            call(**{name: value})
    assert panel.values == {"r": 1, "alpha": 1.0}


def test_a_menu_is_never_a_drop_down_list():
    assert isinstance(menu("dtype", ["float32", "bfloat16"]), w.ToggleButtons)
    assert isinstance(menu("cause", ["a long sentence about a cause"] * 2), w.SelectionSlider)
    files = (pages.ROOT / "lora_lab").rglob("*.py")
    assert not [file.name for file in files if "Dropdown" in file.read_text(encoding="utf-8")]


def pixels(png: bytes) -> np.ndarray:
    return matplotlib.image.imread(io.BytesIO(png), format="png")


def test_the_stored_output_is_the_picture_under_a_line_of_text():
    panel = simple(keep=True)
    live_picture = pixels(panel._picture.value)
    bundle = panel._repr_mimebundle_()
    assert bundle["text/plain"] == "[counter: r = 1, alpha = 1.0] r=1 alpha=1"
    assert "application/vnd.jupyter.widget-view+json" in bundle
    still = pixels(base64.b64decode(bundle["image/png"]))
    above = still.shape[0] - live_picture.shape[0]
    assert above > 20 and np.array_equal(still[above:], live_picture) and still[:above].min() < 0.5
    assert panel._figure.texts == [], "the line is on the stored picture alone"


class FakeShell:
    """A kernel that runs cells as JupyterLab asks for it."""

    def __init__(self):
        self.kernel, self.parent = self, {}

    def get_parent(self):
        return self.parent

    def run(self, cell, run, make):
        self.parent = {"metadata": {"cellId": cell}, "header": {"msg_id": run}}
        return make()


@pytest.mark.parametrize("make", [simple, lambda: Card(find("1.2"))])
def test_a_cell_that_runs_again_closes_what_its_last_run_made_and_nothing_else(monkeypatch, make):
    shell = FakeShell()
    monkeypatch.setattr(live, "get_ipython", lambda: shell)
    monkeypatch.setattr(live, "_made_by", {})
    count = len(_instances)
    one, two, other = (shell.run(cell, run, make) for cell, run in (("a", "1"), ("a", "1"), ("b", "2")))
    each = (len(_instances) - count) / 3
    again = shell.run("a", "3", make)
    assert one.comm is None and two.comm is None and other.comm and again.comm
    assert len(_instances) - count == 2 * each, "with all their parts"
    shell.parent = {}  # a script, or a front end that names no cells
    assert make().comm and again.comm


@pytest.mark.parametrize("path", pages.page_files(), ids=lambda path: path.stem[:2])
def test_no_later_cell_moves_a_panel_that_is_shown(path):
    """After Run All a panel stands at the question, as in its stored picture."""
    nb = pages.read(path)
    cells = pages.code_cells(nb)
    for i, cell in enumerate(cells):
        if cell in pages.panel_cells(nb):
            name = cell.source.splitlines()[-1]
            assert not [c.source for c in cells[i + 1:] if f"{name}.set(" in c.source], f"{name}.walk or {name}.at?"


def test_what_a_copy_misses_is_its_distance():
    delta = tasks.shift("decaying", 20, 30)
    for r in (1, 3, 20):
        missed = float((delta - theory.best_rank_r(delta, r)).norm() / delta.norm())
        assert copy_error(delta, r) == pytest.approx(missed, abs=1e-5)
    assert caption(delta, 3).startswith("150 numbers instead of 600") and "nothing is missing" in caption(delta, 20)


def test_compared_heatmaps_share_symmetric_limits_and_show_every_kth_entry():
    small, large = torch.full((4, 6), 0.5), torch.full((400, 600), -2.0)
    axes = figures.heatmaps({"a": small, "b": large})
    assert [ax.images[0].get_clim() for ax in axes] == [(-2.0, 2.0)] * 2
    assert axes[1].images[0].get_array().shape == (134, 150)
    assert figures.heatmap(torch.zeros(3, 4)).images[0].get_clim() == (-1.0, 1.0)


def test_loss_curves_draw_floor_levels_and_published_points():
    ax = figures.loss_curves({"LoRA": [3.0, 2.0, 1.0]}, floor=0.5, levels={"base": 3.0}, published=([1], [2.5]))
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["LoRA", "published", "floor (computed before training)"]
    assert ax.get_yscale() == "log" and to_hex(ax.lines[0].get_color()) == figures.COLOURS["LoRA"].lower()
    x, y = figures.thinned_curve(range(7900), np.arange(7900.0))
    assert len(x) <= 801 and (x[0], x[-1], y[-1]) == (0, 7899, 7899)


def test_short_numbers():
    for x, text in {992.3: "990", 0.0468: "0.047", 3e-5: "below 0.001", 0.0: "0", 7.0: "7"}.items():
        assert figures.short(x) == text
