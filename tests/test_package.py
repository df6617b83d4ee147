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
    assert set(lora_lab.__all__) <= set(names)
    assert names["claim"] is lora_lab.exercises.claim and callable(names["begin"])


def test_every_name_of_the_design_is_there():
    promised = (
        "LoRALinear add_lora lora_parameters count_parameters adapters_disabled set_scale merge unmerge remove_lora "
        "adapter_state delta_weights rank_floor diagnose claim"
    )
    assert set(promised.split()) <= set(lora_lab.__all__) <= set(dir(lora_lab))
    assert all(callable(getattr(lora_lab, name)) for name in lora_lab.__all__)


@pytest.mark.parametrize("name", ["layers", "adapters", "training", "tasks", "bases", "theory", "costs", "exercises"])
def test_submodules_load_on_first_use(name):
    assert getattr(lora_lab, name).__name__ == f"lora_lab.{name}"


def test_an_unknown_name_lists_the_known_ones():
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
        "lora_lab.train, lora_lab.add_lora, lora_lab.tasks, lora_lab.bases, lora_lab.theory\n"
        "drawing = {'matplotlib', 'ipywidgets'} & set(sys.modules)\n"
        "print(heavy, drawing, torch.get_num_threads() == before, torch.initial_seed() == seed)\n"
    )
    assert out == "set() set() True True\n"


def test_begin_sets_one_thread_unless_told():
    out = python(
        "import os, torch, lora_lab\n"
        "print(torch.get_num_threads())\n"
        "lora_lab.begin('03')\n"
        "print(torch.get_num_threads())\n"
        "del os.environ['OMP_NUM_THREADS']\n"
        "lora_lab.begin('03')\n"
        "print(torch.get_num_threads())\n",
        OMP_NUM_THREADS="2",
    )
    assert out.splitlines() == ["2", "LoRA Lab, page 03: ready", "2", "LoRA Lab, page 03: ready", "1"]


def test_begin_gives_everybody_the_same_start():
    code = "import torch, lora_lab\n{}print(lora_lab.LoRALinear(torch.nn.Linear(2, 2), r=1).lora_A.tolist())"
    seeded, unseeded = code.format("lora_lab.begin('03')\n"), code.format("")
    assert python(seeded) == python(seeded)
    assert python(unseeded) != python(unseeded)  # why begin has to: torch's own seed differs from process to process


def test_without_torch_there_is_a_sentence():
    out = python(
        NO_TORCH
        + "import lora_lab\n"
        + "for name in ('add_lora', 'training'):\n"
        + "    try: getattr(lora_lab, name)\n"
        + "    except ImportError as e: print(e.name, e)\n"
        + "try: exec('from lora_lab import merge')\n"
        + "except ImportError as e: print(e)\n"
        + "lora_lab.claim('this one needs no torch', True)\n"
    ).splitlines()
    assert out[0].startswith("torch lora_lab.add_lora needs torch, which cannot be imported here")
    assert all("Run `python -m lora_lab` to see what is missing" in line for line in out[:3])
    assert out[3] == "✓ this one needs no torch"
