"""`python -m lora_lab`: is this machine ready for the course? One line per finding, with its fix.

Only the standard library is imported at the top, so that the check also runs, and says what to do, before anything is
installed. A page shows the same lines with `print(table(findings()))`; `--room` puts them into one line, for a teacher.
"""

from __future__ import annotations

import argparse
import json
import os
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

from .room import room_line

PACKAGE = Path(__file__).resolve().parents[1]
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

def wanted() -> dict[str, str]:
    """Package -> the version of requirements.txt, or "" where that file is not at hand."""
    pins = dict.fromkeys(LEARNER, "")
    file = PACKAGE.parent / "requirements.txt"
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        name, _, version = line.partition("==")
        if name in pins:
            pins[name] = version.split()[0]
    return pins


def installed(name: str) -> str | None:
    try:
        return metadata.version(name) or "unknown"
    except metadata.PackageNotFoundError:
        return None


def check_packages() -> Iterator[Finding]:
    for name, pin in wanted().items():
        version = installed(name)
        if version is None:
            yield Finding("stop", name, "missing", INSTALL)
        elif pin and version.split("+")[0] != pin:  # a build tag such as +cpu does not matter
            yield Finding("warn", name, f"{version}, but the course is tested with {pin}", INSTALL)
        else:
            yield Finding("ok", name, version)


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
        again = f"{windows}python -m pip install --force-reinstall torch=={wanted()['torch']}"
        yield Finding("stop", "torch does not start", reason, again)


# JupyterLab: its server shows the sliders, its kernel computes

PROBE = """
import json, os, subprocess, sys
from pathlib import Path
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_core.paths import jupyter_path
folders = [Path(folder, "@jupyter-widgets", "jupyterlab-manager") for folder in jupyter_path("labextensions")]
python, prefix = KernelSpecManager().get_kernel_spec("python3").argv[0], sys.prefix
if python not in ("python", "python3", "python%i.%i" % sys.version_info[:2]):  # these stand for the server's Python
    command = [python, "-X", "utf8", "-c", "import sys; print(sys.prefix)"]
    prefix = os.fsdecode(subprocess.check_output(command)).strip()
print(json.dumps([any((folder / "package.json").is_file() for folder in folders), prefix], ensure_ascii=False))
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
    sliders, prefix = json.loads(ask(server, PROBE))
    value = f"JupyterLab's server {'has' if sliders else 'lacks'} the widget extension"
    yield judge(sliders, "sliders", value, f"{server} -m pip install --force-reinstall --no-deps jupyterlab_widgets")
    same = Path(prefix).resolve() == Path(sys.prefix).resolve()
    value = "new notebooks run in " + ("this Python" if same else f"another Python, {prefix}")
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
    """Steps per second, on one thread, of a small training: LoRA (r = 8) on a frozen 1000 x 1001 weight, batch 128."""
    import torch

    from lora_lab.layers import LoRALinear

    with torch.random.fork_rng(devices=[]):
        layer = LoRALinear(torch.nn.Linear(1001, 1000, bias=False))
        X = torch.randn(128, 1001)

    def step() -> None:
        gradients = torch.autograd.grad((layer(X) - 1).square().mean(), [layer.lora_A, layer.lora_B])
        with torch.no_grad():  # by hand: the first optimizer of a process takes over a second to make
            layer.lora_A -= gradients[0]
            layer.lora_B -= gradients[1]

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
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
    steps = calibrate(seconds)
    yield Finding("ok", "speed", f"{steps:.0f} small training steps per second on one thread")
    told = os.environ.get("OMP_NUM_THREADS", "1")
    fix = "start Jupyter with OMP_NUM_THREADS=1: threads that wait for each other make small steps slow"
    yield judge(told == "1", "torch threads", f"the pages use {told}", fix, bad="warn")
    yield from check_pages(steps)


def check_pages(steps_per_second: float, record: Path = PACKAGE / "classroom" / "run_times.json") -> Iterator[Finding]:
    """The recorded run time of each page, scaled to this machine's speed."""
    data = json.loads(record.read_text(encoding="utf-8"))
    slower = data["calibration_steps_per_s"] / steps_per_second
    for name, page in data["pages"].items():
        run = slower * page["run_s"]
        value = "Run All takes about " + (f"{max(run, 1):.0f} s" if run < 90 else f"{run / 60:.1f} min")
        fix = "close other programs, or read on while it runs"
        yield judge(run <= 3 * page["budget_s"], name, value, fix, bad="warn")


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


def printable(text: str, encoding: str) -> str:
    """The text, with ASCII symbols for a console that does not know ours (Windows, cp1252)."""
    try:
        text.encode(encoding)
        return text
    except UnicodeEncodeError:
        return text.replace(SYMBOLS["ok"], "+").replace(SYMBOLS["stop"], "X")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print each finding as it is found, or with --room all in one line. 1 if anything would stop a learner, else 0."""
    parser = argparse.ArgumentParser(prog="python -m lora_lab", description="Is this machine ready for the course?")
    parser.add_argument("--room", action="store_true", help="one tab-separated line, for a teacher to collect")
    room = parser.parse_args(arguments).room
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    encoding, found = sys.stdout.encoding or "ascii", []
    for finding in findings():
        found.append(finding)
        if not room:
            print(printable(str(finding), encoding), flush=True)
    stops = sum(finding.level == "stop" for finding in found)
    if room:
        print(printable(room_line(found), encoding))
    else:
        print(f"{stops} to fix first, then run this again." if stops else "Ready.")
    return 1 if stops else 0
