"""The teacher's book: its tracks add up and name what is there, its links lead somewhere, its numbers hold."""
import re
from pathlib import Path

import minutes
import pages
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = pages.ROOT
BOOK = (ROOT / "notebooks" / "TEACHING.md").read_text(encoding="utf-8")
TRACKS = (60, 120, 240)
TOLERANCE = 1.0  # minutes that a row may differ from what tests/minutes.py computes
LINK = re.compile(r"\[([^\]]+)\]\(((?:[^()\s]|\([^()\s]*\))+)\)")
HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)


def on_its_way(file: str) -> bool:
    """A page of the course that has a number and a budget, and is not in notebooks/ yet."""
    number = Path(file).name[:2]
    return number in pages.BUDGETS and not any(p.stem.startswith(number) for p in pages.page_files())


# ---- the tracks ---------------------------------------------------------------------------------------------------
def chapter(title: str) -> str:
    """The text below a heading, up to the next one of the same or a higher level."""
    start = re.search(rf"^(#+) {re.escape(title)}\n", BOOK, re.MULTILINE)
    assert start, f"TEACHING.md has no heading {title!r}"
    end = re.search(rf"^#{{1,{len(start[1])}}} ", BOOK[start.end():], re.MULTILINE)
    return BOOK[start.end():start.end() + end.start()] if end else BOOK[start.end():]


def rows(track: int) -> list[tuple[str, float]]:
    """(first column, minutes) of a track's table."""
    table = [line.strip("| ").split(" | ") for line in chapter(f"{track} minutes").splitlines() if line[:2] == "| "]
    return [(cells[0], float(cells[1])) for cells in table if cells[0] != "section"]


def section_of(cell: str) -> minutes.Section | str | None:
    """The section that a row's first column links to; a sentence if it does not exist; None without a link."""
    link = LINK.match(cell)
    if not link:
        return None
    name, file = link[1].partition(" · ")[2], link[2].partition("#")[0]
    if on_its_way(file):
        return None
    path = ROOT / "notebooks" / file
    if not path.is_file():
        return f"{file} does not exist"
    found = {s.heading.removeprefix(f"{path.stem[:2]} · "): s for s in minutes.sections(path)}
    return found.get(name, f"{file} has no section {name!r}; it has: {', '.join(found)}")


def faults_of(table: list[tuple[str, float]], length: int) -> list[str]:
    """What is wrong with a track, in sentences."""
    out = []
    total = sum(stated for _, stated in table)
    if not 0.9 * length <= total <= length:
        out.append(f"the {length}-minute track adds up to {total:g} minutes")
    for cell, stated in table:
        section = section_of(cell)
        asked = len(re.findall(r"Exercise \d+\.\d+", cell))
        if isinstance(section, str):
            out.append(section)
        elif section and asked:
            if asked > section.exercises or stated != asked * minutes.EXERCISE / 60:
                out.append(f"{cell}: {asked} exercises of {section.exercises} take {stated:g} minutes?")
        elif section and abs(stated - section.talk) > TOLERANCE:
            out.append(f"{cell}: the table says {stated:g} minutes, tests/minutes.py {section.talk:.1f}")
    return out


@pytest.mark.parametrize("track", TRACKS)
def test_tracks_add_up_and_agree_with_the_pages(track):
    table = rows(track)
    assert len(table) > 15 and sum(section_of(cell) is not None for cell, _ in table) > 10
    assert not faults_of(table, track), "\n".join(faults_of(table, track))


def test_faults_of_a_track_are_found():
    film = "[03 · The film](03_lora_in_torch.ipynb#The-film)"
    stated = minutes.sections(pages.find_page("03"))
    right = next(s.talk for s in stated if s.heading == "The film")
    assert faults_of([(film, right)], right) == []
    assert "tests/minutes.py" in faults_of([(film, right + 1.1)], 4)[-1]
    assert "has no section 'The movie'" in faults_of([(film.replace("The film]", "The movie]"), 3)], 3)[0]
    assert "does not exist" in faults_of([("[03 · X](03_gone.ipynb)", 3)], 3)[0]
    assert "adds up to 4" in faults_of([("Questions", 4)], 3)[0]
    assert "adds up to 4" in faults_of([("Questions", 4)], 5)[0]
    asked = "[03 · Exercises](03_lora_in_torch.ipynb#Exercises) Exercise 3.1, Exercise 3.2"
    assert faults_of([(asked, 6)], 6) == [] and "2 exercises" in faults_of([(asked, 5)], 5)[0]


def test_each_track_has_its_bridges_and_longer_ones_a_break():
    for track in TRACKS:
        assert "Skipped, and the sentence that bridges it:" in chapter(f"{track} minutes")
        breaks = [stated for cell, stated in rows(track) if "Break" in cell]
        assert len(breaks) == TRACKS.index(track) and all(b >= 10 for b in breaks)


# ---- the rule behind the minutes ----------------------------------------------------------------------------------
def test_minutes_of_a_written_page(tmp_path):
    panel = {pages.WIDGET: {"model_id": "m"}, "image/png": "", "text/plain": "x"}
    nb = new_notebook(cells=[
        new_markdown_cell("# 00 · A page\n\n" + "word " * 129),
        new_code_cell("import torch\nlora_lab.begin('00')"),
        new_markdown_cell("The end of the first section.\n\n## Next\n\n**Predict 0.1:** $$a = b$$ one [two](a-b.html)"),
        new_code_cell('lora_lab.predict("0.1")', outputs=[new_output("execute_result", data=panel)]),
        new_code_cell("a\n\nb", outputs=[new_output("stream", name="stdout", text="1\n2\n")]),
        new_code_cell("c", outputs=[new_output("display_data", data={"image/png": "", "text/plain": "x"}),
                                    new_output("execute_result", data=panel),
                                    new_output("stream", name="stdout", text="1\n" * 50)]),
        new_markdown_cell("## Exercises\n\n**Exercise 0.1, x.** y\n\n**Think 0.1.** z\n<details>" + "w " * 99
                          + "</details>"),
    ])
    path = tmp_path / "00_start_here.ipynb"
    path.write_text(pages.as_text(nb), encoding="utf-8")
    first, second, last = minutes.sections(path)
    assert (first.heading, second.heading, last.heading) == ("00 · A page", "Next", "Exercises")
    assert first.words == 129 + 3 + 6 and first.code_lines == 0 and first.run == minutes.run_seconds("00_start_here")
    assert (second.words, second.formulas, second.predictions) == (4, 1, 1)
    assert (second.code_lines, second.figures, second.panels, second.printed) == (3, 1, 1, 2 + 10)
    seconds = 4 / 130 * 60 + 10 + 3 * 3 + 12 + 30 + 60 + 30
    assert second.talk == second.minutes == pytest.approx(seconds / 60)
    assert (last.exercises, last.thinks) == (1, 1) and last.minutes - last.talk == pytest.approx(5)


def test_a_page_without_a_record_counts_with_its_budget():
    assert minutes.run_seconds("08_unrecorded") == pages.BUDGETS["08"]


def test_minutes_are_those_the_pages_promise():
    """What a page's first cell says ('20 minutes to read and play') and what the rule computes are of one size."""
    for path in pages.page_files():
        promised = int(re.search(r"(\d+) minutes to read", pages.read(path).cells[0].source)[1])
        talk = sum(s.talk for s in minutes.sections(path))
        assert 0.5 * promised < talk < 1.7 * promised, f"{path.stem}: {talk:.0f} minutes, promised {promised}"


def test_minutes_are_printed_for_a_page(capsys):
    assert minutes.main(["00"]) == 0
    out = capsys.readouterr().out
    assert "00_start_here: " in out and "A first taste" in out and "01_" not in out


# ---- links --------------------------------------------------------------------------------------------------------
def anchors(path: Path, github: bool) -> set[str]:
    """A file's headings as anchors: JupyterLab replaces spaces, GitHub also drops signs and capitals."""
    if path.suffix == ".ipynb":
        texts = [c.source for c in pages.read(path).cells if c.cell_type == "markdown"]
    else:
        texts = [re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)]
    headings = [h for text in texts for h in HEADING.findall(text)]
    if github:
        return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
    return {h.replace(" ", "-") for h in headings}


def broken_links(file: Path, text: str) -> list[str]:
    out = []
    for _, target in LINK.findall(text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (file.parent / name).resolve() if name else file
        if on_its_way(name):
            continue
        if not path.is_file():
            out.append(f"{target}: there is no such file")
        elif anchor and anchor not in anchors(path, github=path.name == "README.md"):
            out.append(f"{target}: no such heading")
    return out


@pytest.mark.parametrize("name", ["README.md", "notebooks/TEACHING.md"])
def test_links_lead_to_files_and_headings(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(LINK.findall(text)) > 8
    assert not broken_links(ROOT / name, text)


def test_broken_links_are_found():
    file = ROOT / "notebooks" / "TEACHING.md"
    page = "03_lora_in_torch.ipynb"
    assert broken_links(file, f"[a]({page}#The-film) [b]({page}) [c](https://example.org/x) [d](#60-minutes)") == []
    for bad in (f"{page}#The-movie", "03_gone.ipynb", "../nothing.md", "#61-minutes", "../README.md#No-such"):
        assert len(broken_links(file, f"[a]({bad})")) == 1, bad


def test_the_readme_leads_to_the_book():
    assert "notebooks/TEACHING.md" in [target for _, target in LINK.findall((ROOT / "README.md").read_text("utf-8"))]


# ---- what the book says about the pages ---------------------------------------------------------------------------
THOUSANDS = r"(?<![\w.,])\d{1,3}(?:[ ,]\d{3})+(?![\w])"
NUMBER = re.compile(rf"{THOUSANDS}|(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?")


def numbers(text: str) -> set[str]:
    """Numbers of two digits or more, or with a decimal point; "1 001 000", "1,001,000" and "1001000" are one."""
    return {n for n in (re.sub("[ ,]", "", n) for n in NUMBER.findall(text)) if len(n) > 1}


# Not on the page itself: what the check of an exercise says.
OWN = {"02": {"819"}}


@pytest.mark.parametrize("path", pages.page_files(), ids=lambda p: p.stem)
def test_numbers_in_the_book_are_the_pages_numbers(path):
    """A number that changes on a page must change in the book."""
    nb, number = pages.read(path), path.stem[:2]
    nb.cells = [c for c in nb.cells if not pages.asks(c)]  # a card has wrong answers on its buttons
    texts = [c.source for c in nb.cells]  # and what cells print, unless it is a machine's own (times, versions)
    texts += [text for c in pages.code_cells(nb) for values in pages.compared_text(c).values() for text in values]
    exercises = [book.find(n) for n in book.all_numbers()]
    texts += [e.stub + e.solution + " ".join(e.hints) + e.right for e in exercises if e.page == number]
    text = "\n".join(texts)
    there = numbers(text) | set(re.findall(r"\d+(?:\.\d+)?", text))  # a list such as "1005 999" is two numbers
    said = re.sub(r"\(0\d_\w+\.ipynb[^)]*\)|\[[^\]]*\]", " ", chapter(pages.title(nb).join(["Page ", ""])))
    missing = numbers(said) - there - OWN.get(number, set())
    assert not missing, f"TEACHING.md's 'Page {number}' says {sorted(missing)}, which the page does not."


def test_each_page_has_its_part_of_the_book():
    for path in pages.page_files():
        part = chapter(f"Page {pages.title(pages.read(path))}")
        for word in ("**Say:**", "**Ask", "**The room should see**", "**Wrong answers**", "**Give:**"):
            assert word in part, f"'Page {path.stem[:2]}' lacks {word}"
        asked = set(re.findall(r"\*\*Predict (\d+\.\d+)", "\n".join(c.source for c in pages.read(path).cells)))
        assert all(re.search(rf"\*(?:Predict )?{re.escape(n)}\*", part) for n in asked), f"{path.stem}: {asked}"


def test_the_book_says_what_to_do_when():
    for what in ("The day before", "When something fails", "Slides", "Many at once", "Latecomers"):
        assert chapter(what).strip()
    failing = chapter("When something fails")
    assert all(word in failing for word in ("no slider", "Kernel died", "no network", "**Windows:**"))
    assert "python -m lora_lab --room" in chapter("The day before")


def test_the_columns_of_a_room_line_are_named():
    from lora_lab.classroom.room import COLUMNS

    assert ", ".join(COLUMNS) in re.sub(r"\s+", " ", chapter("The day before"))
