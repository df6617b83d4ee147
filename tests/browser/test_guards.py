"""What the tests of test_in_lab.py ask of a panel catches the faults that it is there for."""

import json

import nbformat
import pages
import pytest

from . import broken
from . import lab as the_lab

NAMES = [*broken.FAULTS, "raising"]
BAR = """
from lora_lab.bar import progress_bar
import time

bar = progress_bar(2, "slow")
time.sleep(1.1)
bar.update()
print("halfway")
bar.update()
bar.close()
"""


@pytest.fixture(scope="module")
def page(server, browser):
    nb = nbformat.v4.new_notebook(metadata={"kernelspec": pages.KERNELSPEC})
    nb.cells = [nbformat.v4.new_code_cell(f"import broken\n\nbroken.panel({name!r})") for name in NAMES]
    nb.cells += [nbformat.v4.new_code_cell(source) for source in (BAR, "1 / 0")]
    nbformat.write(nb, server.root / "broken.ipynb")
    page = the_lab.Page(server, browser, "broken.ipynb")
    page.start_run()
    yield page
    page.close()


def test_a_cell_that_fails_is_seen(page):
    assert [c["errors"] for c in page.finish_run()["cells"] if c["errors"]] == [["ZeroDivisionError: division by zero"]]


def test_a_healthy_panel_passes(page):
    panel = next(p for p in page.panels() if p.about["name"] == "healthy")
    panel.follow("rank r")


@pytest.mark.parametrize("name, said", [
    ("dead", r"picture is another one .* the caption is 'r = 1, square 1'"),
    ("stale caption", r"2'}: the caption is 'r = 1, square 1', the function says 'r = 2, square 4'"),
    ("lagging", r"2'}: the picture is another one than the function draws$"),
    ("residue", r"2'}: the picture is another one than the function draws$"),
    ("raising", r"2'}: the function raises ZeroDivisionError\('broken at 2'\)"),
])  # fmt: skip
def test_a_broken_panel_is_caught(page, name, said):
    panel = next(p for p in page.panels() if p.about["name"] == name)
    with pytest.raises(AssertionError, match=said):
        panel.follow("rank r", timeout=2)


def test_a_progress_bar_leaves_no_dead_box(page):
    page.finish_run()
    [row] = [o for o in page.tab.evaluate("() => __lab.outputs()") if "halfway" in json.dumps(o)]
    assert [o.get("data") for o in row if "data" in o] == [{}]  # it was there
    page.save()
    page.end_kernel()
    page.open()
    assert not page.dead_boxes()
