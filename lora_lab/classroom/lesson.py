"""`python -m lora_lab lesson [PAGE ...] --to FOLDER`: copies of pages to teach from.

Below each *Predict*, up to the next section, nothing is stored that would answer it, and the text waits behind a click;
cells that only draw are folded, so that the figure is seen and not its code. What a folder has already is left alone.
"""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

from .claims import say
from .pages import PAGES, Page, find_page

SHOWN = re.compile(  # in code that is to be seen though its cell draws
    r"^ *(def |class |import |from )|\b(claim|check|train|sweep|evaluate|add_lora|measure|backward|step)\(", re.M
)
HEADING, QUESTION = "## ", "**Predict "
LATER = "<details><summary>After the vote</summary>\n\n{}\n\n</details>"


def only_draws(cell: dict) -> bool:
    """Whether a stored code cell shows a figure or a panel, and neither claims, nor trains, nor defines anything."""
    pictures = any("image/png" in output.get("data", {}) for output in cell["outputs"])
    return pictures and not SHOWN.search("".join(cell["source"]))


def folded(source: str, asked: bool) -> tuple[str, bool]:
    """A text whose paragraphs below a prediction wait behind a click, and whether one is open at its end.

    asked: whether one is open at its beginning. The predictions themselves stay in sight.
    """
    blocks = []  # [whether it waits, its text]
    for paragraph in source.split("\n\n"):
        asked = (asked and not paragraph.startswith(HEADING)) or QUESTION in paragraph
        waits = asked and QUESTION not in paragraph
        if blocks and blocks[-1][0] == waits:
            blocks[-1][1] += f"\n\n{paragraph}"
        else:
            blocks.append([waits, paragraph])
    return "\n\n".join(LATER.format(text) if waits else text for waits, text in blocks), asked


def lesson_copy(notebook: dict) -> dict:
    """The notebook (as JSON) without what answers a prediction below it, and with its drawing cells folded."""
    copy = json.loads(json.dumps(notebook))
    asked = False
    for cell in copy["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            cell["source"], asked = folded(source, asked)
        elif cell["cell_type"] == "code":
            if only_draws(cell):
                cell["metadata"] = cell.get("metadata", {}) | {"jupyter": {"source_hidden": True}}
            if asked and not source.startswith("lora_lab.predict("):  # a card shows its choices, and no answer
                cell["outputs"], cell["execution_count"] = [], None
    return copy


def write_lesson(page: Page, folder: Path) -> Path | None:
    """Write the page's copy into `folder`; its path, or None where a file of that name is there already."""
    target = folder / page.file.name
    if target.exists():
        return None
    text = json.dumps(lesson_copy(json.loads(page.file.read_text(encoding="utf-8"))), indent=1, ensure_ascii=False)
    target.write_text(f"{text}\n", encoding="utf-8", newline="\n")
    return target


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the copies and say what became of each. 2 if the arguments cannot be followed, else 0."""
    parser = argparse.ArgumentParser(prog="python -m lora_lab lesson", description="Copies of pages to teach from.")
    parser.add_argument("pages", nargs="*", metavar="PAGE", help='numbers such as "04"; without one, every page')
    parser.add_argument("--to", required=True, metavar="FOLDER", type=Path, help="where the copies go")
    chosen = parser.parse_args(arguments)
    try:
        wanted = [find_page(number) for number in chosen.pages] or list(PAGES)
        if missing := [page.file.name for page in wanted if not page.file.is_file()]:
            raise ValueError(f"the pages are not beside lora_lab ({missing[0]} is missing): run this from a clone.")
        chosen.to.mkdir(parents=True, exist_ok=True)
        written = {page: write_lesson(page, chosen.to) for page in wanted}
    except ValueError as error:
        say(str(error))
        return 2
    except OSError as error:
        say(f"{chosen.to} cannot be written to ({error.strerror}): --to wants a folder, such as my_notebooks.")
        return 2
    for page, target in written.items():
        left = f"{chosen.to / page.file.name} is there already and was left as it is."
        say(f"{target} written: no answers below its predictions." if target else left)
    return 0
