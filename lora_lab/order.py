"""Says so when a page's cells run in another order than the page's, and a name may not be what the page means by it.

A page that runs from top to bottom prints the numbers of its text. Somebody who scrolls up and runs a cell again may
get others: `layer` is by then another layer, or has been trained further. `begin` therefore keeps book, in a notebook
only: which cells of the page have made or changed which names. Before a cell runs, the names it reads are compared with
those it reads in the page's order; where they differ, one line is printed. Whether a call may have changed its argument
is read off the code, as in `latecomer`, and looked up afterwards where that is possible (`stamp`). Where it is not, it
may; so says the line.

Cells that are not on the page, or that a reader has edited, are the reader's own, and nothing is said about them.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import sys
import types
from collections.abc import Callable, Collection, Mapping

from .latecomer import TRUSTED, _cells, _names, _touches, find_page

UNCHANGED = (int, float, complex, str, bytes, bool, type(None), tuple, type, types.FunctionType, types.ModuleType)
OWN = None  # in a history: a cell that is not of the page


class Book:
    """What the cells of one page read and write, and in which order they have run. sources: {index: code}."""

    def __init__(self, sources: Mapping[int, str]) -> None:
        self.order = sorted(sources)
        self.text = {i: _plain(sources[i]) for i in self.order}
        trees = {i: ast.parse(sources[i]) for i in self.order}
        imports = [n for t in trees.values() for n in ast.walk(t) if isinstance(n, (ast.Import, ast.ImportFrom))]
        self.imported = set(dir(builtins)).union(*(_names(n).binds for n in imports))
        self.reads, self.makes, self.changes = {}, {}, {}
        for i, tree in trees.items():
            self.reads[i], self.makes[i], self.changes[i] = self._of(tree)
        # {name: cells that made or changed it, from the last one that made it}; ~i for a cell that ran in doubt
        self.history: dict[str, list[int | None]] = {}
        self.expected: dict[int, dict[str, list[int | None]]] = {}
        page: dict[str, list[int | None]] = {}
        for i in self.order:
            made = {name for name in self.reads[i] if name in page and name in self.makes[page[name][0]]}
            self.expected[i] = {name: list(page[name]) for name in made}
            self._write(page, i, self.makes[i], self.changes[i])
        self.last = -1
        # (cell, name): calls that might have changed a name, and were seen not to, or to, when the cell ran
        self.harmless: set[tuple[int, str]] = set()
        self.harmful: set[tuple[int, str]] = set()

    def _of(self, tree: ast.AST) -> tuple[set[str], set[str], set[str]]:
        names = _names(tree)
        changes = (_touches(tree, self.imported, TRUSTED) | (names.binds & names.needs)) - self.imported
        return names.needs - self.imported, names.binds - self.imported - names.needs, changes

    @staticmethod
    def _write(history: dict, entry: int | None, makes: set[str], changes: set[str]) -> None:
        for name in makes:
            history[name] = [entry]
        for name in changes - makes:
            history.setdefault(name, []).append(entry)

    def find(self, code: str) -> int | None:
        """The cell of the page with this code; of equal ones the next below the cell that ran last."""
        same = [i for i in self.order if self.text[i] == _plain(code)]
        return next((i for i in same if i > self.last), same[0] if same else None)

    def doubtful(self, cell: int, values: Mapping[str, object]) -> list[str]:
        """The names that the cell reads and that are not as they are in the page's order; values: the notebook's."""
        out = []
        for name, expected in self.expected[cell].items():
            history = self.history.get(name, [])
            own = bool(history) and history[0] is OWN
            found = [e for e in history if e is not OWN and (max(e, ~e), name) not in self.harmless]
            expected = [e for e in expected if (e, name) not in self.harmless]
            if own or not found or name not in values:  # the reader's own name, or a NameError to come
                continue
            if isinstance(values[name], UNCHANGED):  # what cannot be changed: who made it is all that counts
                found, expected = found[:1], expected[:1]
            if found != expected:
                out.append(name)
        return sorted(out)

    def ran(
        self,
        code: str,
        cell: int | None,
        clean: bool = True,
        unbound: Collection[str] = (),
        unchanged: Collection[str] = (),
    ) -> None:
        """Enter a cell that has run. clean: without an error and without doubtful names; unbound, unchanged: names
        that it did not bind, and names whose objects were seen to be the same afterwards."""
        if cell is None:
            with contextlib.suppress(SyntaxError):
                _, makes, changes = self._of(ast.parse(code))
                self._write(self.history, OWN, makes, changes)
            return
        self._write(self.history, cell if clean else ~cell, self.makes[cell] - set(unbound), self.changes[cell])
        seen = {(cell, name) for name in unchanged}
        self.harmful |= {(cell, name) for name in self.changes[cell]} - seen
        self.harmless = (self.harmless | seen) - self.harmful
        self.last = cell

    def caught_up(self, cell: int) -> None:
        """All names are as the page has them above this cell."""
        self.history = {}
        for i in (i for i in self.order if i < cell):
            self._write(self.history, i, self.makes[i], self.changes[i])


def _plain(code: str) -> str:
    return "\n".join(line.rstrip() for line in code.strip().splitlines())


def stamp(thing: object, depth: int = 2) -> object:
    """What differs as soon as the thing has been changed in place; None where that cannot be told."""
    import torch

    if isinstance(thing, UNCHANGED):
        return "never"
    if isinstance(thing, torch.Tensor):
        grad = thing.grad if thing.is_leaf else None
        total = float(thing.detach().double().sum()) if thing.numel() <= 2_000_000 else 0  # .data leaves no version
        seen = (thing._version, thing.requires_grad, None if grad is None else grad._version)
        return repr((id(thing), *seen, id(grad), total))
    if isinstance(thing, torch.nn.Module):
        numbers = [(name, stamp(t)) for name, t in (*thing.named_parameters(), *thing.named_buffers())]
        plain = (bool, int, float, str)
        flags = [[(k, v) for k, v in vars(m).items() if isinstance(v, plain)] for m in thing.modules()]
        return repr((numbers, [type(m).__name__ for m in thing.modules()], flags))
    live = sys.modules.get("lora_lab.live")  # not imported for this
    if live and isinstance(thing, live.LiveFigure):
        return repr((thing.values, thing.caption))
    if depth and isinstance(thing, (dict, list)) and len(thing) <= 1000:
        inside = [stamp(v, depth - 1) for v in (thing.values() if isinstance(thing, dict) else thing)]
        return None if None in inside else repr((list(thing) if isinstance(thing, dict) else None, inside))
    return None


def notice(names: list[str]) -> str:
    """One line about names that are not as the page has them."""
    listed = ", ".join(f"`{name}`" for name in names[:4]) + (" …" if len(names) > 4 else "")
    return f"(Not the page's order: {listed} may not be what the page means here. Run All puts it right.)"


def _quietly(hook: Callable[[object], None]) -> Callable[[object], None]:
    """A luxury: no page may fail, or show a traceback, because of it."""

    def call(about: object) -> None:
        with contextlib.suppress(Exception):
            hook(about)

    return call


class Watcher:
    """Keeps a Book of what an IPython shell runs, and prints the notices."""

    def __init__(self, shell, page: str) -> None:
        self.page, self.shell = page, shell
        cells = _cells(find_page(page))
        self.book = Book({i: text for i, (kind, text) in enumerate(cells) if kind == "code"})
        self._names: list[str] = []
        self._before: dict[str, int] = {}
        self._stamps: dict[str, object] = {}
        self._hooks = {"pre_run_cell": _quietly(self.before), "post_run_cell": _quietly(self.after)}
        for event, hook in self._hooks.items():
            shell.events.register(event, hook)

    def stop(self) -> None:
        for event, hook in self._hooks.items():
            self.shell.events.unregister(event, hook)

    def before(self, info) -> None:
        self._names, values = [], self.shell.user_ns
        cell = self.book.find(info.raw_cell)
        if cell is None:
            return
        self._before = {name: id(values.get(name)) for name in self.book.makes[cell]}
        self._stamps = {name: stamp(values[name]) for name in self.book.changes[cell] if name in values}
        self._names = self.book.doubtful(cell, values)
        if self._names:
            print(notice(self._names))

    def after(self, result) -> None:
        code, values = result.info.raw_cell, self.shell.user_ns
        cell = self.book.find(code)
        stopped = not result.success
        kept = {name for name, was in self._before.items() if id(values.get(name)) == was} if stopped else set()
        same = {name for name, was in self._stamps.items() if was is not None and stamp(values.get(name)) == was}
        self.book.ran(code, cell, clean=not (self._names or stopped), unbound=kept, unchanged=same)
        self._names, self._before, self._stamps = [], {}, {}


_watching: Watcher | None = None


def watch(page: str) -> None:
    """Keep book of this page in this kernel. Does nothing outside a notebook, or where the pages are not there."""
    global _watching
    with contextlib.suppress(Exception):  # as in _quietly
        from IPython import get_ipython

        shell = get_ipython()
        if shell is None or getattr(shell, "kernel", None) is None or (_watching and _watching.page == page):
            return
        if _watching:
            _watching.stop()
        _watching = Watcher(shell, page)


def caught_up(page: str, cell: int) -> None:
    """`catch_up` has put the notebook where this page is above this cell."""
    if _watching and _watching.page == page:
        _watching.book.caught_up(cell)
