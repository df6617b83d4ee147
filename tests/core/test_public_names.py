"""The names that pages, tests and other people's code rely on: importable from `lora_lab`, with these parameters.

A new parameter may come after those listed here; what is listed keeps its name, its place and its default. And
`import lora_lab` is light, changes nothing, and says what is missing.
"""
import inspect
import os
import subprocess
import sys

import pytest
from torch.nn.functional import mse_loss

import lora_lab

SIGNATURES = {
    "adapter_state": "(model)",
    "adapters_disabled": "(model)",
    "AdapterSet": "(model)",
    "add_lora": "(model, r=8, alpha=8.0, *, target_modules=None, dropout=0.0, rslora=False)",
    "base_fingerprint": "(model)",
    "begin": "(page)",
    "catch_up": "(point, namespace=None)",
    "check": "(number, answer=Ellipsis)",
    "claim": "(text, truth)",
    "combine": "(states, weights=None)",
    "combine_deltas": "(deltas, weights=None)",
    "count_parameters": "(model)",
    "delta_weights": "(model)",
    "diagnose": "(model, optimizer=None, *, base=None, adapter=None)",
    "evaluate": "(model, X, y, loss=mse_loss)",
    "hint": "(number)",
    "load_adapter": "(model, folder, *, check_base=True)",
    "load_adapter_state": "(model, state)",
    "lora_parameters": "(model)",
    "LoRALinear": "(base, r=8, alpha=8.0, *, dropout=0.0, rslora=False)",
    "LoRAParametrization": "(weight, r=8, alpha=8.0, *, rslora=False, where='the weight', transposed=False)",
    "merge": "(model)",
    "predict": "(number)",
    "progress": "()",
    "rank_floor": "(delta, r, X=None)",
    "remove_lora": "(model, keep_delta=False)",
    "save_adapter": "(model, folder)",
    "set_scale": "(model, lam)",
    "solution": "(number)",
    "train": "(model, X, y, *, epochs=None, steps=None, lr=0.001, lr_ratio=1.0, batch_size=128, optimizer='adam', schedule='constant', loss=mse_loss, seed=0, cache_base=False, measure_every=None, snapshot_every=None, progress='training')",  # noqa: E501
    "truncate": "(delta, r)",
    "truncate_state": "(state, r)",
    "unmerge": "(model)",
}  # fmt: skip


def parameters(text):
    """{name: (kind, default)} of a signature written as above."""
    namespace = {"mse_loss": mse_loss}
    exec(f"def f{text}: pass", namespace)  # the table above, nobody's input
    return {p.name: (p.kind, p.default) for p in inspect.signature(namespace["f"]).parameters.values()}


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_public_name_keeps_its_parameters(name):
    assert name in lora_lab.__all__
    there = inspect.signature(getattr(lora_lab, name)).parameters
    wanted = parameters(SIGNATURES[name])
    assert list(there)[: len(wanted)] == list(wanted)
    for key, (kind, default) in wanted.items():
        assert (there[key].kind, there[key].default) == (kind, default), key
    assert all(p.default is not p.empty for key, p in there.items() if key not in wanted)


# ---- the import

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
                          capture_output=True, encoding="utf-8", timeout=120)  # fmt: skip
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
