"""What people expect of a repository: how to cite it, a dev container, workflows, a README that says what is so."""

import json
import re
import subprocess
import sys
import tomllib

import pages
import pytest
import yaml

ROOT = pages.ROOT
README = (ROOT / "README.md").read_text(encoding="utf-8")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
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
