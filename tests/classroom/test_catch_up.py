"""`catch_up`: the names of the cells above a section, quietly, all or nothing; it asks before it runs another page."""

import json

import matplotlib.pyplot as plt
import pytest
from IPython.core.interactiveshell import InteractiveShell

from lora_lab.classroom import catching_up
from lora_lab.classroom.catching_up import catch_up, sections
from lora_lab.classroom.pages import PAGES, find_page

CELLS = [
    ("markdown", "# 04 · A page"),
    ("code", 'import lora_lab\nimport matplotlib.pyplot as plt\n\nlora_lab.begin("04")'),
    ("markdown", "## 4.1 First"),
    ("code", "import sys\n\nx = 1\nprint('heard')\nprint('heard', file=sys.stderr)\nplt.figure()"),
    ("code", 'lora_lab.predict("4.2")'),
    ("markdown", "Some text.\n\n## 4.2 Second, with a title"),
    ("code", "def twice():\n    return 2 * x\n\n\ny = twice()"),
    ("code", "z = missing"),
    ("markdown", "## 4.3 Third"),
    ("code", "print(x, y)"),
]


@pytest.fixture(autouse=True)
def page(tmp_path, monkeypatch):
    cells = [{"cell_type": kind, "source": source.splitlines(keepends=True)} for kind, source in CELLS]
    (tmp_path / "04_rank_and_alpha.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    monkeypatch.setattr("lora_lab.classroom.pages.NOTEBOOKS", tmp_path)
    monkeypatch.setattr(catching_up, "begun_page", None)
    monkeypatch.setattr("lora_lab.classroom.cards.Card", None)  # a card would be an error


def test_a_section_has_the_names_above_it_and_nothing_is_shown(capfd):
    before, names = plt.get_fignums(), {"mine": 7}
    catch_up("4.2", names)
    out, err = capfd.readouterr()
    assert names["x"] == 1 and names["mine"] == 7 and "y" not in names
    assert out.startswith("You are at 04.2, “Second, with a title”") and "heard" not in out + err
    assert plt.get_fignums() == before and catching_up.begun_page == "04"
    caller = {"catch_up": catch_up}
    exec("catch_up('04.2')", caller)
    assert caller["x"] == 1, "by default the names go to who calls"


def test_a_cell_that_fails_leaves_everything_as_it_was():
    names = {"x": "mine"}
    with pytest.raises(NameError, match="missing"):
        catch_up("04.3", names)
    assert names == {"x": "mine"} and catching_up.begun_page is None


def test_another_page_than_the_begun_one_is_run_only_when_asked_for():
    catching_up.begun_page, names = "05", {}
    with pytest.raises(ValueError, match=r"this is page 05, and catch_up\('04.2'\).*catch_up\('04.2', anyway=True\)"):
        catch_up("04.2", names)
    assert names == {}
    catch_up("04.2", names, anyway=True)
    assert names["x"] == 1 and catching_up.begun_page == "04"


def test_a_page_alone_lists_its_sections_and_so_does_a_section_that_is_none(capsys):
    catch_up("04")
    listed = capsys.readouterr().out
    assert "catch_up('04.1')   First\n" in listed and "catch_up('04.3')   Third\n" in listed
    with pytest.raises(ValueError, match=r"'04.9' is no section of page 04(?s:.*)catch_up\('04.2'\)   Second"):
        catch_up("04.9")
    with pytest.raises(ValueError, match="no page '44'"):
        catch_up("44.1")


def test_a_name_that_is_missing_says_where_it_is_made_and_what_brings_it(capsys, monkeypatch):
    shell = InteractiveShell()
    monkeypatch.setattr(catching_up, "get_ipython", lambda: shell)
    assert catching_up.begin_page("4") == catching_up.begun_page == "04"
    first_cells = "the page's first cells: run the cells there"
    for name, said in {
        "lora_lab": f"`lora_lab` is made in {first_cells}, or call lora_lab.catch_up('04.1').",
        "x": "`x` is made in section 04.1: run the cells there, or call lora_lab.catch_up('04.2').",
        "twice": "`twice` is made in section 04.2: run the cells there, or call lora_lab.catch_up('04.3').",
    }.items():
        assert isinstance(shell.run_cell(f"def f():\n    return {name}\nf()").error_in_exec, NameError)
        assert said in capsys.readouterr().out
    shell.run_cell("print(x, y)", store_history=True)
    assert "lora_lab.catch_up('04.3')" in capsys.readouterr().out, "a cell of the page: all that is above its section"
    for source in ("nowhere", "def f():\n    x += 1\nf()"):
        shell.run_cell(source)
        out = capsys.readouterr().out
        assert "Error" in out and "is made in" not in out


@pytest.mark.parametrize("number", [page.number for page in PAGES if page.file.exists()])
def test_headings_carry_the_numbers_that_catch_up_counts(number, monkeypatch):
    monkeypatch.undo()
    page = find_page(number)
    texts = [source for kind, source in catching_up.cells_of(page) if kind == "markdown"]
    headings = [line for text in texts for line in text.splitlines() if line.startswith("## ")]
    assert headings == [f"## {int(page.number)}.{i} {s.title}" for i, s in enumerate(sections(page), 1)]
