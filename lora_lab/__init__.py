"""LoRA Lab: the helper package of the course. Importing it changes nothing in your program.

    from lora_lab import LoRALinear, add_lora, merge, claim      # the names that hold, see README
    lora_lab.begin("03")                                         # what a page of the course does first

Everything is loaded when it is first used, because `python -m lora_lab` must run, and say what is missing, where torch
is not installed yet.
"""

from __future__ import annotations

import importlib
import os

__version__ = "0.2.0"

_NAMES = {  # file -> the public names that it explains
    "layers": ("LoRALinear", "LoRAParametrization"),
    "adapters": (
        "add_lora", "lora_parameters", "count_parameters", "adapters_disabled", "set_scale", "merge", "unmerge",
        "remove_lora", "adapter_state", "load_adapter_state", "delta_weights",
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
}  # fmt: skip
_FILE_OF = {name: file for file, names in _NAMES.items() for name in names}
_SUBMODULES = ("layers", "adapters", "files", "adapter_set", "theory", "training", "sweeps", "costs", "published",
               "diagnosis", "figures", "classroom", "subjects")  # fmt: skip
__all__ = [*_FILE_OF, "begin"]


def __getattr__(name: str):
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
    """Set up page "04" of the course: one torch thread, torch's seed, the figure style, `catch_up`. Prints one line.

    One thread, because the pages run many small steps: torch's threads, one per core, wait for each other by spinning,
    and as soon as anything else runs (a second kernel, the browser, thirty learners on one server) a small step takes
    many times longer. To choose otherwise, set OMP_NUM_THREADS before starting Jupyter, or call
    torch.set_num_threads after this call. The seed, because a new adapter's A is drawn: a whole room sees the same run.
    """
    import torch

    from . import figures
    from .classroom import catching_up

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    torch.manual_seed(0)
    figures.use_style()
    print(f"LoRA Lab, page {catching_up.begin_page(page)}: ready")
