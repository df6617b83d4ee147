"""A JupyterLab server of our own, a Chromium, and one open page: what a reader does, and what a reader sees."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pages

HERE = Path(__file__).resolve().parent
SETTINGS = pages.ROOT / "lora_lab/classroom/jupyter/share/jupyter/lab/settings/overrides.d/lora-lab.json"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]  # fmt: skip
PATIENCE = 120  # seconds, for what takes 5 on an idle machine


def find_chromium() -> str | None:
    """CHROMIUM, then PATH, then the one that `playwright install chromium` brought; None where there is none."""
    for name in (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"):
        if name and (found := shutil.which(name)):
            return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).is_file() else None


class Server(NamedTuple):
    """A running JupyterLab: its address, its token, the folder it serves."""

    url: str
    token: str
    root: Path

    def request(self, method: str, path: str) -> Any:
        request = urllib.request.Request(f"{self.url}/api/{path}", method=method)
        request.add_header("Authorization", f"token {self.token}")
        with urllib.request.urlopen(request, timeout=30) as reply:
            text = reply.read()
        return json.loads(text) if text else None


def environment(home: Path) -> dict[str, str]:
    """For the server and its kernels: nobody's settings but the course's, and this folder on the path."""
    env = pages.kernel_environment(home)
    env.pop("TQDM_DISABLE")  # readers see progress bars
    env["PYTHONPATH"] = os.pathsep.join([env["PYTHONPATH"], str(HERE), str(HERE.parent)])
    for name in ("JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR"):
        env[name] = str(home / name)
    env["JUPYTER_CONFIG_DIR"] = str(home / "config")
    (home / "config" / "labconfig").mkdir(parents=True)
    shutil.copy(SETTINGS, home / "config" / "labconfig" / "default_setting_overrides.json")
    return env


@contextlib.contextmanager
def jupyter_lab(folder: Path) -> Iterator[Server]:
    """JupyterLab over a copy of the pages in `folder`, on loopback, with a token, without a network."""
    home, root = folder / "home", folder / "course"
    home.mkdir()
    (root / "notebooks").mkdir(parents=True)
    for path in pages.page_files():
        shutil.copy(path, root / "notebooks")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = Server(f"http://127.0.0.1:{port}", secrets.token_hex(16), root)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
               "--ServerApp.port_retries=0", f"--ServerApp.root_dir={root}", f"--IdentityProvider.token={server.token}",
               "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=",
               "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]  # fmt: skip
    log = folder / "jupyter.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment(home), stdout=out, stderr=out, start_new_session=True)
    try:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                server.request("GET", "status")
                break
            except OSError as e:
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"jupyter lab does not answer:\n{log.read_text()[-3000:]}") from e
                time.sleep(0.1)
        yield server
    finally:
        process.terminate()  # it ends its kernels
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def chromium(**context: Any) -> Iterator[Any]:
    """A headless browser; a Playwright BrowserContext."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        try:
            tabs = browser.new_context(**{"viewport": {"width": 1400, "height": 1000}, **context})
            tabs.add_init_script(path=HERE / "in_page.js")
            yield tabs
        finally:
            browser.close()


class Page:
    """One notebook in one browser tab. tab: the Playwright page; console: errors that the browser has seen."""

    def __init__(self, server: Server, context: Any, path: str) -> None:
        self.server, self.path = server, path
        self.tab, self.console = context.new_page(), []
        self.tab.on("console", lambda m: self.console.append(m.text) if m.type == "error" else None)
        self.tab.on("pageerror", lambda e: self.console.append(f"uncaught: {e}"))
        self.open()

    def open(self) -> None:
        """Load JupyterLab with this notebook, and wait for its kernel."""
        self.tab.goto(f"{self.server.url}/lab/tree/{self.path}?reset&token={self.server.token}")
        ready = {"path": self.path, "ready": True, "kernel": "idle"}
        self.wait(lambda s: s and ready.items() <= s.items(), "the kernel to start")

    def state(self) -> dict | None:
        from playwright.sync_api import Error

        try:
            return self.tab.evaluate("() => window.__lab && __lab.notebook()")
        except Error as e:
            if "navigation" in str(e):  # JupyterLab loads itself a second time, without ?reset
                return None
            raise

    def wait(self, ok: Callable[[dict | None], bool], what: str, timeout: float = PATIENCE) -> dict:
        end = time.monotonic() + timeout
        while not ok(state := self.state()):
            if time.monotonic() > end:
                raise TimeoutError(f"{self.path}: waited in vain for {what}; last state: {json.dumps(state)[:1500]}")
            self.tab.wait_for_timeout(100)
        return state

    def menu(self, title: str, command: str) -> None:
        """Choose from the menu bar, with the mouse."""
        self.tab.locator(".lm-MenuBar-item", has_text=title).first.click()
        self.tab.locator(f'.lm-Menu-item[data-command="{command}"]').click()

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page's kernel, after every event that was sent before it."""
        return ast.literal_eval(self.tab.evaluate("e => __lab.ask(e)", expression))

    def start_run(self) -> None:
        """Run > Run All Cells."""
        self._counted = self.ask("get_ipython().execution_count")
        self.menu("Run", "runmenu:run-all")

    def finish_run(self, timeout: float = 300) -> dict:
        """Wait until the kernel has run all cells, or one has failed; returns the state.

        Counted in the kernel: the numbers beside the cells are in the file, too.
        """
        end = time.monotonic() + timeout
        while True:
            state = self.wait(lambda s: s["kernel"] == "idle", "the cells to run", end - time.monotonic())
            if any(cell["errors"] for cell in state["cells"]):
                return state
            if self.ask("get_ipython().execution_count") - self._counted >= len(state["cells"]):
                return self.wait(lambda s: all(c["state"] != "running" for c in s["cells"]), "the last outputs")

    def panels(self) -> list[Panel]:
        """Every output that is a widget with a still picture."""
        return [Panel(self, model) for model in self.tab.evaluate("() => __lab.panels()")]

    def dead_boxes(self) -> list[str]:
        """What stands in outputs that could not be shown, such as "Error displaying widget: model not found"."""
        for _ in range(100):
            found = self.tab.evaluate("() => __lab.dead()")
            if not any("Loading" in text for text in found):
                break
            self.tab.wait_for_timeout(100)
        return found

    def reopen_without_kernel(self) -> None:
        """Save, end the kernel, load the page again."""
        file = self.server.root / self.path
        before = file.stat().st_mtime_ns
        self.menu("File", "docmanager:save")
        self.wait(lambda s: file.stat().st_mtime_ns != before and not s["dirty"], "the page to be saved")
        self.end_kernel()
        self.open()

    def end_kernel(self) -> None:
        for session in self.server.request("GET", "sessions"):
            if session["path"] == self.path:
                self.server.request("DELETE", f"sessions/{session['id']}")


class Panel:
    """One panel on a page. id: of its widget's model."""

    def __init__(self, page: Page, model: str) -> None:
        self.page, self.id = page, model
        self.node = page.tab.locator(f'[data-panel="{model}"]')

    def about(self) -> dict:
        return json.loads(self.page.ask(f"__import__('in_kernel').about({self.id!r})"))

    def is_still(self) -> bool:
        """A plain picture, as before the first Run All."""
        return self.page.tab.evaluate("id => __lab.isStill(id)", self.id)

    def shown(self) -> dict:
        """{"positions": {label: text}, "caption", "asleep", "picture": a hash of its bytes}"""
        return self.page.tab.evaluate("id => __lab.shown(id)", self.id)

    def settle(self, timeout: float = 30) -> dict:
        """Wait until caption and picture are those that the pure function draws, afresh, at the positions shown."""
        end = time.monotonic() + timeout
        while True:
            shown = self.shown()
            expression = f"__import__('in_kernel').fresh({self.id!r}, {shown['positions']!r})"
            wanted = json.loads(self.page.ask(expression))
            if wanted.items() <= shown.items() and self.shown() == shown:
                return shown
            if time.monotonic() > end:
                raise AssertionError(f"{self.about()['name']} shows {shown}, its function draws {wanted}")
            self.page.tab.wait_for_timeout(30)

    def step(self, label: str) -> None:
        """One move by keyboard: a slider to its next position, or back from its last; the next button; a box ticked."""
        keyboard, exact = self.page.tab.keyboard, self.page.tab.locator(".widget-label").get_by_text(label, exact=True)
        handle = self.node.locator(".widget-hslider").filter(has=exact).locator(".noUi-handle")
        buttons = self.node.locator(".widget-toggle-buttons").filter(has=exact).locator("button")
        if handle.count():
            at_the_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
            handle.focus()
            keyboard.press("ArrowLeft" if at_the_end else "ArrowRight")
        elif buttons.count():
            active = buttons.evaluate_all("all => all.findIndex((b) => b.classList.contains('mod-active'))")
            buttons.nth((active + 1) % buttons.count()).focus()
            keyboard.press("Enter")
        else:
            self.node.locator(".widget-checkbox").filter(has_text=label).locator("input").focus()
            keyboard.press("Space")
