"""Lesson mode: copies of pages without answers, which never overwrite anything."""

import json
import sys

import nbformat
import pages
import pytest

from lora_lab import __main__
from lora_lab.classroom import lesson
from lora_lab.classroom.pages import PAGES


def cells(*sources):
    """A notebook of markdown (begins with a letter, # or *) and code cells, each code cell with an output."""
    made = []
    for source in sources:
        kind = "code" if source.startswith(">") else "markdown"
        cell = {"cell_type": kind, "source": [source.removeprefix(">")], "metadata": {}}
        made.append(cell | ({"outputs": [{}], "execution_count": 1} if kind == "code" else {}))
    return {"cells": made}


def stored(notebook):
    """For each code cell: whether it still has its output."""
    return [bool(cell["outputs"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_what_was_stored_below_a_prediction_goes_up_to_the_next_section():
    given = cells(
        "# 04", ">a", "## 4.1 One", ">b", "**Predict 4.1:** which?", ">lora_lab.predict('4.1')", ">c", "More.", ">d",
        "### Aside", ">e", "## 4.2 Two\n\nText.", ">f", "The end.\n\n## 4.3\n\n**Predict 4.2** it.", ">g",
    )  # fmt: skip
    assert stored(lesson.lesson_copy(given)) == [True, True, True, False, False, False, True, False]
    assert stored(given) == [True] * 8, "the page itself is not touched"


def test_the_text_below_a_prediction_waits_up_to_the_next_section():
    middle = "It is B.\n\n$$x$$\n\n**Predict 4.2:** and now?\n\nC."
    given = cells("**Predict 4.1:** which?", middle, "## 4.2 Two\n\nText.")
    question, answer, heading = ("".join(cell["source"]) for cell in lesson.lesson_copy(given)["cells"])
    assert (question, heading) == ("**Predict 4.1:** which?", "## 4.2 Two\n\nText.")
    waiting = [lesson.LATER.format(text) for text in ("It is B.\n\n$$x$$", "C.")]
    assert answer == f"{waiting[0]}\n\n**Predict 4.2:** and now?\n\n{waiting[1]}"


@pytest.mark.parametrize(
    "source, folded",
    [
        ("figures.heatmap(W)\nprint(3)", True),
        ("ax = drawings.curves(runs)\nax.set_ylim(0, 1)", True),
        ("panel = panels.map_panel(maps)\npanel", True),
        ("figures.heatmap(W)\nclaim('ones', True)", False),
        ("history = train(layer, X, y)\nfigures.loss_curves(history)", False),
        ("def draw(W):\n    figures.heatmap(W)", False),
    ],
)
def test_a_cell_is_folded_where_it_only_draws(source, folded):
    notebook = cells(">" + source)
    assert lesson.lesson_copy(notebook)["cells"][0]["metadata"] == {}, "it has no picture"
    notebook["cells"][0]["outputs"] = [{"data": {"image/png": ""}}]
    [cell] = lesson.lesson_copy(notebook)["cells"]
    assert cell["metadata"].get("jupyter", {}).get("source_hidden", False) is folded


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.number)
def test_each_page_makes_a_lesson(page):
    """A valid notebook with the page's text and code; the answers to its predictions are gone, the rest is left."""
    given = json.loads(page.file.read_text(encoding="utf-8"))
    copy = lesson.lesson_copy(given)
    nbformat.validate(copy)
    opening, closing = lesson.LATER.split("{}")
    there = ["".join(cell["source"]).replace(opening, "").replace(closing, "") for cell in copy["cells"]]
    assert there == ["".join(cell["source"]).replace(closing, "") for cell in given["cells"]]
    asked = any("**Predict" in "".join(cell["source"]) for cell in given["cells"])
    assert 0 < sum(stored(copy)) and asked <= (sum(stored(copy)) < sum(stored(given)))


def test_files_that_are_there_are_left_alone(tmp_path, capsys):
    mine = tmp_path / PAGES[3].file.name
    mine.write_text("my work")
    assert lesson.main(["3", "04", "--to", str(tmp_path)]) == 0
    assert mine.read_text() == "my work"
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("is there already and was left as it is.") and "04_" in second and "written" in second
    assert not lesson.main(["--to", str(pages.NOTEBOOKS)]) and "written" not in capsys.readouterr().out


def test_bad_input_is_said_in_a_sentence(tmp_path, capsys):
    (tmp_path / "a file").touch()
    for arguments, sentence in (
        (["99", "--to", str(tmp_path)], "there is no page '99'; the course has 00 to"),
        (["03", "--to", str(tmp_path / "a file")], "cannot be written to (File exists): --to wants a folder"),
        (["03", "--to", str(tmp_path / "a file" / "x")], "(Not a directory): --to wants a folder"),
    ):
        assert lesson.main(arguments) == 2
        assert sentence in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["a file"]
    with pytest.raises(SystemExit):
        lesson.main(["03"])


def test_it_is_a_command(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lora_lab", "lesson", "00", "--to", str(tmp_path / "new" / "folder")])
    assert __main__.main() == 0 and (tmp_path / "new" / "folder" / PAGES[0].file.name).is_file()
