"""The teacher's book and the pages: its tracks add up and name what is there, its links lead somewhere, its numbers
are the pages'."""

import re
from pathlib import Path

import minutes
import pages
import pytest

from lora_lab.classroom.preflight import COLUMNS

ROOT = pages.ROOT
BOOK = (ROOT / "notebooks" / "TEACHING.md").read_text(encoding="utf-8")
TRACKS = (60, 120, 240)
TOLERANCE = 1.0  # minutes that a row may differ from what tests/tools/minutes.py computes
LINK = re.compile(r"\[([^\]]+)\]\(((?:[^()\s]|\([^()\s]*\))+)\)")
every_page = pytest.mark.parametrize("path", pages.page_files(), ids=lambda path: path.stem[:2])


def chapter(title: str) -> str:
    """The text below a heading, up to the next one of the same or a higher level."""
    start = re.search(rf"^(#+) {re.escape(title)}\n", BOOK, re.MULTILINE)
    assert start, f"TEACHING.md has no heading {title!r}"
    end = re.search(rf"^#{{1,{len(start[1])}}} ", BOOK[start.end():], re.MULTILINE)
    return BOOK[start.end():start.end() + end.start()] if end else BOOK[start.end():]


# ---- the tracks


def rows(track: int) -> list[tuple[str, float]]:
    """(first column, minutes) of a track's table."""
    table = [line.strip("| ").split(" | ") for line in chapter(f"{track} minutes").splitlines() if line[:2] == "| "]
    return [(cells[0], float(cells[1])) for cells in table if cells[0] != "section"]


def section_of(cell: str) -> minutes.Section | None:
    """The section that a row's first column links to, "[3.6 · The film](03_lora…)"; None for a break."""
    link = LINK.match(cell)
    if not link:
        return None
    path = ROOT / "notebooks" / link[2].partition("#")[0]
    found = {section.heading: section for section in minutes.sections(path)}
    name = link[1] if link[1] in found else link[1].replace(" · ", " ", 1)
    assert name in found, f"{path.name} has no section {name!r}; it has: {', '.join(found)}"
    return found[name]


@pytest.mark.parametrize("track", TRACKS)
def test_tracks_add_up_and_agree_with_the_pages(track):
    table = rows(track)
    total = sum(stated for _, stated in table)
    assert 0.9 * track <= total <= track, f"the {track}-minute track adds up to {total:g} minutes"
    assert len(table) > 15 and "Skipped, and the sentence that bridges it:" in chapter(f"{track} minutes")
    breaks = [stated for cell, stated in table if "Break" in cell]
    assert len(breaks) == TRACKS.index(track) and all(stated >= 10 for stated in breaks)
    off = []
    for cell, stated in table:
        section, asked = section_of(cell), len(re.findall(r"Exercise \d+\.\d+", cell))
        if section and asked:
            assert asked <= section.exercises and stated == 3 * asked, cell
        elif section and abs(stated - section.talk) > TOLERANCE:
            off.append(f"{cell}: the table says {stated:g} minutes, tests/tools/minutes.py {section.talk:.1f}")
    assert not off, "\n".join(off)


@every_page
def test_minutes_are_those_the_pages_promise(path):
    """What a page's first cell says ('20 minutes to read and play') and what the rule computes are of one size."""
    promised = int(re.search(r"(\d+) minutes to read", pages.read(path).cells[0].source)[1])
    talk = sum(section.talk for section in minutes.sections(path))
    assert 0.5 * promised < talk < 1.7 * promised, f"{talk:.0f} minutes, promised {promised}"


# ---- links


def anchors(path: Path) -> set[str]:
    """A file's headings as anchors: JupyterLab replaces spaces, GitHub also drops signs and capitals."""
    if path.suffix == ".ipynb":
        text = "\n".join(cell.source for cell in pages.read(path).cells if cell.cell_type == "markdown")
    else:
        text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.+?)\s*$", text, re.MULTILINE)
    if path.name in ("README.md", "HUB.md"):  # are read on GitHub
        headings = [re.sub(r"[^\w -]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in headings}


def broken_links(file: Path, text: str) -> list[str]:
    found = []
    for _, target in LINK.findall(text):
        name, _, anchor = target.partition("#")
        path = file.parent / name if name else file
        if "://" not in target and not (path.exists() and (not anchor or anchor in anchors(path.resolve()))):
            found.append(target)
    return found


@pytest.mark.parametrize("name", ["README.md", "notebooks/TEACHING.md", "notebooks/HUB.md", "notebooks/QUESTIONS.md"])
def test_links_lead_to_files_and_headings(name):
    assert not broken_links(ROOT / name, (ROOT / name).read_text(encoding="utf-8"))


def test_broken_links_are_found():
    page = "03_lora_in_torch.ipynb"
    good, bad = f"[a]({page}#3.6-The-film) [d](#60-minutes)", f"[a]({page}#The-movie) [b](03_gone.ipynb) [c](#no)"
    assert broken_links(ROOT / "notebooks" / "TEACHING.md", good + bad) == LINK.sub(r"\2", bad).split()


# ---- what the book says about the pages

THOUSANDS = r"(?<![\w.,])\d{1,3}(?:[ ,]\d{3})+(?![\w])"
NUMBER = re.compile(rf"{THOUSANDS}|(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?")
SAID_BY_AN_EXERCISE = {"02": {"819", "820"}}  # by its check, not on the page itself


def numbers(text: str) -> set[str]:
    """Numbers of two digits or more, or with a decimal point; "1 001 000", "1,001,000" and "1001000" are one."""
    return {n for n in (re.sub("[ ,]", "", n) for n in NUMBER.findall(text)) if len(n) > 1}


@every_page
def test_numbers_in_the_book_are_the_pages_numbers(path):
    """A number that changes on a page must change in the book."""
    nb, number = pages.read(path), path.stem[:2]
    cells = [cell for cell in nb.cells if not pages.asks(cell)]  # a card has wrong answers on its buttons
    texts = [cell.source for cell in cells]  # and what cells print, unless it is a machine's own (times, versions)
    for cell in cells:
        if cell.cell_type == "code":
            texts += [text for values in pages.compared_text(cell).values() for text in values]
    text = "\n".join(texts)
    there = numbers(text) | set(re.findall(r"\d+(?:\.\d+)?", text))  # a list such as "1005 999" is two numbers
    said = re.sub(r"\(\d\d_\w+\.ipynb[^)]*\)|\[[^\]]*\]", " ", chapter(f"Page {pages.title(nb)}"))
    missing = numbers(said) - there - SAID_BY_AN_EXERCISE.get(number, set())
    assert not missing, f"TEACHING.md's 'Page {number}' says {sorted(missing)}, which the page does not."


@every_page
def test_each_page_has_its_part_of_the_book(path):
    part = chapter(f"Page {pages.title(pages.read(path))}")
    for word in ("**Say:**", "**Ask", "**The room should see**", "**Wrong answers**", "**Give:**"):
        assert word in part, f"lacks {word}"
    prose = "\n".join(cell.source for cell in pages.read(path).cells if cell.cell_type == "markdown")
    asked = set(re.findall(r"\*\*Predict (\d+\.\d+)", prose))
    assert not [number for number in asked if not re.search(rf"\*(?:Predict )?{re.escape(number)}\*", part)]


def test_the_columns_of_a_room_line_are_named():
    assert ", ".join(COLUMNS) in re.sub(r"\s+", " ", chapter("The day before"))
