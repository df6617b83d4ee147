"""Every slider panel of the course, made by the pages' own cells, so that none can be forgotten."""

from __future__ import annotations

import ast
import contextlib

import pages

from lora_lab.classroom.catching_up import quietly
from lora_lab.figures.live import LiveFigure


def pages_with_panels() -> list[str]:
    """Their numbers, by what is stored. Runs nothing."""
    found = []
    for path in pages.page_files():
        if pages.panel_cells(pages.read(path)):
            found.append(path.stem[:2])
    return found


def panels_of(number: str) -> list[LiveFigure]:
    """The panels of page "04", in order. The page's cells up to the last of them are run quietly, as catch_up does."""
    nb = pages.read(pages.find_page(number))
    cells = pages.code_cells(nb)
    last = cells.index(pages.panel_cells(nb)[-1])
    namespace: dict = {"__name__": "__main__"}
    shown = []
    with contextlib.chdir(pages.NOTEBOOKS), quietly():
        for cell in cells[: last + 1]:
            if pages.asks(cell):
                continue
            value = run_cell(cell.source, namespace)
            if isinstance(value, LiveFigure):
                shown.append(value)
    return shown


def run_cell(source: str, namespace: dict) -> object:
    """Run it as a notebook does: the value of its last line, if that is an expression, else None."""
    tree = ast.parse(source)
    last = tree.body[-1]
    if not isinstance(last, ast.Expr):
        exec(compile(tree, "<page>", "exec"), namespace)
        return None
    exec(compile(ast.Module(tree.body[:-1], []), "<page>", "exec"), namespace)
    return eval(compile(ast.Expression(last.value), "<page>", "eval"), namespace)
