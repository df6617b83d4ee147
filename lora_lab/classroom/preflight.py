"""`python -m lora_lab`: is this machine ready for the course? One line per finding, with its fix.

Only the standard library is imported at the top, so that the check also runs, and says what to do, before anything is
installed. A page shows the same lines with `print(table(findings()))`; `--room` puts them into one line, for a teacher.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from .room import room_line

PACKAGE = Path(__file__).resolve().parents[1]
# what a learner needs; the rest is for the tests
LEARNER = (
    *("torch", "numpy", "matplotlib", "safetensors", "scikit-learn", "tqdm"),
    *("ipywidgets", "jupyterlab", "ipykernel"),
)
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
    version = ".".join(map(str, sys.version_info[:3]))
    new = sys.version_info >= (3, 11)  # noqa: UP036 (an older Python gets here too, and should be told)
    yield judge(new, "Python", version, "install Python 3.11 or newer and make a new .venv with it")


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
    if found and Path(found).resolve().parent != PACKAGE:
        yield Finding("warn", "lora_lab", f"pages import another copy, {found}", fix)
    else:
        value = f"{installed('lora-lab') or 'on PYTHONPATH'}, found from every folder"
        yield judge(bool(found), "lora_lab", value if found else "found from this folder only", fix)


# Packages

def wanted() -> dict[str, str]:
    """Package -> version: the pins of requirements.txt, or the declared ranges where that file is not at hand."""
    pins = PACKAGE.parent / "requirements.txt"
    if pins.is_file() and pins.with_name("pyproject.toml").is_file():
        lines = pins.read_text(encoding="utf-8").splitlines()
    else:
        lines = (metadata.requires("lora-lab") or []) if installed("lora-lab") else []
    parts = [re.match(r"([A-Za-z][\w.-]*)\s*([^;#\s]*)", line) for line in lines]
    return dict.fromkeys(LEARNER, "") | {part[1]: part[2] for part in parts if part}


def installed(name: str) -> str | None:
    try:
        return metadata.version(name) or "unknown"
    except metadata.PackageNotFoundError:
        return None


def fits(version: str, spec: str) -> bool:
    """Does a version meet "==1.2.3" (a build tag such as +cpu does not matter) or a range such as ">=1,<2"?"""
    if spec.startswith("=="):
        return version.split("+")[0] == spec[2:]
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return True
    return SpecifierSet(spec).contains(version, prereleases=True)


def check_packages() -> Iterator[Finding]:
    for name, spec in wanted().items():
        version = installed(name)
        if version is None and name in LEARNER:
            yield Finding("stop", name, "missing", INSTALL)
        elif version is None:
            yield Finding("warn", name, "missing, only the tests use it", INSTALL)
        else:
            good = fits(version, spec)
            value = version if good else f"{version}, but the course is tested with {spec.removeprefix('==')}"
            yield judge(good, name, value, INSTALL, bad="warn")


def torch_or_reason() -> tuple[object, str]:
    """(torch, "") or (None, why it does not start): a broken torch raises OSError, too, not only ImportError."""
    try:
        import torch

        torch.ones(2).sum().item()
        return torch, ""
    except Exception as error:
        return None, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:150]}"


def check_torch() -> Iterator[Finding]:
    torch, reason = torch_or_reason()
    if torch:
        gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
        gpu = gpu or ("Apple MPS" if torch.backends.mps.is_available() else "none")
        yield Finding("ok", "GPU", f"{gpu} (none is needed)")
    elif installed("torch"):
        windows = "install Microsoft's Visual C++ redistributable, then " if os.name == "nt" else ""
        again = f"{windows}python -m pip install --force-reinstall torch{wanted()['torch']}"
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
    command = shutil.which("jupyter-lab")
    if server == sys.executable and command and not Path(command).parent.samefile(sysconfig.get_path("scripts")):
        fix = "activate the environment, or python -m jupyterlab --notebook-dir=. notebooks/00_start_here.ipynb"
        yield Finding("warn", "jupyter lab", f"this command starts another one, {command}", fix)


# The machine

def container_limit(name: str) -> list[int]:
    """The numbers of a container's limit (Linux, cgroup 2); [] where there is none."""
    with suppress(OSError, ValueError):  # "max" means no limit
        return [int(word) for word in Path("/sys/fs/cgroup", name).read_text(encoding="ascii").split()]
    return []


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> float | None:
    """Bytes, or None where nobody can tell."""
    try:
        import psutil

        free = psutil.virtual_memory().available
    except Exception:
        try:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, ValueError, OSError):
            return None
    return min([free, *container_limit("memory.max")])


def check_machine() -> Iterator[Finding]:
    quota = container_limit("cpu.max")
    share = f", of which this container may use {quota[0] / quota[1]:.3g}" if quota else ""
    yield Finding("ok", "cores", f"{cores()}{share}")
    free = free_memory()
    value = "unknown" if free is None else f"{free / 1e9:.1f} GB"
    fix = "have 2 GB free: close other programs, and Kernel > Shut Down All Kernels in JupyterLab"
    yield judge(free is not None and free >= 2e9, "free memory", value, fix, bad="warn")


# Speed

def default_threads() -> int:
    """The number torch takes when nobody tells it (where it has been told one already: one per physical core)."""
    import torch

    if torch.get_num_threads() > 1 or "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    with suppress(Exception):
        import psutil

        return min(cores(), psutil.cpu_count(logical=False))
    return cores()


def calibrate(seconds: float = 2.0, threads: int = 1) -> float:
    """Steps per second of a small fixed training: LoRA (r = 8) on a frozen 1000 x 1001 weight, batch 128, Adam."""
    import torch

    generator = torch.Generator().manual_seed(0)
    X, W, A = (torch.randn(rows, 1001, generator=generator, dtype=torch.float32) for rows in (128, 1000, 8))
    Y, A, B = X @ (W + 1).T, A / 1001**0.5, torch.zeros(1000, 8, dtype=torch.float32)
    trained = [(p.requires_grad_(), torch.zeros_like(p), torch.zeros_like(p)) for p in (A, B)]  # and Adam's moments

    def step() -> None:
        loss = (X @ W.T + (X @ A.T) @ B.T - Y).square().mean()
        gradients = torch.autograd.grad(loss, [A, B])
        with torch.no_grad():  # by hand: the first torch.optim.Adam of a process takes over a second to make
            for (p, m, v), g in zip(trained, gradients):
                m.lerp_(g, 0.1)
                v.lerp_(g * g, 0.001)
                p.addcdiv_(m, v.sqrt() + 1e-8, value=-1e-3)

    before, steps, elapsed = torch.get_num_threads(), 0, 0.0
    try:
        torch.set_num_threads(threads)
        for _ in range(3):  # warm up
            step()
        start = time.perf_counter()
        while steps == 0 or elapsed < seconds:
            step()
            steps, elapsed = steps + 1, time.perf_counter() - start
    finally:
        torch.set_num_threads(before)
    return steps / elapsed


def check_speed(seconds: float) -> Iterator[Finding]:
    if not torch_or_reason()[0]:
        yield Finding("warn", "speed", "not measured, there is no working torch", "first the line of torch above")
        return
    many, told = default_threads(), "OMP_NUM_THREADS" in os.environ
    one = calibrate(seconds if many == 1 else seconds * 2 / 3)
    yield Finding("ok", "speed", f"{one:.0f} small training steps per second on one thread")
    times = 1.0 if many == 1 else one / calibrate(seconds / 3, many)
    value = "torch's default is one thread" if many == 1 else (
        f"default {many} threads: {times:.2g} times as long per step here right now")
    value += f"; the pages use {many if told else 'one thread'}"
    set_by_hand = [name for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY") if name in os.environ]
    value += "".join(f"; {name}={os.environ[name]}" for name in set_by_hand)
    yield judge(not told or times < 1.5, "torch threads", value, "start Jupyter with OMP_NUM_THREADS=1", bad="warn")
    yield from check_pages(one)


def check_pages(steps_per_second: float, record: Path = PACKAGE / "classroom" / "run_times.json") -> Iterator[Finding]:
    """The recorded run time of each page, scaled to this machine's speed."""
    try:
        data = json.loads(record.read_text(encoding="utf-8"))
        slower = data["calibration_steps_per_s"] / steps_per_second
        runs = [(name, slower * page["run_s"], 3 * page["budget_s"]) for name, page in data["pages"].items()]
        if not runs or not all(0 < run < float("inf") and patience > 0 for _, run, patience in runs):
            raise ValueError("numbers out of range")
    except Exception as error:
        fix = "git checkout lora_lab/classroom/run_times.json, or python tests/tools/execute_pages.py --record"
        yield Finding("warn", "minutes per page", f"unknown, {record.name} is not usable ({type(error).__name__})", fix)
        return
    for name, run, patience in runs:
        value = "Run All takes about " + (f"{max(run, 1):.0f} s" if run < 90 else f"{run / 60:.1f} min")
        yield judge(run <= patience, name, value, "close other programs, or read on while it runs", bad="warn")


# The table

def check_all(seconds: float) -> Iterator[Finding]:
    checks = {"Python": check_python, "lora_lab": check_lora_lab, "packages": check_packages, "torch": check_torch,
              "JupyterLab": check_jupyter, "machine": check_machine, "speed": lambda: check_speed(seconds)}
    for name, check in checks.items():
        try:
            yield from check()
        except Exception as error:  # a check that fails is a finding, never a traceback
            yield Finding("warn", name, f"not checked ({type(error).__name__}: {str(error)[:150]})", INSTALL)


def findings(calibration_seconds: float = 3.0) -> list[Finding]:
    """All that is known about this machine."""
    return list(check_all(calibration_seconds))


def table(findings: list[Finding]) -> str:
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
    if room:
        found = findings()
        print(printable(room_line(found), sys.stdout.encoding or "ascii"))
        return int(any(finding.level == "stop" for finding in found))
    stops = 0
    for finding in check_all(3.0):
        print(printable(str(finding), sys.stdout.encoding or "ascii"), flush=True)
        stops += finding.level == "stop"
    print(f"{stops} to fix first, then run this again." if stops else "Ready.")
    return 1 if stops else 0

