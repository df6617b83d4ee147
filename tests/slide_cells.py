"""Mark which cells of a page begin a slide: python tests/slide_cells.py [PAGE ...] [--check]

`jupyter nbconvert --to slides` then makes a deck of each page (the command is in notebooks/TEACHING.md). Only
`metadata.slideshow` is written, by the rule of `slide_types`; PAGE is a path, a number or the beginning of a name.
--check writes nothing and ends with status 1 if a page is not marked by the rule.
"""
from __future__ import annotations

import argparse
import base64
import re
import struct
import sys

import nbformat
import pages
from execute_pages import write

# The frame the rule packs for, as the command in TEACHING.md sets it, and what nbconvert's slides make of a cell in it.
WIDTH, HEIGHT = 1472, 920
ROOM = HEIGHT - 60  # heights are estimated, to about 60 pixels
CODE_LINE, PROSE_LINE, HEADING, GAP = 26, 30, 62, 24
PROSE_WIDTH, CODE_WIDTH = 120, 105  # characters in a line
SETUP_LINES = 4  # a longer cell that shows nothing is preparation: for the speaker's notes

HEADING_LINE = re.compile(r"^##+ ", re.MULTILINE)
EXERCISE = re.compile(r"^\*\*Exercise \d+\.\d+", re.MULTILINE)
PREDICT = re.compile(r"\*\*Predict\b")
BEGIN = re.compile(r"^lora_lab\.begin\(", re.MULTILINE)


# ---- how high a cell is -------------------------------------------------------------------------------------------
def picture_size(png: str) -> tuple[int, int]:
    """Width and height of a PNG from its header."""
    return struct.unpack(">II", base64.b64decode(png[:64])[16:24])


def prose_height(source: str) -> int:
    """Pixels of a markdown cell; a folded answer counts as its one line."""
    source = re.sub(r"<details>.*?</details>", "Answer", source, flags=re.DOTALL)
    height = GAP
    for block in re.split(r"\n\s*\n", source):
        for line in block.split("\n"):
            if line.startswith("#"):
                height += HEADING
            elif line.startswith("$$"):
                height += 2 * PROSE_LINE
            elif line.strip():
                height += PROSE_LINE * -(-len(line) // PROSE_WIDTH)
        height += PROSE_LINE // 2
    return height


def code_height(cell) -> int:
    """Pixels of a code cell with its outputs."""
    height = GAP + CODE_LINE * len(cell.source.split("\n"))
    for output in cell.outputs:
        data = output.get("data", {})
        if "image/png" in data:
            width, tall = picture_size(data["image/png"])
            height += GAP + tall * min(1.0, (WIDTH - 130) / width)
        text = output.get("text", "" if "image/png" in data else data.get("text/plain", ""))
        height += CODE_LINE * sum(-(-max(len(line), 1) // CODE_WIDTH) for line in text.rstrip("\n").split("\n") if text)
    return round(height)


def has_picture(cell) -> bool:
    return any("image/png" in output.get("data", {}) for output in cell.outputs)


# ---- the rule -----------------------------------------------------------------------------------------------------
def slide_types(nb) -> list[str]:
    """A slide type for each cell.

    A heading begins a slide; the second cell, a prediction, an exercise and a cell with folded answers begin one below
    it. A prediction's card stays with its question; the first code cell after them is a fragment: it appears when the
    room has answered. Whatever does not fit begins a slide of its own. For the speaker's notes: the imports, cells that
    show nothing (a class is shown: it is what is taught), and cells higher than a slide (`too_high`: split them where a
    picture is lost by that).
    """
    types, used, waiting = [], 0, False
    for i, cell in enumerate(nb.cells):
        prose = cell.cell_type == "markdown"
        height = prose_height(cell.source) if prose else code_height(cell)
        if i == 0 or prose and HEADING_LINE.search(cell.source):
            kind = "slide"
        elif prose and not cell.source.strip():
            kind = "skip"
        elif prose and (i == 1 or PREDICT.search(cell.source) or EXERCISE.search(cell.source)
                        or "<details>" in cell.source):
            kind = "subslide"
        elif not prose and _for_notes(cell, height):
            kind = "notes"
        elif used + height > ROOM or prose and waiting:
            kind = "subslide"
        elif waiting and not pages.asks(cell):
            kind = "fragment"
        else:
            kind = "-"
        types.append(kind)
        if kind not in ("notes", "skip"):
            used = height if kind.endswith("slide") else used + height
            waiting = bool(PREDICT.search(cell.source)) if prose else waiting and pages.asks(cell)
    return types


def _for_notes(cell, height: int) -> bool:
    lines = sum(bool(line.strip()) for line in cell.source.splitlines())
    if BEGIN.search(cell.source):
        return True
    if not cell.outputs:
        return lines > SETUP_LINES and not re.match(r"class ", cell.source)
    return height > (HEIGHT if has_picture(cell) else ROOM)


def too_high(nb) -> list[int]:
    """The numbers, as Jupyter shows them, of code cells with a picture that no slide can hold."""
    return [i for i, cell in enumerate(pages.code_cells(nb), 1) if has_picture(cell) and code_height(cell) > HEIGHT]


def mark(nb):
    """A copy with the slide types of the rule; nothing else differs."""
    marked = nbformat.from_dict(nb)
    for cell, kind in zip(marked.cells, slide_types(nb), strict=True):
        cell.metadata.pop("slideshow", None)
        if kind != "-":
            cell.metadata["slideshow"] = nbformat.from_dict({"slide_type": kind})
    return marked


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if a page is not marked")
    args = parser.parse_args(argv)
    try:
        files = [pages.find_page(name) for name in args.pages] or pages.page_files()
    except ValueError as e:
        parser.error(str(e))
    stale = 0
    for path in files:
        nb = pages.read(path)
        text, types = pages.as_text(mark(nb)), slide_types(nb)
        changed = text != path.read_text(encoding="utf-8")
        stale += changed
        if changed and not args.check:
            write(path, text)
        state = ("not marked by the rule" if args.check else "written") if changed else "unchanged"
        lost = "".join(f", code cell [{i}] is too high for a slide" for i in too_high(nb))
        print(f"{path.stem}: {sum(t.endswith('slide') for t in types)} slides, {types.count('fragment')} fragments, "
              f"{types.count('notes')} cells in the notes, {state}{lost}")
    return int(args.check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
