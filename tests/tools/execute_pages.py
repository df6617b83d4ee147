"""Re-execute pages in fresh kernels and store them clean: python tests/tools/execute_pages.py [PAGE ...] [--record]

PAGE is a path, a number or the beginning of a name ('01', '01_fine'); without one, all pages. A page whose cell fails,
or that somebody else changed meanwhile, is left as it is; the others go on; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pages
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, NbvalKernelspecManager

from lora_lab.classroom.preflight import calibrate

RECORD = pages.ROOT / "lora_lab" / "classroom" / "run_times.json"
README = pages.ROOT / "README.md"


def execute(path: Path):
    """(the page executed and normalised, wall seconds in its cells), in a fresh kernel in the page's folder."""
    nb = pages.normalise(pages.read(path))
    for cell in pages.code_cells(nb):
        cell.outputs, cell.execution_count = [], None
    # The kernel that nbval's --nbval-current-env uses, so that what is stored and what is tested ran alike.
    manager = AsyncKernelManager(kernel_name=CURRENT_ENV_KERNEL_NAME, kernel_spec_manager=NbvalKernelspecManager())
    client = NotebookClient(nb, km=manager, timeout=pages.CELL_TIMEOUT, record_timing=False)
    client.reset_execution_trackers()
    with tempfile.TemporaryDirectory(prefix="pages-", ignore_cleanup_errors=True) as home:
        environment = pages.kernel_environment(Path(home))
        with client.setup_kernel(cleanup_kc=True, cwd=str(path.parent), env=environment):
            start = time.perf_counter()
            for i, cell in enumerate(nb.cells):
                client.execute_cell(cell, i, execution_count=client.code_cells_executed + 1)
            seconds = time.perf_counter() - start
    return pages.describe(pages.normalise(nb)), seconds


def write(path: Path, text: str) -> None:
    """Atomically: who opens the file meanwhile sees the old or the new one, never half of it."""
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(text, encoding="utf-8", newline="\n")
    os.replace(draft, path)


def record(seconds: dict[str, float], steps_per_second: float) -> None:
    """Note the seconds of the pages that ran, for the preflight; the others, if still there, keep theirs.

    Then the seconds are noted as they would be at the recorded speed, which is that of the others.
    """
    data = json.loads(RECORD.read_text(encoding="utf-8"))
    known, there = data["pages"], [path.stem for path in pages.page_files()]
    if set(there) & set(known) <= set(seconds):
        data["calibration_steps_per_s"] = round(steps_per_second, 1)
    factor = steps_per_second / data["calibration_steps_per_s"]
    known |= {name: {"run_s": max(0.1, round(s * factor, 1))} for name, s in seconds.items()}
    data["pages"] = {name: known[name] for name in there if name in known}
    write(RECORD, json.dumps(data, indent=1) + "\n")
    lines = README.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith("| [") or "](notebooks/" not in line]
    start = kept.index("| page | minutes to read | Run All, one core |") + 2
    write(README, "\n".join([*kept[:start], *readme_rows(), *kept[start:]]) + "\n")


def readme_rows() -> list[str]:
    """The README's rows of the pages: title and minutes as the page says, seconds as recorded."""
    entries = json.loads(RECORD.read_text(encoding="utf-8"))["pages"]
    rows = []
    for name, entry in entries.items():
        first = pages.read(pages.find_page(name)).cells[0].source
        number, title = re.match(r"# (\d\d) · (.+)", first).groups()
        minutes = re.search(r"(\d+) minutes to read", first)[1]
        rows.append(f"| [{number} {title}](notebooks/{name}.ipynb) | {minutes} | {max(1, round(entry['run_s']))} s |")
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    parser.add_argument("--record", action="store_true", help="note the seconds, for the preflight and the README")
    arguments = parser.parse_args()
    try:
        files = [pages.find_page(name) for name in arguments.pages] or pages.page_files()
    except ValueError as e:
        parser.error(str(e))
    speed = calibrate(3) if arguments.record else 0  # before the pages, while nothing of ours runs
    seconds, status = {}, 0
    for path in files:
        before = path.read_bytes()
        try:
            nb, seconds[path.stem] = execute(path)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as e:
            print(f"{path.stem}: a cell failed; the page was not written.\n{str(e)[-3000:]}", flush=True)
            status = 1
            continue
        text = pages.as_text(nb)
        if path.read_bytes() != before:
            print(f"{path.stem}: the file changed while the page ran; it was not written. Run it again.", flush=True)
            status = 1
            continue
        done = "unchanged" if text.encode() == before else "written"
        write(path, text)
        print(f"{path.stem}: {seconds[path.stem]:.1f} s, {len(text.encode()) / 1000:.0f} kB, {done}", flush=True)
    if arguments.record:
        record(seconds, speed)
    return status


if __name__ == "__main__":
    sys.exit(main())
