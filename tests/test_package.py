"""`import lora_lab` is light, changes nothing, and says what is missing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import lora_lab

NO_TORCH = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, Blocker())
"""


def python(code: str, **env: str) -> str:
    """Run code in a fresh interpreter, away from the checkout; what it printed."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | {"MPLBACKEND": "agg", **env}
    done = subprocess.run([sys.executable, "-c", code], env=environment | {"PYTHONIOENCODING": "utf-8"},
                          capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_star_import_brings_every_public_name():
    names = {}
    exec("from lora_lab import *", names)
    assert set(lora_lab.__all__) <= set(names) and set(lora_lab.__all__) <= set(dir(lora_lab))
    assert all(callable(names[name]) for name in lora_lab.__all__)


def test_submodules_load_on_first_use_and_an_unknown_name_lists_the_known_ones():
    for name in lora_lab._SUBMODULES:
        assert getattr(lora_lab, name).__name__ == f"lora_lab.{name}"
    with pytest.raises(AttributeError, match=r"no attribute 'merg'; it has .*merge"):
        lora_lab.merg  # noqa: B018
    with pytest.raises(ImportError):
        exec("from lora_lab import nothing_of_that_name")


def test_importing_it_loads_and_changes_nothing():
    out = python(
        "import sys, lora_lab\n"
        "heavy = {'torch', 'matplotlib', 'ipywidgets', 'numpy', 'tqdm'} & set(sys.modules)\n"
        "import torch\n"
        "before, seed = torch.get_num_threads(), torch.initial_seed()\n"
        "lora_lab.train, lora_lab.add_lora, lora_lab.theory, lora_lab.sweeps\n"
        "drawing = {'matplotlib', 'ipywidgets'} & set(sys.modules)\n"
        "print(heavy, drawing, torch.get_num_threads() == before, torch.initial_seed() == seed)\n"
    )
    assert out == "set() set() True True\n"


def test_begin_sets_one_thread_unless_told_a_seed_and_the_page():
    out = python(
        "import os, torch, lora_lab\n"
        "from lora_lab.classroom import catching_up\n"
        "lora_lab.begin('03')\n"
        "print(torch.get_num_threads(), torch.initial_seed(), catching_up.begun_page)\n"
        "del os.environ['OMP_NUM_THREADS']\n"
        "lora_lab.begin('3')\n"
        "print(torch.get_num_threads(), torch.initial_seed(), catching_up.begun_page)\n",
        OMP_NUM_THREADS="2",
    )
    assert out.splitlines() == ["LoRA Lab, page 03: ready", "2 0 03", "LoRA Lab, page 03: ready", "1 0 03"]


def test_without_torch_there_is_a_sentence():
    out = python(
        NO_TORCH
        + "import lora_lab\n"
        + "for name in ('add_lora', 'training'):\n"
        + "    try: getattr(lora_lab, name)\n"
        + "    except ImportError as e: print(e.name, e)\n"
        + "lora_lab.claim('this one needs no torch', True)\n"
    ).splitlines()
    assert out[0].startswith("torch lora_lab.add_lora needs torch, which cannot be imported here")
    assert all("Run `python -m lora_lab` to see what is missing" in line for line in out[:2])
    assert out[2] == "✓ this one needs no torch"
