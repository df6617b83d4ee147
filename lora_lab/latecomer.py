"""`catch_up("04.2")`: put somebody who came late, or whose kernel died, where the room is.

The page's own cells above that section are run, quietly, but only those that the rest of the page needs; figures,
claims and walks are left out. Trainings and sweeps are not repeated: their results lie in the package, put there by
`python tests/catch_up_points.py`, and are used if page and settings are those they were made with.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import io
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .exercises.claims import say

if TYPE_CHECKING:
    from torch import Tensor

    from .sweeps import Sweep

PACKAGE = Path(__file__).resolve().parent
PAGES = PACKAGE.parent / "notebooks"
KEPT = PACKAGE / "data" / "catch_up"
SHARED = "shared.safetensors"

# Calls that change none of their arguments: what is only drawn, printed or measured need not be run to catch up.
PURE_MODULES = {
    *("plots", "theory", "costs", "tasks", "bases", "panels", "timing", "math", "torch", "nn", "F", "np", "copy"),
    *("json", "re", "inspect", "Path"),
}
PURE_FUNCTIONS = {
    *("abs", "all", "any", "claim", "check", "dict", "enumerate", "evaluate", "float", "format", "int", "len", "list"),
    *("max", "min", "print", "range", "repr", "round", "set", "sorted", "str", "sum", "tuple", "type", "zip"),
    *("isinstance", "count_parameters", "delta_weights", "rank_floor", "adapter_state", "display", "sweep"),
}
PURE_METHODS = {
    *("walk", "line", "find", "along", "item", "tolist", "numel", "abs", "max", "min", "mean", "sum", "norm", "square"),
    *("clone", "detach", "items", "keys", "values", "join", "format", "split", "startswith", "delta_weight", "index"),
    *("sqrt", "std", "all", "any", "double", "float", "T", "view", "reshape", "flatten", "count", "delta", "error"),
}

TRUSTED = {  # a function: how many of its first arguments it may change, as in train(layer, X, y)
    **dict.fromkeys(("train", "add_lora", "remove_lora", "merge", "unmerge", "set_scale"), 1),
    **dict.fromkeys(("load_adapter", "load_adapter_state"), 1),
    **dict.fromkeys(("LoRALinear", "save_adapter"), 0),
}


class Section(NamedTuple):
    """A `##` heading of a page. number: "04.2"; at: the index of the first cell that belongs to it."""

    number: str
    title: str
    at: int


CARD = "lora_lab.predict("  # a prediction's card asks and computes nothing: no part of the page's code


def _cells(page: Path) -> list[tuple[str, str]]:
    nb = json.loads(page.read_text(encoding="utf-8"))
    return [(c["cell_type"], "".join(c["source"])) for c in nb["cells"]]


def code_of(page: str) -> dict[int, str]:
    """{index of the cell: source} of the code of page "04", without the cards."""
    cells = _cells(find_page(page))
    return {i: source for i, (kind, source) in enumerate(cells) if kind == "code" and not source.startswith(CARD)}


def find_page(number: str) -> Path:
    """The page "04". Raises ValueError that names those there are, or two that claim the number.

    A copy beside the page is none: JupyterLab's Duplicate makes 04_rank_and_alpha-Copy1.ipynb.
    """
    found = sorted(p for p in PAGES.glob("*.ipynb") if re.fullmatch(r"\d\d_[a-z0-9_]+\.ipynb", p.name))
    chosen = [page for page in found if page.stem[:2] == number]
    if len(chosen) > 1:
        names = " and ".join(page.name for page in chosen)
        raise ValueError(f"{PAGES.name}/ has two pages {number!r}: {names}. Move away the one that is not ours.")
    if chosen:
        return chosen[0]
    there = ", ".join(p.stem[:2] for p in found)
    cure = f"the course has {there}" if there else f"there is no {PAGES.name}/ beside the package: use a clone"
    raise ValueError(f"there is no page {number!r}; {cure}.")


def sections(page: str) -> list[Section]:
    """The sections of a page in order, numbered from 1."""
    found = []
    for i, (kind, source) in enumerate(_cells(find_page(page))):
        for line in source.splitlines() if kind == "markdown" else ():
            if line.startswith("## "):
                found.append(Section(f"{page}.{len(found) + 1}", line[3:].strip(), i))
    return found


def find_section(point: str) -> Section:
    """Section "04.2". Raises ValueError that lists the page's sections."""
    page, dot, number = str(point).partition(".")
    if not (dot and page.isdigit() and number.isdigit()):
        raise ValueError(f"point={point!r} is no section; write page and section, such as catch_up('04.2').")
    there = sections(f"{int(page):02d}")
    for section in there:
        if section.number == f"{int(page):02d}.{int(number)}":
            return section
    listed = "; ".join(f"{s.number} {s.title}" for s in there)
    raise ValueError(f"there is no section {point!r}. This page has {listed}.")


# ------------------------------------------------------------------------------------------- which cells are needed


def _root(node: ast.AST) -> str | None:
    """The name at the left end of a.b[c].d"""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call, ast.Starred)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


class _Names(ast.NodeVisitor):
    """What a piece of code needs from outside and what it binds at the page's level, in the order of execution.

    needs: names read before this code has bound them. binds: names bound, perhaps only on one branch; sure: names bound
    in any case. Names of comprehensions and functions are their own.
    """

    def __init__(self, known: frozenset[str] = frozenset()) -> None:
        self.needs: set[str] = set()
        self.binds: set[str] = set()
        self.sure: set[str] = set(known)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.needs |= {node.id} - self.sure
        else:
            self.binds.add(node.id)
            self.sure.add(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)
        for target in node.targets:
            self.visit(target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.needs |= {_root(node.target)} - {None} - self.sure
        self.visit(node.value)
        self.visit(node.target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:
            self.visit(node.value)
            self.visit(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        self.visit(node.target)

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        names = {(a.asname or a.name).split(".")[0] for a in node.names}
        self.binds |= names
        self.sure |= names

    visit_ImportFrom = visit_Import

    def _inside(self, *bodies: Sequence[ast.AST], own: set[str] = frozenset(), leaks: bool = False) -> set[str]:
        """Visit code that may run not at all. With leaks, what it binds is the page's. Returns what it binds surely."""
        inner = _Names(frozenset(self.sure | own))
        for body in bodies:
            for node in body:
                inner.visit(node)
        self.needs |= inner.needs
        if leaks:
            self.binds |= inner.binds
        return inner.sure

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        self._inside([node.target], node.body, node.orelse, leaks=True)

    def visit_While(self, node: ast.While) -> None:
        self._inside([node.test], node.body, node.orelse, leaks=True)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self.sure |= self._inside(node.body, leaks=True) & self._inside(node.orelse, leaks=True)

    def visit_Try(self, node: ast.Try) -> None:
        self._inside(node.body, leaks=True)
        for handler in node.handlers:
            self._inside(handler.body, own={handler.name} - {None}, leaks=True)
        self._inside(node.orelse, node.finalbody, leaks=True)

    def _comprehension(self, node: ast.AST) -> None:
        self.visit(node.generators[0].iter)
        own = {n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name)}
        parts = [g.iter for g in node.generators[1:]] + [c for g in node.generators for c in g.ifs]
        parts += [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        self._inside(parts, own=own)

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = _comprehension

    def _function(self, node: ast.FunctionDef | ast.Lambda) -> None:
        """A function's body is counted as read where the function is defined: it may be called from there on."""
        a = node.args
        for default in (*a.defaults, *a.kw_defaults, *getattr(node, "decorator_list", ())):
            if default is not None:
                self.visit(default)
        own = {arg.arg for arg in (*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg) if arg}
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        for n in (n for part in body for n in ast.walk(part) if isinstance(n, ast.Name)):
            own |= {n.id} if not isinstance(n.ctx, ast.Load) else set()
        self._inside(body, own=own)
        if not isinstance(node, ast.Lambda):
            self.binds.add(node.name)
            self.sure.add(node.name)

    visit_FunctionDef = visit_Lambda = _function

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            self.visit(base)
        self._inside(node.body)
        self.binds.add(node.name)
        self.sure.add(node.name)


def _names(code: ast.AST) -> _Names:
    found = _Names()
    found.visit(code)
    return found


def _pure(call: ast.Call) -> bool:
    f = call.func
    if isinstance(f, ast.Name):
        return f.id in PURE_FUNCTIONS
    if isinstance(f, ast.Attribute):
        return f.attr in PURE_METHODS or (_root(f) in PURE_MODULES and not f.attr.startswith("manual_seed"))
    return False


def _touches(code: ast.AST, imported: set[str], trusted: Mapping[str, int] | None = None) -> set[str]:
    """Names whose object the code may change without binding the name anew: layer.merge(), train(m), d["x"] = 1.

    Careful on the safe side: a call that is not known to be pure may change everything it is given. trusted: {name of
    a function: how many of its first arguments it may change}.
    """
    touched, trusted = set(), trusted or {}
    functions = [f for f in ast.walk(code) if isinstance(f, (ast.FunctionDef, ast.Lambda))]
    inside = {n for f in functions for n in ast.walk(f) if n is not f}
    for n in ast.walk(code):
        if n in inside:  # a definition changes nothing; a call of it is a call that is not known to be pure
            continue
        if isinstance(n, ast.Call) and not _pure(n):
            if isinstance(n.func, ast.Attribute):
                touched |= {_root(n.func)} - {None}
            given = (*n.args, *(k.value for k in n.keywords))
            if isinstance(n.func, ast.Name) and n.func.id in trusted:
                given = n.args[: trusted[n.func.id]]
            for argument in given:
                if not isinstance(argument, (ast.Constant, ast.Call)):
                    touched |= _names(argument).needs
        elif isinstance(n, (ast.Attribute, ast.Subscript)) and isinstance(n.ctx, (ast.Store, ast.Del)):
            touched |= {_root(n)} - {None}
        elif isinstance(n, ast.AugAssign):
            touched |= {_root(n.target)} - {None}
    return touched - imported


def needed_cells(sources: Mapping[int, str], start: int) -> list[int]:
    """Of the code cells {index: source}, those above `start` that the cells from `start` on depend on.

    The page's first cell, with its imports, is always among them.
    """
    trees = {i: ast.parse(source) for i, source in sources.items()}
    names = {i: _names(tree) for i, tree in trees.items()}
    imports = [n for tree in trees.values() for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
    imported = set().union(*(_names(n).binds for n in imports))
    wanted: set[str] = set()
    for i in sorted((i for i in trees if i >= start), reverse=True):
        wanted = (wanted - names[i].sure) | names[i].needs
    above = sorted(i for i in trees if i < start)
    needed = []
    for i in reversed(above):
        changes = _touches(trees[i], imported, TRUSTED) & wanted
        if names[i].binds & wanted or changes or i == above[0]:
            needed.append(i)
            # What it changes of its own making was not there before.
            wanted = (wanted - names[i].sure) | names[i].needs | (changes - names[i].sure)
    return needed[::-1]


# ------------------------------------------------------------------------------------------------ kept trainings


def fingerprint(sources: Mapping[int, str]) -> str:
    """Of a page's code: kept results belong to exactly this text, wherever prose and cards stand between its cells."""
    return hashlib.sha256(json.dumps([sources[i] for i in sorted(sources)]).encode()).hexdigest()[:16]


def digest_of(tensor: Tensor) -> str:
    """The name of a large tensor in the file that the pages share."""
    said = f"{tensor.dtype} {tuple(tensor.shape)}".encode()
    return hashlib.sha256(said + tensor.detach().contiguous().numpy().tobytes()).hexdigest()[:16]


def said_of(sweep: Sweep) -> str:
    """What a sweep computes, but for the data: those are the page's."""
    return hashlib.sha256(json.dumps([[list(p) for p in sweep.points], sweep.settings]).encode()).hexdigest()[:16]


class KeptTrainings:
    """Results of a page's trainings: what `train` and `sweep` ask (`stand_in`, `stand_in_sweep`) before they compute.

    A large tensor lies in SHARED under its digest: several pages start from the same base.
    """

    def __init__(self, page: str, text: str) -> None:
        self.cell, self.calls, self.used = 0, 0, 0
        self.tensors: dict = {}
        self.about: dict = {}
        path = KEPT / f"{page}.safetensors"
        with contextlib.suppress(Exception):  # a file that is missing or damaged costs time, nothing else
            from safetensors import safe_open

            with safe_open(path, "pt") as f:
                about = json.loads(f.metadata()["trainings"])
                if f.metadata()["text"] == text:
                    self.about = about
                    self.tensors = {name: f.get_tensor(name) for name in f.keys()}

    def enter(self, sources: Mapping[int, str], i: int) -> None:
        """Code cell i is about to run. Results are kept by the number of the code cell."""
        self.cell, self.calls = sorted(sources).index(i), 0

    def _next(self) -> str:
        self.calls += 1
        return f"{self.cell}.{self.calls - 1}"

    def _tensor(self, name: str, about: Mapping) -> Tensor | None:
        digest = about.get("shared", {}).get(name)
        if digest is None:
            return self.tensors.get(name)
        with contextlib.suppress(Exception):
            from safetensors import safe_open

            with safe_open(KEPT / SHARED, "pt") as f:
                tensor = f.get_tensor(digest)
            return tensor if digest_of(tensor) == digest else None
        return None

    def stand_in_sweep(self, sweep: Sweep, run: Callable[[], None]) -> bool:
        """Fill in a sweep's losses; its factors are computed when they are asked for. False if nothing fits."""
        key = self._next()
        kept = [self.tensors.get(f"{key}/{name}") for name in ("losses", "final", "ends")]
        if self.about.get(key, {}).get("sweep") != said_of(sweep) or any(t is None for t in kept):
            return False
        sweep.losses, sweep.final, sweep.ends = kept
        self.used += 1
        return True

    def stand_in(self, trainable: Mapping, settings: Mapping, train: object) -> object | None:
        """Fill `trainable` {name: parameter} and return the History, or None if nothing fits."""
        import torch

        from .training import History

        key = self._next()
        kept = self.about.get(key, {})
        if kept.get("settings") != json.loads(json.dumps(settings)):
            return None
        tensors = {name: self._tensor(f"{key}/{name}", kept) for name in trainable}
        if any(t is None or t.shape != trainable[n].shape for n, t in tensors.items()):
            return None
        with torch.no_grad():
            for name, parameter in trainable.items():
                parameter.copy_(tensors[name])
        snapshots = {
            step: {name: self.tensors[f"{key}/{name}@{step}"].clone() for name in trainable}
            for step in kept["snapshots"]
        }
        measured = {int(epoch): loss for epoch, loss in kept["measured"].items()}
        self.used += 1
        return History(
            losses=self.tensors[f"{key}/losses"].tolist(),
            epoch_losses=kept["epoch_losses"],
            measured=measured,
            snapshots=snapshots,
            steps_per_epoch=kept["steps_per_epoch"],
            seconds=kept["seconds"],
            diverged_at=kept["diverged_at"],
        )


# --------------------------------------------------------------------------------------------------- catching up


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Nothing is printed, and no figure appears."""
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for number in set(plt.get_fignums()) - set(before):
            plt.close(number)


def run_cells(sources: Mapping[int, str], cells: Sequence[int], namespace: dict, kept: KeptTrainings) -> None:
    """Run these cells of a page in `namespace`, quietly, with kept results in place of long trainings."""
    from . import sweeps, training

    before = training.stand_in, sweeps.stand_in
    training.stand_in, sweeps.stand_in = kept.stand_in, kept.stand_in_sweep
    try:
        for i in cells:
            kept.enter(sources, i)
            with quietly():
                exec(compile(sources[i], f"<cell {i} of the page>", "exec"), namespace)
    finally:
        training.stand_in, sweeps.stand_in = before


def catch_up(point: str, namespace: dict | None = None) -> None:
    """Put this kernel where the page is at the beginning of section `point`, such as "04.2" (page 04, section 2).

    The names of all cells above that are used below exist afterwards, with the values they would have. namespace: where
    to put them; by default the notebook's (or the caller's globals). What else a learner has defined stays.
    What runs is the page as it lies in notebooks/, its owner's changes included, as Run All would run it.
    Raises ValueError for a section that does not exist, with the list of those that do, and changes nothing then.
    """
    section = find_section(point)
    if namespace is None:
        namespace = sys._getframe(1).f_globals
    page = section.number[:2]
    sources = code_of(page)
    start = time.perf_counter()
    kept = KeptTrainings(page, fingerprint(sources))
    cells = needed_cells(sources, section.at)
    before = dict(namespace)
    try:
        run_cells(sources, cells, namespace, kept)
    except BaseException:  # an error half-way must not leave half a state behind
        for name in set(namespace) - set(before):
            del namespace[name]
        namespace.update(before)
        raise
    from . import order

    order.caught_up(page, section.at)
    took = time.perf_counter() - start
    say(f"You are at {section.number}, “{section.title}”: go on with the cells below that heading. ({took:.0f} s)")
