"""LoRA Lab: the helper package of the course. Importing it changes nothing in your program.

    from lora_lab import LoRALinear, add_lora, merge, claim      # the names that hold, see README
    lora_lab.begin("03")                                         # what a page of the course does first

`lora_lab.figures` and `lora_lab.subjects` load matplotlib and ipywidgets when first used.
"""

from __future__ import annotations

import importlib
import os

__version__ = "0.1.0"

_HOME = {  # public name -> the file that explains it
    "layers": ("LoRALinear", "LoRAParametrization"),
    "adapters": (
        "add_lora",
        "lora_parameters",
        "count_parameters",
        "adapters_disabled",
        "set_scale",
        "merge",
        "unmerge",
        "remove_lora",
        "adapter_state",
        "load_adapter_state",
        "delta_weights",
    ),
    "files": ("save_adapter", "load_adapter", "base_fingerprint"),
    "adapter_set": ("AdapterSet", "combine", "combine_deltas", "truncate", "truncate_state"),
    "theory": ("rank_floor",),
    "training": ("train", "evaluate", "History"),
    "diagnosis.diagnose": ("diagnose",),
    "classroom.catching_up": ("catch_up",),
    "classroom.claims": ("claim",),
    "classroom.exercises": ("check", "hint", "solution", "progress"),
    "classroom.predictions": ("predict",),
}
_FILE_OF = {name: file for file, names in _HOME.items() for name in names}
_SUBMODULES = ("layers", "adapters", "files", "adapter_set", "theory", "training", "sweeps", "costs", "published",
               "diagnosis", "figures", "classroom", "subjects")
__all__ = [*_FILE_OF, "begin"]


def __getattr__(name: str):
    """Load on first use: `python -m lora_lab` must run, and say what is missing, where torch is not installed yet."""
    if name not in _FILE_OF and name not in _SUBMODULES:
        raise AttributeError(f"module 'lora_lab' has no attribute {name!r}; it has {', '.join(sorted(__all__))}")
    try:
        module = importlib.import_module(f".{_FILE_OF.get(name, name)}", __name__)
    except ImportError as e:
        if e.name and e.name.split(".")[0] == "lora_lab":
            raise
        raise ImportError(
            f"lora_lab.{name} needs {e.name or 'a package'}, which cannot be imported here ({e}). "
            "Run `python -m lora_lab` to see what is missing and how to install it.",
            name=e.name,
        ) from None
    value = getattr(module, name) if name in _FILE_OF else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})


def begin(page: str) -> None:
    """Set up a page of the course: one torch thread, torch's seed, and the course's figure style. Prints one line.

    Why one thread: the pages run many small steps. torch's default is a thread per core, and those threads wait for
    each other by spinning; as soon as anything else runs (a second kernel, the browser, thirty learners on one
    server) a small step takes many times longer. `python -m lora_lab` measures it on your machine. To choose
    otherwise, set OMP_NUM_THREADS before starting Jupyter, or call torch.set_num_threads after this call.

    Why a seed: torch starts every process with a random one, and a new adapter's A is drawn from it. With the seed 0
    a whole room sees the same run; `torch.manual_seed` in a cell of yours gives another.

    It is a call and not a side effect of the import: a program of yours that imports lora_lab keeps its threads and its
    random state.
    """
    import torch

    from . import figures

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    torch.manual_seed(0)
    figures.use_style()
    print(f"LoRA Lab, page {page}: ready")
