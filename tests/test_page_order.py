"""Pages run twice and out of order: the record, and the quickest page in real kernels.

The full run is `python tests/page_order.py`.
"""
from __future__ import annotations

import json
import re

import nbformat
import page_order
import pages
import pytest

TAKES = "run python tests/page_order.py"


def test_the_record_is_up_to_date_and_no_cell_is_silent():
    record = json.loads(page_order.RECORD.read_text(encoding="utf-8"))
    assert list(record) == [p.stem for p in pages.page_files()], TAKES
    for path in pages.page_files():
        entry = record[path.stem]
        assert page_order.bad(entry) == [], path.stem
        assert entry["sha256"] == pages.content_hash(pages.read(path)), f"{path.name} changed: {TAKES} {path.stem}"
    assert not re.search(pages.MACHINE, json.dumps(record))


def test_the_quickest_page_twice_and_in_random_order():
    entry = page_order.examine(pages.find_page("00"), seed=3)
    assert page_order.bad(entry) == [] and entry["shuffled"]["errors"].get("NameError", 0) >= 1


def output(text: str):
    return nbformat.v4.new_output("stream", name="stdout", text=text)


NOTICE = "(Not the page's order: `a` may not be what the page means here. Run All puts it right.)\n"


@pytest.mark.parametrize(
    "outputs, kind",
    [
        ([output("loss 1\n")], "same"),
        ([output("loss 2\n")], "silent"),
        ([], "silent"),
        ([output(NOTICE + "loss 2\n")], "said"),
        ([output(NOTICE + "loss 1\n")], "same"),
        ([nbformat.v4.new_output("error", ename="NameError", evalue="name 'a' is not defined")], "error"),
        ([output("loss 2\n"), nbformat.v4.new_output("error", ename="ClaimError", evalue="✗ so")], "error"),
        ([nbformat.v4.new_output("error", ename="AttributeError", evalue="no b")], "odd error"),
    ],
)
def test_verdicts(outputs, kind):
    cell = nbformat.v4.new_code_cell("print(a)", outputs=[output("loss 1\n")])
    assert page_order.verdict(cell, outputs)[0] == kind


def test_what_is_wrong_with_an_entry_is_said():
    good = {"cells": 2, "same": 2, "shown": {}}
    entry = {how: dict(good) for how in ("once", "twice", "again", "shuffled")}
    assert page_order.bad(entry) == []
    silent = {**good, "same": 1, "shown": {"2": ["silent", "1 -> 2"]}}
    assert "shuffled, code cell [2]: silent: 1 -> 2" in page_order.bad({**entry, "shuffled": silent})
    said = {**good, "same": 1, "shown": {"2": ["said", "1 -> 2"]}}
    assert page_order.bad({**entry, "again": said}) == []
    assert len(page_order.bad({**entry, "twice": said})) == 2
