"""A cell that runs out of the page's order says so, and one that does not says nothing."""
from __future__ import annotations

import pytest
import torch

from lora_lab import latecomer, order

PAGE = {
    0: "import torch\nfrom lora_lab import train, evaluate, claim",
    2: "layer = make(r=1)\nlr = 0.1",
    3: "train(layer, X, y, lr=lr)\nbefore = evaluate(layer, X, y)",
    5: "print(before)",
    6: "layer = make(r=8)",
    7: "for r in (1, 2):\n    losses = fit(r)",
    8: "print(losses)",
    9: "panel.walk('r')",
    10: "panel.set(r=4)",
    11: "panel.walk('r')",
    12: "seen = {}\nseen['a'] = lr",
    13: "panel.walk('alpha')",
}
PAGE[1] = "X, y = data()\npanel = film()"


class Thing:
    """What stands for a layer or a tensor: something that a call may change."""


@pytest.fixture
def page():
    return Reader(order.Book(PAGE))


class Reader:
    """Runs cells as a notebook does; say(...) tells what each of them printed."""

    def __init__(self, book: order.Book) -> None:
        self.book, self.values = book, {}

    def run(self, *cells: int | str, clean: bool = True) -> dict[int | str, list[str]]:
        said = {}
        for cell in cells:
            code = PAGE.get(cell, cell)
            found = self.book.find(code)
            names = self.book.doubtful(found, self.values) if found is not None else []
            makes = self.book.makes[found] if found is not None else latecomer._names(latecomer.ast.parse(code)).binds
            self.values |= {name: 0.1 if name == "lr" else Thing() for name in makes}
            self.book.ran(code, found, clean=clean and not names)
            if names:
                said[cell] = names
        return said


def test_run_all_and_run_all_again_say_nothing(page):
    assert page.run(*sorted(PAGE)) == {} and page.run(*sorted(PAGE)) == {}


def test_a_training_cell_run_twice_says_that_its_layer_has_been_trained(page):
    page.run(0, 1, 2, 3)
    assert page.run(3) == {3: ["layer"]}
    assert page.run(5) == {5: ["before"]}, "what it made is in doubt, too"
    assert page.run(2, 3, 5) == {}, "from the cell that makes the layer on, all is well again"


def test_a_name_that_a_cell_further_down_took(page):
    page.run(*sorted(PAGE))
    assert page.run(3) == {3: ["layer"]} and page.run(8) == {}


def test_a_panel_that_was_moved_further_down(page):
    page.run(*sorted(PAGE))
    assert page.run(9) == {9: ["panel"]}
    assert page.run(1, 9) == {}


def test_a_skipped_cell_that_should_have_changed_a_name(page):
    page.run(0, 1, 2)
    assert page.run(10, 11) == {}
    assert Reader(order.Book(PAGE)).run(0, 1, 13) == {13: ["panel"]}


def test_numbers_and_functions_cannot_be_changed_by_a_call(page):
    page.run(*sorted(PAGE))
    assert "lr" not in page.run(3, 12).get(12, [])


def test_a_missing_name_is_left_to_python(page):
    assert page.run(0, 5) == {}


def test_what_a_reader_changed_on_purpose_is_not_commented(page):
    page.run(0, 1, 2)
    assert page.run("layer = my_own()", 3, 5) == {}
    assert page.run("layer = make(r=1)  # edited\nlr = 0.2", 3, "train(layer, X, y)") == {}
    page.book.ran("%timeit layer", page.book.find("%timeit layer"))  # no Python: nothing is known, nothing is said
    assert page.run(3) == {}


def test_a_cell_that_stopped_half_way(page):
    page.run(0, 1, 2)
    page.run(3, clean=False)
    assert page.run(5) == {5: ["before"]}


def test_equal_cells_are_told_apart_by_what_ran_before(page):
    page.run(0, 1, 2, 3, 5, 6, 7, 8)
    assert [page.book.find(PAGE[9]), page.run(9, 10), page.book.find(PAGE[9])] == [9, {}, 11]


def test_catching_up_puts_everything_in_order(page):
    page.run(*sorted(PAGE))
    page.run(3)
    page.book.caught_up(5)
    assert page.run(5, 6, 7, 8, 9) == {}


def test_a_call_that_was_seen_to_change_nothing_counts_as_none(page):
    page.run(0, 1, 2)
    page.book.ran(PAGE[3], 3, unchanged={"layer"})
    assert page.run(3) == {}
    page.book.ran(PAGE[3], 3)
    assert page.run(3) == {3: ["layer"]}


def test_what_a_change_in_place_leaves_behind():
    layer = torch.nn.Linear(3, 2)
    for thing, change in (
        (layer, lambda: layer.bias.detach().add_(1)),
        (layer, lambda: layer.weight.data.add_(1)),
        (layer, layer.eval),
        (layer, lambda: setattr(layer, "scaling", 2.0)),
        (layer, lambda: layer(torch.ones(1, 3)).sum().backward()),
        (t := torch.zeros(3), lambda: t.add_(1)),
        (d := {"a": [1]}, lambda: d["a"].append(2)),
    ):
        before = order.stamp(thing)
        assert before is not None and order.stamp(thing) == before
        change()
        assert order.stamp(thing) != before
    assert order.stamp(object()) is None and order.stamp([object()]) is None


def test_the_notice_is_one_line():
    assert order.notice(["layer"]) == (
        "(Not the page's order: `layer` may not be what the page means here. Run All puts it right.)"
    )
    assert "`a`, `b`, `c`, `d` … may" in order.notice(list("abcde"))


@pytest.mark.parametrize("number", [f"{n:02d}" for n in range(10)])
def test_no_page_comments_on_its_own_order(number):
    cells = latecomer._cells(latecomer.find_page(number))
    book = order.Book({i: text for i, (kind, text) in enumerate(cells) if kind == "code"})
    values = {name: torch.zeros(1) for i in book.order for name in book.reads[i] | book.makes[i]}
    for _ in range(2):
        for i in book.order:
            assert book.doubtful(i, values) == [], book.text[i]
            book.ran(book.text[i], i)


def test_nothing_happens_outside_a_notebook():
    order.watch("03")
    assert order._watching is None
