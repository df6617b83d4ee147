"""Plain `pytest` runs the tests and every page under strict nbval: from here, from notebooks/, or with a path.

What takes longest comes first (the browser, then the pages), so that two processes end at about the same time.
"""

import os
import sys
import tempfile
from pathlib import Path
from unittest import mock

import pytest

ROOT = Path(__file__).resolve().parent
for folder in ("tests", "tests/tools", "tests/browser"):
    sys.path.insert(0, str(ROOT / folder))

import pages  # noqa: E402

KERNEL_HOME = pytest.StashKey()


def pytest_configure(config):
    config.stash[KERNEL_HOME] = tempfile.TemporaryDirectory(prefix="pages-", ignore_cleanup_errors=True)
    os.environ["MPLBACKEND"] = "agg"  # unit tests open no windows; kernels get their own below
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes with two threads each wait for one another


def pytest_unconfigure(config):
    config.stash[KERNEL_HOME].cleanup()


def pytest_ignore_collect(collection_path):
    """Learners' notebooks are theirs: nothing runs one that is not named on the command line."""
    return True if collection_path.suffix == ".ipynb" and not pages.is_page(collection_path) else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    def turn(item):
        return 0 if "browser" in item.path.parts else 1 if item.path.suffix == ".ipynb" else 2

    items.sort(key=turn)
    if items:
        items[0].session.last_cells = {item.path: item for item in items}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item):
    """nbval starts a page's kernel in the setup of its first cell: only then the environment is the kernels'."""
    if item.path.suffix != ".ipynb":
        return (yield)
    home = Path(item.config.stash[KERNEL_HOME].name)
    with mock.patch.dict(os.environ, pages.kernel_environment(home), clear=True):
        return (yield)


RUN_AGAIN = """
import sys
sys.path.append(%r)
import in_kernel
in_kernel.run_again(%r, %r)
"""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """After a page's last cell, in the same kernel: each cell that shows a panel, once more, and its controls moved."""
    yield
    if item.path.suffix != ".ipynb" or item is not item.session.last_cells[item.path]:
        return
    kernel = item.parent.kernel
    for cell in pages.panel_cells(pages.read(item.path)):
        stored = pages.compared_text(cell)["text/plain"][0]
        request = kernel.execute_cell_input(RUN_AGAIN % (str(ROOT / "tests/browser"), cell.source, stored))
        for message in iter(lambda: kernel.get_message(stream="iopub", timeout=pages.CELL_TIMEOUT), None):
            if message["parent_header"].get("msg_id") != request:
                continue
            content = message["content"]
            assert message["msg_type"] != "error", f"{content['ename']}: {content['evalue']}, of\n{cell.source}"
            if content.get("execution_state") == "idle":
                break


def pytest_terminal_summary(terminalreporter):
    """One line on the pages; with two processes side by side a page takes longer than alone."""
    seconds = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            page, cell, _ = getattr(report, "nodeid", "").partition(".ipynb::")
            if cell and getattr(report, "when", "") == "call":
                seconds[page] = seconds.get(page, 0) + report.duration
    if seconds:
        slowest = max(seconds, key=seconds.get)
        total = sum(seconds.values())
        terminalreporter.write_line(
            f"pages: {len(seconds)} in {total:.0f} s; the slowest, {slowest}, {seconds[slowest]:.0f} s"
        )
