"""Every page's stored form, each rule of pages.problems broken once, the tools that store pages, the matrix record."""
import base64
import json
import re
from pathlib import Path

import execute_pages
import page_matrix
import pages
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ALL = pages.page_files()
every_page = pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)


# ---- the course's pages -------------------------------------------------------------------------------------------
@every_page
def test_page_is_stored_clean(path):
    assert not pages.problems(path), "\n".join(pages.problems(path))


def test_pages_are_numbered_and_have_budgets():
    assert [p.stem[:3] for p in ALL] == [f"{i:02d}_" for i in range(len(ALL))], "pages are 00_, 01_, ... without a gap"
    assert len(ALL) > 0 and all(pages.budget(p) for p in ALL), "each page has a line in pages.BUDGETS"


def test_enough_cells_are_compared(record_property):
    """At least half of a page's code cells store text that is compared; at most one in five escapes comparison."""
    total = 0
    for path in ALL:
        cells, compared, with_text = pages.count_cells(pages.read(path))
        record_property(path.stem, f"{compared} of {cells} cells compared, {with_text} with text")
        print(f"{path.stem}: {compared} of {cells} code cells are compared, {with_text} of them with text")
        assert with_text >= cells / 2, f"{path.name}: only {with_text} of {cells} code cells store compared text."
        assert cells - compared <= cells / 5, f"{path.name}: {cells - compared} of {cells} escape comparison."
        total += compared
    print(f"all pages: {total} cells compared")
    assert total > 0


# ---- each fault is found ------------------------------------------------------------------------------------------
def png(size=100):
    return base64.b64encode(b"\x89PNG" + bytes(size)).decode()


def good_page():
    """A small page without a fault, its outputs written by hand; normalise gives it its ids."""
    panel = {"text/plain": "LiveFigure(r=1) |dW| = 2", "image/png": png(), pages.WIDGET: {"model_id": "ab12"}}
    return pages.normalise(new_notebook(cells=[
        new_markdown_cell("# A good page"),
        new_markdown_cell("Reopened? *Run > Run All Cells* (1 s)."),
        new_code_cell("print('loss 0.1')", execution_count=1,
                      outputs=[new_output("stream", name="stdout", text="loss 0.1\n")]),
        new_code_cell("panel", execution_count=2,
                      outputs=[new_output("execute_result", data=panel, execution_count=2)]),
    ]))


def planted(tmp_path, nb) -> list[str]:
    path = tmp_path / "00_planted.ipynb"
    path.write_text(pages.as_text(nb), encoding="utf-8", newline="\n")
    return pages.problems(path)


def test_good_page_has_no_problem(tmp_path):
    assert planted(tmp_path, good_page()) == []


def stream(name, text):
    return [new_output("stream", name=name, text=text)]


def code(nb, source=None, **fields):
    """Change the first code cell."""
    nb.cells[2].update({"source": source} if source is not None else {}, **fields)


def tag(nb, *tags, source="print('loss 0.1')"):
    nb.cells[2].metadata["tags"] = list(tags)
    nb.cells[2].source = source


def error(nb):
    code(nb, outputs=[new_output("error", ename="ValueError", evalue="r=0", traceback=["r=0"])])


def stdout(nb, text):
    code(nb, outputs=stream("stdout", text))


def picture(nb, **data):
    code(nb, outputs=[new_output("display_data", data={"text/plain": "<Figure>", **data})])


LONG = "\n\n".join(f"x{i} = {i}" for i in range(21))  # 21 lines and 20 blank ones
FAULTS = {
    "unexecuted": (lambda nb: code(nb, execution_count=None, outputs=[]), "was not executed"),
    "counts out of order": (lambda nb: code(nb, execution_count=3), "counts are [3, 2]"),
    "counts not from 1": (lambda nb: [code(nb, execution_count=2), nb.cells[3].update(execution_count=3)], "[2, 3]"),
    "empty cell": (lambda nb: code(nb, ""), "is empty"),
    "error": (error, "stores an error: ValueError: r=0"),
    "stderr": (lambda nb: code(nb, outputs=stream("stderr", "careful")), "on stderr: 'careful'"),
    "home": (lambda nb: stdout(nb, "in /home/ann/x"), "in its output: '/home/a'"),
    "Users": (lambda nb: stdout(nb, "'/Users/ann'"), "in its output: '/Users/a'"),
    "Windows": (lambda nb: stdout(nb, r"C:\Users\ann"), r"in its output: 'C:\\Users'"),
    "tmp": (lambda nb: stdout(nb, "saved /tmp/a"), "in its output: '/tmp'"),
    "root": (lambda nb: code(nb, "print('loss 0.1')  # see /" + "root/x"), "in its source: '/root'"),
    "path in prose": (lambda nb: nb.cells[1].update(source="Run All, in /home/ann"), "cell 1 has a machine's path"),
    "checkout": (lambda nb: stdout(nb, f"{pages.ROOT}/notebooks"), f"in its output: {str(pages.ROOT)!r}"),
    "traceback path": (lambda nb: [tag(nb, "raises-exception", source="# not compared: shows the error\n1/0"),
                                   code(nb, outputs=[new_output("error", ename="E", evalue="e",
                                                                traceback=["File /tmp/ipykernel_7/1.py"])])], "/tmp"),
    "site-packages": (lambda nb: stdout(nb, "lib/site-packages/torch"), "in its output: 'site-packages/'"),
    "widget state": (lambda nb: nb.metadata.update(widgets={"a": 1}), "widget state is stored"),
    "big picture": (lambda nb: picture(nb, **{"image/png": png(300_001)}), "image/png of 300 kB"),
    "big svg": (lambda nb: picture(nb, **{"image/svg+xml": "<svg>" + " " * 300_000}), "image/svg+xml of 300 kB"),
    "big attachment": (lambda nb: nb.cells[0].update(attachments={"a.png": {"image/png": png(400_000)}}), "400 kB"),
    "big data URI": (lambda nb: nb.cells[1].update(source=f"Run All ![](data:image/png;base64,{png(500_000)})"),
                     "cell 1 has an image/png of 500 kB"),
    "dead widget": (lambda nb: nb.cells[3].outputs[0].data.pop("image/png"), "a dead box"),
    "widget without text": (lambda nb: nb.cells[3].outputs[0].data.pop("text/plain"), "a dead box"),
    "ignored by tag": (lambda nb: tag(nb, "nbval-ignore-output"), "has its output ignored by the tests without"),
    "skipped by tag": (lambda nb: tag(nb, "nbval-skip"), "is skipped by the tests without"),
    "may raise": (lambda nb: tag(nb, "raises-exception"), "may raise an exception without"),
    "ignored by comment": (lambda nb: code(nb, "# NBVAL_IGNORE_OUTPUT\nprint('loss 0.1')"), "without a written reason"),
    "skipped by comment": (lambda nb: code(nb, "# NBVAL_SKIP\nprint('loss 0.1')"), "without a written reason"),
    "short reason": (lambda nb: tag(nb, "nbval-skip", source="# not compared: slow\nx = 1"), "a written reason"),
    "long cell": (lambda nb: code(nb, LONG), "has 21 lines; the limit is 20"),
    "very long cell": (lambda nb: tag(nb, "long-cell", source=LONG + LONG), "has 41 lines; the limit is 25"),
    "no heading": (lambda nb: nb.cells[0].update(source="A page"), "first cell is not a heading"),
    "no reopening": (lambda nb: nb.cells[1].update(source="Welcome."), "when the page is reopened ('Run All')"),
    "tqdm": (lambda nb: stdout(nb, "100%|##| 20/20 [00:01<00:00, 12.3it/s]"), "text of a progress bar"),
    "tqdm at its start": (lambda nb: stdout(nb, "0/20 [00:00<?, ?it/s"), "text of a progress bar"),
    "address": (lambda nb: stdout(nb, "<object at 0x7f12ab34cd>"), "changes in every run: 0x7f12ab34cd"),
    "semicolon": (lambda nb: code(nb, "plt.plot([1]);"), "ends with ';'"),
    "big file": (lambda nb: stdout(nb, "a" * 1_000_001), "the file has 1.0 MB"),
    "invalid": (lambda nb: nb.cells[2].update(cell_type="cod"), "is no valid notebook"),
    "other kernel": (lambda nb: nb.metadata.kernelspec.update(name="mine"), "the kernel is called 'mine'"),
    "versions": (lambda nb: nb.metadata.language_info.update(version="3.11.7"), "not normalised (first difference"),
    "random id": (lambda nb: nb.cells[0].update(id="1a2b3c"), "not normalised (first difference"),
    "trailing space": (lambda nb: nb.cells[0].update(source="# A good page  "), "not normalised (first difference"),
    "scrolled": (lambda nb: nb.cells[2].metadata.update(scrolled=True), "run python tests/execute_pages.py 00_planted"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_found(name, tmp_path):
    """The planted fault gives its sentence and nothing else, unless the page stops being normalised by it too."""
    plant, sentence = FAULTS[name]
    nb = good_page()
    plant(nb)
    found = planted(tmp_path, nb)
    assert any(sentence in f for f in found), found
    assert all(sentence in f or "not normalised" in f for f in found), found


def test_written_reasons_and_long_cells_are_allowed(tmp_path):
    nb = good_page()
    tag(nb, "nbval-ignore-output", source="# not compared: seconds differ in every run\nprint('loss 0.1')")
    assert planted(tmp_path, nb) == []
    assert pages.count_cells(nb) == (2, 1, 1) and pages.content(nb)[0][1] == {}
    tag(nb, "long-cell", source=LONG)
    assert planted(tmp_path, nb) == []
    tag(nb, "raises-exception", source="# not compared: shows the sentence\nLoRALinear(base, r=0)")
    nb.cells[2].outputs = [new_output("error", ename="ValueError", evalue="r=0", traceback=[])]
    assert planted(tmp_path, nb) == []


def test_a_predictions_card_needs_its_question_as_text_and_no_picture(tmp_path):
    nb = good_page()
    del nb.cells[3].outputs[0].data["image/png"]
    assert any("without image/png and text/plain beside it" in found for found in planted(tmp_path, nb))
    nb.cells[3].source = 'lora_lab.predict("1.2")'
    assert planted(tmp_path, nb) == []
    del nb.cells[3].outputs[0].data["text/plain"]
    assert any("without text/plain beside it" in found for found in planted(tmp_path, nb))


def test_a_file_that_is_no_notebook_gives_a_sentence(tmp_path):
    (tmp_path / "00_x.ipynb").write_text("{", encoding="utf-8")
    assert "is no valid notebook" in pages.problems(tmp_path / "00_x.ipynb")[0]


def test_find_page(monkeypatch, tmp_path):
    for name in ("00_start", "01_fine", "01_full"):
        (tmp_path / f"{name}.ipynb").touch()
    monkeypatch.setattr(pages, "NOTEBOOKS", tmp_path)
    assert pages.find_page("00").stem == "00_start" == pages.find_page("notebooks/00_start.ipynb").stem
    assert pages.find_page("01_fi").stem == "01_fine" and pages.find_page(str(tmp_path / "01_full.ipynb"))
    with pytest.raises(ValueError, match="'01' names more than one page; there are: 01_fine, 01_full"):
        pages.find_page("01")
    with pytest.raises(ValueError, match="'7' names no page; there are: 00_start"):
        pages.find_page("7")


# ---- execute_pages.py ---------------------------------------------------------------------------------------------
PAGE = ["import os, sys, time, ipywidgets, matplotlib.pyplot as plt\nprint('one', flush=True)\nprint('two')",
        "for i in range(3):\n    print(i, end='\\r', flush=True)\nprint('done')",
        "fig, ax = plt.subplots()\nplt.show()", "ipywidgets.IntSlider()"]


def write_page(folder, name, sources):
    """An unexecuted page as an editor leaves it: random ids, a foreign kernel, an old widget state."""
    cells = [new_markdown_cell(f"# {name}"), new_markdown_cell("Reopened? Run All."), *map(new_code_cell, sources)]
    nb = new_notebook(cells=cells, metadata={"kernelspec": {"name": "gone", "display_name": "x"}, "widgets": {}})
    path = Path(folder) / f"{name}.ipynb"
    path.write_text(pages.as_text(nb), encoding="utf-8")
    return path


def test_two_executions_are_byte_identical_and_a_failing_page_is_left_alone(tmp_path, capsys, monkeypatch):
    good, bad = write_page(tmp_path, "00_good", PAGE), write_page(tmp_path, "01_bad", ["x = 0", "print(x)\n1 / x"])
    before = bad.read_bytes()
    monkeypatch.setenv("MPLBACKEND", "agg")  # would lose the figure if it reached the kernel
    assert execute_pages.main([str(bad), str(good)]) == 1
    out = capsys.readouterr().out
    assert "01_bad: code cell [2] failed" in out and "    1 / x" in out and "ZeroDivisionError: division by" in out
    assert bad.read_bytes() == before and "00_good: " in out and "4 cells (4 compared)" in out

    first = good.read_bytes()
    nb = pages.read(good)
    assert [c.outputs[0].get("text") for c in pages.code_cells(nb)] == ["one\ntwo\n", "done\n", None, None]
    assert nb.cells[4].outputs[0].data["image/png"] and nb.cells[5].outputs[0].data[pages.WIDGET]["model_id"] == "m001"
    assert [p for p in pages.problems(good) if "dead box" not in p] == []  # the bare slider is PAGE's only fault
    assert execute_pages.main([str(good)]) == 0
    assert good.read_bytes() == first and "unchanged" in capsys.readouterr().out

    good.write_text(first.decode().replace('"done\\n"', '"over\\n"'), encoding="utf-8")
    stale = good.read_bytes()
    assert execute_pages.main([str(good), "--check"]) == 1
    assert good.read_bytes() == stale and "code cell [2] would change in: stdout" in capsys.readouterr().out


def test_check_compares_text_and_sources_only():
    old, new = good_page(), good_page()
    new.cells[3].outputs[0].data["image/png"] = png(7)
    assert execute_pages.changes(old, new) == []
    old.cells[2].execution_count = None
    assert execute_pages.changes(old, new) == ["code cell [1] was not executed"]


def test_recorded_times_name_the_pages_that_are_there():
    if execute_pages.RECORD.is_file():
        recorded = json.loads(execute_pages.RECORD.read_text(encoding="utf-8"))["pages"]
        expected = {p.stem: (pages.title(pages.read(p)), pages.budget(p)) for p in ALL}
        found = {name: (page["title"], page["budget_s"]) for name, page in recorded.items()}
        assert found == expected, "run python tests/execute_pages.py --record"


def test_record_updates_only_the_pages_that_ran(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "page_files", lambda: [Path("00_start_here.ipynb"), Path("01_next.ipynb")])
    file = tmp_path / "data" / "pages.json"
    run = execute_pages.Run(good_page(), 2.94, 2.0)
    for name, speed in (("00_start_here", 123.44), ("00_gone", None), ("01_next", None)):
        execute_pages.record({Path(f"{name}.ipynb"): run}, speed, file)
    entry = {"title": "A good page", "budget_s": 5, "run_s": 2.9}
    assert json.loads(file.read_text(encoding="utf-8")) == {
        "calibration_steps_per_s": 123.4, "pages": {"00_start_here": entry, "01_next": {**entry, "budget_s": 30}}}


# ---- page_matrix.py -----------------------------------------------------------------------------------------------
def matrix_problems(record: dict, files: list[Path]) -> list[str]:
    """What the recorded matrix lacks, in sentences."""
    again = "run python tests/page_matrix.py"
    rows = {page_matrix.describe(row["settings"]): row["pages"] for row in record["rows"]}
    out = [f"the row {page_matrix.describe(s)} is missing: {again}." for s in page_matrix.REQUIRED
           if page_matrix.describe(s) not in rows]
    if gone := set(record["pages"]) - {p.stem for p in files}:
        out.append(f"{', '.join(sorted(gone))} is recorded but no page: {again}.")
    for path in files:
        nb = pages.read(path)
        if record["pages"].get(path.stem, {}).get("sha256") != pages.content_hash(nb):
            out.append(f"{path.name} is newer than its recorded matrix: {again} --pages {path.stem}.")
            continue
        for name, row in rows.items():
            page = row[path.stem]
            if page["failed"] or page["passed"] + page["skipped"] != len(pages.code_cells(nb)):
                out.append(f"{path.name} with {name}: {page['failed']} cells failed, {page['passed']} passed.")
    return out


def test_recorded_matrix_is_green_and_up_to_date():
    assert page_matrix.RECORD.is_file(), "there is no recorded matrix: run python tests/page_matrix.py."
    text = page_matrix.RECORD.read_text(encoding="utf-8")
    assert not re.search(pages.MACHINE, text), "the record holds a machine's path."
    found = matrix_problems(json.loads(text), ALL)
    assert not found, "\n".join(found)


def test_matrix_record_faults_are_found(tmp_path):
    path = tmp_path / "00_good.ipynb"
    nb = good_page()
    path.write_text(pages.as_text(nb), encoding="utf-8")

    def record(**change):
        result = {"passed": 2, "failed": 0, "skipped": 0, "seconds": 1.0, **change}
        return {"pages": {"00_good": {"sha256": pages.content_hash(nb), "date": "2026-01-01"}},
                "rows": [{"settings": s, "pages": {"00_good": dict(result)}} for s in page_matrix.REQUIRED]}

    assert matrix_problems(json.loads(json.dumps(record(), sort_keys=True)), [path]) == []  # as it lies in the file
    assert "1 cells failed" in matrix_problems(record(failed=1, passed=1), [path])[0]
    assert "1 passed" in matrix_problems(record(passed=1), [path])[0]
    short = record()
    short["rows"].pop()
    assert "OMP_NUM_THREADS=2 ATEN_CPU_CAPABILITY=avx2 is missing" in matrix_problems(short, [path])[0]
    assert "is recorded but no page" in matrix_problems(record(), [])[0]
    nb.cells[0].source, nb.cells[3].outputs[0].data["image/png"] = "# Other prose", png(9)
    path.write_text(pages.as_text(nb), encoding="utf-8")
    assert matrix_problems(record(), [path]) == []  # prose and pictures are not what the matrix compares
    stale = record()
    nb.cells[2].outputs[0].text = "loss 0.2\n"
    path.write_text(pages.as_text(nb), encoding="utf-8")
    assert "run python tests/page_matrix.py --pages 00_good" in matrix_problems(stale, [path])[0]


def test_matrix_rows_fit_the_machine():
    rows = {c: page_matrix.rows_for({"capability": c, "mkl": mkl}) for c, mkl in
            (("DEFAULT", False), ("AVX2", True), ("AVX512", True))}
    assert [len(r) for r in rows.values()] == [2, 5, 6]
    assert all(r in rows["AVX2"] for r in page_matrix.REQUIRED)


def test_matrix_keeps_the_other_pages_of_the_same_machine(monkeypatch):
    monkeypatch.setattr(page_matrix.pages, "page_files", lambda: [Path("00_a.ipynb"), Path("01_b.ipynb")])

    def part(machine, day, *names):
        return {"machine": machine, "pages": {n: {"date": day} for n in names},
                "rows": [{"settings": {"OMP_NUM_THREADS": "1"}, "pages": {n: {"passed": day} for n in names}}]}

    merged = page_matrix.merge(part("m", 1, "00_a", "01_b", "02_gone"), part("m", 2, "01_b"))
    assert merged["pages"] == {"00_a": {"date": 1}, "01_b": {"date": 2}}
    assert merged["rows"][0]["pages"] == {"00_a": {"passed": 1}, "01_b": {"passed": 2}}
    assert set(page_matrix.merge(part("other", 1, "00_a"), part("m", 2, "01_b"))["pages"]) == {"01_b"}
