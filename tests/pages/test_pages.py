"""What is stored in the repository of every page; conftest.py and nbval run them."""

import json
import re
import subprocess

import nbformat
import pages
import pytest

from lora_lab.classroom.pages import PAGES

MAX_LINES = 20  # of a code cell; 25 with the tag long-cell
MAX_IMAGE, MAX_FILE = 400_000, 1_400_000  # characters, as stored
REASON = re.compile(r"^\s*# not compared: .{10,}", re.MULTILINE)
ROUND_OFF = re.compile(r"\d\.\d{7,}")  # three significant digits agree over threads and instruction sets
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
PROGRESS_BAR = re.compile(r"it/s\]|s/it\]|\?it/s|\d%\|.*\| *\d+/\d+ \[")
every_page = pytest.mark.parametrize("path", pages.page_files(), ids=lambda path: path.stem)


def test_the_page_table_names_the_pages_that_are_there():
    listed = subprocess.run(["git", "ls-files", "notebooks"], cwd=pages.ROOT, capture_output=True, text=True)
    stored = [line.removeprefix("notebooks/") for line in listed.stdout.splitlines() if line.endswith(".ipynb")]
    there = sorted(stored) or [path.name for path in pages.page_files()]  # a copy without git has no list
    assert there == [page.file.name for page in PAGES]


@every_page
def test_page_is_one_run_in_order_stored_clean(path):
    text = path.read_text(encoding="utf-8")
    nbformat.validate(json.loads(text))
    nb = pages.read(path)
    again = f"run python tests/tools/execute_pages.py {path.stem}"
    counts = [cell.execution_count for cell in pages.code_cells(nb)]
    assert counts == list(range(1, len(counts) + 1)), f"not one run in order: {again}"
    assert text == pages.as_text(pages.normalise(nb)), f"ids, metadata or widget state of an editor: {again}"
    assert len(text) < MAX_FILE
    number = path.stem[:2]
    assert re.match(rf"# {number} · \S", nb.cells[0].source), "the title begins with the page's number"
    assert "Run All" in nb.cells[1].source, "the second cell says what to do with a page that was reopened"


def test_each_page_ends_with_links_to_its_neighbours():
    for page, before, after in zip(PAGES, (None, *PAGES), (*PAGES[1:], None)):
        last = pages.read(page.file).cells[-1].source
        for word, neighbour in (("Before", before), ("Next", after)):
            assert neighbour is None or f"**{word}:** [{neighbour.number} · " in last, (page.file.name, word)


@every_page
def test_cells_are_short_and_compared(path):
    escaping = 0
    cells = pages.code_cells(pages.read(path))
    for cell in cells:
        printed = "\n".join(pages.compared_text(cell).get("stdout", []))
        assert pages.escape(cell) or not ROUND_OFF.search(printed), f"{printed}\nprinted by\n{cell.source}"
        lines = [line for line in cell.source.splitlines() if line.strip()]
        long = "long-cell" in cell.metadata.get("tags", [])
        assert 1 <= len(lines) <= (25 if long else MAX_LINES), f"{len(lines)} lines:\n{cell.source}"
        assert not cell.source.endswith(";"), f"nbval does not honour the semicolon:\n{cell.source}"
        if how := pages.escape(cell):
            escaping += 1
            assert REASON.search(cell.source), f"{how} without a line '# not compared: …':\n{cell.source}"
    with_text = [cell for cell in cells if pages.compared_text(cell)]
    assert escaping <= len(cells) / 5 and len(with_text) >= len(cells) / 2


@every_page
def test_outputs_read_well_without_a_kernel(path):
    nb = pages.read(path)
    for cell in pages.code_cells(nb):
        for output in cell.outputs:
            data = output.get("data", {})
            text = output.get("text", "") + data.get("text/plain", "") + data.get("text/html", "")
            assert output.output_type != "error" or pages.escape(cell), f"an error is stored:\n{cell.source}"
            assert output.get("name") != "stderr", f"text on stderr: {text}"
            assert not ADDRESS.search(text), f"an address, which every run changes: {text}"
            assert not PROGRESS_BAR.search(text), f"a progress bar, as it happened to stand: {text}"
            still = {"text/plain"} if pages.asks(cell) else {"text/plain", "image/png"}
            assert pages.WIDGET not in data or still <= data.keys(), f"a dead box:\n{cell.source}"
            assert len(data.get("image/png", "")) < MAX_IMAGE, f"a large picture:\n{cell.source}"
    for i, output, words in pages.descriptions(nb):
        assert words, f"a picture without a printed line:\n{nb.cells[i].source}"
        assert output.metadata["image/png"]["alt"] == words
