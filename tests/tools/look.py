"""Pictures of pages as people see them: python tests/tools/look.py [PAGE ...] [--to FOLDER] [--run] [--views NAME ...]

Opens each page in JupyterLab with headless Chromium, light and dark at 1280 x 800 and as projected (1920 x 1080 at
150 %), scrolls through it and writes FOLDER/NN-view-00.png, ... With --run all cells are run first (sliders alive),
else the page is shown as stored. Needs what tests/browser needs. The default folder is a new temporary one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "browser")]

import lab  # noqa: E402
import pages  # noqa: E402

VIEWS = {  # name: (theme, CSS pixels, device pixels per CSS pixel); 1920 x 1080 at 150 % shows 1280 x 720 CSS pixels
    "light": ("JupyterLab Light", (1280, 800), 1.0),
    "dark": ("JupyterLab Dark", (1280, 800), 1.0),
    "projected": ("JupyterLab Light", (1280, 720), 1.5),
}


def shoot(page: lab.Page, name: str, to: Path) -> int:
    """Scroll through the page; returns the number of pictures."""
    tab = page.tab
    whole = tab.locator(".jp-WindowedPanel-outer").first
    whole.evaluate("panel => panel.scrollTo(0, 0)")
    seen, before = 0, -1
    while (now := whole.evaluate("panel => panel.scrollTop")) != before:
        before = now
        tab.wait_for_timeout(200)
        tab.screenshot(path=to / f"{name}-{seen:02d}.png")
        seen += 1
        whole.evaluate("panel => panel.scrollBy(0, 0.92 * panel.clientHeight)")
        tab.wait_for_timeout(250)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    parser.add_argument("--to", type=Path, help="folder for the pictures")
    parser.add_argument("--run", action="store_true", help="run all cells first")
    parser.add_argument("--views", nargs="*", choices=list(VIEWS), default=list(VIEWS))
    arguments = parser.parse_args()
    files = [pages.find_page(name) for name in arguments.pages] or pages.page_files()
    to = arguments.to or Path(tempfile.mkdtemp(prefix="look-"))
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="look-") as folder, lab.jupyter_lab(Path(folder)) as server:
        for view in arguments.views:
            theme, (width, height), scale = VIEWS[view]
            size = {"width": width, "height": height}
            with lab.chromium(viewport=size, device_scale_factor=scale) as context:
                for file in files:
                    page = lab.Page(server, context, f"notebooks/{file.name}")
                    change = "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })"
                    page.tab.evaluate(change, theme)
                    page.tab.evaluate("() => window.jupyterapp.shell.collapseLeft()")
                    if arguments.run:
                        page.start_run()
                        page.finish_run()
                    page.tab.wait_for_timeout(1500)
                    count = shoot(page, f"{file.stem[:2]}-{view}", to)
                    print(f"{file.stem}, {view}: {count} pictures in {to}", flush=True)
                    page.tab.close()
                    page.end_kernel()


if __name__ == "__main__":
    main()
