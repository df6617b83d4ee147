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
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pages

HERE = Path(__file__).resolve().parent
SETTINGS = pages.ROOT / "lora_lab/jupyter/share/jupyter/lab/settings/overrides.d/lora-lab.json"

TIMEOUT = 120  # seconds, for what takes 5 on an idle machine

# The server ends with us, even where we are killed: its standard input, a pipe that we hold, then closes.
SERVER = """
import os, signal, sys, threading
from jupyterlab.labapp import main
def end_with_parent():
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=end_with_parent, daemon=True).start()
sys.exit(main())
"""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]  # fmt: skip


def find_chromium() -> str | None:
    """CHROMIUM, then PATH, then the one that `playwright install chromium` brought; None where there is none."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    if found := next(filter(None, (shutil.which(name) for name in names if name)), None):
        return found
    try:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            path = playwright.chromium.executable_path
    except Exception:  # no package, or one without a driver for this system: then there is none
        return None
    return path if Path(path).is_file() else None


# ------------------------------------------------------------------------------------------------ the server


@dataclass
class Server:
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

    def end_kernels(self) -> None:
        for session in self.request("GET", "sessions"):
            with contextlib.suppress(urllib.error.HTTPError):  # it went by itself meanwhile
                self.request("DELETE", f"sessions/{session['id']}")


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def course_settings_are_installed() -> bool:
    """Whether this interpreter's JupyterLab finds the settings that come with the course."""
    from jupyterlab.commands import get_app_dir

    return (Path(get_app_dir()) / "settings" / "overrides.d" / SETTINGS.name).is_file()


def _environment(home: Path) -> dict[str, str]:
    """For the server and its kernels: nobody's settings but the course's, lora_lab and in_kernel on the path."""
    env = pages.kernel_environment(home)
    env.pop("TQDM_DISABLE")  # readers see progress bars
    env["PYTHONPATH"] = os.pathsep.join([env["PYTHONPATH"], str(HERE)])
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
             "JUPYTERLAB_WORKSPACES_DIR")  # fmt: skip
    for name in names:
        folder = home / name.lower()
        folder.mkdir()
        env[name] = str(folder)
    if not course_settings_are_installed():  # run from a source tree
        labconfig = home / "jupyter_config_dir" / "labconfig"
        labconfig.mkdir()
        shutil.copy(SETTINGS, labconfig / "default_setting_overrides.json")
    return env


@contextlib.contextmanager
def jupyter_lab(folder: Path) -> Iterator[Server]:
    """JupyterLab over a copy of the pages in `folder`, on loopback, with a token, without a network."""
    home, root = folder / "jupyter-home", folder / "course"
    home.mkdir()
    for path in pages.page_files():
        target = root / "notebooks" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    port, token = _free_port(), secrets.token_hex(16)
    command = [sys.executable, "-c", SERVER, "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
               "--ServerApp.port_retries=0", f"--ServerApp.root_dir={root}", f"--IdentityProvider.token={token}",
               "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=",
               "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]  # fmt: skip
    with open(folder / "jupyter.log", "wb") as log:
        process = subprocess.Popen(command, env=_environment(home), stdin=subprocess.PIPE, stdout=log,
                                   stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
    server = Server(f"http://127.0.0.1:{port}", token, root)
    try:
        _wait_for(server, process, folder / "jupyter.log")
        yield server
    finally:
        with contextlib.suppress(OSError):
            server.end_kernels()
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_for(server: Server, process: subprocess.Popen, log: Path, timeout: float = 120) -> None:
    end = time.monotonic() + timeout
    while True:
        try:
            server.request("GET", "status")
            return
        except OSError as e:
            if process.poll() is not None or time.monotonic() > end:
                text = log.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"jupyter lab does not answer ({e}, exit status {process.poll()}):\n{text}") from e
            time.sleep(0.1)


@contextlib.contextmanager
def chromium(width: int = 1400, height: int = 1000) -> Iterator[Any]:
    """A headless browser; a Playwright BrowserContext."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Ctrl-C is ours: the driver would otherwise end the browser before the kernels are ended.
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS, handle_sigint=False)
        try:
            context = browser.new_context(viewport={"width": width, "height": height})
            context.add_init_script(path=HERE / "in_page.js")
            yield context
        finally:
            browser.close()


# ------------------------------------------------------------------------------------------------ one open page


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

    def wait(self, ok: Callable[[dict | None], bool], what: str, timeout: float = TIMEOUT) -> dict:
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
            ran = self.ask("get_ipython().execution_count") - self._counted
            if ran >= sum(not c["empty"] for c in state["cells"]) or any(c["errors"] for c in state["cells"]):
                return self.wait(lambda s: all(c["state"] != "running" for c in s["cells"]), "the last outputs", 30)

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page's kernel, after every event that was sent before it."""
        return ast.literal_eval(self.tab.evaluate("e => __lab.ask(e)", expression))

    def panels(self) -> list[Panel]:
        """Every output that is a widget with a still picture."""
        return [Panel(self, found["id"], found["text"]) for found in self.tab.evaluate("() => __lab.panels()")]

    def dead_boxes(self, timeout: float = 30) -> list[str]:
        """What stands in outputs that could not be shown, such as "Error displaying widget: model not found"."""
        end = time.monotonic() + timeout
        while True:
            found = self.tab.evaluate("() => __lab.dead()")
            if not any("Loading" in text for text in found) or time.monotonic() > end:
                return found
            self.tab.wait_for_timeout(100)

    def save(self) -> None:
        file = self.server.root / self.path
        before = file.stat().st_mtime_ns
        self.menu("File", "docmanager:save")
        self.wait(lambda s: file.stat().st_mtime_ns != before and not s["dirty"], "the page to be saved")

    def end_kernel(self) -> None:
        for session in self.server.request("GET", "sessions"):
            if session["path"] == self.path:
                self.server.request("DELETE", f"sessions/{session['id']}")

    def close(self) -> None:
        self.tab.close()
        self.end_kernel()


# ------------------------------------------------------------------------------------------------ one panel


@dataclass
class Shown:
    """What the browser shows of a panel. controls: {label: {kind, value, ...}}; picture: {sha, natural, ...} or None;
    asleep: the sentence of a panel without a kernel, "" while it lives."""

    controls: dict[str, dict]
    caption: str
    asleep: str
    picture: dict | None

    @property
    def positions(self) -> dict[str, object]:
        return {label: control["value"] for label, control in self.controls.items()}


def _differences(shown: Shown, wanted: Mapping[str, str]) -> list[str]:
    """What a panel shows otherwise than its function draws it, in words."""
    if "raises" in wanted:
        return [f"the function raises {wanted['raises']}"]
    found = []
    if shown.picture is None or not shown.picture["natural"]:
        found.append("there is no picture")
    elif shown.picture["sha"] != wanted["sha"]:
        found.append("the picture is another one than the function draws")
    if shown.caption.split() != wanted["caption"].split():
        found.append(f"the caption is {shown.caption!r}, the function says {wanted['caption']!r}")
    return found


@dataclass
class Panel:
    page: Page
    id: str  # of the widget's model
    text: str  # its line of text in the output

    @cached_property
    def about(self) -> dict:
        """Name, labels of the controls, whether it trains; TypeError in the kernel where it is no LiveFigure."""
        return json.loads(self.page.ask(f"__import__('in_kernel').about({self.id!r})"))

    def is_still(self) -> bool:
        """A plain picture, as before the first Run All."""
        return self.page.tab.evaluate("id => __lab.still(id)", self.id)

    @property
    def node(self) -> Any:
        return self.page.tab.locator(f'[data-panel="{self.id}"]')

    def shown(self) -> Shown | None:
        found = self.page.tab.evaluate("id => __lab.shown(id)", self.id)
        return found and Shown(**found)

    def wanted(self, positions: Mapping[str, object]) -> dict[str, str]:
        """caption and sha of the picture that the pure function gives at these positions, drawn afresh; or raises."""
        known = {label: positions[label] for label in self.about["controls"]}
        return json.loads(self.page.ask(f"__import__('in_kernel').fresh({self.id!r}, {known!r})"))

    def settle(self, timeout: float = 30) -> Shown:
        """Wait until the caption and the picture are those of the positions shown; AssertionError says what differs."""
        end = time.monotonic() + timeout
        while True:
            shown = self.shown()
            problems = _differences(shown, self.wanted(shown.positions))
            if not problems and self.shown() == shown:
                return shown
            if time.monotonic() > end:
                problems = "; ".join(problems or ["it does not come to rest"])
                raise AssertionError(f"{self.about['name']} at {shown.positions}: {problems}")
            self.page.tab.wait_for_timeout(30)

    def asleep(self, timeout: float = 30) -> Shown:
        """What a panel without a kernel shows, once it is there."""
        end = time.monotonic() + timeout
        while not ((shown := self.shown()) and shown.asleep and shown.picture and shown.caption):
            if time.monotonic() > end:
                raise AssertionError(f"a reopened panel shows {shown}")
            self.page.tab.wait_for_timeout(50)
        return shown

    def follow(self, label: str, timeout: float = 30) -> None:
        """Move one control as a reader does; AssertionError unless the panel shows what its function says, each time,
        and one of the moves changes something."""
        first = before = self.settle(timeout)
        for attempt in range(8):  # some neighbours look alike: then further, and then from the other end
            control = before.controls[label]
            if attempt == 4 and control["kind"] == "slider" and control["at"] > control["min"]:
                self.press(label, "Home")
            else:
                self.move(label, control)
            after = self.settle(timeout)
            assert after.positions[label] != before.positions[label], f"{label} does not move"
            if (after.picture["sha"], after.caption) != (first.picture["sha"], first.caption):
                return
            before = after
        raise AssertionError(f"{self.about['name']}: no move of {label} changes anything")

    # -- what a reader does --

    def _labelled(self, kind: str, label: str) -> Any:
        exact = self.page.tab.locator(".widget-label").get_by_text(label, exact=True)
        return self.node.locator(kind).filter(has=exact)

    def slider(self, label: str) -> Any:
        return self._labelled(".widget-hslider", label).locator(".noUi-handle")

    def menu(self, label: str) -> Any:
        return self._labelled(".widget-dropdown", label).locator("select")

    def box(self, label: str) -> Any:
        return self.node.locator(".widget-checkbox").filter(has_text=label).locator("input")

    def move(self, label: str, control: dict) -> None:
        """One event: an arrow key on a slider, the next choice in a menu, a click on a box."""
        if control["kind"] == "slider":
            self.press(label, "ArrowLeft" if control["at"] == control["max"] else "ArrowRight")
        elif control["kind"] == "menu":
            options = control["options"]
            self.choose(label, options[(options.index(control["value"]) + 1) % len(options)])
        else:
            self.tick(label)

    def press(self, label: str, key: str) -> None:
        """A key on a slider's handle."""
        self.slider(label).focus()
        self.page.tab.keyboard.press(key)

    def drag(self, label: str, to: float, steps: int = 6) -> None:
        """Drag a slider's handle with the mouse; to: 0 is its left end, 1 its right one."""
        handle = self.slider(label)
        handle.scroll_into_view_if_needed()
        box = handle.bounding_box()
        track = handle.locator("xpath=ancestor::*[contains(@class, 'noUi-base')]").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        mouse = self.page.tab.mouse
        mouse.move(x, y)
        mouse.down()
        for i in range(1, steps + 1):
            mouse.move(x + (track["x"] + to * track["width"] - x) * i / steps, y)
            self.page.tab.wait_for_timeout(15)
        mouse.up()

    def choose(self, label: str, option: str) -> None:
        self.menu(label).select_option(label=option)

    def tick(self, label: str) -> None:
        self.box(label).click()

    def click(self) -> None:
        """Press the panel's own button with the mouse."""
        button = self.node.locator("button.widget-button")
        button.evaluate("b => __lab.texts(b)")
        button.click()

    def said(self, last: str, timeout: float = TIMEOUT) -> list[str]:
        """What the button has shown since `click`, at the moment when it shows `last` after something else."""
        button, end = self.node.locator("button.widget-button"), time.monotonic() + timeout
        while True:
            seen = button.evaluate("b => b.__texts")
            if len(seen) > 1 and seen[-1] == last:
                return seen
            if time.monotonic() > end:
                raise AssertionError(f"the button has shown {seen}, not yet {last!r}")
            self.page.tab.wait_for_timeout(20)
