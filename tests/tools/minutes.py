"""How long a section takes in front of a room: python tests/minutes.py [PAGE ...]

A rule, so that the tracks of notebooks/TEACHING.md can be added up and a test can hold them against the pages:

    prose            130 words a minute, as one reads aloud; a displayed formula 10 s
    code             3 s a line; nothing for the imports
    printed lines    1 s each, 10 s at most for a cell
    a figure         30 s
    a panel          60 s, for moving its sliders
    a prediction     30 s, until hands are up
    an exercise      3 minutes; Think and Lab, 2
    Run All          the page's recorded seconds (lora_lab/data/pages.json), before its first section
"""
from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pages

WORDS_A_MINUTE = 130
FORMULA, CODE_LINE, PRINTED_LINE, PRINTED_MOST, FIGURE, PANEL, PREDICTION = 10, 3, 1, 10, 30, 60, 30  # seconds
EXERCISE, THINK = 180, 120
RECORD = pages.ROOT / "lora_lab" / "data" / "pages.json"

HEADING = re.compile(r"^##+ +(.+?)\s*$", re.MULTILINE)
ASKED = re.compile(r"^\*\*((?:Exercise|Think|Lab) \d+\.\d+)", re.MULTILINE)


@dataclass
class Section:
    """What a heading of a page has below it, and what that takes."""

    page: str  # the file's name without .ipynb
    heading: str  # as on the page; of the part above the first '##', the page's title
    words: int = 0
    formulas: int = 0
    code_lines: int = 0
    printed: int = 0  # seconds for reading printed lines
    figures: int = 0
    panels: int = 0
    predictions: int = 0
    exercises: int = 0
    thinks: int = 0
    run: float = 0.0  # seconds

    @property
    def talk(self) -> float:
        """Minutes without the exercises."""
        seconds = (self.formulas * FORMULA + self.code_lines * CODE_LINE + self.printed + self.figures * FIGURE
                   + self.panels * PANEL + self.predictions * PREDICTION + self.run)
        return self.words / WORDS_A_MINUTE + seconds / 60

    @property
    def minutes(self) -> float:
        return self.talk + (self.exercises * EXERCISE + self.thinks * THINK) / 60


def run_seconds(stem: str, record: Path = RECORD) -> float:
    """The page's recorded Run All, or its budget where it has not been recorded yet."""
    recorded = json.loads(record.read_text(encoding="utf-8"))["pages"]
    return recorded[stem]["run_s"] if stem in recorded else pages.BUDGETS[stem[:2]]


def sections(path: Path) -> list[Section]:
    """The page in order; the first one carries Run All."""
    nb = pages.read(path)
    out = [Section(path.stem, pages.title(nb), run=run_seconds(path.stem))]
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            source = re.sub(r"<details>.*?</details>", "", cell.source, flags=re.DOTALL)  # read by who opens it
            start = 0
            for m in HEADING.finditer(source):
                _add_prose(out[-1], source[start:m.start()])
                out.append(Section(path.stem, m[1]))
                start = m.end()
            _add_prose(out[-1], source[start:])
        elif "lora_lab.begin(" not in cell.source and not pages.asks(cell):  # a card: its prompt is counted
            _add_code(out[-1], cell)
    return out


def _add_prose(section: Section, text: str) -> None:
    section.formulas += len(re.findall(r"\$\$.*?\$\$", text, re.DOTALL))
    section.predictions += len(re.findall(r"\*\*Predict\b", text))
    for name in ASKED.findall(text):
        if name.startswith("Exercise"):
            section.exercises += 1
        else:
            section.thinks += 1
    text = re.sub(r"\$\$.*?\$\$", " ", text, flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "]", text)  # a link is read by its text
    section.words += len(re.findall(r"\w[\w'’.,]*", text))


def _add_code(section: Section, cell) -> None:
    section.code_lines += sum(bool(line.strip()) for line in cell.source.splitlines())
    lines = 0
    for output in cell.outputs:
        if pages.WIDGET in output.get("data", {}):
            section.panels += 1
        elif "image/png" in output.get("data", {}):
            section.figures += 1
        else:
            lines += len(output.get("text", "").splitlines())
    section.printed += min(PRINTED_MOST, lines * PRINTED_LINE)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    args = parser.parse_args(argv)
    try:
        files = [pages.find_page(name) for name in args.pages] or pages.page_files()
    except ValueError as e:
        parser.error(str(e))
    print(f"{'words':>5} {'code':>4} {'figures':>7} {'panels':>6} {'exercises':>9} {'minutes':>7}  section")
    for path in files:
        found = sections(path)
        talk, whole = sum(s.talk for s in found), sum(s.minutes for s in found)
        print(f"{path.stem}: {talk:.0f} minutes, {whole:.0f} with the exercises")
        for s in found:
            print(f"{s.words:5} {s.code_lines:4} {s.figures:7} {s.panels:6} {s.exercises + s.thinks:9} {s.minutes:7.1f}"
                  f"  {s.heading}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
