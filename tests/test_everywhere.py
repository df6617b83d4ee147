"""The record of tests/everywhere.py is whole and green, and its cheap circumstances, tried here in small."""

import ast
import json
import os
import shutil
import subprocess
import sys

import everywhere
import pages
import pytest
from packaging.version import Version

ROOT = pages.ROOT
ROWS = json.loads(everywhere.RECORD.read_text(encoding="utf-8"))["rows"]
DECLARED = everywhere.declared()
posix = pytest.mark.skipif(os.name != "posix", reason="permissions and locales are other ones on Windows")


# ---- the record ---------------------------------------------------------------------------------------------------
def row(name):
    if name not in ROWS:
        pytest.skip(f"not run yet: python tests/everywhere.py --rows '{name}'")
    return ROWS[name]


@pytest.mark.parametrize("asked", everywhere.ROWS, ids=lambda asked: asked.name)
def test_each_circumstance_ran_was_in_effect_and_is_green(asked):
    """The rows "python" are kept under their versions: two newer than the one that the others ran with."""
    found = [asked.name] if asked.name != "python" else sorted(name for name in ROWS if name.startswith("python "))
    assert len(found) >= (2 if asked.name == "python" else 1)
    for name in found:
        kept = row(name)
        assert kept["failed"] == 0 and not kept["failures"]
        assert kept["preflight"] == 0 and kept["passed"] > 300
        assert asked.holds(kept["in effect"])
        assert not name.startswith("python ") or kept["in effect"]["python"].startswith(name.split()[1] + ".")


def test_the_record_holds_no_row_of_a_circumstance_that_is_no_more():
    assert {n for n in ROWS if not n.startswith("python ")} <= {asked.name for asked in everywhere.ROWS}


def test_the_oldest_declared_versions_are_those_that_ran():
    """torch comes with each Python: its bound is the oldest with which any row is green."""
    ran = row("oldest")["versions"]
    for name, requirement in DECLARED.items():
        if name != "torch":
            assert Version(ran[name]) == Version(everywhere.oldest(requirement)), f"{requirement}: {ran[name]} ran"
    torches = [Version(Version(kept["versions"]["torch"]).public) for kept in ROWS.values()]
    assert min(torches) == Version(everywhere.oldest(DECLARED["torch"]))


def test_what_ran_is_what_pyproject_allows():
    for name, kept in ROWS.items():
        for package, requirement in DECLARED.items():
            version = Version(kept["versions"][package]).public
            assert requirement.specifier.contains(version), f"{name} ran with {package} {version}"


def test_the_pins_are_the_newest_that_ran():
    """So that a range does not admit a version newer than any that was tried, on the day of the record."""
    newest = row("newest")["versions"]
    for name in DECLARED:
        assert Version(row("baseline")["versions"][name]) <= Version(newest[name])


def test_hash_seeds_differed():
    assert len({row(f"hash seed {seed}")["in effect"]["hash"] for seed in ("0", "1", "12345")}) == 3


@pytest.mark.parametrize("requirement", ["numpy", "numpy<3", "numpy>1.26,<3"])
def test_a_range_without_a_lower_bound_is_refused(requirement):
    with pytest.raises(ValueError, match="one lower bound"):
        everywhere.oldest(everywhere.Requirement(requirement))


def test_a_second_run_of_what_failed_corrects_the_record_and_says_so():
    failures = ["tests.test_a::x", "notebooks.02_n.ipynb::Cell 1"]
    before = {"failures": failures, "passed": 10, "failed": 2, "preflight": 0}
    assert everywhere.files_of(failures) == ["notebooks/02_n.ipynb", "tests/test_a.py"]
    now = {"failures": ["tests.test_a::x"], "tests": "tests/test_a.py", "preflight": 1}
    after = everywhere.again(before, now, "abc")
    assert (after["passed"], after["failed"], after["failures"], after["preflight"]) == (11, 1, now["failures"], 1)
    assert after["run again"] == {"commit": "abc", "tests": "tests/test_a.py"}


# ---- the circumstances, in small ----------------------------------------------------------------------------------
# What a learner does in the first minutes, on one captioned panel, with an exercise checked and an adapter kept.
FIRST_MINUTES = r"""
import sys
import torch, lora_lab
from lora_lab import add_lora, bases, check, latecomer, load_adapter, panels, progress, save_adapter, tasks
lora_lab.begin("00")
print(ascii(panels.taste_panel(tasks.letters("LoRA"), ranks=(1, 2, 3)).caption))
check("0.1", lambda d_out, d_in, r: (d_out + d_in) * r)
model = torch.nn.Sequential(torch.nn.Linear(5, 4))
add_lora(model, r=2)
load_adapter(model, save_adapter(model, sys.argv[1]))
progress()
latecomer.find_section("04.2"), bases.record("gpt_base")
"""


def learner(code, *arguments, course=ROOT, cwd=None, unprivileged=False, **env):
    """Run `code` as a learner would: no permission that root has, and nothing of this test's own settings."""
    clean = {k: v for k, v in os.environ.items() if k not in everywhere.SETTINGS}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    if unprivileged and os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root can write everywhere, and there is no setpriv to give that up")
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    clean |= {"PYTHONPATH": str(course), "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg",
              "PYTHONDONTWRITEBYTECODE": "1", **env}
    done = subprocess.run(command, cwd=cwd or course, env=clean, capture_output=True, timeout=120)
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


@pytest.fixture
def locked(tmp_path):
    """A folder in which nothing can be written."""
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)


@posix
def test_an_unwritable_home_and_working_directory(locked, tmp_path):
    proof = "import sys, pathlib; pathlib.Path(sys.argv[1], 'x').touch()"
    assert "PermissionError" in learner(proof, locked, unprivileged=True)[2]
    status, out, err = learner(FIRST_MINUTES, tmp_path / "adapter", cwd=locked, unprivileged=True, HOME=str(locked))
    assert status == 0 and "0 of " in out and " solved" in out, err  # the page goes on; the progress is not kept
    assert not list(locked.iterdir())


@posix
def test_no_home_directory_at_all(locked, tmp_path):
    status, out, err = learner(FIRST_MINUTES, tmp_path / "adapter", unprivileged=True, HOME=str(locked / "none"))
    assert status == 0 and "0 of " in out and " solved" in out, err


@posix
def test_a_course_at_an_odd_path_in_an_ascii_locale(tmp_path):
    """Spaces, an apostrophe and letters beyond ASCII in the path, where text is ASCII unless somebody says so."""
    if sys.getfilesystemencoding() != "utf-8":
        pytest.skip("this locale has no ë for a folder's name")
    course = tmp_path / everywhere.ODD
    (course / "notebooks").mkdir(parents=True)
    shutil.copytree(ROOT / "lora_lab", course / "lora_lab", ignore=shutil.ignore_patterns("__pycache__"))
    for page in pages.page_files():
        shutil.copy(page, course / "notebooks")
    for name in ("requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, course)
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    status, out, err = learner(FIRST_MINUTES, course / "adaptér", course=course, **plain,
                               LORA_LAB_PROGRESS=str(course / "progress.json"))
    assert status == 0 and "1 of " in out and " solved" in out, err
    assert "? Exercise 0.1" in out
    # the preflight's lines that start other Pythons; its speed is no matter here
    code = "from lora_lab.__main__ import *\nfor c in check_lora_lab, check_jupyter: print(*map(ascii, map(str, c())))"
    status, out, err = learner(code, course=course, **plain)
    assert status == 0 and "found from every folder" in out and "has the widget extension" in out, out + err


def test_sets_in_another_order_give_the_same_captions(tmp_path):
    runs = [learner(FIRST_MINUTES, tmp_path / seed, PYTHONHASHSEED=seed, HOME=str(tmp_path)) for seed in ("1", "12345")]
    assert runs[0] == runs[1] and runs[0][0] == 0, runs
    files = [(tmp_path / seed / "adapter_model.safetensors").read_bytes() for seed in ("1", "12345")]
    assert files[0][8:40] == files[1][8:40]  # the names' order


def test_text_files_are_read_and_written_as_utf_8():
    """In the package every read and write of text names its encoding: the locale's is another one on Windows."""
    found = []
    for path in (ROOT / "lora_lab").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            mode = node.args[1].value if len(node.args) > 1 and isinstance(node.args[1], ast.Constant) else ""
            text = name in ("read_text", "write_text", "fdopen") or name == "open" and "b" not in str(mode)
            if text and not any(k.arg == "encoding" for k in node.keywords):
                found.append(f"{path.name}:{node.lineno}")
    assert not found
