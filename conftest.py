"""Plain `pytest` runs the unit tests and every page under strict nbval: from here, from notebooks/, or with a path.

Pages' cells are timed here; tests/test_page_budget.py judges the times after everything else has run.
"""
import os
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from unittest import mock

import pytest

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tests"))

import pages  # noqa: E402

TALLY = pytest.StashKey()
KERNEL_HOME = pytest.StashKey()


class Tally:
    """What this session ran of the pages."""

    def __init__(self):
        self.seconds = defaultdict(float)  # page file -> seconds in its cells
        self.compared = self.escaped = self.unexplained = 0

    def add(self, item, call):
        self.seconds[item.path] += call.duration
        if not pages.escape(item.cell):
            self.compared += 1
        else:
            self.escaped += 1
            self.unexplained += not pages.REASON.search(item.cell.source)


def is_page_cell(item):
    return type(item).__name__ == "IPyNbCell"  # by name: the unit tests alone need no nbval


def pytest_configure(config):
    config.stash[TALLY] = Tally()
    config.stash[KERNEL_HOME] = tempfile.TemporaryDirectory(prefix="pages-", ignore_cleanup_errors=True)
    os.environ["MPLBACKEND"] = "agg"  # unit tests open no windows; kernels get their own below


def pytest_unconfigure(config):
    if KERNEL_HOME in config.stash:
        config.stash[KERNEL_HOME].cleanup()


def pytest_ignore_collect(collection_path):
    """Learners' notebooks are theirs. Who names one on the command line has it run; nothing of it is ever written."""
    return True if collection_path.suffix == ".ipynb" and not pages.is_page(collection_path) else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name == "test_page_budget.py")  # last, when all times are known


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item):
    """nbval starts a page's kernel in the setup of its first cell: only then the environment is the kernels'."""
    if not is_page_cell(item):
        return (yield)
    home = Path(item.config.stash[KERNEL_HOME].name)
    with mock.patch.dict(os.environ, pages.kernel_environment(home), clear=True):
        return (yield)


def pytest_runtest_makereport(item, call):
    if is_page_cell(item) and call.when == "call":
        item.config.stash[TALLY].add(item, call)


@pytest.fixture
def page_seconds(request):
    """{page file: seconds in its cells} of the pages that ran in this session."""
    return dict(request.config.stash[TALLY].seconds)


def pytest_terminal_summary(terminalreporter, config):
    tally = config.stash[TALLY]
    if tally.seconds:
        reason = f"{tally.unexplained} WITHOUT" if tally.unexplained else "with"
        terminalreporter.write_line(f"pages: {len(tally.seconds)} pages, {tally.compared} cells compared, "
                                    f"{tally.escaped} escape comparison ({reason} a written reason)")
