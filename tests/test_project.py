"""The project as a newcomer meets it: pins in step, README commands that hold, nothing of one machine in the files."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pages
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
BLOCKS = re.findall(r"^ *```(\w+)\n(.*?)^ *```", README, re.M | re.S)


def requirement_lines() -> list[str]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]


def pins(lines: list[str]) -> dict[str, str]:
    """{name: version}; every line must be an exact pin."""
    requirements = [Requirement(line) for line in lines]
    for requirement in requirements:
        assert [s.operator for s in requirement.specifier] == ["=="], f"{requirement} is not an exact pin"
    return {canonicalize_name(r.name): next(iter(r.specifier)).version for r in requirements}


def declared() -> dict[str, Requirement]:
    lines = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["test"]]
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


# the pins

def test_requirements_pin_what_pyproject_declares():
    lines = requirement_lines()
    assert lines[-1] == "-e ."
    pinned = pins(lines[:-1])
    assert pinned["torch"] == "2.13.0"
    assert pinned.keys() == declared().keys()
    for name, requirement in declared().items():
        assert requirement.specifier.contains(pinned[name]), f"{name} {pinned[name]} is outside {requirement}"


def test_environment_yml_repeats_the_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *conda, pip = environment["dependencies"]
    options = [line for line in pip["pip"] if line.startswith("--")]
    assert options == ["--extra-index-url https://download.pytorch.org/whl/cpu"]
    assert pip["pip"][-1] == "-e ."
    assert pins([line for line in pip["pip"] if line[0] != "-"]) == pins(requirement_lines()[:-1])
    assert conda == ["python=3.11", "pip"]
    assert f"conda activate {environment['name']}\n" in README


def test_data_files_travel_with_the_package():
    """flit takes every file of the package; the name it derives must be the folder's."""
    assert PROJECT["project"]["name"].replace("-", "_") == "lora_lab"
    assert PROJECT["build-system"]["build-backend"] == "flit_core.buildapi"
    assert "exclude" not in PROJECT.get("tool", {}).get("flit", {}).get("sdist", {})


# the README

def chains() -> list[list[str]]:
    return [body.strip().split(" && ") for language, body in BLOCKS if language == "bash" and " && " in body]


def test_readme_starts_with_the_two_commands():
    install = "python -m pip install -r requirements.txt"
    prepare = ["python3 -m venv .venv", ". .venv/bin/activate"]
    first, second = chains()[:2]
    assert first == [*prepare, install, "jupyter lab --notebook-dir=. notebooks/00_start_here.ipynb"]
    assert second == [*prepare, f"{install} peft==0.21.2 playwright==1.65.2", "python -m pytest"]
    assert README.index(" && ".join(second)) < 2500, "the two commands belong on the first screen"


def test_ci_runs_what_the_readme_promises():
    lines = CI.splitlines()
    install, tests = chains()[1][2:]
    assert tests in lines
    assert install in [line.replace(" --quiet", "") for line in lines]
    assert lines.index(tests) < lines.index('python -c "import lora_lab"') < lines.index("python -m lora_lab")
    assert "ruff check ." in lines


def test_readme_names_the_pins_and_the_build_backend_as_they_are():
    version = pins(requirement_lines()[:-1])["torch"]
    named = set(re.findall(r"torch==(\S+)", README))
    assert named == {version}
    assert f'"{PROJECT["build-system"]["requires"][0]}"' in README


def test_the_offline_recipe_does_not_download_the_clone_into_itself():
    """`pip download` of `-e .` zips the whole clone, with the zip being written: 20 GB in ten minutes, measured."""
    assert not re.search(r"pip download.*-r requirements", README)
    assert re.search(r"pip wheel -w wheelhouse .*-r requirements\.txt", README)


def test_links_and_pictures_of_the_readme_exist():
    targets = re.findall(r"\]\(([^)\s]+)\)", README)
    assert any(target.endswith(".ipynb") for target in targets) and any(target.endswith(".png") for target in targets)
    headings = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.+)$", README, re.M)}
    local = [target for target in targets if "://" not in target]
    missing = [t for t in local if not (t[1:] in headings if t[0] == "#" else (ROOT / t.split("#")[0]).is_file())]
    assert not missing
    assert all(len(alt) > 20 for alt in re.findall(r"!\[(.*?)\]", README)), "a picture needs a text beside it"


def test_the_table_of_pages_is_what_the_pages_say():
    """Every page has its row: title, minutes (from the page's first cell) and seconds (its budget)."""
    for path in pages.page_files():
        first = pages.read(path).cells[0].source
        number, title = re.match(r"# (\d\d) · (.+)", first).groups()
        minutes = re.search(r"(\d+) minutes to read", first)[1]
        row = f"| [{number} {title}](notebooks/{path.name}) | {minutes} | {pages.budget(path)} s |"
        assert row in README, f"the README's table lacks: {row}"


def test_scripts_named_in_the_readme_exist():
    named = set(re.findall(r"(?:tests/\w+\.py|\.ci/run|[\w/]+\.ipynb|\w+\.(?:txt|yml)\b)", README))
    assert {"tests/execute_pages.py", ".ci/run", "requirements.txt"} <= named
    assert not [name for name in named if not (ROOT / name).is_file()]


# the files

@pytest.fixture(scope="module")
def files() -> list[str]:
    """What git tracks or would add."""
    try:
        run = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                             cwd=ROOT, capture_output=True, encoding="utf-8")
    except OSError:
        pytest.skip("no git here")
    names = [name for name in run.stdout.split("\0") if name and (ROOT / name).is_file()]
    if run.returncode or "README.md" not in names:
        pytest.skip("not a git checkout")
    return names


def test_top_level_holds_only_what_a_reader_expects(files):
    visible = {name.split("/")[0] for name in files if not name.startswith(".")}
    assert visible == {"notebooks", "lora_lab", "tests", "README.md", "requirements.txt", "environment.yml",
                       "pyproject.toml", "conftest.py", "LICENSE"}
    assert {name for name in files if name.startswith(".")} <= {".ci/run", ".gitignore", ".gitattributes"}


def test_files_name_no_machine_and_no_package_registry(files):
    registries = ["py" + "pi.org", "python" + "hosted", "conda." + "anaconda", "anaconda." + "org"]
    here = [str(path) for path in (ROOT, Path.home()) if len(path.parts) > 2]
    everywhere = re.compile("|".join([*registries, *(rf"(?<![\w.]){re.escape(path)}/" for path in here)]))
    others = re.compile(r"(?<![\w.])/(?:home|Users|root|work|opt)/\w|\b[A-Z]:\\+Users\b")
    found = []
    for name in files:
        text = (ROOT / name).read_bytes().decode("utf-8", "ignore")
        found += [f"{name}: {match[0]}" for match in everywhere.finditer(text)]
        if not name.startswith("tests/") and not name.endswith((".png", ".safetensors")):  # tests talk about such paths
            found += [f"{name}: {match[0]}" for match in others.finditer(text)]
    assert not found


def test_only_the_torch_index_is_named_as_a_place_to_install_from():
    for name in ("README.md", "requirements.txt", "environment.yml", "pyproject.toml", ".ci/run"):
        hosts = set(re.findall(r"https?://([\w.-]+)", (ROOT / name).read_text(encoding="utf-8")))
        assert hosts <= {"download.pytorch.org"}, name


@pytest.mark.skipif(os.name == "nt", reason="no POSIX shell")
def test_ci_script_can_run():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    if shutil.which("bash"):
        check = subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], capture_output=True, text=True)
        assert (check.returncode, check.stderr) == (0, "")
    assert "set -euo pipefail" in CI.splitlines()


def test_lora_lab_imports_from_another_folder(tmp_path):
    """Needs the installation that both README commands make; PYTHONPATH does not count."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run([sys.executable, "-c", "import lora_lab; print(lora_lab.__version__)"],
                         cwd=tmp_path, env=env, capture_output=True, text=True)
    assert run.returncode == 0, f"python -m pip install -e . was not run here: {run.stderr}"
    assert run.stdout.strip() == PROJECT["project"]["version"]
