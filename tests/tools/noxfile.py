"""The tests under other versions and circumstances: python -m nox -f tests/tools/noxfile.py -s SESSION ...

Without -s all of them, which takes an hour. Sessions that only set something run in the environment that nox is started
from (pip install nox), with requirements.txt installed. `python` and `versions` make environments of their own: pip
then needs an index; PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu saves the CUDA libraries.
"""

import os
import shutil
import sys
import tomllib
from pathlib import Path

import nox
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NUMBERS = ("tests/core", "tests/subjects", "notebooks")  # what computes
SURROUNDINGS = ("tests/core", "tests/classroom", "tests/test_project.py", "notebooks/00_start_here.ipynb")


def run_tests(session: nox.Session, *what: str, env: dict[str, str] | None = None, folder: Path = ROOT) -> None:
    session.chdir(folder)
    python = "python" if session.virtualenv.is_sandboxed else sys.executable
    session.run(python, "-m", "pytest", "-q", "--ignore=tests/browser", *what, env=env, external=True)


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def python(session: nox.Session) -> None:
    """Each Python there is, with requirements.txt."""
    session.chdir(ROOT)
    session.install("-r", "requirements.txt")
    run_tests(session)


@nox.session
@nox.parametrize("which", ["lowest", "newest"])
def versions(session: nox.Session, which: str) -> None:
    """The lowest and the newest versions of the ranges in pyproject.toml."""
    session.chdir(ROOT)
    lines = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
    if which == "lowest":
        for i, requirement in enumerate(map(Requirement, lines)):
            [lowest] = [bound.version for bound in requirement.specifier if bound.operator == ">="]
            lines[i] = f"{requirement.name}=={lowest}.*"
    session.install("--upgrade", *lines)
    session.install("--no-deps", "-e", ".")
    run_tests(session, *SURROUNDINGS, *NUMBERS)


@nox.session(python=False)
@nox.parametrize("threads", ["1", "2"])
@nox.parametrize("kernels", ["default", "avx2", "avx512"])
def pages(session: nox.Session, threads: str, kernels: str) -> None:
    """Every page's numbers, with other threads and other instruction sets than they were stored with."""
    run_tests(session, "notebooks", env={"OMP_NUM_THREADS": threads, "ATEN_CPU_CAPABILITY": kernels})


ENVIRONMENTS = {f"another order of sets, {seed}": {"PYTHONHASHSEED": seed} for seed in ("0", "1", "12345")}
for kind, locale in (("without UTF-8", "C"), ("a decimal comma", "de_DE.UTF-8")):
    ENVIRONMENTS[kind] = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ENVIRONMENTS["no home directory"] = {"HOME": str(ROOT / "README.md" / "home")}  # below a file nobody can make one


@nox.session(python=False)
@nox.parametrize("kind", list(ENVIRONMENTS))
def environments(session: nox.Session, kind: str) -> None:
    run_tests(session, *SURROUNDINGS, env=ENVIRONMENTS[kind])


@nox.session(python=False)
def odd_path(session: nox.Session) -> None:
    """Spaces, an apostrophe and a letter beyond ASCII in the path, to a clone of the last commit."""
    folder = Path(session.create_tmp()) / "Jörg's LoRA lab"
    shutil.rmtree(folder, ignore_errors=True)
    session.run("git", "clone", "--quiet", str(ROOT), str(folder), external=True)
    run_tests(session, *SURROUNDINGS, env={"PYTHONPATH": str(folder)}, folder=folder)


@nox.session(python=False)
def no_network(session: nox.Session) -> None:
    """No network interface but loopback. Linux."""
    session.chdir(ROOT)
    command = f"ip link set lo up && exec '{sys.executable}' -m pytest -q {' '.join(SURROUNDINGS)}"
    session.run("unshare", "-rn", "sh", "-c", command, env=dict(os.environ), external=True)
