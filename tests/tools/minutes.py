"""How long a section takes in front of a room: python tests/tools/minutes.py [PAGE ...]

A rule, so that the tracks of notebooks/TEACHING.md can be added up and a test can hold them against the pages:

    prose            130 words a minute, as one reads aloud; a displayed formula 10 s
    code             3 s a line; nothing for the imports
    printed lines    1 s each, 10 s at most for a cell
    a figure         30 s
    a panel          60 s, for moving its sliders
    a prediction     30 s, until hands are up
    an exercise      3 minutes
    Run All          the page's recorded seconds (lora_lab/classroom/run_times.json), before its first section
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pages

WORDS_A_MINUTE = 130
FORMULA, CODE_LINE, PRINTED_MOST, FIGURE, PANEL, PREDICTION, EXERCISE = 10, 3, 10, 30, 60, 30, 180  # seconds
RECORD = pages.ROOT / "lora_lab" / "classroom" / "run_times.json"
HEADING = re.compile(r"^## +(.+?)\s*$", re.MULTILINE)


@dataclass
class Section:
    """A heading of a page, as it stands there, with the seconds of what is below it."""

    heading: str
    seconds: float = 0.0
    exercises: int = 0

    @property
    def talk(self) -> float:
        """Minutes without the exercises."""
        return self.seconds / 60


def run_seconds(path: Path) -> float:
    """The page's recorded Run All, or its budget where it has not been recorded yet."""
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))["pages"]
    return recorded[path.stem]["run_s"] if path.stem in recorded else pages.BUDGETS[path.stem[:2]]


def sections(path: Path) -> list[Section]:
    """The page in order; the first one, above all headings, is called by the page's title and carries Run All."""
    nb = pages.read(path)
    found = [Section(pages.title(nb), run_seconds(path))]
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            source = re.sub(r"<details>.*?</details>", "", cell.source, flags=re.DOTALL)  # read by who opens it
            first, *rest = HEADING.split(source)  # text, heading, text, heading, text ...
            add_prose(found[-1], first)
            for heading, text in zip(rest[::2], rest[1::2]):
                found.append(Section(heading))
                add_prose(found[-1], text)
        elif "lora_lab.begin(" not in cell.source and not pages.asks(cell):  # a card: its prompt is counted
            found[-1].seconds += code_seconds(cell)
    return found


def add_prose(section: Section, text: str) -> None:
    section.exercises += len(re.findall(r"^\*\*Exercise \d+\.\d+", text, re.MULTILINE))
    formulas = re.findall(r"\$\$.*?\$\$", text, re.DOTALL)
    section.seconds += FORMULA * len(formulas) + PREDICTION * len(re.findall(r"\*\*Predict\b", text))
    for formula in formulas:
        text = text.replace(formula, " ")
    text = re.sub(r"\]\([^)]*\)", "]", text)  # a link is read by its text
    section.seconds += 60 * len(re.findall(r"\w[\w'’.,]*", text)) / WORDS_A_MINUTE


def code_seconds(cell) -> float:
    seconds, printed = CODE_LINE * sum(bool(line.strip()) for line in cell.source.splitlines()), 0
    for output in cell.outputs:
        if pages.WIDGET in output.get("data", {}):
            seconds += PANEL
        elif "image/png" in output.get("data", {}):
            seconds += FIGURE
        else:
            printed += len(output.get("text", "").splitlines())
    return seconds + min(PRINTED_MOST, printed)


def main() -> None:
    for path in [pages.find_page(name) for name in sys.argv[1:]] or pages.page_files():
        found = sections(path)
        print(f"{path.stem}: {sum(section.talk for section in found):.0f} minutes")
        for section in found:
            exercises = f", {section.exercises} exercises of 3 minutes" if section.exercises else ""
            print(f"{section.talk:6.1f}  {section.heading}{exercises}")


if __name__ == "__main__":
    main()
