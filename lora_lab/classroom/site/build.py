"""`python -m lora_lab site --to site/ [pages]`: the course as static files, read and moved without a kernel.

    index.html, 00_start_here.html, …, CHEATSHEET.html, QUESTIONS.html, style.css, script.js
    pictures/   every figure, and every position of every panel, named after its content

A folder that is there already is renewed, and keeps the pictures of before. Nothing is fetched from anywhere, neither
here nor in the browser: a double click on index.html is enough.
"""

import argparse
import itertools
import multiprocessing
import os
import re
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nbformat

from lora_lab.classroom.pages import NOTEBOOKS, PAGES, Page, find_page

from .panels import MOST, drawn
from .reading import Section, exporter, sections_of

HERE = Path(__file__).resolve().parent
TEXTS = ("CHEATSHEET", "QUESTIONS")  # notebooks/NAME.md, where they are there


def build(folder: Path, pages: list[Page], most: int = MOST, jobs: int = 1) -> None:
    """Make or renew these pages in `folder`, with the index and the texts. What else lies there stays."""
    folder.mkdir(parents=True, exist_ok=True)
    panels = draw_all(folder, pages, most, jobs)
    course = [page.file for page in PAGES]
    texts = [file for name in TEXTS if (file := NOTEBOOKS / f"{name}.md").exists()]
    sites = {file: about(file) for file in [*course, *texts]}
    for before, after in itertools.pairwise(course):
        sites[before]["after"], sites[after]["before"] = sites[after], sites[before]
    make = exporter({"index", *(file.stem for file in sites)})
    for file in [*panels, *texts]:
        write(make, folder, sites[file], sections_of(read(file), panels.get(file, []), folder))
    there = [sites[file] for file in course if (folder / f"{file.stem}.html").exists()]
    index = {"name": "index", "title": "LoRA Lab", "description": "A course on low-rank adaptation"}
    beside = [sites[file] for file in texts]
    write(make, folder, {**index, "map": there, "texts": beside}, [Section("", "0")])
    for name in ("style.css", "script.js"):
        shutil.copyfile(HERE / name, folder / name)


def draw_all(folder: Path, pages: list[Page], most: int, jobs: int) -> dict[Path, list[dict]]:
    """{a page's file: what `drawn` says}. Each page in one process, so that two cores draw two pages."""
    if jobs == 1:
        return {page.file: drawn(page, folder, most) for page in pages}
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(drawn, page, folder, most, line) for line, page in enumerate(pages)]
        return {page.file: result.result() for page, result in zip(pages, waiting)}


def read(file: Path) -> nbformat.NotebookNode:
    """A page, or a text as a notebook of one cell."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        return nbformat.reads(text, as_version=4)
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])


def about(file: Path) -> dict[str, object]:
    """Name, title, question and the line on minutes of a page or text, from its first cell."""
    first = read(file).cells[0].source
    question = re.search(r"^\*\*Question\.\*\* (.+)$", first, re.M)
    line = re.search(r"^\*(\d+ minutes .+?)\*$", first, re.M)
    found = {
        "name": file.stem,
        "notebook": file.name,
        "title": re.search(r"^# (.+)$", first, re.M)[1].strip(),
        "question": re.sub(r"\[(.*?)\]\(.*?\)", r"\1", question[1]) if question else "",
        "about": line[1] if line else "",
    }
    return {**found, "description": found["question"] or found["title"]}


def write(make, folder: Path, site: dict, sections: list[Section]) -> None:
    empty = nbformat.v4.new_notebook()
    html, _ = make.from_notebook_node(empty, resources={"site": {**site, "sections": sections}})
    (folder / f"{site['name']}.html").write_text(html, encoding="utf-8")


def main(arguments: list[str]) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m lora_lab site", description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", help="their numbers, such as 04 (default: all)")
    parser.add_argument("--to", type=Path, default=Path("site"), metavar="FOLDER", help="(default: site)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="pages at once (default: the cores)")
    chosen = parser.parse_args(arguments)
    os.environ["MPLBACKEND"] = "agg"  # no windows
    start = time.perf_counter()
    try:
        pages = [find_page(number) for number in chosen.pages] or list(PAGES)
    except ValueError as e:
        parser.error(str(e))
    build(chosen.to, pages, jobs=chosen.jobs)
    size = sum(file.stat().st_size for file in chosen.to.rglob("*") if file.is_file()) / 1e6
    print(f"{chosen.to / 'index.html'}: {size:.0f} MB in {time.perf_counter() - start:.0f} s")
    return 0
