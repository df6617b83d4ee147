"""A prediction's card in JupyterLab: chosen with the mouse and the keyboard, compared, and asleep without a kernel."""

import nbformat
import pages
import pytest

the_lab = pytest.importorskip("browser.lab", reason="the server and the browser of these tests are not here")

NUMBERS = ("1.2", "5.3")


@pytest.fixture(scope="module")
def page(server, browser):
    nb = nbformat.v4.new_notebook(metadata={"kernelspec": pages.KERNELSPEC})
    nb.cells = [nbformat.v4.new_code_cell("import lora_lab")]
    nb.cells += [nbformat.v4.new_code_cell(f'lora_lab.predict("{number}")') for number in NUMBERS]
    nbformat.write(nb, server.root / "cards.ipynb")
    page = the_lab.Page(server, browser, "cards.ipynb")
    page.start_run()
    page.finish_run()
    yield page
    page.close()


class Card:
    def __init__(self, page, number):
        self.page = page
        self.node = page.tab.locator(".jp-OutputArea-output").filter(has_text=f"Predict {number}.")
        self.buttons, self.compare = (self.node.locator("button.widget-toggle-button"),
                                      self.node.get_by_role("button", name="Compare with the page"))

    def chosen(self):
        return [text[0] for text in self.node.locator("button.mod-active").all_inner_texts()]

    def says(self, text):
        self.node.get_by_text(text).wait_for(timeout=30_000)
        return True

    def votes(self, number):
        return list(self.page.ask(f"lora_lab.predictions.votes({number!r})"))


def test_nothing_is_chosen_until_somebody_chooses(page):
    for number in NUMBERS:
        card = Card(page, number)
        card.buttons.first.wait_for()
        assert card.buttons.count() == 4 and card.chosen() == [] and card.compare.is_disabled()
        assert card.votes(number) == [] and not card.node.get_by_text("Nobody answers here").is_visible()
    assert not page.console and not page.dead_boxes()


def test_the_mouse_chooses_and_compares(page):
    card = Card(page, "1.2")
    card.buttons.nth(1).click()
    assert card.says("You chose B.") and card.chosen() == ["B"]
    card.buttons.nth(2).click()
    assert card.says("You chose C.") and card.votes("1.2") == ["B", "C"]
    card.compare.click()
    assert card.says("You said B, “about 30”, and then C, “about 1000”. So does the page: 1001 predicted")
    card.buttons.nth(0).click()
    assert card.says("You chose A.") and card.votes("1.2") == ["B", "C"]


def test_the_keyboard_does_too(page):
    card, keys = Card(page, "5.3"), page.tab.keyboard
    card.buttons.first.focus()
    keys.press("Tab")
    keys.press("Space")
    assert card.says("You chose B.") and card.chosen() == ["B"]
    keys.press("Tab")
    keys.press("Enter")
    assert card.says("You chose C.") and card.votes("5.3") == ["B", "C"]
    keys.press("Tab")
    keys.press("Tab")
    keys.press("Enter")
    assert card.says("You said B, ") and not page.console
    assert [c["errors"] for c in page.state()["cells"]] == [[], [], []]


def test_every_button_is_whole_in_a_narrow_window(page):
    card = Card(page, "5.3")
    page.tab.set_viewport_size({"width": 1000, "height": 800})
    try:
        for i in range(card.buttons.count()):
            cut = card.buttons.nth(i).evaluate("b => b.scrollWidth - b.clientWidth")
            assert cut <= 0, f"{card.buttons.nth(i).inner_text()!r} is cut off by {cut} pixels"
    finally:
        page.tab.set_viewport_size({"width": 1400, "height": 1000})


def test_a_page_saved_and_opened_again_keeps_the_choice_and_says_how_to_wake_the_card(page):
    page.save()
    page.end_kernel()
    page.open()
    card = Card(page, "1.2")
    assert card.says("Nobody answers here: Run ▸ Run All Cells wakes the buttons.") and card.chosen() == ["A"]
    assert card.says("So does the page: 1001 predicted") and not page.dead_boxes()
    page.start_run()
    page.finish_run()
    assert card.chosen() == [] and card.votes("1.2") == []
    card.buttons.nth(3).click()
    assert card.says("You chose D.") and not card.node.get_by_text("Nobody answers here").is_visible()
