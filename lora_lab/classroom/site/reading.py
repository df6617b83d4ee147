"""A stored page as sections of parts, ready for the template: text, code, figures, panels, questions."""

import base64
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from lora_lab.classroom import exercises, predictions
from lora_lab.classroom.cards import as_html
from lora_lab.classroom.lesson import only_draws

from .panels import keep, shows_panel

HERE = Path(__file__).resolve().parent
READY = "LoRA Lab, page"  # what `lora_lab.begin` prints


@dataclass
class Section:
    """A `##` heading and what stands below it; the first is the page's head. number: "4.3", or its place."""

    title: str
    number: str
    parts: list[dict] = field(default_factory=list)


# ---- markdown


class Renderer(IPythonRenderer):
    """nbconvert's, with formulas as MathML, JupyterLab's names for headings, and links that hold in the site.

    pages: the names of what the site has, such as "04_rank_and_alpha". Other files are named without a link.
    """

    def __init__(self, pages: set[str]) -> None:
        super().__init__(escape=False)
        self.pages = pages

    def inline_math(self, body: str) -> str:
        return convert(body.strip())

    def block_math(self, body: str) -> str:
        return f'<div class="wide">{convert(body.strip(), display="block")}</div>'

    def heading(self, text: str, level: int, **attrs: object) -> str:
        name = re.sub(r"<[^>]+>", "", text).replace(" ", "-")
        return f'<h{level} id="{name}">{text}</h{level}>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        if "://" in url or url.startswith("#"):
            return super().link(text, url, title)
        file, mark, heading = url.partition("#")
        name = Path(file).stem
        return f'<a href="{name}.html{mark}{heading}">{text}</a>' if name in self.pages else text

    def table(self, text: str) -> str:
        return f'<div class="wide"><table>\n{text}</table></div>\n'


def exporter(pages: set[str]) -> HTMLExporter:
    """nbconvert's, with the site's template and the Renderer above."""
    found = HTMLExporter(template_file=str(HERE / "page.html.j2"))
    found.register_filter("markdown2html", MarkdownWithMath(renderer=Renderer(pages)).render)
    found.register_filter("json", lambda data: json.dumps(data, ensure_ascii=False).replace("</", "<\\/"))
    found.register_filter("as_html", as_html)
    return found


# ---- pages


def sections_of(notebook: nbformat.NotebookNode, panels: list[dict], folder: Path) -> list[Section]:
    """The page's sections. panels: what `drawn` says of its panels, in order. folder: for the figures."""
    found = [Section("", "0")]
    waiting = iter(panels)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            # what says "Run All" is about a kernel
            paragraphs = [text for text in cell.source.split("\n\n") if "Run All" not in text]
            for title, text in split("\n\n".join(paragraphs)):
                if title:
                    number = re.match(r"\d+\.\d+", title)
                    found.append(Section(title, number[0] if number else str(len(found))))
                if text.strip():
                    found[-1].parts.append({"kind": "text", "text": text})
        elif cell.source.strip():
            found[-1].parts += code_parts(cell, waiting, folder)
    return found


def split(text: str) -> list[tuple[str, str]]:
    """(heading, text with it) for what stands before the first `##` and after each; not inside fences."""
    found, fenced = [("", "")], False
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        if line.startswith("## ") and not fenced:
            found.append((line[3:].strip(), ""))
        title, before = found[-1]
        found[-1] = title, f"{before}{line}\n"
    return found


def code_parts(cell: nbformat.NotebookNode, panels, folder: Path) -> list[dict]:
    """A code cell: a prediction's card, an exercise, or code with what it printed and drew."""
    source = cell.source
    if asked := re.match(r'lora_lab\.predict\("([\d.]+)"\)', source):
        return [{"kind": "prediction", "asked": predictions.find(asked[1])}]
    if task := re.search(r'^check\("([\d.]+)", ', source, re.M):
        number, exercise = exercises.find(task[1])
        return [{"kind": "exercise", "number": number, "code": source, "hints": exercise.hints,
                 "solution": exercise.solution(number)}]  # fmt: skip
    only_imports = all(re.match(r"import |from |lora_lab\.begin\(|$", line) for line in source.splitlines())
    parts = [{"kind": "code", "code": source, "folded": only_imports or only_draws(cell)}]
    for output in cell.outputs:
        data = output.get("data", {})
        if shows_panel(output):
            parts.append({"kind": "panel", **next(panels)})
        elif "image/png" in data:
            png = base64.b64decode(data["image/png"])
            width, height = (int.from_bytes(png[i : i + 4]) for i in (16, 20))  # from the PNG's header
            alt = output.metadata.get("image/png", {}).get("alt", "")
            parts.append({"kind": "figure", "file": keep(png, folder), "size": (width, height), "alt": alt})
        elif not (text := output.get("text") or data.get("text/plain", "")).startswith(READY):
            parts.append({"kind": "output", "text": text.rstrip()})
    return parts
