"""catch_up: which cells are needed, what is left alone, kept trainings, and the record of every point of every page."""

from __future__ import annotations

import json

import nbformat
import pages
import pytest
import torch

import lora_lab
from lora_lab import LoRALinear, train, training
from lora_lab.classroom import catching_up
from lora_lab.subjects.linear_task import tasks


def needed(*cells: str, at: int) -> list[int]:
    return catching_up.needed_cells(dict(enumerate(cells)), at)


IMPORTS = "import torch\nfrom lora_lab import train, plots, claim, panels"


@pytest.mark.parametrize(
    "cells, at, wanted",
    [
        (("x = 1", "y = 2", "print(x)"), 2, [0]),
        (("x = 1", "y = x + 1", "print(y)"), 2, [0, 1]),
        (("x = 1", "x = 2", "print(x)"), 2, [1]),
        (("x = 1", "x += 1", "print(x)"), 2, [0, 1]),
        (("x = 1", "for i in range(3):\n    x = i", "print(x)"), 2, [0, 1]),
        (("i = 1", "for i in range(3):\n    print(i)", "for i in range(2):\n    print(i)"), 2, []),
        (("d = {}", "d['a'] = 1", "print(d)"), 2, [0, 1]),
        (("m = 1", "m.weight.data = 2", "print(m)"), 2, [0, 1]),
        (("m = 1", "train(m, 1)", "print(m)"), 2, [0, 1]),
        (("m = 1", "claim('good', m > 0)", "plots.heatmap(m)", "print(m)"), 3, [0]),
        (("m = 1", "m.merge()", "print(m)"), 2, [0, 1]),
        (("m = d = 1", "train(m, d)", "print(d)"), 2, [0]),  # train changes its model and nothing else
        (("x = 1", "x = 2\nmodel(x)", "print(x)"), 2, [1]),  # what a cell changes of its own making
        (("x = 1", "model(x)\nx = 2", "print(x)"), 2, [0, 1]),
        (("m = 1", "print(m.abs().max().item())", "print(m)"), 2, [0]),
        (("m = 1", "def f():\n    return m", "print(f())"), 2, [0, 1]),
        (("m = 1", "def f(m):\n    return m", "print(f(2))"), 2, [1]),
        (("a = 1", "b = [a for a in range(3)]", "print(b)"), 2, [1]),
        (("a = 1", "b = [a + c for c in range(3)]", "print(b)"), 2, [0, 1]),
        (("a = 1", "b = {c: a for c in [a]}", "f = lambda b: b + a", "print(f(2))"), 3, [0, 2]),
        (("a = 1", "if a:\n    b = 1\nelse:\n    b = 2", "print(b)"), 2, [0, 1]),
        (("b = 0", "if 1:\n    b = 1", "print(b)"), 2, [0, 1]),
        (("m = 1", "def change():\n    m.merge()", "change()", "print(m)"), 3, [0]),
        (("a, (b, *c) = 1, (2, 3)", "with a as d:\n    e = d", "print(c, e)"), 2, [0, 1]),
        (("class A:\n    pass", "x = A()", "print(x)"), 2, [0, 1]),
    ],
)
def test_the_cells_that_are_needed(cells, at, wanted):
    got = needed(IMPORTS, *cells, at=at + 1)
    if cells[-2] == "change()":  # a function that changes a name it was not given cannot be seen from the call
        assert got[:2] == [0, 1]
    else:
        assert got == [0, *(i + 1 for i in wanted)]


def test_a_panel_that_is_used_later_keeps_the_walk_out_but_not_a_set():
    assert needed(IMPORTS, "p = panels.map(1)", "p.walk('r')", "p.set(r=2)", "p.set(r=3)", at=4) == [0, 1, 3]


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of one page, 07, in a folder of its own."""
    monkeypatch.setattr(latecomer, "PAGES", tmp_path / "notebooks")
    monkeypatch.setattr(latecomer, "KEPT", tmp_path / "kept")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "kept").mkdir()
    md, code = nbformat.v4.new_markdown_cell, nbformat.v4.new_code_cell
    cells = [
        md("# 07 · A page"), code("import torch\nfrom lora_lab import LoRALinear, tasks, train\nprint('ready')"),
        md("## First\n\ntext"), code("task = tasks.linear_task(tasks.normal(4, 5, seed=1), n=64)"),
        md("more\n\n## Second"),
        code("base = torch.nn.Linear(5, 4, bias=False)\nlayer = LoRALinear(base, r=2, alpha=2)\n"
             "history = train(layer, task.X, task.y, epochs=2, lr=1e-2, progress=None)"),
        code("import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nprint('drawn')"),
        md("## Third"), code("print(history.losses[-1], layer.lora_B.norm())"),
    ]
    path = tmp_path / "notebooks" / "07_page.ipynb"
    path.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=cells)), encoding="utf-8")
    return path


def test_sections_are_numbered_by_their_headings(course):
    assert [(s.number, s.title, s.at) for s in catching_up.sections("07")] == [
        ("07.1", "First", 2), ("07.2", "Second", 4), ("07.3", "Third", 7),
    ]


def test_catching_up_binds_what_the_rest_needs_and_says_where_you_are(course, capsys):
    import matplotlib.pyplot as plt

    space = {"mine": 5}
    catching_up.catch_up("07.3", space)
    out = capsys.readouterr().out
    assert out.startswith("You are at 07.3, “Third”") and out.count("\n") == 1
    assert space["mine"] == 5 and len(space["history"].losses) == 2 and space["layer"].lora_B.norm().item() > 0
    assert not plt.get_fignums() and training.stand_in is None
    catching_up.catch_up("7.2", space)
    assert "07.2" in capsys.readouterr().out


def test_the_callers_globals_are_the_default(course, capsys):
    space: dict = {}
    exec("import lora_lab\nlora_lab.catch_up('07.3')", space)
    assert "history" in space


@pytest.mark.parametrize("point, words", [
    ("07.9", "07.1 First; 07.2 Second; 07.3 Third"), ("08.1", "the course has 07"), ("seven", "catch_up('04.2')"),
    (7, "no section"), (None, "no section"), ("07", "no section"),
])
def test_a_point_that_is_none_is_refused_with_those_there_are(course, point, words):
    space = {"mine": 1}
    with pytest.raises(ValueError) as e:
        catching_up.catch_up(point, space)
    assert words in str(e.value) and space == {"mine": 1}


def test_without_the_notebooks_there_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(latecomer, "PAGES", tmp_path / "notebooks")
    with pytest.raises(ValueError, match="use a clone"):
        catching_up.catch_up("07.1")


def test_a_copy_beside_the_page_is_not_run_and_two_pages_of_one_number_are_refused(course, capsys):
    """JupyterLab's Duplicate: the copy comes before the page in the alphabet, and what it holds must not run."""
    copy = course.with_name("07_page-Copy1.ipynb")
    copy.write_text(course.read_text(encoding="utf-8").replace("n=64", "n=0 / 0"), encoding="utf-8")
    assert sorted(course.parent.iterdir())[0] == copy
    catching_up.catch_up("07.3", {})
    assert "07.3" in capsys.readouterr().out
    copy.rename(course.with_name("07_a_foreign_page.ipynb"))
    with pytest.raises(ValueError, match="two pages '07': 07_a_foreign_page.ipynb and 07_page.ipynb"):
        catching_up.catch_up("07.3", {})


def test_an_error_half_way_leaves_the_notebook_as_it_was(course):
    text = course.read_text(encoding="utf-8").replace("epochs=2", "epochs=0")
    course.write_text(text, encoding="utf-8")
    space = {"task": "mine", "other": 1}
    with pytest.raises(ValueError, match="epochs"):
        catching_up.catch_up("07.3", space)
    space.pop("__builtins__", None)
    assert space == {"task": "mine", "other": 1} and training.stand_in is None


# ---- kept trainings -------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(course, monkeypatch):
    import catch_up_points

    monkeypatch.setattr(catch_up_points, "LONG", -1)
    monkeypatch.setattr(pages, "NOTEBOOKS", course.parent)
    monkeypatch.chdir(course.parent)
    catch_up_points.keep("07")
    return catching_up.KEPT / "07.safetensors"


def reached(space: dict) -> tuple:
    return space["history"].losses, space["layer"].lora_A.detach().clone(), space["layer"].lora_B.detach().clone()


def no_training(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("trained, although the result is kept")

    monkeypatch.setattr(training.torch.optim.Adam, "step", refuse)


def test_a_kept_training_is_not_repeated_and_gives_the_same(kept, monkeypatch):
    first, second = {}, {}
    kept.rename(kept.with_suffix(".away"))
    catching_up.catch_up("07.3", first)
    kept.with_suffix(".away").rename(kept)
    no_training(monkeypatch)
    catching_up.catch_up("07.3", second)
    for a, b in zip(reached(first)[1:], reached(second)[1:]):
        assert a.shape == b.shape
    a, b = first["history"], second["history"]
    assert (a.steps_per_epoch, len(a.losses), a.measured) == (b.steps_per_epoch, len(b.losses), b.measured)
    assert second["layer"].lora_B.norm().item() > 0 and second["layer"].lora_B.requires_grad


@pytest.fixture
def sweeping(course, monkeypatch):
    """The page sweeps, too, and its results are kept; every tensor counts as large."""
    import catch_up_points

    nb = nbformat.read(course, as_version=4)
    nb.cells[5].source += ("\nfrom lora_lab.sweeps import sweep\n"
                           "grid = sweep(base, task.X, task.y, r=[1, 2], alpha=1, lr=1e-2, steps=5, progress=None)")
    nb.cells[-1].source += "\nprint(grid)"
    course.write_text(nbformat.writes(nb), encoding="utf-8")
    monkeypatch.setattr(catch_up_points, "BIG", 0)
    monkeypatch.setattr(pages, "NOTEBOOKS", course.parent)
    monkeypatch.chdir(course.parent)
    catch_up_points.keep("07")
    return catching_up.KEPT / catching_up.SHARED


def test_a_kept_sweep_brings_its_losses_and_computes_its_factors_when_asked(sweeping, monkeypatch):
    from lora_lab import sweeps

    run, runs = sweeps._run, []
    monkeypatch.setattr(sweeps, "_run", lambda *args: runs.append(args) or run(*args))
    space: dict = {}
    catching_up.catch_up("07.3", space)
    grid = space["grid"]
    assert not runs and grid.losses.shape == (2, 5) and grid.diverged_at == [None, None] and sweeps.stand_in is None
    whole = sweeps.sweep(*grid.data, r=[1, 2], alpha=1, lr=1e-2, steps=5, progress=None)
    losses = grid.losses.clone()
    assert torch.equal(grid.delta(1), whole.delta(1)) and len(runs) == 2
    assert torch.equal(grid.delta(0), whole.delta(0)) and len(runs) == 2 and torch.equal(grid.losses, losses)


def test_a_kept_sweep_without_its_numbers_is_swept_anew(sweeping):
    from safetensors import safe_open
    from safetensors.torch import save_file

    file = catching_up.KEPT / "07.safetensors"
    with safe_open(file, "pt") as f:
        about, tensors = f.metadata(), {n: f.get_tensor(n) for n in f.keys() if not n.endswith("/final")}
    save_file(tensors, file, about)
    space: dict = {}
    catching_up.catch_up("07.3", space)
    assert space["grid"].final.shape == (2,) and space["grid"].A is not None


def test_an_interrupt_while_factors_are_computed_leaves_the_kept_losses(sweeping, monkeypatch, capsys):
    from lora_lab import sweeps

    space: dict = {}
    catching_up.catch_up("07.3", space)
    grid = space["grid"]

    def interrupted(result, progress):
        result.A, result.losses, result.interrupted = torch.zeros(1), torch.zeros(0, 0), True

    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(sweeps, "_run", interrupted)
        grid.delta(0)
    assert grid.A is None and grid.losses.shape == (2, 5) and grid.delta(0).shape == (4, 5)


def test_a_large_tensor_is_shared_and_one_that_no_page_asks_for_is_dropped(sweeping, course, monkeypatch):
    import catch_up_points
    from safetensors.torch import load_file, save_file

    assert len(load_file(sweeping)) == 2  # A and B of the layer
    no_training(monkeypatch)
    space: dict = {}
    catching_up.catch_up("07.3", space)
    assert space["layer"].lora_B.norm().item() > 0
    catch_up_points.share({"0123456789abcdef": torch.ones(3)})
    assert len(load_file(sweeping)) == 2
    save_file({name: t + 1 for name, t in load_file(sweeping).items()}, sweeping)  # not what its name says
    with pytest.raises(AssertionError, match="trained"):
        catching_up.catch_up("07.3", {})
    sweeping.unlink()
    with pytest.raises(AssertionError, match="trained"):
        catching_up.catch_up("07.3", {})
    course.write_text(course.read_text(encoding="utf-8").replace("history = train(", "history = None  # "))
    monkeypatch.setattr(catch_up_points, "LONG", -1)
    catch_up_points.keep("07")
    assert not sweeping.exists()


def test_other_settings_or_another_page_text_train_anew(kept, course, monkeypatch):
    no_training(monkeypatch)
    for old, new in (("lr=1e-2", "lr=2e-2"), ("'drawn'", "'painted'")):
        before = course.read_text(encoding="utf-8")
        course.write_text(before.replace(old, new), encoding="utf-8")
        with pytest.raises(AssertionError, match="trained"):
            catching_up.catch_up("07.3", {})
        course.write_text(before, encoding="utf-8")


def test_a_card_or_prose_between_the_cells_changes_nothing(kept, course, monkeypatch, capsys):
    """A prediction's card is not run, and what is kept is still used."""
    nb = nbformat.read(course, as_version=4)
    before = catching_up.fingerprint(catching_up.code_of("07"))
    card = nbformat.v4.new_code_cell('lora_lab.predict("7.2")')  # lora_lab is no name of this page: a NameError if run
    nb.cells[3:3] = [nbformat.v4.new_markdown_cell("**Predict 7.2:** what?"), card]
    course.write_text(nbformat.writes(nb))
    assert catching_up.fingerprint(catching_up.code_of("07")) == before
    no_training(monkeypatch)
    space: dict = {}
    catching_up.catch_up("07.3", space)
    assert len(space["history"].losses) == 2 and "07.3" in capsys.readouterr().out
    nb.cells.append(nbformat.v4.new_code_cell("x = 1"))
    course.write_text(nbformat.writes(nb))
    assert catching_up.fingerprint(catching_up.code_of("07")) != before


@pytest.mark.parametrize("damage", ["truncate", "remove", "other"])
def test_a_damaged_file_costs_time_and_nothing_else(kept, damage):
    if damage == "truncate":
        kept.write_bytes(kept.read_bytes()[:100])
    elif damage == "remove":
        kept.unlink()
    else:
        kept.write_bytes(b"something else")
    space: dict = {}
    catching_up.catch_up("07.3", space)
    assert len(space["history"].losses) == 2


def test_train_asks_nobody_unless_somebody_stands_in():
    task = tasks.linear_task(tasks.normal(4, 5, seed=1), n=32)
    layer = LoRALinear(torch.nn.Linear(5, 4, bias=False), r=1, alpha=1)
    assert training.stand_in is None
    asked = []
    training.stand_in = lambda trainable, settings, again: asked.append((set(trainable), settings["epochs"]))
    try:
        history = train(layer, task.X, task.y, epochs=3, progress=None)
    finally:
        training.stand_in = None
    assert asked == [({"lora_A", "lora_B"}, 3)] and len(history.epoch_losses) == 3


# ---- every point of the course ------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", pages.page_files(), ids=lambda p: p.stem)
def test_every_point_has_been_reached_and_what_follows_printed_the_same(page):
    """Recorded by `python tests/catch_up_points.py --check`, which takes minutes; here: is the record of this page?"""
    import catch_up_points

    record = json.loads(catch_up_points.RECORD.read_text(encoding="utf-8"))[page.stem]
    again = f"run python tests/catch_up_points.py {page.stem[:2]}, then the same with --check"
    assert record["text"] == catching_up.fingerprint(catching_up.code_of(page.stem[:2])), again
    assert list(record["points"]) == [s.number for s in catching_up.sections(page.stem[:2])], again
    wrong = {n: p for n, p in record["points"].items() if p.get("error") or p["different"]}
    assert not wrong, again
    slow = {n: p["cpu_s"] for n, p in record["points"].items() if p["cpu_s"] > 5}
    assert not slow, slow


@pytest.mark.parametrize("page", pages.page_files(), ids=lambda p: p.stem)
def test_kept_trainings_are_those_of_the_page_as_it_is(page):
    """A page with long trainings has their results, and they belong to the page's present text."""
    path = catching_up.KEPT / f"{page.stem[:2]}.safetensors"
    kept = catching_up.KeptTrainings(page.stem[:2], catching_up.fingerprint(catching_up.code_of(page.stem[:2])))
    again = f"run python tests/catch_up_points.py {page.stem[:2]}"
    assert bool(kept.about) == path.exists(), again
    for about in kept.about.values():
        assert all(kept._tensor(name, about) is not None for name in about.get("shared", {})), again


def test_the_name_is_public():
    assert lora_lab.catch_up is catching_up.catch_up
