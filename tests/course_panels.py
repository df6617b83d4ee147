"""Every slider panel of the course, taken from the pages themselves, so that none can be forgotten.

A page shows a panel where a code cell ends with it; stored, such a cell has a widget's view. `build` runs that cell and
the cells it depends on, as `catch_up` does: quietly, and with the kept results in place of the long trainings.
"""
from __future__ import annotations

import ast
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pages

from lora_lab.classroom import catching_up
from lora_lab.figures.live import LiveFigure


@dataclass
class Shown:
    """A cell that shows a panel. cell: its index in the page; number: of the code cell, from 1; name: the variable."""

    page: str
    cell: int
    number: int
    name: str
    source: str

    @property
    def title(self) -> str:
        return f"{self.page} {self.name}"


def shown_panels(path: Path) -> list[Shown]:
    """The cells of a page that show a widget, by their stored outputs. Runs nothing."""
    found, number = [], 0
    for i, cell in enumerate(pages.read(path).cells):
        if cell.cell_type != "code":
            continue
        number += 1
        if any(pages.WIDGET in output.get("data", {}) for output in cell.outputs) and not pages.asks(cell):
            last = ast.parse(cell.source).body[-1]
            name = ast.unparse(last.value) if isinstance(last, ast.Expr) else "?"
            found.append(Shown(path.stem[:2], i, number, name, cell.source))
    return found


def every_shown_panel() -> list[Shown]:
    return [shown for path in pages.page_files() for shown in shown_panels(path)]


class Page:
    """One page's panels. `build` makes a panel; called again, it makes another one from the same data."""

    def __init__(self, number: str) -> None:
        self.path = pages.find_page(number)
        self.shown = shown_panels(self.path)
        self.sources = catching_up.code_of(self.path.stem[:2])
        self._kept = catching_up.KeptTrainings(self.path.stem[:2], catching_up.fingerprint(self.sources))
        self._namespace: dict = {"__name__": "__main__"}
        self._ran: set[int] = set()

    def build(self, shown: Shown) -> LiveFigure:
        """The panel as this page shows it. In the order of the page; a later panel's cells may replace a name."""
        above = {i: s for i, s in self.sources.items() if i <= shown.cell}
        needed = [i for i in catching_up.needed_cells(above, shown.cell) if i not in self._ran]
        # A page may begin with panels of its own; its trainings print, and its paths are relative to notebooks/.
        before = os.getcwd()
        os.chdir(pages.NOTEBOOKS)
        try:
            catching_up.run_cells(self.sources, [*needed, shown.cell], self._namespace, self._kept)
        finally:
            os.chdir(before)
        self._ran |= {*needed, shown.cell}
        panel = eval(shown.name, self._namespace)  # the name at the end of the cell
        if not isinstance(panel, LiveFigure):
            raise TypeError(f"page {shown.page} shows {shown.name}, a {type(panel).__name__}, which is no LiveFigure.")
        return panel


def every_panel(numbers: Collection[str] = ()) -> Iterator[tuple[Shown, LiveFigure]]:
    """Every panel of the course (of these pages), page by page; a page's data is dropped after its panels."""
    for path in pages.page_files():
        if not numbers or path.stem[:2] in numbers:
            page = Page(path.stem[:2])
            for shown in page.shown:
                yield shown, page.build(shown)
