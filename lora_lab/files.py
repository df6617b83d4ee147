"""Adapter folders in PEFT's format: adapter_config.json beside adapter_model.safetensors (page 05).

What PEFT 0.21 calls a weight, and what is written here:

    Linear           <path>.lora_A.weight (r, in)          <path>.lora_B.weight (out, r)
    Conv1D (GPT-2)   as Linear, although the layer stores its weight (in, out); the config says fan_in_fan_out
    Embedding        <path>.lora_embedding_A (r, num)      <path>.lora_embedding_B (dim, r): transposed
    Conv1d/2d/3d     <path>.lora_A.weight (r, in, *kernel) <path>.lora_B.weight (out, r, 1, ...)
    RNN, LSTM, GRU   target_parameters: <path>[.base_layer]*.lora_A.weight, one `base_layer` for each later weight
    attention        <path>.lora_A.weight for in_proj_weight, <path>.base_layer.out_proj.lora_A.weight for out_proj;
                     PEFT adapts both or none, so a weight without an adapter is written as two factors of zeros

each with "base_model.model." in front. PEFT has no counterpart, and refuses the folder, for a grouped convolution
(its factors are of another shape), attention with kdim or vdim, and a model that is one bare layer: those are our own.

Reading never unpickles, checks everything before it touches the model, and refuses in a sentence.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .adapters import Plan, adapted, attach, candidates, check_state, load_adapter_state, lora_parameters, weights_of
from .layers import LoRALinear, check_hyperparameters, is_conv1d, matrix_shape

CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
PREFIX = "base_model.model"
SAMPLE = 65_536  # numbers of a larger weight that go into the fingerprint

# Fields of PEFT's config that are read here, or that change nothing about what the tensors mean.
_READ = {
    *("peft_type", "r", "lora_alpha", "use_rslora", "lora_dropout", "rank_pattern", "alpha_pattern", "bias"),
    *("target_modules", "target_parameters", "init_lora_weights"),
    "fan_in_fan_out",  # the layer itself says so, here and in PEFT, which corrects a config that disagrees
}
_NO_MATTER = {
    *("task_type", "inference_mode", "peft_version", "auto_mapping", "base_model_name_or_path", "revision"),
    *("megatron_core", "qalora_group_size", "runtime_config"),
}


class AdapterFile(NamedTuple):
    """A folder that was read and found to fit a model. `state` is named like adapter_state(model)."""

    state: dict[str, Tensor]
    r: dict[str, int]
    alpha: dict[str, float]
    rslora: bool
    dropout: float


# ------------------------------------------------------------------------------------------- names in PEFT's format


class _Slot(NamedTuple):
    """A weight that can carry an adapter, with or without one, and how PEFT speaks of it."""

    name: str  # ours: as in adapted(model)
    group: str  # what target_modules, target_parameters, rank_pattern and alpha_pattern mean
    module: str  # path of the layer
    tensor: str
    shape: torch.Size
    form: str  # "matrix", "embedding" or "conv"
    kind: str  # "module", "parameter" or "attention"
    stem: str  # where its tensors hang; for "parameter" it depends on its neighbours, see _stems


def _slots(model: nn.Module) -> list[_Slot]:
    slots: list[_Slot] = []
    inside: set[int] = set()
    outputs: dict[int, tuple[str, bool]] = {}
    for path, module in model.named_modules():
        if id(module) in inside:
            continue
        layer = module
        if isinstance(module, LoRALinear):
            layer = module.base
            inside.add(id(layer))
        attention, peft_can = path, bool(path) and getattr(layer, "_qkv_same_embed_dim", False)
        if isinstance(layer, nn.MultiheadAttention):
            outputs[id(layer.out_proj)] = path, peft_can
        for tensor in weights_of(layer):
            weight = layer._parameters.get(tensor)
            if weight is None and parametrize.is_parametrized(layer, tensor):
                weight = getattr(layer.parametrizations[tensor], "original", None)
            if weight is None or weight.ndim < 2:
                continue
            name, form, kind, stem, group = f"{path}.{tensor}" if path else tensor, "matrix", "module", path, path
            if id(layer) in outputs:
                group, kind, name = outputs[id(layer)][0], "attention", path
                stem = f"{group}.base_layer.out_proj" if outputs[id(layer)][1] else path
            elif isinstance(layer, nn.MultiheadAttention):
                group, kind, stem = attention, "attention", path if peft_can else name
            elif isinstance(layer, nn.RNNBase | nn.RNNCellBase):
                group, kind = name, "parameter"
            else:
                name = path or tensor
                conv = isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
                form = "embedding" if isinstance(layer, nn.Embedding) else "conv" if conv else "matrix"
            slots.append(_Slot(name, group, path, tensor, matrix_shape(layer, weight), form, kind, stem))
    return slots


def _stems(chosen: Iterable[_Slot]) -> dict[str, str]:
    """{name: where its two tensors hang}. PEFT wraps a recurrent layer once for each of its adapted weights."""
    chosen = list(chosen)
    stems = {}
    for slot in chosen:
        stem = slot.stem
        if slot.kind == "parameter":
            mates = [s.name for s in chosen if s.module == slot.module]
            stem = ".".join([stem] * bool(stem) + ["base_layer"] * (len(mates) - 1 - mates.index(slot.name)))
        stems[slot.name] = f"{PREFIX}.{stem}" if stem else PREFIX
    return stems


def _keys(slot: _Slot, stem: str) -> tuple[str, str]:
    if slot.form == "embedding":
        return f"{stem}.lora_embedding_A", f"{stem}.lora_embedding_B"
    return f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"


def _peft_shapes(slot: _Slot, r: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    rows, rest = slot.shape[0], slot.shape[1:]
    if slot.form == "embedding":
        return (r, rows), (rest[0], r)
    if slot.form == "conv":
        return (r, *rest), (rows, r, *(1 for _ in rest[1:]))
    return (r, rest[0]), (rows, r)


def _to_peft(slot: _Slot, A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Our A (r, cols) and B (rows, r) as PEFT keeps them."""
    if slot.form == "embedding":  # PEFT's product is dim x num, the transpose of the weight
        A, B = B.T, A.T
    shape_a, shape_b = _peft_shapes(slot, A.shape[0])
    return A.reshape(shape_a), B.reshape(shape_b)


def _from_peft(slot: _Slot, A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    return (B.T, A.T) if slot.form == "embedding" else (A.flatten(1), B.flatten(1))


def _means(patterns: str | list[str], key: str) -> bool:
    """PEFT's rule: one string is a regular expression, a list holds names or endings of names."""
    if isinstance(patterns, str):
        return re.fullmatch(patterns, key) is not None
    return any(key == p or key.endswith(f".{p}") for p in patterns)


def _from_pattern(patterns: Mapping[str, float], key: str, default: float) -> float:
    """PEFT's rank_pattern and alpha_pattern: the first that matches the end of the name."""
    return next((v for p, v in patterns.items() if re.match(rf"(.*\.)?({p})$", key)), default)


# -------------------------------------------------------------------------------------------------- the fingerprint


def base_fingerprint(model: nn.Module) -> str:
    """A hash of the base: names, shapes, dtypes and numbers of its parameters (of large ones, a sample), hex.

    The same before and after add_lora, whatever the adapters hold. Another seed, one more training step or another
    dtype give another one; buffers such as BatchNorm's running means do not count.
    """
    digest = hashlib.sha256()
    factors = {id(p) for p in lora_parameters(model)} if adapted(model) else set()
    wrapped = {path for path, m in model.named_modules() if isinstance(m, LoRALinear)}
    named = {}
    for name, p in model.named_parameters():
        if id(p) in factors:
            continue
        path, _, last = name.rpartition(".")
        if path.rpartition(".")[0] in wrapped or path == "base" and "" in wrapped:  # "fc.base.weight" was "fc.weight"
            name = f"{path.removesuffix('base')}{last}"
        named[re.sub(r"(^|\.)parametrizations\.(\w+)\.original$", r"\1\2", name)] = p
    for name, p in sorted(named.items()):
        numbers = p.detach().reshape(-1)
        numbers = numbers[:: -(-numbers.numel() // SAMPLE) or 1].cpu().contiguous()  # evenly spaced
        digest.update(json.dumps([name, list(p.shape), str(p.dtype)]).encode())
        digest.update(numbers.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


# -------------------------------------------------------------------------------------------------------------- save


def _plain(x: float) -> float | int:
    return int(x) if float(x).is_integer() else float(x)


def _pattern(values: Mapping[str, float]) -> tuple[float, dict[str, float]]:
    """The most frequent value, and what differs from it under its exact name."""
    common = Counter(values.values()).most_common(1)[0][0]
    return common, {f"^{re.escape(group)}": v for group, v in values.items() if v != common}


def _contents(model: nn.Module) -> tuple[dict, dict[str, Tensor]]:
    """The config and the tensors of the folder, or a ValueError if PEFT's format cannot hold these adapters."""
    sites = {s.name: s.adapter for s in adapted(model)}
    if not sites:
        raise ValueError(f"this {type(model).__name__} carries no LoRA adapter, so there is nothing to save.")
    for name, a in sites.items():
        if not (torch.isfinite(a.lora_A).all() and torch.isfinite(a.lora_B).all()):
            raise ValueError(f"{name} holds NaN or infinity: the training diverged. Nothing was written.")
    if len({a.rslora for a in sites.values()}) > 1:
        raise ValueError(
            "some adapters scale by alpha/r and some by alpha/sqrt(r); PEFT's config has one rule for all."
        )
    slots = _slots(model)
    groups = {s.group for s in slots if s.name in sites and s.kind == "attention"}
    chosen = [s for s in slots if s.name in sites or s.kind == "attention" and s.group in groups]
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    for s in (s for s in chosen if s.name in sites):
        a = sites[s.name]
        if (ranks.setdefault(s.group, a.r), alphas.setdefault(s.group, a.alpha)) != (a.r, a.alpha):
            raise ValueError(f"PEFT's format has one r and one alpha for all weights of {s.group}; here they differ.")

    stems, tensors = _stems(chosen), {}
    for s in chosen:
        a, r = sites.get(s.name), ranks[s.group]
        A, B = (a.lora_A, a.lora_B) if a else (torch.zeros(r, s.shape[1:].numel()), torch.zeros(s.shape[0], r))
        for key, t in zip(_keys(s, stems[s.name]), _to_peft(s, A, B)):
            tensors[key] = t.detach().cpu().contiguous().clone()

    modules = sorted({s.group for s in chosen if s.kind != "parameter"})
    parameters = sorted({s.group for s in chosen if s.kind == "parameter"})
    others = {path for path, _ in model.named_modules()} - set(modules)
    if any(_means(modules, path) for path in others):  # an ending would mean other layers, too
        modules = "|".join(re.escape(m) for m in modules)
    clash = [s.name for s in slots if s.name not in parameters and _means(parameters, s.name)]
    if clash:
        raise ValueError(
            f"PEFT's target_parameters go by endings of names and would mean {clash[0]}, too: adapt it as well."
        )
    dropouts = [a.dropout.p for a in sites.values() if isinstance(a, LoRALinear) and a.dropout]
    (r, rank_pattern), (alpha, alpha_pattern) = _pattern(ranks), _pattern(alphas)
    config = {
        "peft_type": "LORA",
        "r": r,
        "lora_alpha": _plain(alpha),
        "use_rslora": next(iter(sites.values())).rslora,
        "target_modules": modules,
        "target_parameters": parameters or None,
        "rank_pattern": rank_pattern,
        "alpha_pattern": {k: _plain(v) for k, v in alpha_pattern.items()},
        "lora_dropout": max(dropouts, default=0.0) if not parameters else 0.0,  # PEFT: none beside target_parameters
        "bias": "none",
        "fan_in_fan_out": all(is_conv1d(model.get_submodule(s.module)) for s in chosen),
        "init_lora_weights": True,
        "modules_to_save": None,
        "base_model_name_or_path": None,
        "task_type": None,
        "inference_mode": True,
    }
    return config, tensors


def _scaling_of(config: Mapping) -> dict:
    """What turns the tensors into an update; kept a second time beside them, so that neither changes alone."""
    return {k: config.get(k) for k in ("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern")}


def _previous(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.previous")


def _steady(data: bytes) -> bytes:
    """The same tensors give the same bytes: safetensors writes its metadata in an order that differs between calls."""
    end = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.dumps(json.loads(data[8:end]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data[end:]


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())


def save_adapter(model: nn.Module, folder: str | os.PathLike) -> Path:
    """Write the adapters alone into `folder`, in PEFT's format; PEFT 0.21 loads it with PeftModel.from_pretrained.

    The same whether the model is merged, scaled or disabled (lam is not saved). The folder is written beside its
    place and then moved there: after a crash at any moment it holds the old adapter or the new one, never a mixture.
    Returns the folder's path. Raises ValueError, with nothing written, for a model without adapters, factors that are
    not finite, or a folder that holds other things; OSError when the disk refuses.
    """
    config, tensors = _contents(model)
    note = {"base": base_fingerprint(model), "scaling": _scaling_of(config)}
    weights = _steady(to_bytes(tensors, {"format": "pt", "lora_lab": json.dumps(note)}))

    folder = Path(folder).resolve()
    previous = _previous(folder)
    if not folder.exists() and previous.exists():  # the last save was interrupted between its two moves
        os.replace(previous, folder)
    entries = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
    if folder.exists() and not folder.is_dir() or entries and not entries & {CONFIG, WEIGHTS, PICKLE}:
        raise ValueError(
            f"{folder.name} exists and is not an adapter folder; choose an empty or a new one. Nothing was written."
        )

    folder.parent.mkdir(parents=True, exist_ok=True)
    new = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        new.mkdir()
        _write(new / WEIGHTS, weights)
        _write(new / CONFIG, (json.dumps(config, indent=2) + "\n").encode())
        for name in entries - {CONFIG, WEIGHTS, PICKLE}:  # a README beside an adapter stays
            there = folder / name  # a link stays a link: what it points to is not ours to copy
            if there.is_dir() and not there.is_symlink():
                shutil.copytree(there, new / name, symlinks=True)
            else:
                shutil.copy2(there, new / name, follow_symlinks=False)
        if folder.exists():
            shutil.rmtree(previous, ignore_errors=True)
            os.replace(folder, previous)
        try:
            os.replace(new, folder)
        except BaseException:  # also an impatient Ctrl-C
            if previous.exists():
                os.replace(previous, folder)
            raise
        shutil.rmtree(previous, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return folder


# -------------------------------------------------------------------------------------------------------------- load


def _read_config(folder: Path) -> dict:
    if not folder.is_dir():
        raise ValueError(
            f"there is no adapter folder {folder.name!r} here: give the folder that holds {CONFIG}, not a file."
        )
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder.name} holds no {CONFIG}, so r, alpha and the scaling rule are unknown.")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as e:  # no JSON, no UTF-8, or a hundred thousand brackets in one another
        raise ValueError(f"{CONFIG} in {folder.name} is not readable JSON ({e}); the file may be cut off.") from None
    if not isinstance(config, dict):
        raise ValueError(f"{CONFIG} in {folder.name} holds a {type(config).__name__}, not PEFT's fields.")
    return config


def _check_config(config: dict) -> None:
    """A ValueError that names the first field whose meaning LoRA Lab does not have."""
    if config.get("peft_type") != "LORA":
        raise ValueError(f"peft_type is {config.get('peft_type')!r}: this is not a LoRA adapter.")
    if config.get("bias", "none") != "none":
        raise ValueError(f"bias={config['bias']!r}: the adapter trained biases, too, and LoRA Lab loads 'none' only.")
    start = config.get("init_lora_weights", True)
    if not isinstance(start, bool) and start not in ("gaussian", "eva", "orthogonal", None):
        raise ValueError(
            f"init_lora_weights={start!r} changes the base's own weights; convert the adapter to plain LoRA in PEFT."
        )
    for field, value in config.items():
        if field not in _READ | _NO_MATTER and value not in (None, False, "", [], {}):
            raise ValueError(
                f"the adapter uses {field}={value!r}, which is more than W0 + BA and which LoRA Lab does not load."
            )
    for field in ("rank_pattern", "alpha_pattern"):
        if not isinstance(config.get(field) or {}, dict):
            raise ValueError(f"{field} must map names to numbers, got {config[field]!r}.")
    for field, one_string in (("target_modules", True), ("target_parameters", False)):
        value = config.get(field)
        fine = (
            isinstance(value, list) and all(isinstance(p, str) for p in value) or one_string and isinstance(value, str)
        )
        if value is not None and not fine:
            raise ValueError(f"{field} must be a list of names, got {value!r}.")
    if not isinstance(config.get("use_rslora", False), bool):
        raise ValueError(f"use_rslora must be true or false, got {config['use_rslora']!r}.")


def _read_weights(folder: Path) -> tuple[dict[str, Tensor], dict]:
    """The tensors and our own note, {} where PEFT wrote the file. Never unpickles."""
    path = folder / WEIGHTS
    if not path.is_file():
        if (folder / PICKLE).exists():
            raise ValueError(
                f"{folder.name} holds {PICKLE}, a pickle: reading one can run any program, so it is not read. "
                f"Save the adapter again in PEFT, which writes {WEIGHTS}."
            )
        raise ValueError(f"{folder.name} holds no {WEIGHTS}.")
    data = path.read_bytes()
    try:
        tensors = from_bytes(data)
        header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
        note = json.loads(header.get("__metadata__", {}).get("lora_lab", "{}"))
    except (SafetensorError, ValueError, KeyError, RecursionError, struct.error) as e:
        # How zip files, hence torch.save's, and bare pickles begin; the ninth byte of a safetensors file is "{".
        if data[:2] == b"PK" or data[:1] == b"\x80" and data[8:9] != b"{":
            raise ValueError(
                f"{WEIGHTS} in {folder.name} is a pickle under another name; it is not read, "
                "because reading could run it."
            ) from None
        raise ValueError(
            f"{WEIGHTS} in {folder.name} is not a whole safetensors file ({e}): cut off, or damaged."
        ) from None
    return tensors, note if isinstance(note, dict) else {}


def read_adapter(model: nn.Module, folder: str | os.PathLike, *, check_base: bool = True) -> AdapterFile:
    """Read an adapter folder and check that it fits `model` (adapted or not), which is only looked at.

    Raises ValueError in a sentence for everything that load_adapter refuses.
    """
    folder = Path(folder).resolve()
    if not folder.exists() and _previous(folder).is_dir():
        folder = _previous(folder)  # a save was interrupted between its two moves; the old adapter is whole
    config = _read_config(folder)
    _check_config(config)
    tensors, note = _read_weights(folder)
    if "scaling" in note and note["scaling"] != _scaling_of(config):
        old, new = note["scaling"], _scaling_of(config)
        parts = [f"{k} {old.get(k)!r} against {new[k]!r}" for k in new if old.get(k) != new[k]]
        raise ValueError(
            f"{CONFIG} does not belong to the tensors beside it, which were saved with {', '.join(parts)} "
            "in the config. "
            "To turn an adapter up or down use set_scale."
        )
    if check_base and "base" in note and note["base"] != base_fingerprint(model):
        raise ValueError(
            "this adapter was trained on another base: names, shapes, dtypes or numbers of its weights differ, and "
            "BA corrects the W0 it was trained with (another seed, more training, or another dtype is another base). "
            "check_base=False loads it all the same. The model is unchanged."
        )

    carried = {s.name: s.adapter for s in adapted(model)}
    modules, parameters = config.get("target_modules") or [], config.get("target_parameters") or []
    try:
        chosen = [
            s
            for s in _slots(model)
            if _means(parameters if s.kind == "parameter" else modules, s.group)
            or s.name.endswith("out_proj")
            and _means(modules, s.module)
            and s.kind == "attention"
        ]
        ranks = {s.name: _from_pattern(config.get("rank_pattern") or {}, s.group, config.get("r", 8)) for s in chosen}
        alphas = {
            s.name: _from_pattern(config.get("alpha_pattern") or {}, s.group, config.get("lora_alpha", 8))
            for s in chosen
        }
    except re.error as e:
        raise ValueError(f"{CONFIG} holds a pattern that is no regular expression ({e}).") from None
    # target_modules may name an attention's out_proj alone, as PEFT does when it is told to; then it is a plain Linear.
    alone = {s.name for s in chosen if s.kind == "attention" and not _means(modules, s.group)}
    chosen = [s._replace(stem=s.module) if s.name in alone else s for s in chosen]
    if not chosen:
        names = ", ".join(s.name for s in _slots(model)[:8]) or "none"
        raise ValueError(
            f"the adapter is for {modules or parameters!r}, which this model does not have; its layers are: {names}."
        )

    stems = _stems(chosen)
    keys = {s.name: _keys(s, stems[s.name]) for s in chosen}
    wanted = {}
    for s in chosen:
        r, alpha = ranks[s.name], alphas[s.name]
        check_hyperparameters(r, alpha, 0.0, (s.shape[0], s.shape[1:].numel()), f"{s.name} (from {CONFIG})")
        given = tensors.get(keys[s.name][0])
        if given is not None and given.ndim and given.shape[0] != r and given.shape[1:] == _peft_shapes(s, r)[0][1:]:
            raise ValueError(f"{CONFIG} says r = {r} for {s.name}, but its tensors have rank {given.shape[0]}.")
        dtype = carried[s.name].lora_A.dtype if s.name in carried else _factor_dtype(model, s)
        wanted |= {key: (shape, dtype) for key, shape in zip(keys[s.name], _peft_shapes(s, r))}
    tensors = check_state(tensors, wanted)

    def is_stand_in(s: _Slot) -> bool:
        return s.kind == "attention" and s.name not in carried and not any(tensors[k].any() for k in keys[s.name])

    if not all(is_stand_in(s) for s in chosen):
        chosen = [s for s in chosen if not is_stand_in(s)]
    state = {}
    for s in chosen:
        A, B = _from_peft(s, *(tensors[k] for k in keys[s.name]))
        state |= {f"{s.name}.lora_A": A.contiguous(), f"{s.name}.lora_B": B.contiguous()}
    dropout = config.get("lora_dropout") or 0.0
    check_hyperparameters(1, 1.0, dropout, (1, 1), CONFIG)
    return AdapterFile(
        state,
        {s.name: int(ranks[s.name]) for s in chosen},
        {s.name: float(alphas[s.name]) for s in chosen},
        bool(config.get("use_rslora", False)),
        float(dropout),
    )


def _factor_dtype(model: nn.Module, slot: _Slot) -> torch.dtype:
    module = model.get_submodule(slot.module)
    dtype = (module.base if isinstance(module, LoRALinear) else module).get_parameter(slot.tensor).dtype
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def load_adapter(model: nn.Module, folder: str | os.PathLike, *, check_base: bool = True) -> list[str]:
    """Attach the adapters of a folder written by save_adapter or by PEFT; return the adapted names.

    A model without adapters gets them, each with its own r and alpha, and its base frozen; on one that has adapters
    they are filled, if names, r, alpha and scaling rule agree. LoRA's dropout reaches Linear layers only.

    Raises ValueError in a sentence, with the model unchanged: no folder, no config, a pickle, a file cut off; a tensor
    missing, too many, of another shape or not finite; config and tensors that disagree; another base (check_base=False
    allows it); another r, alpha or scaling rule than the model's adapters; what plain LoRA is not (DoRA, trained
    biases, modules_to_save, ...), by name; a layer that cannot be adapted here.
    """
    file = read_adapter(model, folder, check_base=check_base)
    sites = adapted(model)
    for s in sites:
        mine, its = (
            (s.adapter.r, s.adapter.alpha, s.adapter.rslora),
            (file.r.get(s.name), file.alpha.get(s.name), file.rslora),
        )
        if s.name in file.r and mine != its:
            rule = ("alpha/r", "alpha/sqrt(r)")
            raise ValueError(
                f"{s.name} has r={mine[0]}, alpha={mine[1]:g}, {rule[mine[2]]}; the file has "
                f"r={its[0]}, alpha={its[1]:g}, "
                f"{rule[its[2]]}. Load it into the plain base (remove_lora first). The model is unchanged."
            )
    if not sites:
        by_name = {c.name: c for c in candidates(model)}
        plans = [
            Plan(c, file.r[n], file.alpha[n], file.dropout if c.wrap else 0.0) for n in file.r for c in [by_name[n]]
        ]
        with torch.random.fork_rng(devices=[]):  # what add_lora draws is overwritten: leave the reader's seed alone
            attach(model, plans, file.rslora)
    load_adapter_state(model, file.state)
    return [s.name for s in adapted(model)]
