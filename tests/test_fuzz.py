"""Every panel of the pages is known, fuzzed and fast by record; cheap ones are fuzzed here; what the fuzzer catches.

The full run is `python tests/fuzz.py` (2000 events on each panel, in kernels) and `python tests/benchmarks/panels.py`.
"""
from __future__ import annotations

import ast
import functools
import json
import random

import course_panels
import fuzz
import ipywidgets as w
import pages
import pytest
import torch
from matplotlib.figure import Figure
from page_order import Kernel
from test_panels_map import KINDS, run

from lora_lab import panels, two_layers
from lora_lab.live import LiveFigure, TrainingFigure, choice, menu

SHOWN = course_panels.every_shown_panel()
BENCHMARK = pages.ROOT / "tests" / "benchmarks" / "panels.json"


# --------------------------------------------------------------------------------------------------- the one list


def makers() -> set[str]:
    """What in lora_lab.panels makes a panel, by name."""
    classes = {n for n in panels.__all__ if isinstance(c := getattr(panels, n), type) and issubclass(c, LiveFigure)}
    return {n for n in panels.__all__ if n.endswith("_panel")} | classes - {"LiveFigure"}


def test_every_cell_that_makes_a_panel_shows_it_and_is_in_the_list():
    listed = {(s.page, s.cell) for s in SHOWN}
    making = set()
    for path in pages.page_files():
        for i, cell in enumerate(pages.read(path).cells):
            calls = [n.func for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.Call)] if (
                cell.cell_type == "code") else []
            names = {f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in calls}
            if names & (makers() | {"LiveFigure", "TrainingFigure"}):
                making.add((path.stem[:2], i))
    assert making == listed and len(listed) >= 18


def test_every_panel_of_the_package_is_on_a_page():
    used = "\n".join(s.source for s in SHOWN)
    wrapped = {"MapPanel", "LayerPanel"}  # made by map_panel and layer_panel
    assert [n for n in sorted(makers() - wrapped) if f"panels.{n}(" not in used] == []


@pytest.mark.parametrize("file", [fuzz.RECORD, BENCHMARK], ids=lambda f: f.name)
def test_the_records_name_exactly_the_panels_of_the_pages(file):
    record = json.loads(file.read_text(encoding="utf-8"))
    assert list(record.get("panels", record)) == [s.title for s in SHOWN], f"run python {file.with_suffix('.py').name}"


def test_the_recorded_fuzz_found_nothing():
    for title, entry in json.loads(fuzz.RECORD.read_text(encoding="utf-8")).items():
        assert fuzz.problems(entry) == [], title
        assert entry["events"] >= 2000 and entry["compared"] >= 60 and entry["growth"]["moves"] >= fuzz.MOVES, title


def test_the_recorded_redraws_are_fast():
    for title, row in json.loads(BENCHMARK.read_text(encoding="utf-8"))["panels"].items():
        assert row["median_ms"] <= 100 and row["p95_ms"] <= 150, title


def test_a_panel_that_is_not_in_a_record_is_named():
    grown = {"moves": 1000, "drawn": 100, "artists": 0, "widgets": 0, "MB": 0.1}
    good = {"found": None, "dead": [], "growth": grown}
    assert fuzz.problems(good) == []
    for bad, words in (
        ({"found": "event 3"}, "event 3"),
        ({"dead": ["r"]}, "control r changes nothing"),
        ({"growth": grown | {"artists": 1000}}, "1000 more artists"),
        ({"growth": grown | {"widgets": 1}}, "1 more widgets"),
        ({"growth": grown | {"MB": 11.0}}, "11.0 MB more"),
    ):
        assert words in fuzz.problems(good | bad)[0]


# --------------------------------------------------------------------------------------------------- fuzzed here


@functools.cache
def maps():
    return {kind: run(kind) for kind in KINDS}


@functools.cache
def page(number: str) -> course_panels.Page:
    return course_panels.Page(number)


@pytest.mark.parametrize("title", ["00 taste", "01 cost", "02 ranks", "05 lost", "06 panel", "09 calculator"])
def test_panels_as_their_pages_build_them(title):
    shown = next(s for s in SHOWN if s.title == title)
    there = page(shown.page)
    fuzzer = fuzz.Fuzzer(there.build(shown), lambda: there.build(shown), seed=1, render=20)
    fuzzer.kinds.pop("train", None)
    fuzzer.run(60)
    assert fuzzer.compared == 3 and len(fuzzer.said) > 5
    grown = fuzz.memory(fuzzer, moves=40, render=20)
    assert grown["widgets"] == 0 and grown["artists"] < 20, grown


def test_a_panel_that_trains():
    fuzzer = fuzz.Fuzzer(panels.map_panel(maps()), lambda: panels.map_panel(maps()), seed=2, render=20)
    fuzzer.kinds["train"] = 2
    fuzzer.run(100)
    assert fuzzer.trained >= 4 and fuzzer.panel.pins


def test_the_field_to_draw_on():
    torch.manual_seed(0)
    base = torch.nn.Sequential(torch.nn.Linear(64, 10))
    update = {"0.weight": torch.randn(10, 1) @ torch.randn(1, 64)}
    images = {"a": torch.rand(64), "b": torch.rand(64)}

    def make():
        return panels.DrawPanel(base, update, images)

    fuzzer = fuzz.Fuzzer(make(), make, seed=3, render=20)
    fuzzer.run(80)
    assert {"press", "begin"} <= set(fuzzer.counts)


# --------------------------------------------------------------------------------------- broken panels are caught


def small(draw) -> LiveFigure:
    return LiveFigure(draw, {"r": choice("r", (1, 2, 4)), "kind": menu("kind", ["a", "b"])}, figsize=(2, 2), keep=True)


def sound(fig: Figure, r: int, kind: str) -> str:
    if not fig.axes:
        fig.add_axes((0, 0, 1, 1)).plot([0, 1], [0, 1])
    fig.axes[0].lines[0].set_data([0, r], [0, 1 + (kind == "b")])
    fig.axes[0].set(xlim=(0, 5), ylim=(0, 3))
    return f"{kind}: {r}"


def test_a_sound_panel_passes():
    fuzzer = fuzz.Fuzzer(small(sound), lambda: small(sound), seed=0, render=4)
    fuzzer.run(80)
    assert fuzzer.dead() == [] and fuzzer.compared == 20
    assert fuzz.problems({"found": None, "growth": fuzz.memory(fuzzer, 60, render=4)}) == []


def raises_for_one(fig, r, kind):
    if r == 4 and kind == "b":
        raise ZeroDivisionError("only here")
    return sound(fig, r, kind)


def stale_caption():
    last = [1]

    def draw(fig, r, kind):
        before, last[0] = last[0], r
        return sound(fig, r, kind) + f" was {before}"

    return draw


def stale_picture(fig, r, kind):
    fresh = not fig.axes
    text = sound(fig, r, kind)
    if not fresh and kind == "b":
        fig.axes[0].lines[0].set_xdata([0, 1])
    return text


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: small(raises_for_one), "ZeroDivisionError"),
        (lambda: small(stale_caption()), "it said|a fresh panel says"),
        (lambda: small(stale_picture), "another picture|something else"),
    ],
    ids=["raises for one value", "stale caption", "stale picture"],
)
def test_a_broken_drawing_is_found(make, words):
    with pytest.raises(fuzz.Found, match=words):
        fuzz.Fuzzer(make(), make, seed=0).run(200)


def test_a_control_that_is_not_listened_to_is_found():
    def make():
        panel = small(sound)
        panel._controls["kind"].unobserve_all("value")
        return panel

    with pytest.raises(fuzz.Found, match="a fresh panel says"):
        fuzz.Fuzzer(make(), make, seed=0).run(100)


def test_a_dead_control_is_found():
    def dead(fig, r, kind):
        return sound(fig, r, "a")

    fuzzer = fuzz.Fuzzer(small(dead), lambda: small(dead), seed=0)
    fuzzer.run(20)
    assert fuzzer.dead() == ["kind"]


def test_leaks_of_artists_and_widgets_are_found():
    kept = []

    def leaky(fig, r, kind):
        text = sound(fig, r, kind)
        fig.axes[0].plot([], [])
        kept.append(w.Label())
        return text

    fuzzer = fuzz.Fuzzer(small(leaky), lambda: small(leaky), seed=0)
    found = fuzz.problems({"found": None, "growth": fuzz.memory(fuzzer, 60, render=6)})
    assert "more artists" in found[0] and "more widgets" in found[1]
    for widget in kept:
        widget.close()


def test_a_menu_without_a_choice_goes_back_to_the_last_one():
    panel = small(sound)
    panel.set(kind="b")
    fuzz.send(panel._controls["kind"], {"index": None})
    assert panel.values == {"r": 1, "kind": "b"} and panel.caption == "b: 1" and panel.error is None


# -------------------------------------------------------------------------------------------------- interrupts


def stop_at(monkeypatch, target, name: str, call: int) -> None:
    """KeyboardInterrupt at that call of target.name, once, as Kernel > Interrupt raises it."""
    real, calls = getattr(target, name), []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(target, name, interrupted)


def assert_usable(panel: TrainingFigure) -> None:
    """It said what happened, kept nothing, and goes on as if nothing had happened."""
    assert "Interrupted" in panel._caption.value and isinstance(panel.error, KeyboardInterrupt)
    assert not panel.pins and not panel.button.disabled and "training …" not in panel.button.description
    name, position = next((n, v) for n in panel.values for v in panel.positions(n) if v != panel.values[n])
    caption = panel.set(**{name: position})
    assert panel.error is None and (caption, bytes(panel._picture.value)) == panel.fresh()
    fuzz.click(panel.button)
    assert panel.error is None and len(panel.pins) == 1 and "trained live" in panel.caption


@pytest.mark.parametrize("step", random.Random(7).sample(range(1, 40), 3))
def test_an_interrupt_at_any_step_of_the_training(monkeypatch, capsys, step):
    panel = panels.map_panel(maps())
    panel.set(target="decaying", r=2, alpha=4, lr=0.05)
    stop_at(monkeypatch, torch.Tensor, "backward", step)
    fuzz.click(panel.button)
    assert f"interrupted after {step - 1} of 40 steps" in capsys.readouterr().out
    assert_usable(panel)


def test_an_interrupt_while_the_result_is_drawn_drops_the_result(monkeypatch):
    panel = panels.map_panel(maps())
    stop_at(monkeypatch, Figure, "savefig", 1)
    fuzz.click(panel.button)
    assert_usable(panel)


@pytest.mark.parametrize("at", [True, False], ids=["when the button goes grey", "when it comes back"])
def test_an_interrupt_while_the_button_changes(at):
    panel = panels.map_panel(maps())
    pressed = []

    def interrupt(change):
        if change["new"] is at and not pressed:
            pressed.append(at)
            raise KeyboardInterrupt

    panel.button.observe(interrupt, "disabled")
    fuzz.click(panel.button)
    assert pressed
    assert_usable(panel) if at else fuzz.click(panel.button)
    assert panel.pins and not panel.button.disabled and panel.button.description == panel._label


def test_a_base_that_is_half_trained_is_not_kept(monkeypatch, capsys):
    panel = panels.layer_panel()
    stop_at(monkeypatch, torch.Tensor, "backward", 5)
    fuzz.click(panel.button)
    assert "Interrupted" in panel._caption.value and not panel.pins and not panel._experiments
    with pytest.raises(KeyboardInterrupt):
        stop_at(monkeypatch, torch.Tensor, "backward", 3)
        two_layers.Experiment("narrowing, 101 → 60 → 40", "ones")


def test_an_interrupt_while_a_slider_moves(monkeypatch):
    panel = small(sound)
    stop_at(monkeypatch, Figure, "savefig", 1)
    fuzz.send(panel._controls["r"], {"index": 1})
    assert "Interrupted while drawing" in panel._caption.value and panel.values["r"] == 2
    fuzz.send(panel._controls["r"], {"index": 2})
    assert panel.error is None and (panel.caption, bytes(panel._picture.value)) == panel.fresh()


ENDLESS = """
import torch
from lora_lab import LoRALinear, train
from lora_lab.live import TrainingFigure, choice

class Endless(TrainingFigure):
    steps = 10**9
    def train_now(self):
        X = torch.ones(8, 3)
        history = train(LoRALinear(torch.nn.Linear(3, 2), r=1), X, X[:, :2], steps=self.steps, progress=None)
        if history.interrupted:
            raise KeyboardInterrupt
        return self._pin(self.values["r"], len(history.losses))

panel = Endless(lambda fig, r: f"r = {r}", {"r": choice("r", (1, 2))}, label="go", tooltip="", figsize=(1, 1))
print(panel.button.model_id, panel._controls["r"].model_id)
"""


def test_kernel_interrupt_in_a_real_kernel():
    """Messages to the button and the slider as a browser sends them; the interrupt as Jupyter sends it."""
    with Kernel() as kernel:
        out = "".join(o.text for o in kernel.run(ENDLESS) if o.output_type == "stream")
        button, slider = out.split()
        assert len(button) == len(slider) == 32, out
        session, shell = kernel.client.session, kernel.client.shell_channel

        def post(comm: str, data: dict) -> None:
            shell.send(session.msg("comm_msg", {"comm_id": comm, "data": data}))

        post(button, {"method": "custom", "content": {"event": "click"}})
        while True:  # until the button says that it trains
            content = kernel.client.get_iopub_msg(timeout=60)["content"]
            if content.get("data", {}).get("state", {}).get("description") == "training …":
                break
        post(slider, {"method": "update", "state": {"index": 1}, "buffer_paths": []})  # moved while it trains
        kernel.interrupt()
        said = "".join(o.text for o in kernel.run("print(panel.button.description, panel.caption, panel.pins)")
                       if o.output_type == "stream")
        assert "go r = 2 {}" in said  # the move came through, nothing was kept
        kernel.run("panel.steps = 20")
        post(button, {"method": "custom", "content": {"event": "click"}})
        said = "".join(o.text for o in kernel.run("print(panel.pins, panel.error)") if o.output_type == "stream")
        assert "{2: 20} None" in said
