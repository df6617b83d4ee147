"""`python -m lora_lab`: is this machine ready for the course? One line per finding, with its fix.

Only the standard library is imported at the top, so that the check also runs, and says what to do, before anything is
installed. A page shows the same lines with `print(table(findings()))`; `--room` puts them into one line, for a teacher.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from .claims import say

PACKAGE = Path(__file__).resolve().parents[1]
RUN_TIMES = PACKAGE / "classroom" / "run_times.json"
LEARNER = (  # what a learner needs; the tests need more
    "torch", "numpy", "matplotlib", "safetensors", "scikit-learn", "tqdm", "ipywidgets", "jupyterlab", "ipykernel",
)  # fmt: skip
INSTALL = "python -m pip install -r requirements.txt"
SYMBOLS = {"ok": "✓", "warn": "!", "stop": "✗"}


@dataclass(frozen=True)
class Finding:
    """One line of the table. level: "ok", "warn" (the course runs, with a drawback) or "stop" (it does not)."""

    level: str
    what: str
    value: str
    fix: str = ""

    def __str__(self) -> str:
        text = f"{SYMBOLS[self.level]} {self.what:<25} {self.value}" + (f"   fix: {self.fix}" if self.fix else "")
        return " ".join(text.splitlines())


def judge(good: bool, what: str, value: str, fix: str, bad: str = "stop") -> Finding:
    return Finding("ok", what, value) if good else Finding(bad, what, value, fix)


def check_python() -> Iterator[Finding]:
    new = sys.version_info >= (3, 11)  # noqa: UP036 (an older Python gets here too, and should be told)
    fix = "install Python 3.11 or newer and make a new .venv with it"
    yield judge(new, "Python", ".".join(map(str, sys.version_info[:3])), fix)


def ask(python: str, code: str) -> str:
    """What `code` prints in another Python process, in an empty folder. Paths arrive whole, whatever the locale."""
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run([python, "-X", "utf8", "-c", code], cwd=folder, capture_output=True, timeout=60)
    if run.returncode:
        raise RuntimeError((os.fsdecode(run.stderr).strip().splitlines() or ["no message"])[-1])
    return os.fsdecode(run.stdout).strip()


def check_lora_lab() -> Iterator[Finding]:
    """Is this lora_lab the one that a notebook in any folder imports?"""
    code = "from importlib.util import find_spec; s = find_spec('lora_lab'); print(s.origin if s else '')"
    found, fix = ask(sys.executable, code), "python -m pip install -e . (in this folder)"
    if not found:
        yield Finding("stop", "lora_lab", "found from this folder only", fix)
    elif Path(found).resolve().parent != PACKAGE:
        yield Finding("warn", "lora_lab", f"pages import another copy, {found}", fix)
    else:
        yield Finding("ok", "lora_lab", f"{installed('lora-lab') or 'on PYTHONPATH'}, found from every folder")


# Packages

def tested() -> dict[str, str]:
    """Package -> the version of requirements.txt; empty where that file is not at hand."""
    file = PACKAGE.parent / "requirements.txt"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return dict(line.split()[0].split("==") for line in lines if "==" in line)


def installed(name: str) -> str | None:
    try:
        return metadata.version(name) or "unknown"
    except metadata.PackageNotFoundError:
        return None


def check_packages() -> Iterator[Finding]:
    pins = tested()
    for name in LEARNER:
        version = installed(name)
        if version is None:
            yield Finding("stop", name, "missing", INSTALL)
            continue
        pin = pins.get(name, version)
        as_tested = version.split("+")[0] == pin.split("+")[0]  # a build tag such as +cpu does not matter
        value = version if as_tested else f"{version}, but the course is tested with {pin}"
        yield judge(as_tested, name, value, INSTALL, bad="warn")


def check_torch() -> Iterator[Finding]:
    if installed("torch") is None:
        return
    try:
        import torch

        gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
        yield Finding("ok", "GPU", f"{gpu} (none is needed)")
    except Exception as error:  # a broken torch raises OSError, too, not only ImportError
        reason = f"{type(error).__name__}: {str(error)[:150]}"
        windows = "install Microsoft's Visual C++ redistributable, then " if os.name == "nt" else ""
        fix = f"{windows}python -m pip uninstall torch, then {INSTALL}"
        yield Finding("stop", "torch does not start", reason, fix)


# JupyterLab: its server shows the sliders, its kernel computes

PROBE = """
import json, sys
from pathlib import Path
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_core.paths import jupyter_path
extensions = [Path(folder, "@jupyter-widgets", "jupyterlab-manager") for folder in jupyter_path("labextensions")]
python = KernelSpecManager().get_kernel_spec("python3").argv[0]
if not Path(python).is_absolute():
    python = sys.executable  # "python" stands for the server's
print(json.dumps([any((folder / "package.json").is_file() for folder in extensions), python]))
"""


def server_python() -> str | None:
    """The Python that runs JupyterLab: the one that started this kernel or, in a terminal, this one."""
    with suppress(Exception):  # not in a kernel, no psutil, no permission
        import psutil

        command = psutil.Process(int(os.environ["JPY_PARENT_PID"])).cmdline()[0]
        if "python" in Path(command).name.lower():
            return shutil.which(command) or sys.executable
    return sys.executable if installed("jupyterlab") else None


def check_jupyter() -> Iterator[Finding]:
    """Sliders need an extension in the server's environment, and pages a kernel in this one."""
    server = server_python()
    if server is None:
        yield Finding("warn", "sliders", "not checked, JupyterLab is missing here", INSTALL)
        return
    sliders, kernel = json.loads(ask(server, PROBE))
    value = f"JupyterLab's server {'has' if sliders else 'lacks'} the widget extension"
    yield judge(sliders, "sliders", value, f"{server} -m pip install --force-reinstall --no-deps jupyterlab_widgets")
    same = Path(kernel).parent.resolve() == Path(sys.executable).parent.resolve()  # the folders: python may be a link
    value = "new notebooks run in " + ("this Python" if same else f"another Python, {kernel}")
    fix = "jupyter kernelspec remove python3, then python -m ipykernel install --sys-prefix"
    yield judge(same, "kernel", value, fix)


# The machine

def check_machine() -> Iterator[Finding]:
    yield Finding("ok", "cores", str(os.cpu_count()))
    import psutil  # comes with ipykernel

    free, limit = psutil.virtual_memory().available, Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text(encoding="ascii").strip()).isdigit():  # a container's
        free = min(free, int(text))
    fix = "have 2 GB free: close other programs, and Kernel > Shut Down All Kernels in JupyterLab"
    yield judge(free >= 2e9, "free memory", f"{free / 1e9:.1f} GB", fix, bad="warn")


# Speed

def calibrate(seconds: float = 2.0) -> float:
    """Gradients per second, on one thread, of LoRA (r = 8) on a frozen 1000 x 1001 weight for a batch of 128."""
    import torch

    W, X = torch.ones(1000, 1001), torch.ones(128, 1001)
    A, B = torch.ones(8, 1001, requires_grad=True), torch.ones(1000, 8, requires_grad=True)

    def step() -> None:
        loss = (X @ W.T + X @ A.T @ B.T).square().mean()
        torch.autograd.grad(loss, [A, B])

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(3):  # warm up
            step()
        start, steps = time.perf_counter(), 0
        while steps == 0 or time.perf_counter() < start + seconds:
            step()
            steps += 1
        return steps / (time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)


def check_speed(seconds: float) -> Iterator[Finding]:
    """This machine's speed, and what it makes of the recorded run time of the slowest page."""
    steps = calibrate(seconds)
    yield Finding("ok", "speed", f"{steps:.0f} small training steps per second on one thread")
    data = json.loads(RUN_TIMES.read_text(encoding="utf-8"))
    page, recorded = max(data["pages"].items(), key=lambda item: item[1]["run_s"])
    run = recorded["run_s"] * data["calibration_steps_per_s"] / steps
    fix = "close other programs, or read on while it runs"
    yield judge(run <= 60, "slowest page", f"{page[:2]}, in {max(run, 1):.0f} s", fix, bad="warn")
    told = os.environ.get("OMP_NUM_THREADS", "1")
    fix = "start Jupyter with OMP_NUM_THREADS=1: threads that wait for each other make small steps slow"
    yield judge(told == "1", "torch threads", f"the pages use {told}", fix, bad="warn")


# The table

def findings(calibration_seconds: float = 2.0) -> Iterator[Finding]:
    """All that is known about this machine, as it is found. A check that fails is a finding, never a traceback."""
    for check in (check_python, check_lora_lab, check_packages, check_torch, check_jupyter, check_machine, check_speed):
        try:
            yield from check(calibration_seconds) if check is check_speed else check()
        except Exception as error:
            name, reason = check.__name__.removeprefix("check_"), f"{type(error).__name__}: {str(error)[:150]}"
            yield Finding("warn", name, f"not checked ({reason})", INSTALL)


def table(findings: Iterable[Finding]) -> str:
    """One line per finding."""
    return "\n".join(map(str, findings))


def room(findings: Sequence[Finding]) -> dict[str, str]:
    """{column: field} of a laptop's line in a teacher's spreadsheet.

    verdict: READY, LOOK (it runs, with a drawback) or STOP. to fix: what the others are.
    """
    value = {f.what: f.value for f in findings if not f.value.startswith("not checked")}
    stops = [f.what for f in findings if f.level == "stop"]
    warns = [f.what for f in findings if f.level == "warn"]
    row = {
        "verdict": "STOP" if stops else "LOOK" if warns else "READY",
        "machine": platform.node(),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **{what: value.get(what, "?") for what in ("torch", "cores", "free memory")},
        "steps/s": value.get("speed", "?").split()[0],
        "slowest page": value.get("slowest page", "?"),
        "to fix": ", ".join(stops + warns) or "nothing",
    }
    return {column: " ".join(field.split()) for column, field in row.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print each finding as it is found, or with --room all in one line. 1 if anything would stop a learner, else 0."""
    parser = argparse.ArgumentParser(prog="python -m lora_lab", description="Is this machine ready for the course?")
    parser.add_argument("--room", action="store_true", help="one tab-separated line, for a teacher to collect")
    in_one_line, found = parser.parse_args(arguments).room, []
    for finding in findings():
        found.append(finding)
        if not in_one_line:
            say(str(finding))
    stops = sum(finding.level == "stop" for finding in found)
    end = f"{stops} to fix first, then run this again." if stops else "Ready."
    say("\t".join(room(found).values()) if in_one_line else end)
    return 1 if stops else 0
