"""Run the pages under strict nbval with several thread and CPU settings: python tests/page_matrix.py [--pages PAGE ...]

The result is kept in page_matrix.json beside this file; tests/test_pages.py checks that it is green and up to date.
With --pages, the other pages keep their result if machine and versions are the same. Exit status 1 if a row failed.
"""
from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from importlib.metadata import version
from pathlib import Path

import pages

RECORD = Path(__file__).with_suffix(".json")
SETTINGS = ("OMP_NUM_THREADS", "ATEN_CPU_CAPABILITY", "MKL_CBWR")
REQUIRED = [{"OMP_NUM_THREADS": t, "ATEN_CPU_CAPABILITY": c} for t in "12" for c in ("default", "avx2")]
EXTRA = [{"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "avx512"},
         {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"}]
# What torch makes of the settings: the proof that they reached it.
PROBE = """
import json, torch
print(json.dumps({"capability": torch.backends.cpu.get_cpu_capability(), "threads": torch.get_num_threads(),
                  "mkl": torch.backends.mkl.is_available()}))
"""


def environment(settings: dict[str, str]) -> dict[str, str]:
    """os.environ with exactly these settings; what the shell says about the others must not leak in."""
    path = os.pathsep.join(filter(None, [str(pages.ROOT), os.environ.get("PYTHONPATH")]))
    return {**{k: v for k, v in os.environ.items() if k not in SETTINGS}, "PYTHONPATH": path, **settings}


def probe(settings: dict[str, str]) -> dict:
    out = subprocess.run([sys.executable, "-c", PROBE], env=environment(settings), capture_output=True, text=True,
                         check=True).stdout
    return json.loads(out.splitlines()[-1])


def rows_for(native: dict) -> list[dict[str, str]]:
    """The rows this CPU and this torch can run, by what torch chooses without settings."""
    levels = {"AVX2": ("default", "avx2"), "AVX512": ("default", "avx2", "avx512")}
    possible = levels.get(native["capability"], ("default",))
    return [row for row in REQUIRED + EXTRA
            if row["ATEN_CPU_CAPABILITY"] in possible and (native["mkl"] or "MKL_CBWR" not in row)]


def run_row(settings: dict[str, str], files: list[Path]) -> dict[str, dict]:
    """Strict nbval in a process of its own: {page: passed, failed, skipped cells and seconds}."""
    result = {f.stem: {"passed": 0, "failed": 0, "skipped": 0, "seconds": 0.0} for f in files}
    with tempfile.TemporaryDirectory(prefix="matrix-") as folder:
        xml = Path(folder) / "result.xml"
        # addopts is emptied: this run is the same whatever pyproject.toml says
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider", "--nbval",
             "--nbval-current-env", f"--nbval-cell-timeout={pages.CELL_TIMEOUT}", "--color=no", f"--junit-xml={xml}",
             *map(str, files)],
            cwd=pages.ROOT, env=environment(settings), capture_output=True, text=True)
        cases = list(ET.parse(xml).iter("testcase")) if xml.is_file() else []
    for case in cases:
        name = case.get("classname", "").removesuffix(".ipynb").rpartition(".")[2]  # of 'notebooks.01_name.ipynb'
        page = result.get(name)
        if page is not None:
            kinds = {child.tag for child in case}
            kind = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
            page[kind] += 1
            page["seconds"] = round(page["seconds"] + float(case.get("time")), 1)
    if done.returncode != 0:
        print((done.stdout + done.stderr)[-6000:])
        if not any(p["failed"] for p in result.values()):  # pytest itself broke: no page may look green
            for page in result.values():
                page["failed"] = 1
    return result


def machine() -> dict:
    """What the numbers depend on; no host name and no path."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        models = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")]
        cpu = models[0] if models else cpu
    return {"cpu": cpu, "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(), "torch": version("torch"), "nbval": version("nbval")}


def merge(old: dict, new: dict) -> dict:
    """`new` completed by the pages of `old` that did not run again, if both come from the same machine and rows."""
    settings = [[row["settings"] for row in r.get("rows", [])] for r in (old, new)]
    if old.get("machine") != new["machine"] or settings[0] != settings[1]:
        return new
    there = {p.stem for p in pages.page_files()}
    kept = [name for name in old["pages"] if name not in new["pages"] and name in there]
    for name in kept:
        new["pages"][name] = old["pages"][name]
        for row, before in zip(new["rows"], old["rows"], strict=True):
            row["pages"][name] = before["pages"][name]
    return new


def describe(settings: dict[str, str]) -> str:
    return " ".join(f"{name}={settings[name]}" for name in SETTINGS if name in settings)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", nargs="+", metavar="PAGE", default=[])
    args = parser.parse_args(argv)
    try:
        files = [pages.find_page(name) for name in args.pages] or pages.page_files()
    except ValueError as e:
        parser.error(str(e))
    if not files:
        parser.error(f"there is no page in {pages.NOTEBOOKS.relative_to(pages.ROOT)}/.")
    # hashed before the first row: a page edited meanwhile is then stale, not green
    today = datetime.date.today().isoformat()
    new = {"machine": machine(), "rows": [],
           "pages": {f.stem: {"sha256": pages.content_hash(pages.read(f)), "date": today} for f in files}}
    for settings in rows_for(probe({})):
        row = {"settings": settings, "in_effect": probe(settings), "pages": run_row(settings, files)}
        new["rows"].append(row)
        sums = {k: sum(p[k] for p in row["pages"].values()) for k in ("passed", "failed", "seconds")}
        print(f"{describe(settings):70} {sums['passed']:4} passed {sums['failed']:4} failed {sums['seconds']:7.1f} s",
              flush=True)
    failed = any(p["failed"] for row in new["rows"] for p in row["pages"].values())
    old = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
    RECORD.write_text(json.dumps(merge(old, new), indent=1, sort_keys=True) + "\n", encoding="utf-8", newline="\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
