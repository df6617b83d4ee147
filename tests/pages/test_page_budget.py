"""How pages run under plain pytest: their time, where it may be called from, and that a broken panel cannot pass.

conftest.py moves this file's tests to the end, when all pages' times are known.
"""
import os
import shutil
import subprocess
import sys

import pages
import pytest
from execute_pages import execute
from test_pages import write_page


def test_pages_keep_their_budgets(page_seconds):
    """A page over 3 times its budget (pages.BUDGETS) fails; a page that did not run in this session is not judged."""
    if not page_seconds:
        pytest.skip("no page ran in this session")
    late = [pages.over_budget(path, seconds) for path, seconds in page_seconds.items()]
    assert not any(late), "\n".join(filter(None, late))


# ---- shown on small projects of their own, with this course's conftest.py and tools -------------------------------
INI = "[pytest]\ntestpaths = tests notebooks\naddopts = --nbval --nbval-current-env --nbval-cell-timeout=60\n"
BUDGET_TEST = "tests/test_page_budget.py::test_pages_keep_their_budgets"


@pytest.fixture
def project(tmp_path):
    """The course without its pages and its package; `tests/` holds what runs pages and one unit test."""
    for folder in ("notebooks", "tests"):
        (tmp_path / folder).mkdir()
    for file in ("conftest.py", "tests/pages.py"):
        shutil.copy(pages.ROOT / file, tmp_path / file)
    (tmp_path / "tests" / "test_unit.py").write_text("def test_unit():\n    assert True\n", encoding="utf-8")
    (tmp_path / "pytest.ini").write_text(INI, encoding="utf-8")
    return tmp_path


def add_page(project, name, sources):
    path = write_page(project / "notebooks", name, sources)
    path.write_text(pages.as_text(execute(path).nb), encoding="utf-8")
    return path


def run_pytest(cwd, *args, **env):
    """pytest in a process of its own, as a learner starts it; its whole text and its status."""
    env = {**os.environ, "PYTHONPATH": str(pages.ROOT), "NO_COLOR": "1", **env}
    done = subprocess.run([sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *args], cwd=cwd, env=env,
                          capture_output=True, text=True, encoding="utf-8", timeout=300)
    return done.returncode, done.stdout + done.stderr


def test_over_budget_page_fails_and_the_others_do_not(project):
    add_page(project, "00_slow", ["import time\ntime.sleep(0.5)\nprint('done')"])
    add_page(project, "01_quick", ["# NBVAL_IGNORE_OUTPUT\n# not compared: shows that it is counted\nprint('done')"])
    for tool in ("execute_pages", "page_matrix", "test_pages", "test_page_budget"):
        shutil.copy(pages.ROOT / "tests" / f"{tool}.py", project / "tests")
    with (project / "tests" / "pages.py").open("a", encoding="utf-8") as f:
        f.write('\nBUDGETS = {"00": 0.1, "01": 30}\n')
    status, text = run_pytest(project, BUDGET_TEST, "notebooks", "tests/test_unit.py")
    assert status == 1, text
    assert "00_slow.ipynb took 0.5" in text and "but its budget is 0.1 s and a test allows 3 times that" in text
    assert "1 failed, 3 passed" in text and "01_quick.ipynb took" not in text
    assert text.index("::test_unit PASSED") < text.index("test_pages_keep_their_budgets FAILED")  # judged last
    assert "pages: 2 pages, 1 cells compared, 1 escape comparison (with a written reason)" in text


def test_plain_pytest_works_from_anywhere_whatever_the_person_configured(project, tmp_path_factory):
    """From notebooks/ and from elsewhere with a path; own IPython and matplotlib settings do not reach the pages."""
    add_page(project, "00_probe", ["import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nplt.show()\n"
                                   "print('lora_lab' in __import__('lora_lab').__name__)"])
    home = tmp_path_factory.mktemp("home")
    startup = home / "profile_default" / "startup" / "10-own.py"
    startup.parent.mkdir(parents=True)
    startup.write_text("print('hello from my own startup file')\nraise SystemExit\n", encoding="utf-8")
    (home / "matplotlibrc").write_text("figure.figsize: 3, 3\n", encoding="utf-8")
    own = {"IPYTHONDIR": str(home), "MATPLOTLIBRC": str(home), "MPLBACKEND": "agg", "PYTHONHASHSEED": "7",
           "PYTHONSTARTUP": str(startup), "LC_ALL": "C"}
    for cwd, args, passed in ((project / "notebooks", (), 1), (home, (str(project),), 2)):
        status, text = run_pytest(cwd, *args, **own)
        assert status == 0 and f"{passed} passed" in text and "1 pages, 1 cells compared" in text, text


PANEL = """
import ipywidgets as widgets
from lora_lab.panels import LiveFigure

def draw(fig, r):
    fig.subplots().plot([0, r])
    return f"numbers {r * 30}"

panel = LiveFigure(draw, {"r": widgets.SelectionSlider(options=[1, 2, 4, 8], value=1, description="r")})
panel
""".strip()
WALK = "panel.walk('r')"


def test_a_broken_callback_fails_the_page(project):
    """Only r = 4 is broken: the first picture is fine, and without walk nobody would notice."""
    intact = add_page(project, "00_intact", [PANEL, WALK]).read_text(encoding="utf-8")
    assert "numbers 120" in intact and "[0, r]" in intact
    broken = intact.replace("[0, r]", "[0, 1 / (4 - r)]")
    (project / "notebooks" / "01_broken.ipynb").write_text(broken, encoding="utf-8")
    status, text = run_pytest(project, "notebooks")
    assert status == 1 and "1 failed, 3 passed" in text and "ZeroDivisionError" in text, text
    assert "FAILED notebooks/01_broken.ipynb::Cell 1" in text, text
