"""LoRA's neighbours: are peft and transformers here, and an adapter that PEFT wrote, kept for readers without it."""

import importlib
import json
import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from lora_lab.subjects.linear_task.tasks import normal

PEFT_FOLDER = Path(__file__).parent / "peft_adapter"


def have(*names: str) -> bool:
    """True if all these optional packages can be imported; otherwise one line that says what to install.

    Imports them, and makes them quiet: their notices about file formats and new versions are not about LoRA.
    """
    missing = []
    for name in names:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = importlib.import_module(name)
        except ImportError:
            missing.append(name)
            continue
        warnings.filterwarnings("ignore", module=rf"{name}(\.|$)")
        logging.getLogger(name).setLevel(logging.ERROR)
        if name == "transformers":
            module.utils.logging.set_verbosity_error()
            module.utils.logging.disable_progress_bar()
    if missing:
        print(
            f"not checked here: {' and '.join(missing)} cannot be imported. "
            "To run this cell: pip install peft==0.21.2 (it brings transformers), then restart the kernel"
        )
    return not missing


def small_net() -> nn.Sequential:
    """The base of the adapter in PEFT_FOLDER: 12 -> 20 -> 7 with a tanh, the same numbers on every machine."""
    net = nn.Sequential(nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 7))
    with torch.no_grad():
        for seed, p in enumerate(net.parameters()):
            p.copy_(normal(*p.shape, seed=900 + seed, std=0.3))
    return net


def peft_output() -> tuple[Tensor, Tensor]:
    """(x, y): five inputs (5, 12) and what PEFT computed for them with its adapter on small_net(), (5, 7).

    Written by `python -m lora_lab.subjects.files_and_costs.make_peft_folder`.
    """
    y = json.loads((PEFT_FOLDER / "output.json").read_text(encoding="utf-8"))["output"]
    return normal(5, 12, seed=910), torch.tensor(y)


def tiny_model(kind: str) -> nn.Module:
    """A random causal language model of transformers with 50 tokens, the same every time. kind: "gpt2", "llama", ..."""
    import transformers

    size = {"vocab_size": 50, "max_position_embeddings": 16, "hidden_size": 24, "intermediate_size": 40}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = transformers.AutoConfig.for_model(kind, **size, **heads, bos_token_id=0, eos_token_id=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.AutoModelForCausalLM.from_config(config).eval()


def tiny_checkpoints(folder: Path) -> list[Path]:
    """Two such models, saved as transformers saves them: folder/gpt2, folder/llama."""
    for kind in ("gpt2", "llama"):
        tiny_model(kind).save_pretrained(folder / kind)
    return [folder / "gpt2", folder / "llama"]
