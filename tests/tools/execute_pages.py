"""Re-execute pages in fresh kernels and store them clean: python tests/execute_pages.py [PAGE ...] [--check] [--record]

PAGE is a path, a number or the beginning of a name ('01', '01_fine'); without one, all of notebooks/*.ipynb.
A page whose cell fails is left as it was; the others go on; the exit status is then 1.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pages
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, NbvalKernelspecManager

RECORD = pages.ROOT / "lora_lab" / "data" / "pages.json"
CALIBRATION_SECONDS = 3


class PageError(Exception):
    """A cell failed; the text names it, its source and the end of its traceback."""


@dataclass
class Run:
    nb: nbformat.NotebookNode  # executed and normalised
    seconds: float  # wall time in the cells, as a reader's Run All
    cpu: float | None  # the kernel's CPU seconds, imports included


def execute(path: Path, timeout: int = pages.CELL_TIMEOUT) -> Run:
    """Run a page in a fresh kernel of this interpreter, in its own folder, whatever kernel name it stores."""
    nb = pages.normalise(pages.read(path))
    for cell in pages.code_cells(nb):
        cell.outputs, cell.execution_count = [], None
    # the kernel that nbval's --nbval-current-env uses, so that what is stored and what is tested ran alike
    km = AsyncKernelManager(kernel_name=CURRENT_ENV_KERNEL_NAME, kernel_spec_manager=NbvalKernelspecManager())
    client = NotebookClient(nb, km=km, timeout=timeout, iopub_timeout=60, raise_on_iopub_timeout=True,
                            record_timing=False)
    client.reset_execution_trackers()
    with tempfile.TemporaryDirectory(prefix="pages-", ignore_cleanup_errors=True) as home:
        env = pages.kernel_environment(Path(home))
        with client.setup_kernel(cleanup_kc=True, cwd=str(path.parent), env=env):
            start = time.perf_counter()
            for i, cell in enumerate(nb.cells):
                _execute_cell(client, cell, i)
            seconds, cpu = time.perf_counter() - start, _cpu_seconds(km)
    return Run(pages.describe(pages.normalise(nb)), seconds, cpu)


def _execute_cell(client: NotebookClient, cell, i: int) -> None:
    try:
        client.execute_cell(cell, i, execution_count=client.code_cells_executed + 1)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as e:
        number = client.code_cells_executed  # as in the brackets that Jupyter shows beside the cell
        trace = next((o.traceback for o in cell.outputs if o.output_type == "error"), [str(e)])
        end = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(trace)).splitlines()[-15:]
        raise PageError(f"code cell [{number}] failed. Its source:\n" + _indent(cell.source)
                        + "\nThe end of its traceback:\n" + _indent("\n".join(end))) from None


def _indent(text: str) -> str:
    return "\n".join("    " + line for line in text.splitlines())


def _cpu_seconds(km) -> float | None:
    try:
        import psutil

        t = psutil.Process(km.provisioner.pid).cpu_times()
        return t.user + t.system
    except (ImportError, AttributeError, OSError):  # a luxury: the run itself went well
        return None


def write(path: Path, text: str) -> None:
    """Atomically: who opens the page meanwhile sees the old or the new one, never half of it."""
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(text, encoding="utf-8", newline="\n")
    os.replace(draft, path)


def changes(old, new) -> list[str]:
    """Which code cells a re-run changes in their compared text."""
    before, after = pages.content(old), pages.content(new)
    out = [f"code cell [{i}] was not executed" for i, c in enumerate(pages.code_cells(old), 1)
           if c.execution_count is None]
    for i, (b, a) in enumerate(zip(before, after, strict=True), 1):
        if b != a:
            keys = [k for k in {**b[1], **a[1]} if b[1].get(k) != a[1].get(k)] or ["source"]
            out.append(f"code cell [{i}] would change in: {', '.join(keys)}")
    return out


def calibrate() -> float | None:
    """This machine's speed by the preflight's own measure, or None where lora_lab has none."""
    sys.path.insert(0, str(pages.ROOT))
    try:
        from lora_lab.classroom.preflight import calibrate
    except ImportError:
        return None
    return float(calibrate(CALIBRATION_SECONDS))


def record(runs: dict[Path, Run], speed: float | None, file: Path = RECORD) -> None:
    """Update the pages that ran in `file`, which the preflight reads; the others, if still there, keep their entry."""
    data = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    there = {p.stem for p in pages.page_files()}
    entries = {name: entry for name, entry in data.get("pages", {}).items() if name in there}
    for path, run in runs.items():
        entries[path.stem] = {"title": pages.title(run.nb), "budget_s": pages.budget(path),
                              "run_s": max(0.1, round(run.seconds, 1))}
    data = {"calibration_steps_per_s": round(speed, 1) if speed else data.get("calibration_steps_per_s"),
            "pages": dict(sorted(entries.items()))}
    file.parent.mkdir(parents=True, exist_ok=True)
    write(file, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if a page's text would change")
    parser.add_argument("--record", action="store_true", help=f"note the seconds in {RECORD.relative_to(pages.ROOT)}")
    args = parser.parse_args(argv)
    try:
        files = [pages.find_page(name) for name in args.pages] or pages.page_files()
    except ValueError as e:
        parser.error(str(e))
    speed = calibrate() if args.record else None  # before the pages, while nothing of ours runs
    runs: dict[Path, Run] = {}
    failed = False
    for path in files:
        try:
            run = runs[path] = execute(path)
        except PageError as e:
            failed = True
            print(f"{path.stem}: {e}\n{path.name} was not written.", flush=True)
            continue
        text = pages.as_text(run.nb)
        same = text == path.read_text(encoding="utf-8")
        if args.check:
            found = changes(pages.read(path), run.nb)
            failed |= bool(found)
            state = "; ".join(found) or ("same" if same else "same text, only pictures or layout differ")
        else:
            state = "unchanged" if same else "written"
            if not same:
                write(path, text)
        cpu = f", {run.cpu:.1f} s cpu" if run.cpu is not None else ""
        cells, compared, _ = pages.count_cells(run.nb)
        print(f"{path.stem}: {run.seconds:.1f} s{cpu}, {cells} cells ({compared} compared), "
              f"{len(text.encode()) / 1000:.0f} kB, {state}", flush=True)
    if args.record:
        record(runs, speed)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
