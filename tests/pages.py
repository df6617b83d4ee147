"""A page of the course (notebooks/NN_name.ipynb): finding it, the environment of its kernel, its stored form.

Used by conftest.py, the tests and tests/tools, so that each of them means the same by a page.
"""

from __future__ import annotations

import copy
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import nbformat

from lora_lab.classroom.pages import PAGES

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
CELL_TIMEOUT = 300

PICTURES = ("image/png", "image/jpeg")
WIDGET = "application/vnd.jupyter.widget-view+json"
NOT_COMPARED = (*PICTURES, WIDGET)  # what strict nbval leaves out
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


# ---- finding and reading ------------------------------------------------------------------------------------------
def is_page(path: Path) -> bool:
    """Whether the course's page table names this file. Learners' notebooks and copies beside the pages are theirs."""
    return path.parent == NOTEBOOKS and path.name in [page.file.name for page in PAGES]


def page_files() -> list[Path]:
    """All pages that are there, in order."""
    return [path for path in sorted(NOTEBOOKS.glob("*.ipynb")) if is_page(path)]


def find_page(name: str) -> Path:
    """A page by path, number or beginning of its name ('01', '01_fine'); ValueError names what there is."""
    if name.endswith(".ipynb") and Path(name).is_file():
        return Path(name).resolve()
    found = [path for path in page_files() if path.stem.startswith(Path(name).stem)]
    if len(found) != 1:
        there = ", ".join(path.stem for path in page_files())
        raise ValueError(f"{name!r} names {len(found)} pages, expected one of: {there}.")
    return found[0]


def read(path: Path) -> nbformat.NotebookNode:
    with warnings.catch_warnings():  # nbformat warns of missing ids, which `normalise` gives
        warnings.simplefilter("ignore")
        return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)


def as_text(nb) -> str:
    """The file's text, written as JupyterLab writes it, so that saving an unchanged page changes little."""
    return nbformat.v4.writes(nb) + "\n"


def code_cells(nb) -> list:
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def asks(cell) -> bool:
    """Whether a code cell is a prediction's card: it asks the room, and shows nothing of the answer."""
    return cell.cell_type == "code" and cell.source.startswith("lora_lab.predict(")


def panel_cells(nb) -> list:
    """The stored code cells that show a slider panel."""
    return [c for c in code_cells(nb) if not asks(c) and any(WIDGET in o.get("data", {}) for o in c.outputs)]


def title(nb) -> str:
    """The first heading's text."""
    return re.search(r"^#\s+(.+?)\s*$", nb.cells[0].source, re.MULTILINE)[1]


# ---- kernels ------------------------------------------------------------------------------------------------------
def kernel_environment(folder: Path) -> dict[str, str]:
    """os.environ for a page's kernel: finds lora_lab, ignores the person's own IPython and matplotlib settings.

    `folder` is temporary and must live as long as the kernel. Thread settings pass through: lora_lab decides those.
    """
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONSTARTUP", "PYTHONWARNINGS")}
    (folder / "matplotlibrc").touch()
    env.update(
        PYTHONPATH=os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")])),
        IPYTHONDIR=str(folder),
        MATPLOTLIBRC=str(folder / "matplotlibrc"),  # empty: the figure size is part of what is compared
        TQDM_DISABLE="1",  # a progress bar shows times, and would be stored for ever in the state it happened to have
        MPLBACKEND="module://matplotlib_inline.backend_inline",  # a stray MPLBACKEND=Agg would lose every figure
    )
    return env


# ---- the stored form ----------------------------------------------------------------------------------------------
def normalise(nb) -> nbformat.NotebookNode:
    """A copy without anything that differs between two runs or that only an editor needs."""
    nb = copy.deepcopy(nb)
    nb.nbformat, nb.nbformat_minor = 4, 5
    nb.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": {"name": "python"}})
    models: dict[str, str] = {}
    for i, cell in enumerate(nb.cells):
        cell.id = f"c{i:02d}"
        cell.source = "\n".join(line.rstrip() for line in cell.source.rstrip().split("\n"))
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            cell.outputs = join_streams(cell.outputs)
            for output in cell.outputs:
                if view := output.get("data", {}).get(WIDGET):  # random ids become m001, m002, ... by appearance
                    view["model_id"] = models.setdefault(view["model_id"], f"m{len(models) + 1:03d}")
    return nb


def join_streams(outputs: list) -> list:
    """Neighbouring pieces of one stream become one: how a print is cut depends on timing."""
    joined: list = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last and output.output_type == "stream" == last.output_type and output.name == last.name:
            last.text += output.text
        else:
            joined.append(output)
    return joined


def descriptions(nb) -> Iterator[tuple[int, object, str]]:
    """(cell, output, what it shows in words) of every picture: a panel's own line, else what its cell printed."""
    for i, cell in enumerate(nb.cells):
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                printed = "".join(o.text for o in cell.outputs if o.get("name") == "stdout")
                yield i, output, " ".join((data["text/plain"] if WIDGET in data else printed).split())


def describe(nb) -> nbformat.NotebookNode:
    """A copy whose pictures carry that text as metadata, image/png: alt, which is where nbconvert looks for it."""
    nb = copy.deepcopy(nb)
    for _, output, text in descriptions(nb):
        output.metadata["image/png"] = {**output.metadata.get("image/png", {}), "alt": text}
    return nb


# ---- what strict nbval compares -----------------------------------------------------------------------------------
def nbval_options(cell) -> dict[str, bool]:
    """The cell's tags and comments as nbval's own functions read them, so that both always agree."""
    from nbval.plugin import find_comment_markers, find_metadata_tags

    return {**dict(find_metadata_tags(cell.metadata)), **dict(find_comment_markers(cell.source))}


def escape(cell) -> str | None:
    """How a code cell escapes strict comparison, in words, or None."""
    options = nbval_options(cell)
    if options.get("skip"):
        return "is skipped by the tests"
    if options.get("check") is False:
        return "has its output ignored by the tests"
    if options.get("check_exception"):
        return "may raise an exception"
    return None


def compared_text(cell) -> dict[str, list[str]]:
    """What strict nbval compares of a cell's stored outputs: values in order, per stream name or MIME type."""
    if escape(cell) not in (None, "may raise an exception"):
        return {}
    found: dict[str, list[str]] = {}
    for output in cell.outputs:
        if output.output_type == "stream":
            found[output.name] = ["".join(found.get(output.name, [])) + output.text]
        elif output.output_type == "error":
            found.setdefault("error", []).append(f"{output.ename}: {output.evalue}")
        else:
            for mime, data in output.data.items():
                if mime not in NOT_COMPARED:
                    found.setdefault(mime, []).append(data)
    return found
