"""What a page (notebooks/NN_name.ipynb) must be: its budget, its stored form, what is compared, what is wrong with it.

Used by conftest.py, execute_pages.py, page_matrix.py and the tests, so that each rule is written once.
"""
from __future__ import annotations

import base64
import copy
import hashlib
import json
import os
import re
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"

# Seconds that Run All may take on two cores, by the page's number. A test fails at SLACK times that.
BUDGETS = {"00": 5, "01": 30, "02": 15, "03": 45, "04": 45, "05": 20, "06": 40, "07": 40, "08": 90, "09": 30}
SLACK = 3
CELL_TIMEOUT = 300

MAX_IMAGE = 300_000
MAX_FILE = 1_000_000
MAX_LINES, MAX_LINES_LONG = 20, 25
REASON = re.compile(r"^\s*# not compared:\s*(\S.{9,})", re.MULTILINE)

PICTURES = ("image/png", "image/jpeg")
WIDGET = "application/vnd.jupyter.widget-view+json"
NOT_COMPARED = (*PICTURES, WIDGET)  # what strict nbval leaves out

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


# ---- finding and reading ------------------------------------------------------------------------------------------
def is_page(path: Path, folder: Path | None = None) -> bool:
    """A page of the course: notebooks/NN_name.ipynb. A learner's own notebook is not, nor a copy that lies beside the
    pages (JupyterLab's Duplicate makes 03_lora_in_torch-Copy1.ipynb): nothing of ours runs or writes those."""
    return path.parent == (folder or NOTEBOOKS) and bool(re.fullmatch(r"\d\d_[a-z0-9_]+\.ipynb", path.name))


def page_files(folder: Path | None = None) -> list[Path]:
    """All pages, in order."""
    return sorted(p for p in (folder or NOTEBOOKS).glob("*.ipynb") if is_page(p, folder))


def find_page(name: str) -> Path:
    """A page by path, number or beginning of its name ('01', '01_fine'); ValueError names what there is."""
    if name.endswith(".ipynb") and Path(name).is_file():
        return Path(name).resolve()
    stem = Path(name).name.removesuffix(".ipynb")
    found = [p for p in page_files() if p.stem == stem] or [p for p in page_files() if p.stem.startswith(stem)]
    if len(found) != 1:
        names = ", ".join(p.stem for p in (found or page_files())) or "none"
        raise ValueError(f"'{name}' names {'more than one page' if found else 'no page'}; there are: {names}.")
    return found[0]


def budget(path: Path) -> float | None:
    """Seconds this page may take, or None for a notebook that is no page of the course."""
    return BUDGETS.get(path.stem[:2])


def over_budget(path: Path, seconds: float) -> str | None:
    """A sentence if the page took more than SLACK times its budget."""
    allowed = budget(path)
    if allowed is None or seconds <= SLACK * allowed:
        return None
    return (f"{path.name} took {seconds:.3g} s, but its budget is {allowed:g} s and a test allows {SLACK} times that: "
            "make the page faster, or change BUDGETS in tests/pages.py and the course's promise with it.")


def read(path: Path) -> nbformat.NotebookNode:
    with warnings.catch_warnings():  # nbformat warns about missing ids; `problems` says it in a sentence
        warnings.simplefilter("ignore")
        return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)


def code_cells(nb) -> list:
    return [c for c in nb.cells if c.cell_type == "code"]


def asks(cell) -> bool:
    """Whether a code cell is a prediction's card: it asks the room, and shows nothing of the answer."""
    return cell.cell_type == "code" and cell.source.startswith("lora_lab.predict(")


def title(nb) -> str:
    """The first heading's text, or ''."""
    for cell in nb.cells:
        if cell.cell_type == "markdown" and (m := re.search(r"^#\s+(.+?)\s*$", cell.source, re.MULTILINE)):
            return m[1]
    return ""


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
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k in ("tags", "slideshow") and v})
        if cell.cell_type == "code":
            cell.outputs = _coalesce(cell.outputs)
            for output in cell.outputs:
                if view := output.get("data", {}).get(WIDGET):  # random ids become m001, m002, ... by appearance
                    view["model_id"] = models.setdefault(view["model_id"], f"m{len(models) + 1:03d}")
    return nb


def _coalesce(outputs: list) -> list:
    """Neighbouring pieces of one stream become one (how a print is cut depends on timing); `\\r` lines collapse."""
    merged: list = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last and output.output_type == "stream" == last.output_type and output.name == last.name:
            last.text += output.text
        else:
            merged.append(output)
    for output in merged:
        if output.output_type == "stream":
            output.text = re.sub(r"^.*\r(?=[^\n])", "", output.text, flags=re.MULTILINE)
    return merged


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


def as_text(nb) -> str:
    """The file's text, written as JupyterLab writes it, so that saving an unchanged page changes little."""
    return nbformat.v4.writes(nb) + "\n"


# ---- what strict nbval compares -----------------------------------------------------------------------------------
def _nbval_options(cell) -> dict[str, bool]:
    """The cell's tags and comments as nbval's own functions read them, so that both always agree."""
    from nbval.plugin import find_comment_markers, find_metadata_tags

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {**dict(find_metadata_tags(cell.metadata)), **dict(find_comment_markers(cell.source))}


def escape(cell) -> str | None:
    """How a code cell escapes strict comparison, in words, or None."""
    options = _nbval_options(cell)
    if options.get("skip"):
        return "is skipped by the tests"
    if options.get("check") is False:
        return "has its output ignored by the tests"
    if options.get("check_exception"):
        return "may raise an exception"
    return None


def compared_text(cell) -> dict[str, list[str]]:
    """What strict nbval compares of a cell's stored outputs: values in order, per stream name or MIME type."""
    options = _nbval_options(cell)
    if options.get("skip") or options.get("check") is False:
        return {}
    streams, values = {}, {}
    for output in cell.outputs:
        if output.output_type == "stream":
            streams[output.name] = streams.get(output.name, "") + output.text
        elif output.output_type == "error":
            values.setdefault("error", []).append(f"{output.ename}: {output.evalue}")
        else:
            for mime, data in output.data.items():
                if mime not in NOT_COMPARED:
                    values.setdefault(mime, []).append(data)
    return {**{name: [text] for name, text in streams.items()}, **values}


def content(nb) -> list:
    """A page as far as a re-run is compared: each code cell's source and compared outputs."""
    return [[c.source, compared_text(c)] for c in code_cells(nb)]


def content_hash(nb) -> str:
    """sha256 of `content`; prose and pictures do not count."""
    return hashlib.sha256(json.dumps(content(nb), sort_keys=True).encode()).hexdigest()


def count_cells(nb) -> tuple[int, int, int]:
    """(code cells, those compared, those compared that store some text)."""
    cells = code_cells(nb)
    compared = [c for c in cells if c.execution_count is not None and not escape(c)]
    return len(cells), len(compared), sum(bool(compared_text(c)) for c in compared)


# ---- what is wrong with a page ------------------------------------------------------------------------------------
# A machine's own text: other people's pages would differ, and it tells where the author lives.
MACHINE = (r"(?<![\w.])(?:/home/\w|/Users/\w|/root\b|/tmp\b|/var/folders/)|\b[A-Za-z]:\\+Users\b"
           r"|\bipykernel_\d+|\b(?:site|dist)-packages[/\\]")
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
TQDM = re.compile(r"it/s\]|s/it\]|\?it/s|\d%\|.*\| *\d+/\d+ \[")
DATA_URI = re.compile(r"data:(image/[\w+.-]+);base64,([A-Za-z0-9+/=\s]+)")


def _machine_pattern() -> re.Pattern:
    """MACHINE, and this checkout, this home and this host by name."""
    names = [str(ROOT), os.path.expanduser("~")]
    host = socket.gethostname()
    if len(host) >= 6 and re.search(r"[\d-]", host):  # 'laptop' is also a word, 'desktop-4k2' is not
        names.append(host)
    own = [rf"(?<![\w.]){re.escape(n)}(?!\w)" for n in names if len(n) >= 5]
    return re.compile("|".join([*own, MACHINE]))


def _texts(output) -> list[str]:
    """Every text in an output, pictures and widget ids left out."""
    if output.output_type == "stream":
        return [output.text]
    if output.output_type == "error":
        return [output.ename, output.evalue, *output.traceback]
    return [v if isinstance(v, str) else json.dumps(v) for k, v in output.data.items() if k not in NOT_COMPARED]


def images(cell) -> Iterator[tuple[str, int]]:
    """(MIME type, bytes) of each picture a cell holds: outputs, attachments, data URIs in text."""
    bundles = [o.data for o in cell.get("outputs", []) if "data" in o] + list(cell.get("attachments", {}).values())
    for mime, data in ((m, d) for bundle in bundles for m, d in bundle.items()):
        if mime == "image/svg+xml":
            yield mime, len(data.encode())
        elif mime.startswith("image/"):
            yield mime, len(base64.b64decode(data))
        elif isinstance(data, str):
            yield from ((m, len(base64.b64decode(d))) for m, d in DATA_URI.findall(data))
    yield from ((m, len(base64.b64decode(d))) for m, d in DATA_URI.findall(cell.source))


def problems(path: Path) -> list[str]:
    """What is wrong with a stored page, in sentences; an empty list for a good one. Runs nothing."""
    path = Path(path)
    text = path.read_text(encoding="utf-8")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nbformat.validate(json.loads(text))
    except (ValueError, nbformat.ValidationError) as e:
        return [f"{path.name} is no valid notebook: {str(e).splitlines()[0]}"]
    nb = read(path)
    return [f"{path.name}: {sentence}" for sentence in [*_file_problems(path, text, nb), *_cell_problems(nb)]]


def _file_problems(path: Path, text: str, nb) -> Iterator[str]:
    if len(text.encode()) > MAX_FILE:
        yield f"the file has {len(text.encode()) / 1e6:.1f} MB; the limit is {MAX_FILE / 1e6:.0f} MB."
    if nb.metadata.get("widgets"):
        yield "widget state is stored in the metadata; it goes stale and GitHub may call the page invalid."
    if (name := nb.metadata.get("kernelspec", {}).get("name")) != "python3":
        yield f"the kernel is called {name!r}; it must be 'python3', which every installation has."
    cells = nb.cells
    if not (cells and cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")):
        yield "the first cell is not a heading ('# ...')."
    if not (len(cells) > 1 and cells[1].cell_type == "markdown" and "Run All" in cells[1].source):
        yield "the second cell does not say what to do when the page is reopened ('Run All')."
    counts = [c.execution_count for c in code_cells(nb)]
    if None not in counts and counts != list(range(1, len(counts) + 1)):
        yield f"the execution counts are {counts}, not 1, 2, 3, ...: it was not stored from one run in order."
    good = as_text(normalise(nb))
    if text != good:
        lines = zip(text.splitlines() + ["(end)"], good.splitlines() + ["(end)"], strict=False)
        old, new = next((p for p in lines if p[0] != p[1]), ("", ""))
        yield (f"it is not normalised (first difference: {old.strip()[:60]!r}, expected {new.strip()[:60]!r}); "
               f"run python tests/execute_pages.py {path.stem}")


def _cell_problems(nb) -> Iterator[str]:
    number, machine = 0, _machine_pattern()
    for position, cell in enumerate(nb.cells):
        where = f"cell {position}"
        if cell.cell_type == "code":
            number += 1
            first = next((line.strip() for line in cell.source.splitlines() if line.strip()), "")
            where = f"code cell [{number}] ({first[:40]!r})"
            yield from (f"{where} {p}" for p in _code_problems(cell))
        outputs = [t for o in cell.get("outputs", []) for t in _texts(o)]
        for kind, text in (("source", cell.source), ("output", "\n".join(outputs))):
            if m := machine.search(text):
                yield f"{where} has a machine's path or name in its {kind}: {m[0]!r}."
        for mime, size in images(cell):
            if size > MAX_IMAGE:
                yield f"{where} has an {mime} of {size / 1000:.0f} kB; the limit is {MAX_IMAGE // 1000} kB."


def _code_problems(cell) -> Iterator[str]:
    lines = sum(bool(line.strip()) for line in cell.source.splitlines())
    limit = MAX_LINES_LONG if "long-cell" in cell.metadata.get("tags", []) else MAX_LINES
    if lines == 0:
        yield "is empty."
    if lines > limit:
        yield f"has {lines} lines; the limit is {limit}: split it, or move what is not about LoRA into lora_lab."
    if cell.execution_count is None:
        yield "was not executed."
    if cell.source.rstrip().endswith(";"):  # nbval keeps no history, and IPython looks there for the semicolon
        yield "ends with ';', which nbval does not honour: assign the value ('_ = ...') or end with plt.show()."
    if (how := escape(cell)) and not REASON.search(cell.source):
        yield f"{how} without a written reason: add a line '# not compared: ...' (10 characters or more)."
    for output in cell.outputs:
        text = "\n".join(_texts(output))
        if output.output_type == "error" and not _nbval_options(cell).get("check_exception"):
            yield f"stores an error: {output.ename}: {output.evalue}"
        if output.get("name") == "stderr":
            yield f"stores text on stderr: {output.text.strip()[:60]!r}."
        if m := ADDRESS.search(text):
            yield f"stores an address that changes in every run: {m[0]}."
        if TQDM.search(text):
            yield "stores the text of a progress bar, which differs in every run."
        data = output.get("data", {})
        still = {"text/plain"} if asks(cell) else {"image/png", "text/plain"}  # a question is text, without a picture
        if WIDGET in data and not still <= data.keys():
            yield f"shows a widget without {' and '.join(sorted(still))} beside it: a dead box for who has no kernel."
