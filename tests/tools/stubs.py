"""python tests/tools/stubs.py [04 ...]: writes the exercises' cells and headings into the notebooks (all by default).

The first exercise of the subject goes into the page's first cell that calls `check`, and so on. Nothing else of the
page is touched. A page with more or fewer such cells than exercises is named and left as it is.
"""

from __future__ import annotations

import json
import re
import sys

from lora_lab.classroom import exercises
from lora_lab.classroom.pages import PAGES


def exercise_cells(cells: list[dict]) -> list[int]:
    """The indices of a page's exercise cells."""
    return [i for i, cell in enumerate(cells) if cell["cell_type"] == "code" and 'check("' in "".join(cell["source"])]


def put(cell: dict, text: str) -> None:
    cell["source"] = text.splitlines(keepends=True)  # the form that Jupyter keeps it in


def write_stubs(notebook: dict, page: str) -> str:
    """Change the notebook; "" or what stands against it."""
    cells, there = notebook["cells"], exercises.of_page(page)
    places = exercise_cells(cells)
    if len(places) != len(there):
        numbers = f"page {page} has {len(places)} exercise cells, its subject has {len(there)} exercises"
        return f"{numbers}: give each a heading `**Exercise , .** …` and below it a cell `check(\"\")`"
    for place, (number, exercise) in zip(places, there.items()):
        put(cells[place], exercise.stub(number))
        heading = "".join(cells[place - 1]["source"])
        title = f"**Exercise {number}, {exercise.title}.**"
        put(cells[place - 1], re.sub(r"\*\*Exercise [^*]*\*\*", title.replace("\\", r"\\"), heading, count=1))
    if places:
        for cell in cells[: places[0]]:
            text = "".join(cell["source"])
            if cell["cell_type"] == "markdown" and re.match(r"## .*Exercises", text):
                put(cell, re.sub(r'(hint|solution)\("\d+\.', rf'\1("{int(page)}.', text))
    return ""


if __name__ == "__main__":
    for page in PAGES:
        if page.file.exists() and (len(sys.argv) == 1 or page.number in sys.argv[1:]):
            exercises.of_page(page.number)  # opened before the notebook is, which others may be changing
            notebook = json.loads(page.file.read_text(encoding="utf-8"))
            if problem := write_stubs(notebook, page.number):
                print(problem)
            page.file.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
