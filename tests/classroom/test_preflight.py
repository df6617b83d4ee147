"""`python -m lora_lab`: what it finds, what stops a learner, and that it never ends in a traceback."""

import io
import json
import os
import re
import socket
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import torch

from lora_lab.classroom import preflight, room
from lora_lab.classroom.preflight import Finding, calibrate, check_pages, findings, table

ROOT = Path(preflight.__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def found() -> list[Finding]:
    return findings(calibration_seconds=0.02)


def only(found, what: str) -> Finding:
    [finding] = [f for f in found if f.what == what]
    return finding


def run(tmp_path, startup: str = "", python: str = sys.executable, arguments=(), **env) -> subprocess.CompletedProcess:
    """`python -m lora_lab` where `startup` runs before everything else, in this process and in those it starts."""
    (tmp_path / "startup").mkdir()
    (tmp_path / "startup" / "sitecustomize.py").write_text(startup, encoding="utf-8")
    keep = {name: value for name, value in os.environ.items() if name not in ("JPY_PARENT_PID", "PYTHONPATH")}
    path = os.pathsep.join([str(tmp_path / "startup"), str(ROOT)])
    return subprocess.run([python, "-m", "lora_lab", *arguments], cwd=ROOT, capture_output=True, encoding="utf-8",
                          timeout=300, env=keep | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"} | env)


HIDE = """
import importlib.metadata, sys
names = {names!r}
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in names:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
real = importlib.metadata.Distribution.from_name.__func__
def from_name(cls, name):
    if name in names:
        raise importlib.metadata.PackageNotFoundError(name)
    return real(cls, name)
importlib.metadata.Distribution.from_name = classmethod(from_name)
"""


# what it finds here

def test_every_finding_has_a_value_and_every_problem_its_fix(found):
    assert all(f.level in preflight.SYMBOLS and f.what and f.value for f in found)
    assert [f for f in found if f.level != "ok" and not f.fix] == []
    assert [f for f in found if "not checked" in f.value] == []
    assert {"Python", "lora_lab", "GPU", "sliders", "kernel", "cores", "free memory", "speed", "torch threads"} <= {
        f.what for f in found}


def test_every_pinned_package_is_compared(found):
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(re.match(r"([\w-]+)==(\S+)", line).groups() for line in lines if "==" in line)
    assert preflight.wanted() == {name: f"=={version}" for name, version in pins.items()}
    assert pins.keys() <= {f.what for f in found} and set(preflight.LEARNER) <= pins.keys()


def test_table_has_one_line_per_finding(found):
    assert len(table(found).splitlines()) == len(found)
    assert str(Finding("stop", "torch", "two\nlines", "a\nfix")).count("\n") == 0


# packages

def test_a_package_that_learners_need_stops(monkeypatch):
    monkeypatch.setattr(preflight, "installed", lambda name: None)
    rows = {f.what: f for f in preflight.check_packages()}
    assert {name for name, f in rows.items() if f.level == "stop"} == set(preflight.LEARNER)
    assert rows["pytest"].level == "warn" and all("requirements.txt" in f.fix for f in rows.values())


def test_another_version_than_the_pin_warns(monkeypatch):
    pins = {name: spec.removeprefix("==") for name, spec in preflight.wanted().items()}
    versions = pins | {"numpy": "1.0.1", "torch": pins["torch"] + "+cpu"}
    monkeypatch.setattr(preflight, "installed", versions.get)
    rows = {f.what: f for f in preflight.check_packages()}
    assert [name for name, f in rows.items() if f.level != "ok"] == ["numpy"]
    assert rows["numpy"].level == "warn" and rows["numpy"].fix == preflight.INSTALL
    assert "1.0.1" in rows["numpy"].value and pins["numpy"] in rows["numpy"].value


def test_without_requirements_txt_the_declared_ranges_count(monkeypatch, tmp_path):
    monkeypatch.setattr(preflight, "PACKAGE", tmp_path / "lora_lab")
    monkeypatch.setattr(preflight.metadata, "requires", lambda name: ["torch<3,>=2.6", 'pytest>=8; extra == "test"'])
    versions = {"lora-lab": "0.1.0", "torch": "2.5.1+cpu", "pytest": "9.0", "numpy": "2.0"}
    monkeypatch.setattr(preflight, "installed", versions.get)
    rows = {f.what: f.level for f in preflight.check_packages()}
    assert (rows["torch"], rows["pytest"], rows["numpy"], rows["tqdm"]) == ("warn", "ok", "ok", "stop")


def test_an_old_python_stops(monkeypatch):
    monkeypatch.setattr(preflight.sys, "version_info", (3, 10, 4))
    [finding] = preflight.check_python()
    assert (finding.level, finding.value) == ("stop", "3.10.4") and "3.11" in finding.fix


def test_lora_lab_from_this_folder_only_or_from_another_copy(monkeypatch, tmp_path):
    monkeypatch.setattr(preflight, "ask", lambda python, code: "")
    [finding] = preflight.check_lora_lab()
    assert finding.level == "stop" and "-e ." in finding.fix
    monkeypatch.undo()
    (tmp_path / "lora_lab").mkdir()
    (tmp_path / "lora_lab" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    [finding] = preflight.check_lora_lab()
    assert finding.level == "warn" and str(tmp_path) in finding.value


# the whole command

def test_nothing_installed(tmp_path):
    """A bare Python: every package a learner needs is named, with the same fix, and nothing breaks."""
    venv.create(tmp_path / "bare", with_pip=False, symlinks=os.name != "nt")
    python = tmp_path / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    result = run(tmp_path, python=str(python))
    assert (result.returncode, result.stderr) == (1, "")
    for name in preflight.LEARNER:
        assert re.search(rf"^✗ {name} +missing   fix: python -m pip install -r requirements.txt$", result.stdout, re.M)
    for line in (r"✓ cores +\d", r". free memory +\S", "! sliders +not checked", "! speed +not measured"):
        assert re.search("^" + line, result.stdout, re.M)


def test_without_torch_everything_else_is_still_said(tmp_path):
    result = run(tmp_path, HIDE.format(names={"torch"}))
    assert (result.returncode, result.stderr) == (1, "")
    lines = result.stdout.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("✗")] == ["torch"]
    assert re.search(r"^✓ sliders ", result.stdout, re.M) and re.search(r"^[✓!] numpy ", result.stdout, re.M)
    assert lines[-1] == "1 to fix first, then run this again."


def test_without_a_package_of_the_tests_only_it_is_no_stop(tmp_path):
    result = run(tmp_path, HIDE.format(names={"hypothesis", "torch"}))
    assert re.search(r"^! hypothesis +missing, only the tests use it", result.stdout, re.M)


def test_a_broken_torch_is_a_sentence(tmp_path):
    """A missing DLL raises OSError at import, with a text of several lines."""
    startup = """
import sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise OSError("[WinError 126] The specified module could not be found.\\nError loading c10.dll")
sys.meta_path.insert(0, Broken())
"""
    result = run(tmp_path, startup)
    assert (result.returncode, result.stderr) == (1, "")
    [line] = [line for line in result.stdout.splitlines() if "torch does not start" in line]
    assert line.startswith("✗") and "WinError 126" in line and "--force-reinstall torch==2.13.0" in line


def test_offline_and_ready(tmp_path):
    """The whole command with every connection refused, in its child processes too."""
    startup = """
import socket
def refuse(*args, **kwargs):
    raise OSError("no network in this test")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
"""
    result = run(tmp_path, startup)
    assert result.stderr == "" and result.returncode == 0, result.stdout
    assert "not checked" not in result.stdout and "no network" not in result.stdout
    assert re.search(r"^✓ sliders ", result.stdout, re.M) and re.search(r"^✓ speed +\d+ small", result.stdout, re.M)
    assert result.stdout.splitlines()[-1] == "Ready."
    with socket.create_server(("127.0.0.1", 0)) as server:      # and the refusal is real
        code = f"import socket; socket.create_connection({server.getsockname()!r})"
        env = os.environ | {"PYTHONPATH": str(tmp_path / "startup")}
        refused = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert "no network in this test" in refused.stderr


def test_a_windows_console_without_our_symbols(tmp_path):
    result = run(tmp_path, HIDE.format(names={"torch"}), PYTHONIOENCODING="cp1252")
    assert (result.returncode, result.stderr) == (1, "")
    assert re.search(r"^\+ Python ", result.stdout, re.M) and re.search(r"^X torch ", result.stdout, re.M)
    assert preflight.printable("✗ Θ", "utf-8") == "✗ Θ"


def test_a_console_that_lacks_any_other_letter(monkeypatch):
    monkeypatch.setattr(preflight, "check_all", lambda seconds: iter([Finding("ok", "lora_lab", "in a folder Ω")]))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "cp1252"))
    assert preflight.main() == 0
    sys.stdout.flush()
    assert sys.stdout.buffer.getvalue().startswith(b"+ lora_lab") and b"in a folder ?" in sys.stdout.buffer.getvalue()


@pytest.mark.parametrize("levels, status", [(["ok", "warn"], 0), (["ok", "stop", "warn"], 1), ([], 0)])
def test_exit_status_is_1_only_if_something_stops_a_learner(monkeypatch, capsys, levels, status):
    monkeypatch.setattr(preflight, "check_all", lambda seconds: iter([Finding(lv, "x", "y", "z") for lv in levels]))
    assert preflight.main() == status
    assert len(capsys.readouterr().out.splitlines()) == len(levels) + 1


def test_a_check_that_fails_is_a_finding(monkeypatch):
    def broken():
        raise RuntimeError("first\nsecond")
        yield

    monkeypatch.setattr(preflight, "check_machine", broken)
    finding = only(findings(0.0), "machine")
    assert finding.level == "warn" and "RuntimeError: first" in finding.value and "\n" not in str(finding)


# JupyterLab and the machine

def test_a_server_without_the_widget_extension_stops(monkeypatch):
    monkeypatch.setattr(preflight, "ask", lambda python, code: json.dumps([False, sys.prefix]))
    finding = only(preflight.check_jupyter(), "sliders")
    assert finding.level == "stop" and "jupyterlab_widgets" in finding.fix


def test_the_extension_is_looked_for_on_disk(monkeypatch, tmp_path):
    """The real probe, with Jupyter's data folders moved to where there is nothing."""
    assert json.loads(preflight.ask(sys.executable, preflight.PROBE))[0] is True
    moved = "import jupyter_core.paths as p; p.jupyter_path = lambda *a: ['" + tmp_path.as_posix() + "']\n"
    assert json.loads(preflight.ask(sys.executable, moved + preflight.PROBE))[0] is False


def test_a_kernel_of_another_python_stops(monkeypatch, tmp_path):
    monkeypatch.setattr(preflight, "ask", lambda python, code: json.dumps([True, str(tmp_path)]))
    finding = only(preflight.check_jupyter(), "kernel")
    assert finding.level == "stop" and str(tmp_path) in finding.value


@pytest.mark.skipif(os.name == "nt", reason="the command would be an .exe")
def test_another_jupyter_first_on_the_path_warns(monkeypatch, tmp_path):
    (tmp_path / "jupyter-lab").write_text("#!/bin/sh\n", encoding="utf-8")
    (tmp_path / "jupyter-lab").chmod(0o755)
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    finding = only(preflight.check_jupyter(), "jupyter lab")
    assert finding.level == "warn" and "python -m jupyterlab" in finding.fix


@pytest.mark.parametrize("free, level", [(None, "warn"), (1.9e9, "warn"), (2.1e9, "ok")])
def test_memory(monkeypatch, free, level):
    monkeypatch.setattr(preflight, "free_memory", lambda: free)
    assert only(preflight.check_machine(), "free memory").level == level


# speed

def test_calibration_leaves_no_trace():
    torch.manual_seed(7)
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    assert calibrate(0.0, threads=threads + 1) > 0
    assert torch.get_num_threads() == threads and torch.equal(torch.random.get_rng_state(), state)


def test_calibration_counts_steps_per_second(monkeypatch):
    ticks = iter(range(1000))
    monkeypatch.setattr(preflight.time, "perf_counter", lambda: next(ticks) / 4)  # a look at the clock: 1/4 s
    assert calibrate(seconds=2.0) == 4.0


@pytest.mark.parametrize("told, rates, level, words", [
    (None, [100, 20], "ok", "default 2 threads: 5 times as long per step here right now; the pages use one thread"),
    ("2", [100, 20], "warn", "the pages use 2; OMP_NUM_THREADS=2"),
    ("2", [100, 180], "ok", "0.56 times as long"),
])
def test_threads_are_compared_in_one_line(monkeypatch, told, rates, level, words):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if told:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    monkeypatch.setattr(preflight, "default_threads", lambda: 2)
    monkeypatch.setattr(preflight, "calibrate", lambda seconds, threads=1: rates[threads - 1])
    finding = only(preflight.check_speed(0.1), "torch threads")
    assert finding.level == level and words in finding.value


def write(tmp_path, text: str) -> Path:
    record = tmp_path / "pages.json"
    record.write_text(text, encoding="utf-8")
    return record


def test_page_times_are_scaled_to_this_machine(tmp_path):
    pages = {"01_a": {"budget_s": 30, "run_s": 20.0}, "02_b": {"budget_s": 10, "run_s": 60.0}}
    record = write(tmp_path, json.dumps({"calibration_steps_per_s": 100.0, "pages": pages}))
    half, late = check_pages(50.0, record)
    assert (half.level, half.what, half.value) == ("ok", "01_a", "Run All takes about 40 s")
    assert (late.level, late.value) == ("warn", "Run All takes about 2.0 min") and late.fix


@pytest.mark.parametrize("text", [
    "", "[]", "{}", "not json", '{"calibration_steps_per_s": null, "pages": {"a": {"budget_s": 1, "run_s": 1}}}',
    '{"calibration_steps_per_s": -5, "pages": {"a": {"budget_s": 1, "run_s": 1}}}',
    '{"calibration_steps_per_s": NaN, "pages": {"a": {"budget_s": 1, "run_s": 1}}}',
    '{"calibration_steps_per_s": 5, "pages": {"a": {"run_s": "soon"}}}', '{"calibration_steps_per_s": 5, "pages": {}}',
])
def test_a_damaged_record_of_times_is_one_line(tmp_path, text):
    [finding] = check_pages(100.0, write(tmp_path, text))
    assert finding.level == "warn" and "pages.json" in finding.value and "execute_pages.py" in finding.fix


def test_a_missing_or_binary_record_of_times_is_one_line(tmp_path):
    assert [f.level for f in check_pages(100.0, tmp_path / "none.json")] == ["warn"]
    (tmp_path / "pages.json").write_bytes(b"\xff\xfe\x00{")
    assert [f.level for f in check_pages(100.0, tmp_path / "pages.json")] == ["warn"]


# ---- one line per laptop ------------------------------------------------------------------------------------------

ROOM = [
    Finding("ok", "torch", "2.13.0+cpu"), Finding("ok", "cores", "4, of which this container may use 2"),
    Finding("ok", "free memory", "5.2 GB"), Finding("ok", "speed", "153 small training steps per second on one thread"),
    Finding("ok", "03_lora_in_torch", "Run All takes about 31 s"),
    Finding("ok", "08_transformer", "Run All takes about 1.6 min"),
]


def test_the_room_gets_one_line_with_a_field_for_each_column():
    line = room.room_line(ROOM, machine="laptop 7")
    row = dict(zip(room.COLUMNS, line.split("\t"), strict=True))
    assert "\n" not in line
    assert (row["verdict"], row["machine"], row["to fix"]) == ("READY", "laptop 7", "nothing")
    assert (row["torch"], row["cores"], row["free memory"], row["steps/s"]) == ("2.13.0+cpu", "4", "5.2 GB", "153")
    assert row["slowest page"] == "08 96 s" and row["Python"].startswith("3.")


@pytest.mark.parametrize("extra, verdict", [("warn", "LOOK"), ("stop", "STOP")])
def test_the_room_line_names_what_is_to_be_fixed(extra, verdict):
    row = room.room_line([*ROOM, Finding(extra, "sliders", "none\tof\nthem", "install")], "x").split("\t")
    assert row[0] == verdict and row[-1] == "sliders" and len(row) == len(room.COLUMNS)


def test_the_room_line_where_nothing_is_installed(tmp_path):
    result = run(tmp_path, HIDE.format(names={"torch", "numpy"}), arguments=["--room"])
    [line] = result.stdout.splitlines()
    row = dict(zip(room.COLUMNS, line.split("\t"), strict=True))
    assert (result.returncode, row["verdict"], row["steps/s"]) == (1, "STOP", "?") and "torch" in row["to fix"]


def test_an_unknown_argument_is_refused_with_the_usage(capsys):
    with pytest.raises(SystemExit):
        preflight.main(["--rooms", "x"])
    assert "usage: python -m lora_lab" in capsys.readouterr().err
