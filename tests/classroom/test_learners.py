"""Learners' notebooks are theirs: no command of ours writes one, plain pytest does not run one, an update leaves it."""
import shutil
import subprocess

import execute_pages
import page_matrix
import pages
import pytest
import slide_cells
from test_page_budget import INI, run_pytest
from test_pages import write_page

LEARNERS = ["my_notebooks/00_page", "my_notebooks/03_own_idea", "notebooks/00_page-Copy1", "notebooks/Untitled",
            "elsewhere/00_page"]


@pytest.fixture
def course(tmp_path):
    """A course of one page, with learners' notebooks in their copy, beside the page, and somewhere else."""
    for folder in ("notebooks", "my_notebooks", "elsewhere", "tests"):
        (tmp_path / folder).mkdir()
    write_page(tmp_path / "notebooks", "00_page", ["print('the page')"])
    for name in LEARNERS:
        folder, _, stem = name.rpartition("/")
        write_page(tmp_path / folder, stem, ["print('mine')", "answer = 42"])
    return tmp_path


def state(course):
    """Bytes and time of change of every learner's notebook, and the names in their folders."""
    files = [course / f"{name}.ipynb" for name in LEARNERS]
    names = sorted(p for folder in ("my_notebooks", "elsewhere") for p in (course / folder).rglob("*"))
    return [(f.read_bytes(), f.stat().st_mtime_ns) for f in files], names


def test_no_command_touches_a_learners_notebook(course, monkeypatch, capsys):
    monkeypatch.setattr(pages, "NOTEBOOKS", course / "notebooks")
    monkeypatch.setattr(page_matrix, "RECORD", course / "record.json")
    monkeypatch.setattr(page_matrix, "rows_for", lambda native: page_matrix.REQUIRED[:1])
    page, before = course / "notebooks" / "00_page.ipynb", state(course)
    for command, arguments, status in ((execute_pages, ["--check"], 1), (execute_pages, [], 0), (slide_cells, [], 0),
                                       (slide_cells, ["--check"], 0), (page_matrix, [], 0)):
        assert command.main(arguments) == status, capsys.readouterr().out
        assert state(course) == before, f"{command.__name__} {arguments}"
    out = capsys.readouterr().out
    assert "00_page" in out and not any(name in out for name in ("Copy", "Untitled", "own_idea"))
    nb = pages.read(page)  # while the page was executed, marked and recorded
    assert pages.code_cells(nb)[0].outputs[0].text == "the page\n" and nb.cells[0].metadata.slideshow
    assert '"00_page"' in (course / "record.json").read_text() and "Copy" not in (course / "record.json").read_text()


def test_pytest_collects_pages_only_and_runs_what_is_named(course):
    for file in ("conftest.py", "tests/pages.py"):
        shutil.copy(pages.ROOT / file, course / file)
    (course / "pytest.ini").write_text(INI, encoding="utf-8")
    before = state(course)
    for arguments in ((), (".",)):
        _, text = run_pytest(course, "--collect-only", *arguments)
        assert "<IPyNbFile 00_page.ipynb>" in text and "1 test collected" in text, text
    status, text = run_pytest(course, "my_notebooks/03_own_idea.ipynb", "-o", "addopts=--nbval-lax --nbval-current-env")
    assert "2 passed" in text and status == 0, text
    assert state(course) == before


@pytest.mark.parametrize("name, page", [("00_start_here", True), ("03_lora_in_torch-Copy1", False), ("Untitled", False),
                                        ("3_x", False), ("03_Own", False)])
def test_what_a_page_is(name, page):
    assert pages.is_page(pages.NOTEBOOKS / f"{name}.ipynb") is page
    assert not pages.is_page(pages.ROOT / "my_notebooks" / f"{name}.ipynb")


# ---- updates ------------------------------------------------------------------------------------------------------
def git(cwd, *arguments):
    own = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false",
           "-c", "init.defaultBranch=main", "-c", "core.hooksPath=/dev/null"]
    return subprocess.run(["git", *own, *arguments], cwd=cwd, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(not shutil.which("git"), reason="no git here")
def test_an_update_leaves_learners_notebooks_alone(tmp_path):
    """The course moves on while a learner has a copy; `git pull` brings the new page and conflicts with nothing."""
    upstream, clone = tmp_path / "upstream", tmp_path / "clone"
    upstream.mkdir()
    shutil.copy(pages.ROOT / ".gitignore", upstream)
    (upstream / "notebooks").mkdir()
    (upstream / "notebooks" / "00_page.ipynb").write_text("old page")
    git(upstream, "init", "-q")
    git(upstream, "add", "-A")
    git(upstream, "commit", "-q", "-m", "one")
    git(tmp_path, "clone", "-q", str(upstream), str(clone))

    shutil.copytree(clone / "notebooks", clone / "my_notebooks")  # as the README says
    mine = [clone / "my_notebooks" / "00_page.ipynb", clone / "notebooks" / "00_page-Copy1.ipynb"]
    for file in mine:
        file.write_text("my answers")
    (clone / "slides").mkdir()
    (clone / "slides" / "00_page.slides.html").write_text("a deck")
    assert git(clone, "status", "--porcelain") == "" and git(clone, "add", "-A", "--dry-run") == ""
    ignored = [str(f.relative_to(clone)) for f in mine]
    assert git(clone, "check-ignore", *ignored).split() == ignored

    (upstream / "notebooks" / "00_page.ipynb").write_text("new page")
    (upstream / "notebooks" / "01_next.ipynb").write_text("another")
    git(upstream, "add", "-A")
    git(upstream, "commit", "-q", "-m", "two")
    git(clone, "pull", "-q", "--ff-only")
    assert (clone / "notebooks" / "00_page.ipynb").read_text() == "new page"
    assert (clone / "notebooks" / "01_next.ipynb").is_file()
    assert [f.read_text() for f in mine] == ["my answers"] * 2
    assert git(clone, "status", "--porcelain") == ""
