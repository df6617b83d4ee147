"""Learners' notebooks are theirs: no command of ours writes one, plain pytest does not run one, an update leaves it."""

import os
import shutil
import subprocess
import sys

import execute_pages
import nbformat
import pages
import pytest

PAGE = "00_start_here"
LEARNERS = [f"my_notebooks/{PAGE}", "my_notebooks/03_own_idea", f"notebooks/{PAGE}-Copy1", "notebooks/Untitled"]
INI = "[pytest]\naddopts = --nbval --nbval-current-env\n"


def write_notebook(path, *sources):
    nb = nbformat.v4.new_notebook(metadata={"kernelspec": pages.KERNELSPEC})
    nb.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nb, path)


@pytest.fixture
def course(tmp_path):
    """A course of one page, with learners' notebooks in their copy and beside the page."""
    for folder in ("notebooks", "my_notebooks", "tests"):
        (tmp_path / folder).mkdir()
    write_notebook(tmp_path / "notebooks" / f"{PAGE}.ipynb", "print('the page')")
    for name in LEARNERS:
        write_notebook(tmp_path / f"{name}.ipynb", "print('mine')", "answer = 42")
    return tmp_path


def test_executing_the_pages_touches_no_learners_notebook(course, monkeypatch, capsys):
    monkeypatch.setattr(pages, "NOTEBOOKS", course / "notebooks")
    monkeypatch.setattr(sys, "argv", ["execute_pages.py"])
    files = [course / f"{name}.ipynb" for name in LEARNERS]
    before = [(file.read_bytes(), file.stat().st_mtime_ns) for file in files]
    assert execute_pages.main() == 0, capsys.readouterr().out
    assert [(file.read_bytes(), file.stat().st_mtime_ns) for file in files] == before
    out = capsys.readouterr().out
    assert PAGE in out and not any(name in out for name in ("Copy", "Untitled", "own_idea"))
    page = pages.read(course / "notebooks" / f"{PAGE}.ipynb")
    assert page.cells[0].outputs[0].text == "the page\n"


def test_pytest_collects_pages_only(course):
    for file in ("conftest.py", "tests/pages.py"):
        shutil.copy(pages.ROOT / file, course / file)
    (course / "pytest.ini").write_text(INI, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(pages.ROOT)}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=course, env=environment, capture_output=True, encoding="utf-8", timeout=120)
    assert f"<IPyNbFile {PAGE}.ipynb>" in done.stdout and "1 test collected" in done.stdout, done.stdout


@pytest.mark.skipif(not (pages.ROOT / ".git").exists(), reason="a copy without git")
def test_an_update_leaves_learners_notebooks_alone():
    """`git pull` changes and complains of nothing that git ignores: my_notebooks/, and copies beside the pages."""
    names = [f"{name}.ipynb" for name in (*LEARNERS[:3], f"notebooks/{PAGE}")]
    done = subprocess.run(["git", "check-ignore", *names], cwd=pages.ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines() == names[:3]
