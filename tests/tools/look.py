"""Pictures of pages as people see them: python tests/look.py [PAGE ...] [--to FOLDER] [--run] [--views NAME ...]

Opens each page in JupyterLab with headless Chromium, light and dark at 1280 x 800 and as projected (1920 x 1080 at
150 %), scrolls through it and writes FOLDER/NN-view-00.png, ... With --run all cells are run first (sliders alive),
else the page is shown as stored. For looking at, not for committing: the default folder is a new temporary one.

Needs playwright (python -m pip install playwright) and Chromium (CHROMIUM=... names another than /usr/bin/chromium).
"""
from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pages

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
VIEWS = {  # name: (theme, CSS pixels, device pixels per CSS pixel); 1920 x 1080 at 150 % shows 1280 x 720 CSS pixels
    "light": ("JupyterLab Light", (1280, 800), 1.0),
    "dark": ("JupyterLab Dark", (1280, 800), 1.0),
    "projected": ("JupyterLab Light", (1280, 720), 1.5),
}
OPEN = """() => { const w = window.jupyterapp?.shell.currentWidget;
    return !!w?.content?.widgets?.length && w.context.isReady; }"""
IDLE = "() => window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'"
PANEL = ".jp-WindowedPanel-outer"


@contextlib.contextmanager
def lab(folder: Path, home: Path, theme: str):
    """JupyterLab on loopback over a folder, with settings of its own; yields its address."""
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "themes.jupyterlab-settings").write_text(json.dumps({"theme": theme}))
    (settings / "notification.jupyterlab-settings").write_text(json.dumps({"fetchNews": "false"}))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = os.environ | {f"JUPYTER_{k}_DIR": str(home / k.lower()) for k in ("CONFIG", "DATA", "RUNTIME")}
    env |= {f"JUPYTERLAB_{k}_DIR": str(home / k.lower()) for k in ("SETTINGS", "WORKSPACES")}
    env |= {"IPYTHONDIR": str(home / "ipython"), "PYTHONPATH": str(pages.ROOT)}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root",
               "--IdentityProvider.token=look", f"--ServerApp.root_dir={folder}", "--LabApp.expose_app_in_browser=True"]
    server = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/api/status?token=look", timeout=2).read()
                break
            time.sleep(0.2)
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGINT)  # twice: it asks whether we mean it
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


def shoot(browser, address: str, page: Path, view: str, to: Path, run: bool) -> int:
    """Scroll through one page in one view; returns the number of pictures."""
    _, (width, height), scale = VIEWS[view]
    tab = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=scale)
    tab.goto(f"{address}/lab/tree/{page.name}?reset&token=look", timeout=120_000)
    tab.wait_for_function(OPEN, timeout=120_000)
    tab.evaluate("() => window.jupyterapp.shell.collapseLeft()")
    tab.wait_for_timeout(2000)
    if run:
        tab.wait_for_function(IDLE, timeout=120_000)
        tab.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")  # returns when all have run
        tab.wait_for_function(IDLE, timeout=120_000)
        tab.wait_for_timeout(1000)
    whole = tab.locator(PANEL).first
    whole.evaluate("e => e.scrollTo(0, 0)")
    seen, at = 0, -1
    while (now := whole.evaluate("e => e.scrollTop")) != at:
        at = now
        tab.wait_for_timeout(150)
        tab.screenshot(path=to / f"{page.stem[:2]}-{view}-{seen:02d}.png")
        seen += 1
        whole.evaluate("e => e.scrollBy(0, 0.92 * e.clientHeight)")
        tab.wait_for_timeout(250)
    tab.close()
    return seen


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    parser.add_argument("--to", type=Path, help="folder for the pictures")
    parser.add_argument("--run", action="store_true", help="run all cells first")
    parser.add_argument("--views", nargs="*", choices=list(VIEWS), default=list(VIEWS))
    args = parser.parse_args(argv)
    files = [pages.find_page(name) for name in args.pages] or pages.page_files()
    to = args.to or Path(tempfile.mkdtemp(prefix="look-"))
    to.mkdir(parents=True, exist_ok=True)
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(prefix="look-", ignore_cleanup_errors=True) as scratch, sync_playwright() as pw:
        copy = Path(scratch) / "notebooks"  # JupyterLab saves what it likes; never into the checkout
        shutil.copytree(pages.NOTEBOOKS, copy)
        browser = pw.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for view in args.views:
            with lab(copy, Path(scratch) / view, VIEWS[view][0]) as address:
                for page in files:
                    count = shoot(browser, address, page, view, to, args.run)
                    print(f"{page.stem}, {view}: {count} pictures in {to}", flush=True)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
