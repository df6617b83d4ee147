"""The course in JupyterLab: two whole pages, and the digits' panels, with their field of buttons, on a notebook.

What a panel must show is asked from its pure function, drawn afresh in the page's kernel at the positions that the
browser shows: the caption must be the same text and the picture the same bytes. Every panel's controls are moved
without a browser, after its page has run (conftest.py). Other pages as a whole:
LAB_PAGES="01 02" python -m pytest tests/browser
"""

import os

import lab
import nbformat
import pages
import pytest

from lora_lab.classroom import predictions
from lora_lab.classroom.pages import PAGES, find_page

NUMBERS = {page.subject: page.number for page in PAGES}
WHOLE = os.environ.get("LAB_PAGES", "").split() or [NUMBERS["start_here"], NUMBERS["broken"]]
CARDS = [predictions.find(number) for number in ("1.2", "5.3")]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """opened(path): that notebook in a tab, its Run All started. One server and one browser for all of them."""
    for package in ("playwright", "jupyterlab"):
        pytest.importorskip(package)
    if lab.find_chromium() is None:
        pytest.skip("no Chromium here: apt install chromium, or playwright install chromium, or set CHROMIUM")
    with lab.jupyter_lab(tmp_path_factory.mktemp("lab")) as server, lab.chromium() as context:

        def start(path):
            page = lab.Page(server, context, path)
            page.stills = [panel.is_still() for panel in page.panels()]  # before it has ever run
            page.start_run()
            return page

        start.root = server.root
        yield start


@pytest.fixture(scope="module")
def others(opened):
    """Cards of predictions and the digits' panels, in one kernel that runs from now on."""
    sources = ["import lora_lab", *(f"lora_lab.predict({card.number!r})" for card in CARDS)]
    sources += ["from lora_lab.classroom.pages import find_page\nfrom lora_lab.classroom.site.panels import panels_of"]
    sources += [f"display(*panels_of(find_page({NUMBERS['digits']!r})))"]
    nb = nbformat.v4.new_notebook(metadata={"kernelspec": pages.KERNELSPEC})
    nb.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nb, opened.root / "others.ipynb")
    return opened("others.ipynb")


@pytest.fixture(scope="module", params=WHOLE)
def page(opened, others, request):
    """A whole page after Run All. Its kernel ends with it."""
    page = opened(f"notebooks/{find_page(request.param).file.name}")
    page.finish_run()
    yield page
    page.tab.close()
    page.end_kernel()


@pytest.fixture(autouse=True)
def no_complaints(request):
    """The browser has reported no error, and no output is a dead box."""
    yield
    for name in ("page", "others"):
        page = request.node.funcargs.get(name)
        if page and not page.tab.is_closed():
            assert not page.console and not page.dead_boxes()


def every_control_moves_its_picture(page):
    """By keyboard; after each move the panel shows what its function says, and one move changes something."""
    for panel in page.panels():
        for label in panel.about()["labels"]:
            first = before = panel.settle()
            for _ in range(6):  # some neighbours look alike
                panel.step(label)
                after = panel.settle()
                assert after["positions"][label] != before["positions"][label], f"{label} does not move"
                if (after["picture"], after["caption"]) != (first["picture"], first["caption"]):
                    break
                before = after
            else:
                raise AssertionError(f"{panel.about()['name']}: no move of {label} changes anything")


# ---- whole pages


def test_still_pictures_come_alive_after_run_all(page):
    assert page.stills and all(page.stills), "before it has ever run"
    cells = page.state()["cells"]
    assert [cell["errors"] for cell in cells if cell["errors"]] == []
    assert [cell["count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert len(page.panels()) == len(page.stills)
    every_control_moves_its_picture(page)


@pytest.mark.parametrize("page", WHOLE[:1], indirect=True)
def test_a_reopened_page_shows_still_pictures_and_run_all_wakes_them(page):
    before = [panel.settle() for panel in page.panels()]
    page.reopen_without_kernel()
    for panel, old in zip(page.panels(), before, strict=True):
        panel.node.locator("img.widget-image").wait_for()
        now = panel.shown()
        assert now["asleep"] == "This is a still picture: Run ▸ Run All Cells wakes the sliders."
        assert now == {**old, "asleep": now["asleep"]}
    count = "len(__import__('ipywidgets').widgets.widget._instances)"
    page.start_run()
    page.finish_run()
    once = page.ask(count)
    page.start_run()
    page.finish_run()
    assert page.ask(count) == once, "a second Run All leaves widgets of the first behind"
    every_control_moves_its_picture(page)


# ---- the notebook made for the rest


def test_the_digits_panels_follow_their_controls(others):
    cells = others.finish_run(600)["cells"]
    assert [cell["errors"] for cell in cells if cell["errors"]] == []
    assert len(others.panels()) == 2
    every_control_moves_its_picture(others)


def card_on(page, prediction):
    return page.tab.locator(".jp-OutputArea-output").filter(has_text=f"Predict {prediction.number}.")


def test_a_card_is_answered_by_mouse_and_by_keyboard(others):
    others.finish_run(600)
    with_mouse, with_keys = [card_on(others, prediction) for prediction in CARDS]
    compare = with_mouse.get_by_role("button", name="Compare with the page")
    with_mouse.locator("button.widget-toggle-button").first.wait_for()
    assert compare.is_disabled() and not with_mouse.locator("button.mod-active").count()
    with_mouse.locator("button.widget-toggle-button").nth(1).click()
    with_mouse.get_by_text("You chose B.").wait_for()
    compare.click()
    with_mouse.get_by_text("You said B, ").wait_for()
    with_keys.locator("button.widget-toggle-button").first.focus()
    for key in ("Tab", "Space"):
        others.tab.keyboard.press(key)
    with_keys.get_by_text("You chose B.").wait_for()
    assert others.ask(f"lora_lab.classroom.predictions.find({CARDS[1].number!r}).chosen") == ["B"]


def test_reopened_it_has_no_dead_box_and_the_cards_say_how_to_wake_them(others):
    others.finish_run(600)
    others.reopen_without_kernel()
    for panel in others.panels():
        panel.node.locator("img.widget-image").wait_for()
    card_on(others, CARDS[0]).get_by_text("Nobody answers here: Run ▸ Run All Cells wakes the buttons.").wait_for()
    assert not others.dead_boxes()
