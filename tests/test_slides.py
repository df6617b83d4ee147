"""The pages as slides: each is marked by the rule, the rule does what it says, and nbconvert makes a deck of a page."""
import base64
import re
import struct
import subprocess
import sys

import pages
import pytest
import slide_cells
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ALL = pages.page_files()


def png(width, height):
    """The beginning of a PNG of this size, which is all that the rule reads."""
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", width, height)
    return base64.b64encode(head + bytes(50)).decode()


def picture(height, source="plot()"):
    return new_code_cell(source, outputs=[new_output("display_data", data={"image/png": png(700, height)})])


def printing(lines, source="print()"):
    return new_code_cell(source, outputs=[new_output("stream", name="stdout", text="line\n" * lines)])


# ---- the course's pages -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_page_is_marked_by_the_rule(path):
    nb = pages.read(path)
    assert pages.as_text(slide_cells.mark(nb)) == path.read_text(encoding="utf-8"), \
        f"run python tests/slide_cells.py {path.stem[:2]}"


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_no_picture_is_too_high_for_a_slide(path):
    high = slide_cells.too_high(pages.read(path))
    assert not high, f"{path.stem}, code cells {high}: print the lines below the picture in a cell of their own"


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_marking_changes_slide_types_and_nothing_else(path):
    nb = pages.read(path)
    for cell in nb.cells:
        cell.metadata.pop("slideshow", None)
    bare, marked = pages.as_text(nb), slide_cells.mark(nb)
    assert pages.as_text(nb) == bare, "the notebook itself was changed"
    assert pages.content_hash(marked) == pages.content_hash(nb)  # the recorded matrix stays valid
    assert pages.as_text(pages.normalise(marked)) == pages.as_text(marked)
    assert slide_cells.slide_types(marked) == slide_cells.slide_types(nb)
    for cell in marked.cells:
        cell.metadata.pop("slideshow", None)
    assert pages.as_text(marked) == bare


# ---- the rule -----------------------------------------------------------------------------------------------------
def types(*cells):
    """The types of cells that follow a page's first two."""
    first = [new_markdown_cell("# 00 · T"), new_markdown_cell("Run All")]
    return slide_cells.slide_types(new_notebook(cells=[*first, *cells]))[2:]


def test_headings_predictions_exercises_and_answers():
    assert slide_cells.slide_types(new_notebook(cells=[new_markdown_cell("# T"), new_markdown_cell("R")])) == [
        "slide", "subslide"]
    assert types(new_markdown_cell("## Part\ntext"), printing(2)) == ["slide", "-"]
    assert types(new_markdown_cell("the end of one\n\n## Part")) == ["slide"]
    ask = new_markdown_cell("Now. **Predict 1.1:** what?")
    assert types(ask, printing(2), new_markdown_cell("So."), printing(2)) == ["subslide", "fragment", "-", "-"]
    assert types(new_markdown_cell("**Predict:** what?"), new_code_cell("y = 1"), printing(1)) == [
        "subslide", "fragment", "-"]
    card = new_code_cell('lora_lab.predict("1.1")')  # stays with its question; the answer still waits
    assert types(ask, card, printing(2), printing(2)) == ["subslide", "-", "fragment", "-"]
    assert types(printing(1), card, printing(1)) == ["-", "-", "-"]
    assert types(new_markdown_cell("**Exercise 1.1, x.** y"), printing(1)) == ["subslide", "-"]
    assert types(new_markdown_cell("**Think 1.1.**\n<details>\n" + "x\n" * 90 + "</details>"), printing(1)) == [
        "subslide", "-"]
    assert types(new_markdown_cell(""), printing(1)) == ["skip", "-"]


def test_preparation_and_what_is_too_long_go_to_the_notes():
    long = "\n".join("x = 1" for _ in range(5))
    assert types(new_code_cell("import torch\nlora_lab.begin('00')", outputs=printing(1).outputs)) == ["notes"]
    assert types(new_code_cell(long), new_code_cell("x = 1"), new_code_cell(f"class A:\n{long}")) == ["notes", "-", "-"]
    assert types(printing(40)) == ["notes"]
    assert types(picture(1200)) == ["notes"]
    # what is in the notes takes no room, and an answer is still waited for after it
    ask = new_markdown_cell("**Predict:** ?")
    assert types(ask, new_code_cell(long), printing(1)) == ["subslide", "notes", "fragment"]


def test_what_does_not_fit_begins_a_slide():
    part = new_markdown_cell("## Part")
    assert types(part, picture(300), picture(300), picture(300)) == ["slide", "-", "-", "subslide"]
    assert types(part, printing(14), printing(14), printing(14)) == ["slide", "-", "subslide", "-"]
    assert types(new_markdown_cell("**Predict:** ?"), picture(700), printing(9)) == ["subslide", "fragment", "subslide"]
    heights = [slide_cells.code_height(picture(h)) for h in (100, 400)]
    assert heights[1] - heights[0] == 300
    assert slide_cells.too_high(new_notebook(cells=[picture(300), part, picture(1000), printing(99)])) == [2]


def test_main_writes_marks_once_and_check_writes_nothing(tmp_path, capsys):
    path = tmp_path / "00_page.ipynb"
    nb = pages.normalise(new_notebook(cells=[new_markdown_cell("# 00 · T"), picture(9000)]))
    path.write_text(pages.as_text(nb), encoding="utf-8")
    before = path.read_bytes()
    assert slide_cells.main([str(path), "--check"]) == 1 and path.read_bytes() == before
    assert slide_cells.main([str(path)]) == 0 and path.read_bytes() != before
    assert "code cell [1] is too high for a slide" in capsys.readouterr().out
    assert slide_cells.main([str(path), "--check"]) == 0
    assert [c.metadata.get("slideshow", {}).get("slide_type") for c in pages.read(path).cells] == ["slide", "notes"]
    with pytest.raises(SystemExit):
        slide_cells.main(["99"])


# ---- nbconvert ----------------------------------------------------------------------------------------------------
def test_the_frame_is_the_one_the_book_sets():
    book = (pages.ROOT / "notebooks" / "TEACHING.md").read_text(encoding="utf-8")
    for name, value in (("width", slide_cells.WIDTH), ("height", slide_cells.HEIGHT)):
        assert set(re.findall(rf"reveal_{name}=(\d+)", book)) == {str(value)}


def test_nbconvert_makes_a_deck_with_every_heading(tmp_path):
    chosen = [ALL[0], ALL[-1]]
    command = [sys.executable, "-m", "jupyter", "nbconvert", "--to", "slides", "--output-dir", str(tmp_path)]
    done = subprocess.run([*command, *map(str, chosen)], capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    for path in chosen:
        html = (tmp_path / f"{path.stem}.slides.html").read_text(encoding="utf-8")
        body = html[html.index('<div class="slides">'):]
        shown = [re.sub(r"<[^>]+>|¶", "", h).strip() for h in re.findall(r"<h[12][^>]*>(.*?)</h[12]>", body, re.DOTALL)]
        nb = pages.read(path)
        headings = [h for c in nb.cells if c.cell_type == "markdown" for h in re.findall(r"^##? (.+)$", c.source, re.M)]
        assert shown == [h.replace("`", "").strip() for h in headings], path.stem
        kinds = slide_cells.slide_types(nb)
        # a slide is a section with its subslides as sections in it
        slides, below = kinds.count("slide"), kinds.count("subslide")
        assert body.count("<section") == body.count("</section>") == 2 * slides + below
        assert body.count('class="notes"') == kinds.count("notes")
        assert body.count('class="fragment"') == kinds.count("fragment")
