"""A page's panels as pictures: each position of the controls drawn beforehand, so that no kernel is needed.

A panel's picture is a pure function of its controls. Up to `most` positions all are drawn; of a larger panel
what a reader tries first, and the browser says of the others that they are not drawn.
"""

import contextlib
import gc
import hashlib
import io
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path

import matplotlib
from PIL import Image
from tqdm import tqdm

from lora_lab.classroom.catching_up import code_above, quietly
from lora_lab.classroom.pages import Page
from lora_lab.figures.live import LiveFigure

MOST = 1500  # positions
DPI = 150  # sharp on a projector; on paper and phones the picture shrinks
COLOURS = 128  # of a picture: half the bytes, and no difference that can be seen


# ---- finding a page's panels


def panels_of(page: Page) -> list[LiveFigure]:
    """The panels of a page, in order. Its code cells run quietly, as catch_up runs them."""
    cells = json.loads(page.file.read_text(encoding="utf-8"))["cells"]
    with_panel = [i for i, cell in enumerate(cells) if any(map(shows_panel, cell.get("outputs", ())))]
    ending_in_panels = ["".join(cells[i]["source"]) for i in with_panel]
    names: dict = {"__name__": "__main__"}
    shown = []
    with contextlib.chdir(page.file.parent), quietly():
        for source in code_above(page, max(with_panel, default=-1) + 1):
            ends, (above, _, last) = source in ending_in_panels, source.rpartition("\n")
            exec(compile(above if ends else source, "<page>", "exec"), names)
            if ends:
                shown.append(eval(last, names))
    return shown


def shows_panel(output: dict) -> bool:
    """Whether a stored output is a panel: something live, with a still picture."""
    data = output.get("data", {})
    return "application/vnd.jupyter.widget-view+json" in data and "image/png" in data


# ---- drawing them


def drawn(page: Page, folder: Path, most: int = MOST, line: int = 0) -> list[dict]:
    """What the browser needs to know of a page's panels; their pictures lie in folder/pictures. line: of the progress
    bar on the screen."""
    panels = panels_of(page)
    gc.freeze()  # what is there now stays: else the search for garbage takes half the time
    total = sum(len(positions(panel, most)) for panel in panels)
    bar = tqdm(total=total, desc=f"page {page.number}", unit=" pictures", position=line, disable=not total)
    with bar, matplotlib.rc_context({"savefig.dpi": DPI}):
        return [draw(panel, folder, most, bar) for panel in panels]


def draw(panel: LiveFigure, folder: Path, most: int, bar: tqdm) -> dict:
    """Move the panel to every position of `positions`. states: {"0,3": [index in files, index in captions]}."""
    files: dict[str, int] = {}
    captions: dict[str, int] = {}
    states = {}
    described = list(controls(panel))
    for state in positions(panel, most):
        values = {name: panel._all_positions(name)[i] for name, i in zip(panel._controls, state)}
        caption, png = panel.set(**values), bytes(panel._picture.value)
        file = files.setdefault(keep(png, folder), len(files))
        states[",".join(map(str, state))] = file, captions.setdefault(caption, len(captions))
        bar.update()
    return {
        "name": panel._name,
        "controls": described,
        "files": list(files),
        "captions": list(captions),
        "states": states,
        "size": [round(100 * inches) for inches in panel._figure.get_size_inches()],
        "lines": panel._lines,
        "more": panel.children[-1] is not panel._picture,  # a field of buttons beside it, which needs a kernel
    }


def keep(png: bytes, folder: Path) -> str:
    """Store a picture under its content's name, once; returns the name."""
    name = hashlib.sha256(png + bytes([COLOURS])).hexdigest()[:12]
    path = folder / "pictures" / f"{name}.webp"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(webp(png))
    return name


def webp(png: bytes) -> bytes:
    """The same picture in few colours, compressed without loss: small, and its lines stay sharp."""
    buffer = io.BytesIO()
    image = Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.convert("RGB").save(buffer, "webp", lossless=True, method=4)
    return buffer.getvalue()


# ---- the controls


def start(panel: LiveFigure) -> tuple[int, ...]:
    """Where the controls stand, as indices of their positions."""
    return tuple(panel._all_positions(name).index(value) for name, value in panel.values.items())


def positions(panel: LiveFigure, most: int) -> list[tuple[int, ...]]:
    """The indices to draw: all; where there are more than `most`, each pair of controls beside the others'
    start, and the first controls together as far as a third of `most` goes."""
    counts = [len(panel._all_positions(name)) for name in panel._controls]
    if math.prod(counts) <= most:
        return list(itertools.product(*map(range, counts)))
    first = max(n for n in range(len(counts)) if math.prod(counts[:n]) <= most / 3)
    found = []
    for moving in [*itertools.combinations(range(len(counts)), 2), range(first)]:
        for indices in itertools.product(*[range(counts[i]) for i in moving]):
            moved = dict(zip(moving, indices))
            found.append(tuple(moved.get(i, at) for i, at in enumerate(start(panel))))
    return list(dict.fromkeys(found))


def controls(panel: LiveFigure) -> Iterator[dict]:
    """Of each control its label, kind, options in words, start, and the others that go back to theirs with it."""
    for name, at in zip(panel._controls, start(panel), strict=True):
        control = panel._controls[name]
        options = getattr(control, "options", ("no", "yes"))
        words = [str(option[0] if isinstance(option, tuple) else option) for option in options]
        kind, back = type(control).__name__, put_back_by(panel, name)
        yield {"label": control.description, "kind": kind, "options": words, "start": at, "back": back}


def put_back_by(panel: LiveFigure, moved: str) -> list[int]:
    """The controls that the panel puts back when `moved` moves: a new symptom begins without a guess."""
    before = panel.values
    away = {name: next(x for x in panel._all_positions(name) if x != at) for name, at in before.items()}
    panel.set(**{name: value for name, value in away.items() if name != moved})
    panel.set(**{moved: away[moved]})
    back = [i for i, (name, value) in enumerate(panel.values.items()) if value == before[name]]
    panel.set(**before)
    return back
