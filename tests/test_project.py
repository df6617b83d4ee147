"""The project as a newcomer meets it: pins, README, workflows and settings that hold, imports in one direction."""

import ast
import graphlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import execute_pages
import pages
import pytest
import yaml
from packaging.requirements import Requirement

import lora_lab

ROOT = pages.ROOT
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


# ---- pins and commands


def pins(lines: list[str]) -> dict[str, str]:
    """{name: version} of lines such as "torch==2.13.0  # why"; others are left out."""
    found = [re.match(r"([\w.-]+)==(\S+)", line) for line in lines]
    return {pin[1].lower(): pin[2] for pin in found if pin}


def test_the_pins_agree():
    pinned = pins((ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines())
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert pins(environment["dependencies"][-1]["pip"]) == pinned
    lines = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["test"]]
    declared = {requirement.name.lower(): requirement for requirement in map(Requirement, lines)}
    assert declared.keys() == pinned.keys()
    for name, requirement in declared.items():
        assert requirement.specifier.contains(pinned[name]), f"{name} {pinned[name]} is outside {requirement}"
    assert set(re.findall(r"torch==(\S+)", README)) == {pinned["torch"]}


def test_the_two_commands_and_what_ci_runs():
    install = "python3 -m venv .venv && . .venv/bin/activate && python -m pip install -r requirements.txt"
    first, second = re.findall(rf"^{re.escape(install)} ?(.*?)&& (.*)$", README, re.M)
    assert first == ("", "jupyter lab --notebook-dir=. notebooks/00_start_here.ipynb")
    assert second[0].startswith("peft==") and second[1] == "python -m pytest"
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert f"pip install --quiet -r requirements.txt {second[0]}".strip() in ci and f"\n{second[1]}\n" in ci
    assert subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")]).returncode == 0 or os.name == "nt"


def test_the_readmes_table_of_pages():
    """Title, minutes and seconds, as `python tests/tools/execute_pages.py --record` writes them."""
    assert re.findall(r"^\| \[.*\]\(notebooks/.*$", README, re.MULTILINE) == execute_pages.readme_rows()


def test_files_name_no_machine():
    run = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, encoding="utf-8")
    names = [name for name in run.stdout.splitlines() if (ROOT / name).is_file()] or pytest.skip("no git checkout here")
    path = re.compile(r"(?<![\w.])/(?:home|Users|root|work|opt|tmp)/\w|\b[A-Z]:\\+Users\b|\b(?:site|dist)-packages/")
    for name in names:
        if not name.startswith("tests/") and not name.endswith((".png", ".safetensors")):  # tests talk of such paths
            found = path.search((ROOT / name).read_text(encoding="utf-8"))
            assert not found, f"{name}: {found and found[0]}"


# ---- imports


def imported_by(path: Path, when_loaded: bool = False) -> set[str]:
    """The modules of lora_lab that a file names in an import; when_loaded: not those that wait inside a function."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    package = module.rpartition(".")[0]
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if when_loaded else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                home = lora_lab._FILE_OF.get(alias.name, alias.name) if source == "lora_lab" else alias.name
                inner = f"{source}.{home}"
                there = (ROOT / inner.replace(".", "/")).is_dir() or (ROOT / f"{inner.replace('.', '/')}.py").is_file()
                found.add(inner if there else source)
    return {name for name in found if name.split(".")[0] == "lora_lab"} - {module, "lora_lab"}


def test_imports_run_one_way_and_in_no_circle():
    """The core, then diagnosis, figures, classroom, subjects; a row imports only from rows above it."""
    rows = ["diagnosis", "figures", "classroom", "subjects", "__main__"]
    graph = {}
    for path in sorted((ROOT / "lora_lab").rglob("*.py")):
        if path.parent.name == "lora_lab" and path.stem == "__init__":
            continue
        parts = path.relative_to(ROOT / "lora_lab").with_suffix("").parts
        row = rows.index(parts[0]) if parts[0] in rows else -1
        name = ".".join(("lora_lab", *parts)).removesuffix(".__init__")
        graph[name] = imported_by(path, when_loaded=True)
        for other in imported_by(path):
            place = other.split(".")[1]
            assert (rows.index(place) if place in rows else -1) <= row, f"{name} imports {other}"
    list(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the circle


# ---- JupyterLab's settings that come with the course


def test_jupyterlab_knows_the_settings_and_they_are_installed_with_the_package():
    from jupyterlab.commands import get_app_dir

    folder = ROOT / PROJECT["tool"]["flit"]["external-data"]["directory"]
    [file] = (folder / "share").rglob("*.json")
    settings = json.loads(file.read_text(encoding="utf-8"))
    assert settings["@jupyter-widgets/jupyterlab-manager:plugin"] == {"saveState": True}
    for plugin, values in settings.items():
        extension, _, name = plugin.partition(":")
        places = [Path(get_app_dir(), "schemas"), *Path(get_app_dir()).parent.glob("labextensions/@*/*/schemas")]
        [schema] = [place / extension / f"{name}.json" for place in places if (place / extension).is_dir()][:1]
        assert values.keys() <= json.loads(schema.read_text(encoding="utf-8"))["properties"].keys()


# ---- how to cite it, a dev container, workflows, a README that says what is so


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = PROJECT["project"]
    assert citation["version"] == project["version"] and citation["license"] == project["license"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in project["authors"]]


def test_the_small_torch_is_chosen_alike_everywhere():
    """One prefix: before the README's first command, in the dev container, in the workflows on Linux."""
    prefix = re.search(r"^export PIP_EXTRA_INDEX_URL=(\S+)$", README, re.MULTILINE)
    assert prefix.end() < README.index("python3 -m venv")
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert container["containerEnv"]["PIP_EXTRA_INDEX_URL"] == prefix[1]
    assert container["postCreateCommand"].startswith("python -m pip install -r requirements.txt")
    for file in WORKFLOWS:
        for job in yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"].values():
            if "ubuntu" in job["runs-on"]:
                assert job["env"]["PIP_EXTRA_INDEX_URL"] == prefix[1], file.name


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_runs_what_there_is(file):
    workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert "write-all" not in str(workflow["permissions"])
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    for command in commands:
        for path in re.findall(r"[\w./]*(?:tests|notebooks|requirements|\.ci)[\w./]*", command):
            assert (ROOT / path).exists(), path
        if command.startswith("python -m lora_lab"):
            words = command.split()[1:]
            run = subprocess.run([sys.executable, *words[:3], "--help"], cwd=ROOT, capture_output=True, text=True)
            assert run.returncode == 0, run.stderr
            assert all(word in run.stdout for word in words[2:] if word.startswith("--") or word.isalpha()), command


def test_the_readme_says_where_things_are_in_few_lines():
    table = re.search(r"## Where things are\n(.*?)\n## ", README, re.DOTALL)[1]
    assert len(table.strip().splitlines()) <= 15
    assert "Windows and macOS were never run" in README
    assert README.count("cp -r notebooks my_notebooks") == 1, "one way to keep changes"
