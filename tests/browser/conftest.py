"""One JupyterLab, one browser, one page open at a time (the next one is already running): they end with this folder."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pages
import pytest

from . import lab as the_lab

HERE = Path(__file__).resolve().parent
FAILED = pytest.StashKey()
NAMES = [p.stem for p in pages.page_files()]


def pytest_configure(config):
    config.addinivalue_line("markers", "of_pages(*numbers): a browser test of these pages only")


def pytest_collection_modifyitems(items):
    def wanted(item) -> bool:
        mark = item.get_closest_marker("of_pages")
        return not mark or item.callspec.params["name"][:2] in mark.args

    items[:] = [item for item in items if HERE not in item.path.parents or wanted(item)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture(scope="package")
def server(tmp_path_factory) -> Iterator[the_lab.Server]:
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("no package playwright here (pip install playwright)")
    if importlib.util.find_spec("jupyterlab") is None:
        pytest.skip("no package jupyterlab here")
    if the_lab.find_chromium() is None:
        pytest.skip("no Chromium here: apt install chromium, or playwright install chromium, or set CHROMIUM")
    with the_lab.jupyter_lab(tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="package")
def browser(server):
    with the_lab.chromium() as context:
        yield context


class Ahead:
    """Opens pages, each one ahead of its turn: while one is tried out, the next one computes on the other core."""

    def __init__(self, server: the_lab.Server, context, names: list[str]) -> None:
        self.server, self.context, self.names = server, context, names
        self.running: dict[str, the_lab.Page] = {}

    def start(self, name: str) -> None:
        if name not in self.running:
            page = self.running[name] = the_lab.Page(self.server, self.context, f"notebooks/{name}.ipynb")
            page.stills = [(panel.text, panel.is_still()) for panel in page.panels()]  # before it has ever run
            page.start_run()

    def take(self, name: str) -> the_lab.Page:
        self.start(name)
        after = self.names[self.names.index(name) + 1 :]
        page = self.running[name]
        page.finish_run()
        if after:
            self.start(after[0])
        return page


@pytest.fixture(scope="package")
def ahead(server, browser, request) -> Ahead:
    params = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    wanted = {p["name"] for p in params if p.get("name") in NAMES}
    return Ahead(server, browser, [name for name in NAMES if name in wanted])


@pytest.fixture(scope="module", params=NAMES)
def name(request) -> str:
    """The pages, one after the other."""
    return request.param


@pytest.fixture(scope="module")
def page(ahead, name) -> Iterator[the_lab.Page]:
    """A page after Run All. Its kernel ends with it."""
    page = ahead.take(name)
    yield page
    page.close()


@pytest.fixture(autouse=True)
def evidence(request, tmp_path) -> Iterator[None]:
    """Of a failed test: a picture of the screen, and what the browser complained about."""
    yield
    page = (request.node.funcargs or {}).get("page")  # None after Ctrl-C in a fixture
    if page is not None and request.node.stash.get(FAILED, False):
        page.tab.screenshot(path=tmp_path / "screen.png")
        print(f"screenshot: {tmp_path / 'screen.png'}; the browser's errors: {page.console}", file=sys.stderr)
