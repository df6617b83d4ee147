"""What a teacher and a learner hold in their hands: run sheets, the teacher's book, the cheat sheet, the questions.

The sheets add up and name what is there, links lead somewhere, letters and numbers are the pages'.
"""

import re
from pathlib import Path

import lab
import minutes
import pages
import pytest

from lora_lab.classroom import predictions
from lora_lab.classroom.preflight import room
from lora_lab.subjects.files_and_costs import models

ROOT = pages.ROOT
BOOK = minutes.BOOK.read_text(encoding="utf-8")
CHEATSHEET = ROOT / "notebooks" / "CHEATSHEET.md"
TOLERANCE = 1.0  # minutes that a row may differ from what tests/tools/minutes.py computes
LINK = re.compile(r"\[([^\]]+)\]\(((?:[^()\s]|\([^()\s]*\))+)\)")
every_page = pytest.mark.parametrize("path", pages.page_files(), ids=lambda path: path.stem[:2])
every_sheet = pytest.mark.parametrize("track", minutes.SHEETS)


def chapter(title: str) -> str:
    """The book's text below a heading, up to the next one of the same or a higher level."""
    start = re.search(rf"^(#+) {re.escape(title)}\n", BOOK, re.MULTILINE)
    assert start, f"the teacher's book has no heading {title!r}"
    end = re.search(rf"^#{{1,{len(start[1])}}} ", BOOK[start.end():], re.MULTILINE)
    return BOOK[start.end():start.end() + end.start()] if end else BOOK[start.end():]


def page_text(path: Path) -> str:
    """What a reader of a page sees: prose, code, and what is printed wherever it runs."""
    texts = []
    for cell in pages.read(path).cells:
        if not pages.asks(cell):  # a card has wrong answers on its buttons
            texts.append(cell.source)
        if cell.cell_type == "code" and not pages.asks(cell):
            texts += [text for values in pages.compared_text(cell).values() for text in values]
    return "\n".join(texts)


# ---- run sheets


@every_sheet
def test_a_sheets_minutes_are_the_pages_and_fill_its_time(track):
    """After a change of a page: python tests/tools/minutes.py --write"""
    sheet = minutes.rows(minutes.SHEETS[track])
    off, clock = [], 0.0
    for row in sheet:
        stated = float(row.minutes)
        assert row.clock == f"{int(clock // 60)}:{int(clock % 60):02d}", row
        clock += stated
        if row.section != "Questions" and abs(stated - row.computed()) > TOLERANCE:
            off.append(f"{row.section}: the sheet says {stated:g} minutes, the page {row.computed():g}")
        assert row.say, row
    assert not off, "\n".join(off)
    assert clock == track
    [questions] = [float(row.minutes) for row in sheet if row.section == "Questions"]
    assert questions >= track / 20, f"{questions:g} minutes for questions: drop a row"
    breaks = [float(row.minutes) for row in sheet if "Break" in row.section]
    assert len(breaks) == {60: 0, 120: 1, 240: 2}[track] and all(stated >= 10 for stated in breaks)


@every_sheet
def test_a_sheet_names_what_there_is(track):
    """Sections by their number and title, the letters that are right, exercises of that page."""
    for row in minutes.rows(minutes.SHEETS[track]):
        now = minutes.filled(row, 0, 0)
        assert (row.section, row.room, row.catch_up) == (now.section, now.room, now.catch_up)
        for vote in row.votes:
            assert row.page.stem.startswith(vote.split(".")[0].zfill(2)), row
        for exercise in re.findall(r"hands (\d+\.\d+)", row.room):
            assert f"**Exercise {exercise}," in page_text(row.page), row


@every_sheet
def test_a_quarter_is_hands_on_and_what_to_drop_is_there(track):
    sheet = minutes.rows(minutes.SHEETS[track])
    assert sum(row.hands_on for row in sheet) >= track / 4
    text = minutes.SHEETS[track].read_text(encoding="utf-8")
    late = re.search(r"\*\*Late\? Drop, in this order:\*\* (.+)", text)[1]
    dropped = re.findall(r"\d\d\.\d+", late)
    assert len(dropped) >= 3 and set(dropped) <= {row.catch_up for row in sheet}, late
    assert "**Bridges.**" in text


@every_page
def test_minutes_are_those_the_pages_promise(path):
    """What a page's first cell says ('20 minutes to read and play') and what the rule computes are of one size."""
    promised = int(re.search(r"(\d+) minutes to read", pages.read(path).cells[0].source)[1])
    talk = sum(section.talk for section in minutes.sections(path))
    assert 0.5 * promised < talk < 1.7 * promised, f"{talk:.0f} minutes, promised {promised}"


# ---- links, and paper


def prose(path: Path) -> str:
    if path.suffix == ".ipynb":
        return "\n".join(cell.source for cell in pages.read(path).cells if cell.cell_type == "markdown")
    return re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """A file's headings as anchors: JupyterLab replaces spaces, GitHub also drops signs and capitals."""
    headings = re.findall(r"^#+ +(.+?)\s*$", prose(path), re.MULTILINE)
    if path.name in ("README.md", "hosting.md"):  # are read on GitHub
        headings = [re.sub(r"[^\w -]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in headings if path.suffix == ".md" or heading.isascii()}


FILES = [ROOT / "README.md", *(ROOT / "tests").rglob("README.md"), *(ROOT / "notebooks").rglob("*.md")]


@pytest.mark.parametrize("file", [*FILES, *pages.page_files()], ids=lambda file: file.name)
def test_links_lead_to_files_and_headings_and_named_files_are_there(file):
    for _, target in LINK.findall(prose(file)):
        name, _, anchor = target.partition("#")
        path = file.parent / name if name else file
        if "://" not in target:
            assert path.exists() and (not anchor or anchor in anchors(path.resolve())), target
    named = re.findall(r"\b(?:lora_lab|tests)/[\w/]+\.\w+", file.read_text(encoding="utf-8"))
    assert not [name for name in named if not (ROOT / name).exists()]


PRINT = """<!doctype html><style>body { font: 9pt/1.25 sans-serif; margin: 0 } h1, h2, p, ul { margin: .3em 0 }
table { border-collapse: collapse } td, th { border: 1px solid; padding: 1px 4px } .anchor-link { display: none }
</style>"""


@pytest.mark.parametrize("file, sides", [(CHEATSHEET, 2), *((sheet, 1) for sheet in minutes.SHEETS.values())])
def test_it_prints_on_so_many_sides(file, sides):
    """A4 with margins of 10 mm, in 9 points (85 % of what JupyterLab shows)."""
    browser = pytest.importorskip("playwright.sync_api")
    from nbconvert.filters.markdown_mistune import markdown2html_mistune

    chromium = lab.find_chromium() or pytest.skip("no Chromium here")
    with browser.sync_playwright() as playwright:
        window = playwright.chromium.launch(executable_path=chromium, args=lab.FLAGS)
        page = window.new_page(viewport={"width": 718, "height": 1047})  # 190 x 277 mm
        page.set_content(PRINT + markdown2html_mistune(file.read_text(encoding="utf-8")))
        height = page.evaluate("document.body.getBoundingClientRect().height")
        window.close()
    assert height <= 1047 * sides, f"{height / 1047:.2f} sides"


# ---- the cheat sheet


def test_the_glossary_is_in_order_and_each_word_is_on_the_page_it_names():
    words = CHEATSHEET.read_text(encoding="utf-8").split("## Words\n")[1].strip().splitlines()
    assert len(words) > 40
    names = [re.match(r"- \*\*(.+?)\*\*(?:, .+?)?: .+ \[.+\]\(\S+\)$", line) for line in words]
    assert all(names), [line for line, name in zip(words, names) if not name]
    order = [re.sub(r"\W", "", name[1]).lower() for name in names]
    assert order == sorted(order), order
    for line, name in zip(words, names):
        target = CHEATSHEET.parent / LINK.findall(line)[-1][1]
        text = page_text(target) if target.suffix == ".ipynb" else target.read_text(encoding="utf-8")
        stem = name[1].removesuffix("ting").removesuffix("y").removesuffix("e")  # forgets, merged
        assert stem.lower() in text.lower(), f"{name[1]!r} is not on {target.name}"


def test_the_memory_table_is_the_calculators():
    """Bytes for each number: what models.training_bill adds up."""
    lines = CHEATSHEET.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    table = {row[0]: row[1:] for row in rows}
    shape = models.SHAPES["Llama-3-8B"]
    for dtype in ("float32", "bfloat16"):
        numbers = [float(cell) if cell != "–" else 0 for cell in table[f"full fine-tuning, {dtype}"]]
        bill = models.training_bill(shape, None, dtype=dtype)
        each = [bill.weights / shape.total, bill.gradients / shape.total, bill.optimizer / shape.total]
        assert each == [numbers[0], numbers[1], numbers[2] + numbers[3]] and sum(each) == numbers[4]
    trained = models.adapter_numbers(shape, 8)
    bill = models.training_bill(shape, 8)
    value, gradient, moments, _, together = table["LoRA's A and B"]
    assert bill.gradients == int(gradient) * trained and bill.optimizer == int(moments) * trained
    assert bill.weights == 2 * shape.total + int(value) * trained and int(together) == 16
    frozen = table["LoRA's base, frozen: float32, bfloat16, 4 bits"]
    assert frozen[0] == frozen[-1] == f"4, 2, {models.parameter_bytes('nf4'):.2f}"


# ---- the teacher's book

THOUSANDS = r"(?<![\w.,])\d{1,3}(?:[ ,]\d{3})+(?![\w])"
NUMBER = re.compile(rf"{THOUSANDS}|(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?")


def numbers(text: str) -> set[str]:
    """Numbers of two digits or more, or with a decimal point; "1 001 000", "1,001,000" and "1001000" are one."""
    return {n for n in (re.sub("[ ,]", "", n) for n in NUMBER.findall(text)) if len(n) > 1}


@every_page
def test_numbers_in_the_book_are_the_pages_numbers(path):
    """A number that changes on a page must change in the book."""
    text = page_text(path)
    there = numbers(text) | set(re.findall(r"\d+(?:\.\d+)?", text))  # a list such as "1005 999" is two numbers
    said = re.sub(r"(?:Lab|Think|Exercise|page) [\d.]+", " ", chapter(pages.title(pages.read(path))))
    missing = numbers(said) - there
    assert not missing, f"the teacher's book says {sorted(missing)}, which {path.stem} does not."


@every_page
def test_each_page_has_its_part_of_the_book(path):
    part = chapter(pages.title(pages.read(path)))
    for word in ("**Say:**", "**See:**", "**Wrong:**", "**Give:**"):
        assert word in part, f"lacks {word}"


def test_the_letters_are_those_of_the_cards():
    """After a change of a card: python tests/tools/minutes.py --write"""
    assert chapter("Predictions with buttons").strip() == minutes.card_table()


def test_the_quiz_is_made_of_eight_cards():
    quiz = chapter("The quiz")
    [line] = [line for line in quiz.splitlines() if line.count("·") == 7]
    for number in line.split(" · "):
        predictions.find(number)
    assert set(re.findall(r"\d+\.\d+", quiz)) == set(line.split(" · "))


def test_every_exercise_and_lab_has_an_objective():
    table = chapter("Objectives and exercises")
    in_pages = "\n".join(page_text(path) for path in pages.page_files())
    rows = [line.split("|")[1:4] for line in table.splitlines() if line.startswith("| ")]
    for column, kind in ((1, "Exercise"), (2, "Lab")):
        named = [number for row in rows for number in re.findall(r"\d+\.\d+", row[column])]
        there = set(re.findall(rf"^\*\*{kind} (\d+\.\d+)", in_pages, re.MULTILINE))
        assert set(named) == there, f"{kind}: {set(named) ^ there}"


def test_the_columns_of_a_room_line_are_named():
    assert ", ".join(room([])) in re.sub(r"\s+", " ", chapter("The day before"))
