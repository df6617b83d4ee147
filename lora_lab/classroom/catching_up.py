"""`catch_up("04.2")`: put somebody who came late, or whose kernel died, where the room is.

It runs the page's own code cells above that section, quietly: no text, no figures, no cards of predictions. Whoever
runs a cell out of order is told which section makes the name that is missing.
"""

import contextlib
import json
import re
import symtable
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import matplotlib.pyplot as plt
from IPython import get_ipython
from IPython.utils.capture import capture_output

from .claims import say
from .pages import Page, find_page, split_number

begun_page: str | None = None  # "04" once `lora_lab.begin("04")` has run in this kernel


def begin_page(number: str) -> str:
    """Note which page this kernel runs, as "04"; in a notebook, a NameError says from now on where its name is made."""
    global begun_page
    begun_page = str(number).zfill(2)
    if shell := get_ipython():
        shell.set_custom_exc((NameError,), _show_name_error)
    return begun_page


class Section(NamedTuple):
    """A `##` heading of a page: its number "04.2", its title, and the index of its cell."""

    number: str
    title: str
    cell: int


def cells_of(page: Page) -> list[tuple[str, str]]:
    """(kind, source) of the notebook's cells."""
    notebook = json.loads(page.file.read_text(encoding="utf-8"))
    return [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]


def code_above(page: Page, cell: int) -> list[str]:
    """The page's code cells above a cell, without the cards that only ask a prediction."""
    code = [source for kind, source in cells_of(page)[:cell] if kind == "code"]
    return [source for source in code if not source.startswith("lora_lab.predict(")]


def sections(page: Page) -> list[Section]:
    """The headings of a page such as "## 4.2 Two rules", in order."""
    heading = re.compile(rf"^## {int(page.number)}\.(\d+) (.+?)\s*$", re.MULTILINE)
    found = []
    for i, (kind, source) in enumerate(cells_of(page)):
        if kind == "markdown":
            found += [Section(f"{page.number}.{position}", title, i) for position, title in heading.findall(source)]
    return found


def listed(page: Page) -> str:
    """The page's sections, a line each, as calls of `catch_up`."""
    lines = [f"   catch_up({s.number!r})   {s.title}" for s in sections(page)]
    return "\n".join([f"Page {page.number} has", *lines])


def where_made(name: str, page: Page, cell: str) -> str:
    """Which section's cells make a name, and the call that brings it; "" if the page does not make it.

    cell: what was run. If it is a cell of the page, the call brings all that is above its section.
    """
    sources = [source if kind == "code" else "" for kind, source in cells_of(page)]
    here = next((i for i, source in enumerate(sources) if source.strip() == cell.strip()), 0)
    for i, source in enumerate(sources):
        symbols = symtable.symtable(source, "<page>", "exec").get_symbols()
        if any(s.get_name() == name and (s.is_assigned() or s.is_imported()) for s in symbols):
            above = [s.number for s in sections(page) if s.cell < i]
            below = [s.number for s in sections(page) if i < s.cell < here]
            below = below or [s.number for s in sections(page) if i < s.cell][:1]
            place = f"section {above[-1]}" if above else "the page's first cells"
            call = f", or call lora_lab.catch_up({below[-1]!r})" if below else ""
            return f"`{name}` is made in {place}: run the cells there{call}."
    return ""


def _show_name_error(shell, kind, error, traceback, tb_offset=None) -> None:
    with contextlib.suppress(Exception):  # the learner's error is shown, whatever happens here
        if note := where_made(error.name, find_page(begun_page), shell.user_ns["In"][-1]):
            error.add_note(note)
    shell.showtraceback((kind, error, traceback), tb_offset=tb_offset)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Nothing is printed or displayed, and the figures made inside are closed."""
    before = plt.get_fignums()
    try:
        with capture_output():
            yield
    finally:
        for number in set(plt.get_fignums()) - set(before):
            plt.close(number)


def catch_up(point: str, namespace: dict | None = None, *, anyway: bool = False) -> None:
    """Put this kernel where the page is at the beginning of section `point`, such as "04.2" (page 04, section 2).

    The names of all cells above exist afterwards, with the values that Run All gives them; whatever else a learner has
    defined stays. If a cell fails or is interrupted, the names are as they were before the call. A page alone, "04",
    lists its sections. namespace: where to put the names; by default the notebook's (or the caller's globals).

    Raises ValueError for a section that does not exist, with the list of those that do, and for one of another page
    than the kernel has begun, unless `anyway`.
    """
    global begun_page
    number, place = split_number(point)
    page, begun_before = find_page(number), begun_page
    if not place:
        say(listed(page))
        return
    section = next((s for s in sections(page) if s.number == f"{number}.{place}"), None)
    if section is None:
        raise ValueError(f"{point!r} is no section of page {number}. {listed(page)}")
    if begun_before not in (None, number) and not anyway:
        raise ValueError(
            f"this is page {begun_before}, and catch_up({point!r}) would run the cells of page {number} here: "
            f"open that page, or call catch_up({point!r}, anyway=True)."
        )
    if namespace is None:
        namespace = sys._getframe(1).f_globals
    before, start = dict(namespace), time.perf_counter()
    try:
        for source in code_above(page, section.cell):
            with quietly():
                exec(compile(source, f"<page {number}>", "exec"), namespace)
    except BaseException:
        for name in set(namespace) - set(before):
            del namespace[name]
        namespace.update(before)
        begun_page = begun_before
        raise
    seconds = time.perf_counter() - start
    say(f"You are at {section.number}, “{section.title}”: go on with the cells below that heading. ({seconds:.0f} s)")
