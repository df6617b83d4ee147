"""`python -m lora_lab`: what it finds, what stops a learner, and that it never ends in a traceback."""

import json
import os
import re
import subprocess
import sys
import venv

import pytest
import torch

from lora_lab.classroom import preflight
from lora_lab.classroom.preflight import Finding, calibrate, findings, room, table

ROOT = preflight.PACKAGE.parent


@pytest.fixture(scope="module")
def found() -> list[Finding]:
    return list(findings(calibration_seconds=0.02))


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


BROKEN_TORCH = """
import sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise OSError("[WinError 126] The specified module could not be found.\\nError loading c10.dll")
sys.meta_path.insert(0, Broken())
"""
NO_NETWORK = """
import socket
def refuse(*args, **kwargs):
    raise OSError("no network in this test")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
"""


# ---- what it finds here


def test_every_finding_has_a_value_and_a_line_and_every_problem_its_fix(found):
    assert all(f.level in preflight.SYMBOLS and f.what and f.value for f in found)
    assert [f for f in found if f.level != "ok" and not f.fix] == []
    assert [f for f in found if "not checked" in f.value] == []
    wanted = {"Python", "lora_lab", "GPU", "sliders", "kernel", "cores", "free memory", "speed", "torch threads"}
    assert wanted | set(preflight.LEARNER) <= {f.what for f in found}
    assert len(table(found).splitlines()) == len(found)
    assert str(Finding("stop", "torch", "two\nlines", "a\nfix")).count("\n") == 0


def test_packages_that_are_missing_or_not_the_tested_ones(monkeypatch):
    pins = preflight.tested()
    assert set(preflight.LEARNER) < set(pins) and all(re.match(r"\d+\.", pin) for pin in pins.values())
    versions = pins | {"numpy": "1.0.1", "torch": pins["torch"] + "+cpu", "tqdm": None}
    monkeypatch.setattr(preflight, "installed", versions.get)
    rows = {f.what: f for f in preflight.check_packages()}
    assert {name: f.level for name, f in rows.items() if f.level != "ok"} == {"numpy": "warn", "tqdm": "stop"}
    assert "1.0.1" in rows["numpy"].value and pins["numpy"] in rows["numpy"].value


def test_an_old_python_and_lora_lab_from_this_folder_only_or_from_another_copy(monkeypatch, tmp_path):
    monkeypatch.setattr(preflight.sys, "version_info", (3, 10, 4))
    [finding] = preflight.check_python()
    assert (finding.level, finding.value) == ("stop", "3.10.4") and "3.11" in finding.fix
    monkeypatch.setattr(preflight, "ask", lambda python, code: "")
    assert only(preflight.check_lora_lab(), "lora_lab").level == "stop"
    monkeypatch.undo()
    (tmp_path / "lora_lab").mkdir()
    (tmp_path / "lora_lab" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    finding = only(preflight.check_lora_lab(), "lora_lab")
    assert finding.level == "warn" and str(tmp_path) in finding.value


def test_a_server_without_the_widget_extension_and_a_kernel_of_another_python_stop(monkeypatch, tmp_path):
    monkeypatch.setattr(preflight, "ask", lambda python, code: json.dumps([False, str(tmp_path / "bin" / "python")]))
    found = list(preflight.check_jupyter())
    assert only(found, "sliders").level == "stop" and "jupyterlab_widgets" in only(found, "sliders").fix
    assert only(found, "kernel").level == "stop" and str(tmp_path) in only(found, "kernel").value


def test_little_memory_and_more_threads_than_one_are_said(monkeypatch):
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1.9e9}))
    assert only(preflight.check_machine(), "free memory").level == "warn"
    monkeypatch.setattr(preflight, "calibrate", lambda seconds: 100.0)
    for told, level in (("2", "warn"), ("1", "ok")):
        monkeypatch.setenv("OMP_NUM_THREADS", told)
        assert only(preflight.check_speed(0.1), "torch threads").level == level


# ---- speed


def test_calibration_counts_steps_per_second_and_leaves_no_trace(monkeypatch):
    threads = torch.get_num_threads()
    ticks = iter(range(1000))
    monkeypatch.setattr(preflight.time, "perf_counter", lambda: next(ticks) / 4)  # a look at the clock: 1/4 s
    assert 2.0 < calibrate(seconds=2.0) < 5.0
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("speed, level, value", [(50.0, "ok", "02, in 40 s"), (10.0, "warn", "02, in 200 s")])
def test_the_slowest_page_is_scaled_to_this_machine(tmp_path, monkeypatch, speed, level, value):
    monkeypatch.setattr(preflight, "calibrate", lambda seconds: speed)
    monkeypatch.setattr(preflight, "RUN_TIMES", tmp_path / "times.json")
    times = {"calibration_steps_per_s": 100.0, "pages": {"01_a": {"run_s": 9.0}, "02_b": {"run_s": 20.0}}}
    preflight.RUN_TIMES.write_text(json.dumps(times), encoding="utf-8")
    finding = only(preflight.check_speed(0.1), "slowest page")
    assert (finding.level, finding.value) == (level, value)


# ---- the whole command


def test_nothing_installed(tmp_path):
    """A bare Python, in a Windows console: every package a learner needs is named, with its fix, and nothing breaks."""
    venv.create(tmp_path / "bare", with_pip=False, symlinks=os.name != "nt")
    python = tmp_path / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    result = run(tmp_path, python=str(python), PYTHONIOENCODING="cp1252")
    assert (result.returncode, result.stderr) == (1, "")
    for name in preflight.LEARNER:
        assert re.search(rf"^X {name} +missing   fix: python -m pip install -r requirements.txt$", result.stdout, re.M)
    for line in (r"\+ cores +\d", "! sliders +not checked", "! speed +not checked"):
        assert re.search("^" + line, result.stdout, re.M)


def test_a_broken_torch_is_a_sentence(tmp_path):
    """A missing DLL raises OSError at import, with a text of several lines."""
    result = run(tmp_path, BROKEN_TORCH)
    assert (result.returncode, result.stderr) == (1, "")
    [line] = [line for line in result.stdout.splitlines() if "torch does not start" in line]
    assert line.startswith("✗") and "WinError 126" in line and "uninstall torch" in line


def test_offline_and_ready(tmp_path):
    """The whole command with every connection refused, in its child processes too."""
    result = run(tmp_path, NO_NETWORK)
    assert result.stderr == "" and result.returncode == 0, result.stdout
    assert "not checked" not in result.stdout and "no network" not in result.stdout
    assert re.search(r"^✓ sliders ", result.stdout, re.M) and re.search(r"^✓ speed +\d+ small", result.stdout, re.M)
    assert result.stdout.splitlines()[-1] == "Ready."


def test_a_check_that_fails_is_a_finding(monkeypatch):
    def check_machine():
        raise RuntimeError("first\nsecond")
        yield

    monkeypatch.setattr(preflight, "check_machine", check_machine)
    finding = only(findings(0.0), "machine")
    assert finding.level == "warn" and "RuntimeError: first" in finding.value and "\n" not in str(finding)


# ---- one line per laptop


@pytest.mark.parametrize("level, verdict", [("ok", "READY"), ("warn", "LOOK"), ("stop", "STOP")])
def test_the_room_gets_one_line_with_a_field_for_each_column(monkeypatch, capsys, level, verdict):
    speed = Finding("ok", "speed", "153 small training steps per second on one thread")
    found = [Finding("ok", "cores", "4"), speed, Finding("ok", "slowest page", "09\t96\ns")]
    found.append(Finding(level, "kernel", "x", "install"))
    monkeypatch.setattr(preflight, "findings", lambda: iter(found))
    assert preflight.main(["--room"]) == (level == "stop")
    [line] = capsys.readouterr().out.splitlines()
    row = dict(zip(room(found), line.split("\t"), strict=True))
    assert row["verdict"] == verdict and row["machine"] and row["Python"].startswith("3.")
    assert (row["cores"], row["steps/s"], row["slowest page"], row["torch"]) == ("4", "153", "09 96 s", "?")
    assert row["to fix"] == ("nothing" if level == "ok" else "kernel")
