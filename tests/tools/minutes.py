"""How long a section takes in front of a room, and the run sheets made of it.

    python tests/tools/minutes.py [PAGE ...]    minutes of each section
    python tests/tools/minutes.py --write       fill minutes, clock, numbers and letters in notebooks/teaching/

The rule:

    prose            130 words a minute, as one reads aloud; a displayed formula 10 s
    code             3 s a line; nothing for the imports
    printed lines    1 s each, 10 s at most for a cell
    a figure         30 s
    a panel          60 s, for moving its sliders
    a prediction     30 s, asked and not counted; a full vote 3 minutes
    an exercise      3 minutes
    Run All          the page's recorded seconds (lora_lab/classroom/run_times.json), before its first section

A row of a run sheet is | clock | minutes | section | say | room | catch_up |. `room` says what the room does:
"vote 1.2 C" (the letter that is right), "hands 3.1" (an exercise), "hands 4 min" (sliders, a lab), or nothing. A row
without a link takes the minutes it states; "Questions" takes what is left of the hour.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pages

from lora_lab.classroom import predictions

WORDS_A_MINUTE = 130
FORMULA, CODE_LINE, PRINTED_MOST, FIGURE, PANEL, PREDICTION = 10, 3, 10, 30, 60, 30  # seconds
VOTE = EXERCISE = 3  # minutes
RECORD = pages.ROOT / "lora_lab" / "classroom" / "run_times.json"
TEACHING = pages.NOTEBOOKS / "teaching"
SHEETS = {60: TEACHING / "60_minutes.md", 120: TEACHING / "120_minutes.md", 240: TEACHING / "240_minutes.md"}
BOOK = TEACHING / "teachers_book.md"
CARDS = "## Predictions with buttons\n\n"  # the book's heading whose table is filled in


@dataclass
class Section:
    """A heading of a page, as it stands there, with the seconds of what is below it but for exercises and votes."""

    heading: str
    seconds: float = 0.0
    predictions: int = 0

    @property
    def talk(self) -> float:
        """Minutes of somebody who asks each prediction and votes on none."""
        return (self.seconds + PREDICTION * self.predictions) / 60

    @property
    def title(self) -> str:
        """The heading without its number."""
        return re.sub(r"^\d+\.\d+ ", "", self.heading)


def sections(path: Path) -> list[Section]:
    """The page in order; the first one, above all headings, is called by the page's title and carries Run All."""
    nb, recorded = pages.read(path), json.loads(RECORD.read_text(encoding="utf-8"))["pages"]
    found = [Section(pages.title(nb), recorded[path.stem]["run_s"])]
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            source = re.sub(r"<details>.*?</details>", "", cell.source, flags=re.DOTALL)  # read by who opens it
            for i, text in enumerate(re.split(r"^## +(.+?)\s*$", source, flags=re.MULTILINE)):
                if i % 2:
                    found.append(Section(text))
                else:
                    add_prose(found[-1], text)
        elif "lora_lab.begin(" not in cell.source and not pages.asks(cell):  # a card: its prompt is counted
            found[-1].seconds += code_seconds(cell)
    return found


def add_prose(section: Section, text: str) -> None:
    section.predictions += len(re.findall(r"\*\*Predict\b", text))
    text, formulas = re.subn(r"\$\$.*?\$\$", " ", text, flags=re.DOTALL)
    section.seconds += FORMULA * formulas
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


class Row(NamedTuple):
    """One line of a run sheet, as it is written."""

    clock: str
    minutes: str
    section: str
    say: str
    room: str
    catch_up: str

    @property
    def page(self) -> Path | None:
        link = re.search(r"\]\(\.\./([^)#]+\.ipynb)", self.section)
        return TEACHING.parent / link[1] if link else None

    def find_section(self) -> Section:
        """The section of the page that has this row's title, whatever its number is. ValueError names those there."""
        name = re.match(r"\[(?:\d+\.\d+ |\d\d · )?(.+?)\]\(", self.section)[1]
        found = sections(self.page)
        for section in found:
            if name in (section.title, section.heading.partition(" · ")[2]):
                return section
        raise ValueError(f"{self.page.name} has no section {name!r}; it has: {', '.join(s.heading for s in found)}")

    @property
    def votes(self) -> list[str]:
        return re.findall(r"vote (\d+\.\d+)", self.room)

    @property
    def hands_on(self) -> float:
        """Minutes in which the room has its hands on its own keyboards; a vote is not counted."""
        exercises = re.findall(r"hands (\d+\.\d+)", self.room)
        return EXERCISE * len(exercises) + sum(float(n) for n in re.findall(r"hands (\d+) min", self.room))

    def computed(self) -> float:
        """Minutes by the rule, to halves; those stated, for a row that is no section of a page."""
        if not self.page:
            return float(self.minutes)
        section = self.find_section()
        asked = max(0, section.predictions - len(self.votes))
        talk = 0 if "Exercises" in section.title else (section.seconds + PREDICTION * asked) / 60
        return max(0.5, round(2 * (talk + VOTE * len(self.votes) + self.hands_on)) / 2)


def rows(sheet: Path) -> list[Row]:
    """The lines of a sheet's table, without its head."""
    lines = re.findall(r"^\| (\d.*) \|$", sheet.read_text(encoding="utf-8"), re.MULTILINE)
    return [Row(*(cell.strip() for cell in line.split("|"))) for line in lines]


def filled(row: Row, start: float, left: float) -> Row:
    """The row with its minutes, its clock, and the numbers and letters that the page now has."""
    minutes = left if row.section == "Questions" else row.computed()
    section, catch_up = row.section, ""
    if row.page:
        heading = row.find_section().heading
        number = re.match(r"\d+\.(\d+) ", heading)
        catch_up = f"{row.page.name[:2]}.{number[1]}" if number else row.page.name[:2]
        anchor = heading.replace(" ", "-") if number and heading.isascii() else ""  # JupyterLab finds no other
        section = f"[{heading}](../{row.page.name}{'#' * bool(anchor)}{anchor})"

    room = re.sub(
        r"vote (\d+\.\d+)(?: [A-D]\b)?", lambda vote: f"vote {vote[1]} {predictions.find(vote[1]).right}", row.room
    )
    clock = f"{int(start // 60)}:{int(start % 60):02d}"
    return Row(clock, f"{minutes:g}", section, row.say, room, catch_up)


def write_sheet(track: int) -> None:
    sheet = SHEETS[track]
    old = rows(sheet)
    left = track - sum(row.computed() for row in old if row.section != "Questions")
    lines, start = [], 0.0
    for row in old:
        lines.append(filled(row, start, left))
        start += float(lines[-1].minutes)
    head, tail = re.split(r"^\| \d.*\n(?:.*\n)*\| \d.*\n", sheet.read_text(encoding="utf-8"), flags=re.MULTILINE)
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    sheet.write_text(head + table + tail, encoding="utf-8")
    hands = sum(row.hands_on for row in old)
    print(f"{sheet.name}: {left:g} minutes for questions, hands on {hands:g} minutes, {hands / track:.0%}")


def card_table() -> str:
    """Every prediction with buttons: number, the letter that is right, its text."""
    rows = [f"| {p.number} | {p.right} | {p.choices[p.right].text} |" for p in predictions.all_predictions()]
    return "\n".join(["| | | right |", "|---|---|---|", *rows])


def write_book() -> None:
    """Put the table below its heading, in place of what is there up to the next heading."""
    before, _, rest = BOOK.read_text(encoding="utf-8").partition(CARDS)
    after = rest[re.search(r"^#", rest, re.MULTILINE).start():]
    BOOK.write_text(f"{before}{CARDS}{card_table()}\n\n{after}", encoding="utf-8")


def main() -> None:
    if "--write" in sys.argv:
        for track in SHEETS:
            write_sheet(track)
        write_book()
        return
    for path in [pages.find_page(name) for name in sys.argv[1:]] or pages.page_files():
        found = sections(path)
        print(f"{path.stem}: {sum(section.talk for section in found):.0f} minutes without exercises")
        for section in found:
            print(f"{section.talk:6.1f}  {section.heading}")


if __name__ == "__main__":
    main()
