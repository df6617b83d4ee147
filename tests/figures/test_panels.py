"""Panels as pure functions, and with their controls set as a kernel sets them; figures by what they contain."""

import ipywidgets as w
import numpy as np
import pytest
import torch
from ipywidgets.widgets.widget import _instances
from matplotlib.colors import to_hex

from lora_lab import figures, theory
from lora_lab.figures import live
from lora_lab.figures.live import LiveFigure, TrainingFigure, choice
from lora_lab.layers import LoRALinear
from lora_lab.subjects.linear_task import tasks
from lora_lab.subjects.low_rank import panels as low_rank_panels
from lora_lab.subjects.low_rank.panels import LowRankView
from lora_lab.subjects.merging import panels
from lora_lab.subjects.objective import panels as objective_panels
from lora_lab.subjects.torch_layer import panels as torch_layer_panels
from lora_lab.subjects.torch_layer.panels import Film
from lora_lab.training import train


@pytest.fixture(autouse=True)
def no_open_figures():
    yield
    figures.plt.close("all")


def counter(fig, r, alpha):
    if r == 3:
        raise ZeroDivisionError("broken at 3")
    fig.subplots().plot([0, r], [0, alpha])
    return f"r={r} alpha={alpha:g}"


def simple():
    controls = {"r": w.IntSlider(value=1, min=1, max=4), "alpha": w.FloatSlider(value=1.0, min=0.5, max=2.0, step=0.5)}
    return LiveFigure(counter, controls, name="counter", figsize=(2, 2))


# --------------------------------------------------------------------------------------------- LiveFigure


def test_a_move_replaces_the_picture_and_the_caption():
    panel = simple()
    before = panel._picture.value
    panel._controls["r"].value = 2  # what a kernel does when a slider moves
    assert panel.caption == "r=2 alpha=1" and panel._picture.value != before
    assert bytes(panel._picture.value).startswith(b"\x89PNG")


def test_a_broken_callback_is_shown_kept_and_raised_by_set_and_the_next_move_recovers():
    panel = simple()
    panel._controls["r"].value = 3
    assert isinstance(panel.error, ZeroDivisionError) and "broken at 3" in panel._caption.value
    panel._controls["r"].value = 4
    assert panel.error is None and panel.caption == "r=4 alpha=1"
    with pytest.raises(ZeroDivisionError, match="broken at 3"):
        panel.set(r=3)
    with pytest.raises(ZeroDivisionError):
        panel.walk("r")


def test_an_error_in_the_first_drawing_stops_the_cell():
    with pytest.raises(ZeroDivisionError):
        LiveFigure(counter, {"r": w.IntSlider(value=3, min=1, max=4), "alpha": w.FloatSlider(value=1.0)})


def test_walk_prints_each_position_and_puts_the_control_back(capsys):
    panel = simple()
    panel.walk("alpha")
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"alpha = {a}: r=1 alpha={a:g}" for a in (0.5, 1.0, 1.5, 2.0)]
    assert panel.values == {"r": 1, "alpha": 1.0} and panel.caption == "r=1 alpha=1"


def test_positions_thin_long_lists_and_keep_both_ends():
    panel = simple()
    panel._controls["r"].max = 100
    found = panel.positions("r")
    assert found[0] == 1 and found[-1] == 100 and 2 < len(found) <= 12
    assert panel.positions("alpha") == [0.5, 1.0, 1.5, 2.0]


@pytest.mark.parametrize("name, value", [("beta", 1), ("r", 9), ("r", "two"), ("alpha", 5.0)])
def test_set_refuses_what_is_no_position_and_names_what_is(name, value):
    panel = simple()
    with pytest.raises(ValueError, match="r, alpha|1 to 4|0.5 to 2.0"):
        panel.set(**{name: value})


def test_a_choice_refuses_a_value_that_is_not_on_it():
    panel = LiveFigure(lambda fig, r: f"{r}", {"r": choice("r", (1, 2, 4))})
    with pytest.raises(ValueError, match=r"\[1, 2, 4\]"):
        panel.set(r=3)


def test_the_stored_output_has_a_picture_and_a_line_of_text_beside_the_live_view():
    bundle = simple()._repr_mimebundle_()
    assert bundle["text/plain"] == "[counter: r = 1, alpha = 1.0] r=1 alpha=1"
    assert len(bundle["image/png"]) > 500 and "application/vnd.jupyter.widget-view+json" in bundle


def test_the_same_position_gives_the_same_picture_however_it_was_reached():
    targets = {kind: tasks.shift(kind, 20, 30) for kind in ("rank-4", "full rank")}
    one = low_rank_panels.rank_panel(targets, ranks=(1, 2, 4))
    straight = one._picture.value
    one.set(target="full rank", r=4)
    one.set(target="rank-4", r=1)
    assert one._picture.value == straight


def test_fresh_draws_what_a_move_would_show_and_moves_nothing():
    targets = {kind: tasks.shift(kind, 20, 30) for kind in ("rank-4", "full rank")}
    panel = low_rank_panels.rank_panel(targets, ranks=(1, 2, 4))
    before = panel.caption, panel._picture.value
    fresh = panel.fresh(target="full rank", r=4)
    assert (panel.caption, panel._picture.value) == before == panel.fresh()
    assert (panel.set(target="full rank", r=4), panel._picture.value) == fresh != before
    with pytest.raises(ValueError, match="no control 'rank'; it has target, r"):
        panel.fresh(rank=4)


def test_a_panel_without_its_kernel_says_how_to_wake_it():
    panel = simple()
    for r in (1, 3):  # beside an error, too
        panel._controls["r"].value = r
        assert "Run All Cells" in panel._caption.value and "Run All Cells" not in panel.caption


class FakeShell:
    """A kernel that runs cells as JupyterLab asks for it."""

    def __init__(self):
        self.kernel, self.parent = self, {}

    def get_parent(self):
        return self.parent

    def run(self, cell, run):
        self.parent = {"metadata": {"cellId": cell}, "header": {"msg_id": run}}
        return simple()


def test_a_cell_that_runs_again_closes_the_panels_of_its_last_run_and_no_others(monkeypatch):
    shell = FakeShell()
    monkeypatch.setattr(live, "get_ipython", lambda: shell)
    monkeypatch.setattr(live, "_made", {})
    count = len(_instances)
    one, two, other = shell.run("a", "1"), shell.run("a", "1"), shell.run("b", "2")
    assert len({one.model_id, two.model_id, other.model_id}) == 3
    each = (len(_instances) - count) / 3
    again = shell.run("a", "3")
    assert one.comm is None and two.comm is None and other.comm and again.comm
    assert len(_instances) - count == 2 * each  # with all their parts
    shell.parent = {}  # a script, or a front end that names no cells
    assert simple().comm and again.comm and again.set(r=2) == "r=2 alpha=1"


def test_callbacks_leave_gradients_and_the_random_state_alone():
    panel = objective_panels.cost_panel()
    state = torch.get_rng_state()
    panel.set(tasks=100)
    assert torch.equal(state, torch.get_rng_state()) and torch.is_grad_enabled()


# ------------------------------------------------------------------------------------------- pure functions


def test_low_rank_view_agrees_with_theory():
    delta = tasks.shift("decaying", 20, 30)
    view = LowRankView(delta)
    for r in (1, 3, 20):
        assert torch.allclose(view.copy(r), theory.best_rank_r(delta, r), atol=1e-5)
        assert view.error(r) ** 2 * float(delta.square().sum()) / 20 == pytest.approx(
            theory.rank_floor(delta, r), abs=1e-6
        )
    assert view.numbers(3) == 3 * 50
    assert "nothing is missing" in view.caption(20) and "nothing" not in view.caption(3)


def test_rank_panel_says_that_a_rank_4_target_is_exact_at_4_and_not_below(capsys):
    panel = low_rank_panels.rank_panel({"rank-4": tasks.shift("rank-4", 20, 30)}, ranks=(3, 4, 5))
    panel.walk("r")
    missing = ["nothing is missing" in line for line in capsys.readouterr().out.splitlines()]
    assert missing == [False, True, True]


def test_cost_panel_counts_s1():
    text = objective_panels.cost_panel(width=1000, r=1).set(tasks=100)
    assert text == "training 16.0 MB full, 4.0 MB LoRA; disk 400 MB full, 4.8 MB LoRA"


@pytest.fixture(scope="module")
def film():
    theta = tasks.normal(12, 16, seed=1)
    base = torch.nn.Linear(16, 12, bias=False)
    base.weight.data.copy_(theta)
    new = tasks.linear_task(theta + 1, n=256, seed=2)
    layer = LoRALinear(base, r=1, alpha=2)
    layer.reset_lora(generator=torch.Generator().manual_seed(0))
    history = train(layer, new.X, new.y, epochs=20, batch_size=32, lr=3e-2, cache_base=True, snapshot_every=16)
    return Film(history, layer.scaling), layer


def test_a_film_starts_at_zero_and_ends_with_the_layer(film):
    shown, layer = film
    assert torch.equal(shown.delta(0), torch.zeros(12, 16))
    assert torch.allclose(shown.delta(20), layer.delta_weight().detach())
    assert shown.loss(0) == shown.losses[0] and shown.loss(20) == shown.losses[-1] < shown.loss(0) / 100


def test_film_panel_moves_the_marker_and_the_floor(film):
    shown, _ = film
    panel = torch_layer_panels.film_panel({(1, 2): shown}, torch.ones(12, 16), names=("r", "alpha"), floors={1: 0.5})
    panel.set(epoch=4)
    right = panel._figure.axes[1]
    assert right.lines[-1].get_xdata()[0] == 4 and right.lines[-1].get_ydata()[0] == shown.loss(4)
    assert list(right.lines[1].get_ydata()) == [0.5, 0.5]
    assert "floor 0.5" in panel.caption and "mean entry" in panel.caption


# -------------------------------------------------------------------------------------------------- figures


def test_compared_heatmaps_share_symmetric_limits_and_show_every_kth_entry():
    small, large = torch.full((4, 6), 0.5), torch.full((400, 600), -2.0)
    axes = figures.heatmaps({"a": small, "b": large})
    assert [ax.images[0].get_clim() for ax in axes] == [(-2.0, 2.0)] * 2
    assert axes[1].images[0].get_array().shape == (134, 150)


def test_a_heatmap_of_zeros_has_a_scale():
    assert figures.heatmap(torch.zeros(3, 4)).images[0].get_clim() == (-1.0, 1.0)


def test_loss_curves_draw_floor_levels_and_published_points():
    ax = figures.loss_curves({"LoRA": [3.0, 2.0, 1.0]}, floor=0.5, levels={"base": 3.0}, published=([1], [2.5]))
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["LoRA", "published (S1)", "floor (computed before training)"]
    assert ax.get_yscale() == "log" and to_hex(ax.lines[0].get_color()) == figures.COLOURS["LoRA"].lower()


def test_long_curves_are_thinned_and_keep_first_and_last():
    x, y = figures.thinned_curve(range(7900), np.arange(7900.0))
    assert len(x) <= 801 and (x[0], x[-1], y[-1]) == (0, 7899, 7899)


@pytest.mark.parametrize("x, text", [(992.3, "990"), (0.0468, "0.047"), (3e-5, "below 0.001"), (0.0, "0"), (7.0, "7")])
def test_short_numbers(x, text):
    assert figures.short(x) == text


def test_mixing_adds_updates_and_no_bar_leaves_the_picture():
    two = {"one": tasks.shift("rank-1", 10, 12, seed=1), "two": tasks.shift("rank-4", 10, 12, seed=2)}
    wanted = two | {"both": sum(two.values()), "base": torch.zeros(10, 12)}
    exact = panels.mixture_losses(wanted, two, {"one": 1.0, "two": 1.0})
    assert exact["both"] == 0 and exact["base"] > 10 and exact["one"] == pytest.approx(12, rel=1e-4)
    panel = panels.mixture_panel(wanted, two)
    assert panel.values == {"lam1": 1.0, "lam2": 0.0} and panel.caption.startswith("loss one 0")
    panel.set(lam1=1.5, lam2=1.5)
    bars = panel._figure.axes[1]
    assert max(bar.get_width() for bar in bars.patches) <= bars.get_xlim()[1]


def test_bfloat16_loses_what_float32_keeps():
    W, D = tasks.normal(60, 80, seed=1), theory.best_rank_r(tasks.normal(60, 80, seed=2), 4)
    shares = {dtype: panels.lost_entries(W, D, 1e-3, dtype)[1] for dtype in panels.DTYPES}
    assert shares["bfloat16"] > 0.6 > 0.4 > shares["float16"] > shares["float32"]
    assert panels.lost_entries(W, D, 0.1, "float32")[2] == pytest.approx(1, abs=1e-4)
    panel = panels.lost_panel(W, D)
    assert panel.set(dtype="bfloat16", ratio=1e-3).startswith("bfloat16, ‖ΔW‖ = 0.001 ‖W‖")


@pytest.mark.parametrize("error", [ValueError("no layer is checked"), KeyboardInterrupt()])
def test_a_training_that_fails_is_shown_and_the_panel_stays_usable(error):
    class Broken(TrainingFigure):
        def train_now(self):
            raise error

    panel = Broken(lambda fig, r: f"r={r}", {"r": choice("r", (1, 2))}, label="train", tooltip="")
    panel.button.click()
    said = "Interrupted: this run was not kept. r=1" if isinstance(error, KeyboardInterrupt) else "no layer is checked"
    assert panel.error is error and said in panel._caption.value
    assert not panel.button.disabled and panel.button.description == "train"
    assert panel.set(r=2) == "r=2" and panel.error is None and panel._caption.value.endswith("r=2</div>")
