"""Run the tests under other versions, settings and circumstances.

    python tests/everywhere.py [--rows NAME ...] [--tests all | numbers | surroundings ...] [--list]

Each row runs in a fresh clone of the last commit: unit tests, pages 00 and 02 under strict nbval, the preflight.
Rows about versions run every unit test, those about threads and CPUs the ones that compute, the others the ones that
meet files, processes, text and the network (SELECTIONS; the record says which). "oldest" and "newest" make themselves
an environment with pip; the row "python" runs in the environment it is started with, whatever that is, and is kept
under its version: start it with each Python there is. All other rows need requirements.txt installed.

torch is not exchanged by "oldest" and "newest" (on Linux most of its builds bring several GB of CUDA): its oldest and
newest versions are those of the "python" rows. The result is kept in everywhere.json beside this file, which
tests/test_everywhere.py checks; rows that did not run keep theirs. Exit status 1 if a row failed.
"""
from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.requirements import Requirement
from page_matrix import machine
from pages import ROOT

RECORD = Path(__file__).with_suffix(".json")
PAGES = ("notebooks/00_start_here.ipynb", "notebooks/02_low_rank_decomposition.ipynb")  # "surroundings": 00 only
# This file's own test starts the same circumstances once more, and judges the record that is being made.
NEVER = ("tests/test_everywhere.py",)
# Test files that compute what a page shows, and those that meet files, folders, processes, text and the network.
SELECTIONS = {
    "numbers": ("adapters", "adapter_set", "costs", "digits", "language", "layers", "lstm", "sweeps", "tasks_bases",
                "theory", "training", "two_layers"),
    "surroundings": ("claim", "files", "language", "latecomer", "package", "project"),
}
# What decides the result and must not leak in from the shell that starts this.
SETTINGS = ("OMP_NUM_THREADS", "ATEN_CPU_CAPABILITY", "MKL_CBWR", "PYTHONHASHSEED", "PYTHONUTF8", "PYTHONIOENCODING",
            "PYTHONCOERCECLOCALE", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_NUMERIC", "LOCPATH", "TMPDIR",
            "MPLCONFIGDIR", "IPYTHONDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "LORA_LAB_PROGRESS",
            "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "PYTHONPATH")
# The proof that a setting reached the process. Prints ASCII, whatever the locale.
PROBE = r"""
import json, locale, os, platform, socket, sys
from pathlib import Path
import torch
locale.setlocale(locale.LC_ALL, "")
def writable(folder):
    try:
        file = Path(folder, f".probe-{os.getpid()}")
        file.touch()
        file.unlink()
        return True
    except (OSError, RuntimeError):
        return False
print(json.dumps({
    "python": platform.python_version(), "capability": torch.backends.cpu.get_cpu_capability(),
    "threads": torch.get_num_threads(), "hash": hash("lora"), "filesystem encoding": sys.getfilesystemencoding(),
    "preferred encoding": locale.getpreferredencoding(False), "decimal point": locale.localeconv()["decimal_point"],
    "home writable": writable(Path.home()), "folder writable": writable("."), "folder": Path.cwd().name,
    "temporary folder": Path(os.environ.get("TMPDIR", "")).name,
    "network": sorted({name for _, name in socket.if_nameindex()} - {"lo"}) if hasattr(socket, "if_nameindex") else [],
}))
"""
# Run by the row's Python before anything is installed in this one, so it takes nothing but the standard library.
VERSIONS = """
import json, sys
from importlib import metadata
print(json.dumps({name: metadata.version(name) for name in sys.argv[1:]}))
"""


@dataclass(frozen=True)
class Row:
    """One circumstance. `holds` looks at the probe's output and says whether the circumstance is in effect."""

    name: str
    what: str
    holds: Callable[[dict], bool]
    env: Mapping[str, str] = field(default_factory=dict)
    tests: str = "surroundings"  # "all", or names of SELECTIONS
    folder: str = "lora-lab"  # of the clone
    home: str = "new"  # or "read-only", "missing"
    read_only: bool = False  # the clone
    network: bool = True
    needs: Callable[[], str | None] = lambda: None  # why this machine cannot run it
    install: str = ""  # "oldest" or "newest"


def lacks(*commands: str) -> Callable[[], str | None]:
    return lambda: next((f"there is no {c} here" for c in commands if not shutil.which(c)), None)


def lacks_cpu(flag: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        cpuinfo = Path("/proc/cpuinfo")
        there = flag in cpuinfo.read_text(encoding="utf-8").split() if cpuinfo.is_file() else False
        return None if there else f"this CPU has no {flag}"
    return missing


def lacks_netns() -> str | None:
    if why := lacks("unshare", "ip")():
        return why
    done = subprocess.run(["unshare", "-n", "true"], capture_output=True)
    return None if done.returncode == 0 else "unshare -n is not allowed here"


def this_python() -> str:
    return f"python {sys.version_info[0]}.{sys.version_info[1]}"


ODD = "Zoë's LoRA kurs"
ROWS = (
    Row("baseline", "requirements.txt as it is", lambda p: p["threads"] == 1, tests="all"),
    Row("python", "this Python and what is installed in it", lambda p: True, tests="all"),
    Row("oldest", "the oldest versions that pyproject.toml declares", lambda p: True, tests="all",
        install="oldest"),
    Row("newest", "the newest versions that pyproject.toml allows", lambda p: True, tests="all", install="newest"),
    Row("threads 2", "two torch threads", lambda p: p["threads"] == 2, {"OMP_NUM_THREADS": "2"}, tests="numbers"),
    *(Row(f"cpu {level}", f"torch's {level} kernels", lambda p, sign=sign: p["capability"] == sign,
          {"ATEN_CPU_CAPABILITY": level}, tests="numbers", needs=lacks_cpu(flag))
      for level, sign, flag in (("default", "DEFAULT", "fpu"), ("avx2", "AVX2", "avx2"),
                                ("avx512", "AVX512", "avx512f"))),
    *(Row(f"hash seed {seed}", "another order of sets", lambda p: True, {"PYTHONHASHSEED": seed})
      for seed in ("0", "1", "12345")),
    Row("home read-only", "nothing can be written in the home directory", lambda p: not p["home writable"],
        home="read-only"),
    Row("home missing", "there is no home directory", lambda p: not p["home writable"], home="missing"),
    Row("folder read-only", "the clone cannot be written to", lambda p: not p["folder writable"], read_only=True),
    Row("no network", "no network interface but loopback", lambda p: p["network"] == [], network=False,
        needs=lacks_netns),
    Row("odd path", "spaces, an apostrophe and a letter beyond ASCII in the path",
        lambda p: p["folder"] == ODD and p["temporary folder"] == ODD, {"TMPDIR": ODD}, folder=ODD),
    Row("locale C", "LC_ALL=C, UTF-8 mode off", lambda p: "UTF" not in p["preferred encoding"].upper(),
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    Row("locale de", "a German locale with a decimal comma", lambda p: p["decimal point"] == ",",
        {"LC_ALL": "de_DE.UTF-8"}, needs=lacks("localedef")),
)


# ---- versions -----------------------------------------------------------------------------------------------------
def declared() -> dict[str, Requirement]:
    """The direct dependencies of pyproject.toml, those of the tests included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    return {r.name: r for r in map(Requirement, lines)}


def oldest(requirement: Requirement) -> str:
    """The lower bound. Raises ValueError for a range without one."""
    found = [s.version for s in requirement.specifier if s.operator == ">="]
    if len(found) != 1:
        raise ValueError(f"{requirement} in pyproject.toml must have one lower bound, >=, to be tested with.")
    return found[0]


def tested_torch() -> str:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return next(line.split()[0] for line in lines if line.startswith("torch=="))


def wanted(kind: str) -> list[str]:
    """What pip installs for the row "oldest" or "newest"."""
    rest = [r for r in declared().values() if r.name != "torch"]
    chosen = [f"{r.name}=={oldest(r)}" for r in rest] if kind == "oldest" else [str(r) for r in rest]
    return [tested_torch(), *chosen, "flit_core>=3.11,<5"]


def make_environment(kind: str, folder: Path) -> Path:
    """A virtual environment for "oldest" or "newest"; returns its python. One that is there is taken as it is."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted(kind)], check=True)
        (folder / "done").touch()
    return python


# ---- a row --------------------------------------------------------------------------------------------------------
def clone(folder: Path) -> None:
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder)], check=True)


def prefix(row: Row) -> list[str]:
    """What stands before the command. The permission bits bind root only when it has given up its capabilities."""
    command = []
    if not row.network:
        command += ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if (row.home != "new" or row.read_only) and hasattr(os, "geteuid") and os.geteuid() == 0:
        command += ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    return command


def environment(row: Row, place: Path, scratch: Path) -> dict[str, str]:
    home = scratch / "home"
    if row.home != "missing":
        home.mkdir()
    env = {k: v for k, v in os.environ.items() if k not in SETTINGS}
    env |= {"HOME": str(home), "USERPROFILE": str(home), "PYTHONPATH": str(place), "LC_ALL": "C.UTF-8",
            "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "PYTHONDONTWRITEBYTECODE": "1", **row.env}
    if "TMPDIR" in row.env:
        env["TMPDIR"] = str(scratch / "tmp" / row.env["TMPDIR"])
        Path(env["TMPDIR"]).mkdir(parents=True)
    if row.env.get("LC_ALL", "").startswith("de_DE"):
        env["LOCPATH"] = str(scratch / "locale")
        Path(env["LOCPATH"]).mkdir()
        subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", f"{env['LOCPATH']}/de_DE.UTF-8"],
                       stderr=subprocess.DEVNULL)
    if row.home == "read-only":
        home.chmod(0o555)
    return env


def permissions(folder: Path, write: bool) -> None:
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | 0o200 if write else path.stat().st_mode & ~0o222)


def chosen(row: Row, place: Path) -> list[str]:
    """The test files of a row, relative to the clone."""
    files = sorted(f"tests/{path.name}" for path in (place / "tests").glob("test_*.py"))
    names = {f"tests/test_{name}.py" for selection in row.tests.split() for name in SELECTIONS.get(selection, ())}
    return [file for file in files if file not in NEVER and ("all" in row.tests or file in names)]


def count(xml: Path) -> dict:
    """Passed, failed and skipped, and the names of what failed."""
    result = {"passed": 0, "failed": 0, "skipped": 0, "failures": []}
    for case in ET.parse(xml).iter("testcase") if xml.is_file() else ():
        kinds = {child.tag for child in case}
        kind = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        result[kind] += 1
        if kind == "failed":
            result["failures"].append(f"{case.get('classname')}::{case.get('name')}")
    return result


def again(before: dict, now: dict, commit: str) -> dict:
    """The record `before`, corrected by a run of the files in which something had failed."""
    better = len(before["failures"]) - len(now["failures"])
    return {**before, "passed": before["passed"] + better, "failed": len(now["failures"]), "failures": now["failures"],
            "preflight": now["preflight"], "run again": {"commit": commit, "tests": now["tests"]}}


def kept_rows() -> dict[str, dict]:
    return json.loads(RECORD.read_text(encoding="utf-8"))["rows"] if RECORD.is_file() else {}


def files_of(failures: list[str]) -> list[str]:
    """The files of "tests.test_lstm::test_x" and "notebooks.02_name.ipynb::Cell 1"."""
    names = {f.partition("::")[0].replace(".", "/", 1) for f in failures}
    return sorted(name if name.endswith(".ipynb") else f"{name}.py" for name in names)


def run_row(row: Row, work: Path, files: list[str]) -> dict:
    """The row's record: versions, what the probe saw, tests passed, failed and skipped, the preflight, seconds.

    files: what to run instead of the row's own choice.
    """
    scratch = Path(tempfile.mkdtemp(prefix="row-", dir=work))
    place, xml = scratch / row.folder, scratch / "result.xml"
    start = time.perf_counter()
    try:
        clone(place)
        python = str(make_environment(row.install, work / row.install) if row.install else sys.executable)
        if row.install:
            subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "-e",
                            str(place)], check=True)
        env = environment(row, place, scratch)
        if row.read_only:
            permissions(place, write=False)

        def run(*command: str, quiet: bool = True) -> subprocess.CompletedProcess:
            return subprocess.run([*prefix(row), python, *command], cwd=place, env=env, capture_output=quiet,
                                  encoding="utf-8", errors="replace")

        versions = run("-c", VERSIONS, *declared())
        probe = run("-c", PROBE)
        if versions.returncode or probe.returncode:
            raise RuntimeError(f"the row cannot start: {(versions.stderr + probe.stderr)[-1500:]}")
        seen = json.loads(probe.stdout.splitlines()[-1])
        if not row.holds(seen):
            raise RuntimeError(f"the circumstance is not in effect: {seen}")
        own = [*chosen(row, place), *PAGES[: 1 if row.tests == "surroundings" else 2]]
        tests = ["-m", "pytest", "-q", "--color=no", f"--junit-xml={xml}", *(files or own)]
        done, preflight = run(*tests), run("-m", "lora_lab")
        result = count(xml)
        if done.returncode or preflight.returncode:
            print(done.stdout[-6000:], done.stderr[-2000:], preflight.stdout, preflight.stderr, sep="\n")
        if done.returncode not in (0, 1) or done.returncode and not result["failed"]:  # pytest itself broke
            result["failed"], result["failures"] = 1, [(done.stdout + done.stderr)[-300:]]
        shown = " ".join(f"{k}={v}" for k, v in row.env.items())
        return {
            "what": row.what, "command": f"{shown} python -m pytest".strip(),
            "tests": " ".join(files) or row.tests, **result, "preflight": preflight.returncode,
            "seconds": round(time.perf_counter() - start), "in effect": seen,
            "versions": json.loads(versions.stdout.splitlines()[-1]),
        }
    finally:
        (scratch / "home").is_dir() and (scratch / "home").chmod(0o755)
        if row.read_only and place.is_dir():
            permissions(place, write=True)
        shutil.rmtree(scratch, ignore_errors=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="by default all but 'python'")
    parser.add_argument("--tests", nargs="+", choices=["all", *SELECTIONS], help="instead of what the rows say")
    parser.add_argument("--again", action="store_true", help="of each row, only the files in which a test failed")
    parser.add_argument("--list", action="store_true", help="name the rows, and why one cannot run here")
    parser.add_argument("--folder", type=Path, help="keep the environments of 'oldest' and 'newest' here")
    args = parser.parse_args(argv)
    names = [row.name for row in ROWS]
    if unknown := [name for name in args.rows or () if name not in names]:
        parser.error(f"there is no row {unknown[0]!r}; there are: {', '.join(names)}")
    if args.list:
        for row in ROWS:
            print(f"{row.name:18} {row.what}" + (f" (not here: {why})" if (why := row.needs()) else ""))
        return 0
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True,
                            check=True).stdout.strip()
    if subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True).stdout.strip():
        print(f"Uncommitted changes are not in the clones: what runs is {commit}.")
    failed = False
    with tempfile.TemporaryDirectory(prefix="everywhere-") as temporary:
        work = args.folder or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        for wanted_name in args.rows or [n for n in names if n != "python"]:
            row = ROWS[names.index(wanted_name)]
            row = replace(row, tests=" ".join(args.tests or [row.tests]))
            name = this_python() if row.name == "python" else row.name
            if why := row.needs():
                print(f"{name:18} not run: {why}", flush=True)
                continue
            files = files_of(kept_rows().get(name, {}).get("failures", [])) if args.again else []
            if args.again and not files:
                continue
            result = run_row(row, work.resolve(), files)
            result |= {"commit": commit, "date": datetime.date.today().isoformat(), "machine": machine()["cpu"]}
            if files:
                result = again(kept_rows()[name], result, commit)
            green = not result["failures"] and not result["preflight"]
            failed |= not green
            print(f"{name:18} {result['passed']:5} passed {result['failed']:3} failed {result['skipped']:4} skipped, "
                  f"preflight {result['preflight']}, {result['seconds']} s", flush=True)
            rows = dict(sorted({**kept_rows(), name: result}.items()))
            text = json.dumps({"rows": rows}, indent=1, ensure_ascii=False)
            RECORD.write_text(text + "\n", encoding="utf-8", newline="\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
