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


def state(course):
    """Bytes and time of change of every learner's notebook."""
    files = [course / f"{name}.ipynb" for name in LEARNERS]
    return [(file.read_bytes(), file.stat().st_mtime_ns) for file in files]


def test_executing_the_pages_touches_no_learners_notebook(course, monkeypatch, capsys):
    monkeypatch.setattr(pages, "NOTEBOOKS", course / "notebooks")
    monkeypatch.setattr(sys, "argv", ["execute_pages.py"])
    before = state(course)
    assert execute_pages.main() == 0, capsys.readouterr().out
    assert state(course) == before
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


def git(cwd, *arguments):
    own = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false",
           "-c", "init.defaultBranch=main", "-c", "core.hooksPath=/dev/null"]
    return subprocess.run(["git", *own, *arguments], cwd=cwd, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(not shutil.which("git"), reason="no git here")
def test_an_update_leaves_learners_notebooks_alone(tmp_path):
    """The course moves on while a learner has a copy; `git pull` brings the new page and conflicts with nothing."""
    upstream, clone = tmp_path / "upstream", tmp_path / "clone"
    (upstream / "notebooks").mkdir(parents=True)
    shutil.copy(pages.ROOT / ".gitignore", upstream)
    (upstream / "notebooks" / "00_page.ipynb").write_text("old page")
    git(upstream, "init", "-q")
    git(upstream, "add", "-A")
    git(upstream, "commit", "-q", "-m", "one")
    git(tmp_path, "clone", "-q", str(upstream), str(clone))

    shutil.copytree(clone / "notebooks", clone / "my_notebooks")  # as the README says
    mine = [clone / "my_notebooks" / "00_page.ipynb", clone / "notebooks" / "00_page-Copy1.ipynb"]
    for file in mine:
        file.write_text("my answers")
    assert git(clone, "status", "--porcelain") == ""

    (upstream / "notebooks" / "00_page.ipynb").write_text("new page")
    git(upstream, "add", "-A")
    git(upstream, "commit", "-q", "-m", "two")
    git(clone, "pull", "-q", "--ff-only")
    assert (clone / "notebooks" / "00_page.ipynb").read_text() == "new page"
    assert [file.read_text() for file in mine] == ["my answers"] * 2
    assert git(clone, "status", "--porcelain") == ""
