"""Adapter folders in PEFT's format: adapter_config.json beside adapter_model.safetensors (page 05).

What PEFT 0.21 calls a weight, and what is written here:

    Linear           <path>.lora_A.weight (r, in)          <path>.lora_B.weight (out, r)
    Conv1D (GPT-2)   as Linear, although the layer stores its weight (in, out); the config says fan_in_fan_out
    Embedding        <path>.lora_embedding_A (r, num)      <path>.lora_embedding_B (dim, r): transposed
    Conv1d/2d/3d     <path>.lora_A.weight (r, in, *kernel) <path>.lora_B.weight (out, r, 1, ...)
    RNN, LSTM, GRU   target_parameters: <path>[.base_layer]*.lora_A.weight, one `base_layer` for each later weight
    attention        <path>.lora_A.weight for in_proj_weight, <path>.base_layer.out_proj.lora_A.weight for out_proj;
                     PEFT adapts both or none, so a weight without an adapter is written as two factors of zeros

each with "base_model.model." in front, as are the tensors of layers saved whole (`modules_to_save`). PEFT has no
counterpart, and refuses the folder, for a grouped convolution (its factors are of another shape), attention with kdim
or vdim, and a model that is one bare layer: those are our own.

Reading never unpickles, checks everything before it touches the model, and refuses in a sentence.
"""

import hashlib
import json
import os
import re
import secrets
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from .adapters import (
    adapted,
    also_trained,
    attach,
    base_parameters,
    candidates,
    check_state,
    digest,
    fitting_pattern,
    join,
    load_adapter_state,
    named_layers,
    sites_of,
)
from .layers import LoRALinear, check_hyperparameters, factor_dtype, is_conv1d, matrix_shape

CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
PREFIX = "base_model.model"

# Fields of PEFT's config that are read here, or that change nothing about what the tensors mean.
_KNOWN = (
    "peft_type r lora_alpha use_rslora lora_dropout rank_pattern alpha_pattern bias target_modules target_parameters "
    "exclude_modules layers_to_transform layers_pattern modules_to_save init_lora_weights task_type inference_mode "
    "peft_version auto_mapping base_model_name_or_path revision megatron_core qalora_group_size runtime_config "
    "fan_in_fan_out "  # the layer itself says so, here and in PEFT, which corrects a config that disagrees
    "eva_config corda_config loftq_config lora_ga_config"  # settings of a start; init_lora_weights says which it was
).split()
_KINDS = {  # of what PEFT writes there, where it writes anything
    "target_modules exclude_modules layers_pattern": str | list,
    "target_parameters modules_to_save": list,
    "rank_pattern alpha_pattern": dict,
    "layers_to_transform": int | list,
    "use_rslora": bool,
}
# Ways to draw the first A and B. Others (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) also change W0 at the start.
_STARTS = ("gaussian", "eva", "orthogonal", "mica", None)


class AdapterFile(NamedTuple):
    """A folder that was read and found to fit a model. `state` is named like adapter_state(model)."""

    state: dict[str, Tensor]
    r: dict[str, int]
    alpha: dict[str, float]
    rslora: bool
    dropout: float
    modules: dict[str, dict[str, Tensor]]  # whole layers saved along (modules_to_save), by name


# ------------------------------------------------------------------------------------------- names in PEFT's format


class _Slot(NamedTuple):
    """A weight that can carry an adapter, with or without one, and how PEFT speaks of it."""

    name: str  # ours: as in adapted(model)
    group: str  # what target_modules, target_parameters, rank_pattern and alpha_pattern mean
    path: str  # of the layer
    tensor: str
    weight: nn.Parameter  # W0
    shape: torch.Size
    form: str  # "matrix", "embedding" or "conv"
    kind: str  # "module", "parameter" or "attention"
    stem: str  # where its tensors hang; for "parameter" it depends on its neighbours, see _stems


def _slots(model: nn.Module) -> list[_Slot]:
    base = base_parameters(model)
    attentions = {}  # of an attention and of its out_proj, adapted or not: path, and whether PEFT knows its like
    for path, layer in named_layers(model):
        if isinstance(layer, nn.MultiheadAttention):
            known = bool(path) and layer._qkv_same_embed_dim
            attentions[path] = attentions[join(path, "out_proj")] = path, known
    slots = []
    for name, path, layer, tensor, *_ in candidates(model):
        weight = base.get(join(path, tensor))
        if weight is None:  # computed by something else, so it cannot be adapted
            continue
        group, form, kind, stem = path, "matrix", "module", path
        if path in attentions:
            group, known = attentions[path]
            kind, stem = "attention", path if known else name
            if isinstance(layer, nn.Linear) and known:
                stem = f"{group}.base_layer.out_proj"
        elif isinstance(layer, nn.RNNBase | nn.RNNCellBase):
            group, kind = name, "parameter"
        elif isinstance(layer, nn.Embedding):
            form = "embedding"
        elif weight.ndim > 2:
            form = "conv"
        slots.append(_Slot(name, group, path, tensor, weight, matrix_shape(layer, weight), form, kind, stem))
    return slots


def _stems(chosen: Iterable[_Slot]) -> dict[str, str]:
    """{name: where its two tensors hang}. PEFT wraps a recurrent layer once for each of its adapted weights."""
    chosen = list(chosen)
    stems = {}
    for slot in chosen:
        stem = slot.stem
        if slot.kind == "parameter":
            mates = [s.name for s in chosen if s.path == slot.path]
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
    if slot.form == "embedding":  # PEFT's product is the transpose of ours
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


def _is_target(config: Mapping, key: str) -> bool:
    """PEFT's choice among the layers: target_modules, less what other fields exclude."""
    targets, numbers = config.get("target_modules") or [], config.get("layers_to_transform")
    saved = config.get("modules_to_save") or []
    if _means(config.get("exclude_modules") or [], key) or any(re.match(rf"(^|.*\.){m}($|\..*)", key) for m in saved):
        return False
    if isinstance(targets, str) or key in targets or numbers in (None, []) or not _means(targets, key):
        return _means(targets, key)
    patterns = config.get("layers_pattern") or r"[^.]*"
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        start = r".*?\." if not config.get("layers_pattern") else r"(?:^|.*?\.)"
        match = re.match(rf"{start}{pattern}\.(\d+)\.", key)
        if match:
            return int(match[1]) in (numbers if isinstance(numbers, list) else [numbers])
    return False


def _saved_layers(model: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    """The layers that PEFT means by modules_to_save: those whose path ends so."""
    return {path: m for path, m in named_layers(model) if path and any(path.endswith(name) for name in names)}


# -------------------------------------------------------------------------------------------------- the fingerprint


def base_fingerprint(model: nn.Module, *, without: Iterable[str] = ()) -> str:
    """A hash of the base: names, shapes, dtypes and numbers of its parameters (of large ones, a sample), hex.

    The same before and after add_lora and inside wrappers, whatever the adapters hold. Another seed, one more training
    step or another dtype give another one; buffers such as BatchNorm's running means do not count, nor does what is in
    the layers named by `without`.
    """
    total, seen = hashlib.sha256(), set()
    outside = tuple(f"{path}." for path in without)
    named = {}
    for name, p in base_parameters(model).items():
        if id(p) not in seen and not name.startswith(outside):
            named[name] = p
            seen.add(id(p))
    for name, p in sorted(named.items()):
        total.update(json.dumps([name, list(p.shape), str(p.dtype)]).encode())
        total.update(digest(p))
    return total.hexdigest()


# -------------------------------------------------------------------------------------------------------------- save


def _pattern(values: Mapping[str, float]) -> tuple[float, dict[str, float]]:
    """The most frequent value, and what differs from it under its exact name; 8.0 is written as 8, as PEFT does."""
    values = {group: int(v) if float(v).is_integer() else v for group, v in values.items()}
    common = Counter(values.values()).most_common(1)[0][0]
    return common, {f"^{re.escape(group)}": v for group, v in values.items() if v != common}


def _name_and_task(model: nn.Module) -> tuple[str | None, str | None]:
    """What lets PEFT's AutoPeftModel open the folder: where transformers got the model, and what kind it is.

    Classifiers are left without a task: for those PEFT would add the head to modules_to_save by itself.
    """
    inner = [module for name, module in named_layers(model) if not name][-1]
    name, task = getattr(getattr(inner, "config", None), "_name_or_path", None), None
    if hasattr(inner, "prepare_inputs_for_generation"):
        endings = {"ForCausalLM": "CAUSAL_LM", "LMHeadModel": "CAUSAL_LM", "ForConditionalGeneration": "SEQ_2_SEQ_LM"}
        task = next((task for ending, task in endings.items() if type(inner).__name__.endswith(ending)), None)
    return name if isinstance(name, str) and name else None, task


def _what_else(model: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    """The layers to save whole; a ValueError unless they, A and B are all that trained."""
    if isinstance(names, str) or not all(isinstance(n, str) and n for n in names):
        raise ValueError(f"modules_to_save={names!r} must be a list of names of layers.")
    layers = [path for path, _ in named_layers(model)]
    saved = [path for path in layers if _means(list(names), path)]
    for n in names:
        if not any(_means([n], path) for path in saved):
            raise ValueError(f"modules_to_save={n!r} names no layer; there are: {', '.join(layers[1:12])}.")
    carrying = [path for path in layers if any(f"{s.name}.".startswith(f"{path}.") for s in adapted(model))]
    found = _saved_layers(model, saved)
    for path in found:
        if path not in saved:
            raise ValueError(f"PEFT's modules_to_save go by endings of names and {saved} would mean {path}, too.")
        if path in carrying:
            raise ValueError(f"{path} is adapted, so it is not saved whole: leave it out of one of the two.")
    rest = [name for name in also_trained(model) if not name.startswith(tuple(f"{path}." for path in saved))]
    if rest:
        more = f", … ({len(rest)} in all)" if len(rest) > 4 else ""
        whole = sorted({name.rpartition(".")[0] for name in rest} - {"", *carrying} | set(saved))
        cure = f"Save layers whole, modules_to_save={whole!r}" if whole else "No layer without an adapter holds them"
        raise ValueError(
            f"beside A and B, {', '.join(rest[:4])}{more} trained too, or moved since add_lora, and would be lost. "
            f"{cure}; the rest must stay as add_lora found it: loaded before that, frozen, and norms with "
            "running statistics in eval mode. Nothing was written."
        )
    return found


def _contents(model: nn.Module, whole: Mapping[str, nn.Module]) -> tuple[dict, dict[str, Tensor]]:
    """The config and the tensors of the folder, or a ValueError if PEFT's format cannot hold these adapters."""
    sites = {s.name: s.adapter for s in adapted(model)}
    for name, a in sites.items():
        if not (torch.isfinite(a.lora_A).all() and torch.isfinite(a.lora_B).all()):
            raise ValueError(f"{name} holds NaN or infinity: the training diverged. Nothing was written.")
    if len({a.rslora for a in sites.values()}) > 1:
        raise ValueError("some adapters scale by alpha/r, some by alpha/sqrt(r); PEFT's config has one rule for all.")
    slots = _slots(model)
    groups = {s.group for s in slots if s.name in sites and s.kind == "attention"}
    chosen = [s for s in slots if s.name in sites or s.kind == "attention" and s.group in groups]
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    for s in chosen:
        a = sites.get(s.name)
        if a and (ranks.setdefault(s.group, a.r), alphas.setdefault(s.group, a.alpha)) != (a.r, a.alpha):
            raise ValueError(f"PEFT's format has one r and one alpha for all weights of {s.group}; here they differ.")

    stems, tensors = _stems(chosen), {}
    for s in chosen:
        a, r = sites.get(s.name), ranks[s.group]
        zeros = torch.zeros(r, s.shape[1:].numel(), device="cpu"), torch.zeros(s.shape[0], r, device="cpu")
        A, B = (a.lora_A, a.lora_B) if a else zeros
        tensors |= zip(_keys(s, stems[s.name]), _to_peft(s, A, B))
    for path, module in whole.items():
        tensors |= {f"{PREFIX}.{path}.{key}": t for key, t in module.state_dict().items()}

    modules = sorted({s.group for s in chosen if s.kind != "parameter"})
    parameters = sorted({s.group for s in chosen if s.kind == "parameter"})
    others = {path for path, _ in named_layers(model) if "parametrizations" not in path} - set(modules)
    if any(_means(modules, path) for path in others):  # an ending would mean other layers, too
        modules = "|".join(re.escape(m) for m in modules)
    clash = [s.name for s in slots if s.name not in parameters and _means(parameters, s.name)]
    if clash:
        raise ValueError(f"PEFT's target_parameters go by endings and would mean {clash[0]}, too: adapt it as well.")
    dropouts = [a.dropout.p for a in sites.values() if isinstance(a, LoRALinear) and a.dropout]
    turned = {path for path, module in named_layers(model) if is_conv1d(module)}
    name, task = _name_and_task(model)
    (r, rank_pattern), (alpha, alpha_pattern) = _pattern(ranks), _pattern(alphas)
    config = {
        "peft_type": "LORA",
        "r": r,
        "lora_alpha": alpha,
        "use_rslora": next(iter(sites.values())).rslora,
        "target_modules": modules,
        "target_parameters": parameters or None,
        "rank_pattern": rank_pattern,
        "alpha_pattern": alpha_pattern,
        "lora_dropout": max(dropouts, default=0.0) if not parameters else 0.0,  # PEFT: none beside target_parameters
        "bias": "none",
        "fan_in_fan_out": all(s.path in turned for s in chosen),
        "init_lora_weights": True,
        "modules_to_save": sorted(whole) or None,
        "base_model_name_or_path": name,
        "task_type": task,
        "inference_mode": True,
    }
    return config, {key: t.detach().cpu().contiguous().clone() for key, t in tensors.items()}


def _scaling_of(config: Mapping) -> dict:
    """What turns the tensors into an update; kept a second time beside them, so that neither changes alone."""
    return {k: config.get(k) for k in ("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern")}


def _steady(data: bytes) -> bytes:
    """The same tensors give the same bytes: safetensors writes its metadata in an order that differs between calls."""
    end = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.dumps(json.loads(data[8:end]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data[end:]


def save_adapter(model: nn.Module, folder: str | os.PathLike, *, modules_to_save: Sequence[str] = ()) -> Path:
    """Write the adapters alone into `folder`, in PEFT's format; PEFT 0.21 loads it with PeftModel.from_pretrained.

    modules_to_save: names of layers that trained as well (a new head, a norm), to be saved whole beside the adapters.
    The same whether the model is merged, scaled or disabled (lam is not saved), compiled or inside DataParallel. An
    existing folder is kept: its two files are replaced, each whole or not at all. Returns the folder's path.

    Raises ValueError, with nothing written: a model without adapters; factors that are not finite; anything else that
    is trainable, or was and is frozen again, or moved since add_lora (a norm's statistics), unless it is in
    modules_to_save (if the base itself was replaced: keep adapter_state, remove_lora, add_lora, load_adapter_state); a
    file in the folder's place. OSError when the disk refuses.
    """
    sites_of(model)  # or a ValueError
    whole = _what_else(model, modules_to_save)
    config, tensors = _contents(model, whole)
    note = {"base": base_fingerprint(model, without=whole), "scaling": _scaling_of(config)}
    files = {
        WEIGHTS: _steady(to_bytes(tensors, {"format": "pt", "lora_lab": json.dumps(note)})),
        CONFIG: (json.dumps(config, indent=2) + "\n").encode(),
    }
    folder = Path(folder).resolve()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder.name} is a file; an adapter needs a folder. Nothing was written.")
    folder.mkdir(parents=True, exist_ok=True)
    mark = secrets.token_hex(4)
    try:
        for name, data in files.items():
            with open(folder / f".{name}.{mark}", "wb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
        for name in files:
            os.replace(folder / f".{name}.{mark}", folder / name)
    finally:
        for name in files:
            (folder / f".{name}.{mark}").unlink(missing_ok=True)
    return folder


# -------------------------------------------------------------------------------------------------------------- load


def _read_config(folder: Path) -> dict:
    if not folder.is_dir():
        raise ValueError(f"there is no adapter folder {folder.name!r} here: give the folder that holds {CONFIG}.")
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
    if not isinstance(start, bool) and start not in _STARTS:
        raise ValueError(
            f"init_lora_weights={start!r} changes the base's own weights; convert the adapter to plain LoRA in PEFT."
        )
    for field, value in config.items():
        if field not in _KNOWN and value not in (None, False, "", [], {}):
            raise ValueError(
                f"the adapter uses {field}={value!r}, which is more than W0 + BA and which LoRA Lab does not load."
            )
    for field, kind in ((field, kind) for fields, kind in _KINDS.items() for field in fields.split()):
        value = config.get(field)
        parts = value if isinstance(value, list | dict) else [value]
        if not isinstance(value, kind | None) or any(isinstance(part, list | dict) for part in parts):
            raise ValueError(f"{field}={value!r} is not of the kind that PEFT writes there.")
        try:
            [re.compile(str(part)) for part in parts]
        except re.error as e:
            raise ValueError(f"{field}={value!r} holds what is no regular expression ({e}).") from None


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
        raise ValueError(
            f"{WEIGHTS} in {folder.name} is not a whole safetensors file ({e}): cut off, damaged, or "
            "a pickle under this name, which is not read."
        ) from None
    return tensors, note if isinstance(note, dict) else {}


def read_adapter(model: nn.Module, folder: str | os.PathLike, *, check_base: bool = True) -> AdapterFile:
    """Read an adapter folder and check that it fits `model` (adapted or not), which is only looked at.

    Raises ValueError in a sentence for everything that load_adapter refuses.
    """
    folder = Path(folder).resolve()
    config = _read_config(folder)
    _check_config(config)
    tensors, note = _read_weights(folder)
    if "scaling" in note and note["scaling"] != _scaling_of(config):
        old, new = note["scaling"], _scaling_of(config)
        parts = [f"{k} {old.get(k)!r} against {new[k]!r}" for k in new if old.get(k) != new[k]]
        raise ValueError(
            f"{CONFIG} does not belong to the tensors beside it, which were saved with {', '.join(parts)} in the "
            "config. To turn an adapter up or down use set_scale."
        )
    whole = _saved_layers(model, config.get("modules_to_save") or [])
    chosen = _chosen(model, config)
    if check_base and "base" in note and note["base"] != base_fingerprint(model, without=whole):
        raise ValueError(
            "this adapter was trained on another base: names, shapes, dtypes or numbers of its weights differ, and "
            "BA corrects the W0 it was trained with (another seed, another dtype, more training, also of a layer "
            "beside the adapters, is another base). check_base=False loads it all the same. The model is unchanged."
        )
    modules = _take_whole(config, whole, tensors)
    tensors = _without_base(model, tensors, check_base)

    carried = {s.name for s in adapted(model)}
    stems, wanted, ranks, alphas = _stems(chosen), {}, {}, {}
    keys = {s.name: _keys(s, stems[s.name]) for s in chosen}
    for s in chosen:
        r = ranks[s.name] = _by_pattern(config, "rank_pattern", s.group, config.get("r", 8))
        alphas[s.name] = _by_pattern(config, "alpha_pattern", s.group, config.get("lora_alpha", 8))
        check_hyperparameters(r, alphas[s.name], 0.0, None, f"{s.name} (from {CONFIG})")
        given = tensors.get(keys[s.name][0])
        if given is not None and given.ndim and given.shape[0] != r and given.shape[1:] == _peft_shapes(s, r)[0][1:]:
            raise ValueError(f"{CONFIG} says r = {r} for {s.name}, but its tensors have rank {given.shape[0]}.")
        wanted |= {key: (shape, factor_dtype(s.weight)) for key, shape in zip(keys[s.name], _peft_shapes(s, r))}
    tensors = check_state(tensors, wanted)

    def is_filler(s: _Slot) -> bool:
        return s.kind == "attention" and s.name not in carried and not any(tensors[k].any() for k in keys[s.name])

    if not all(is_filler(s) for s in chosen):
        chosen = [s for s in chosen if not is_filler(s)]
    state = {}
    for s in chosen:
        A, B = _from_peft(s, *(tensors[k] for k in keys[s.name]))
        state |= {f"{s.name}.lora_A": A.contiguous(), f"{s.name}.lora_B": B.contiguous()}
    dropout = config.get("lora_dropout") or 0.0
    check_hyperparameters(1, 1.0, dropout, None, CONFIG)
    r, alpha = {s.name: int(ranks[s.name]) for s in chosen}, {s.name: float(alphas[s.name]) for s in chosen}
    return AdapterFile(state, r, alpha, bool(config.get("use_rslora", False)), float(dropout), modules)


def _by_pattern(config: Mapping, field: str, name: str, default: float) -> float:
    patterns = config.get(field) or {}
    return patterns.get(fitting_pattern(patterns, name), default)


def _chosen(model: nn.Module, config: Mapping) -> list[_Slot]:
    """The weights that the config means."""
    slots, chosen = _slots(model), []
    parameters = config.get("target_parameters") or []
    for s in slots:
        own = join(s.path, s.tensor)
        if s.kind == "parameter" and _means(parameters, s.group):
            chosen.append(s)
        elif s.kind == "module" and s.weight.shape == s.shape and len(s.shape) == 2 and _means(parameters, own):
            chosen.append(s._replace(group=own, kind="parameter", form="matrix"))
        elif s.kind != "parameter" and _is_target(config, s.group):
            chosen.append(s)
        elif s.kind == "attention" and s.path != s.group and _is_target(config, s.path):
            chosen.append(s._replace(stem=s.path))  # an attention's out_proj alone, which is then a plain Linear
    for name, p in base_parameters(model).items():
        if _means(parameters, name) and not any(s.weight is p for s in chosen):
            raise ValueError(
                f"the adapter is for {name}, a {' x '.join(map(str, p.shape))} tensor, and this kind of weight is not "
                "adapted here (PEFT gives each slice of it, such as an expert, its own update)."
            )
    if not chosen:
        names = ", ".join(s.name for s in slots[:8]) or "none"
        targets = config.get("target_modules") or parameters
        raise ValueError(f"the adapter is for {targets!r}, which this model does not have; its layers are: {names}.")
    return chosen


def _without_base(model: nn.Module, tensors: Mapping[str, Tensor], check_base: bool) -> dict[str, Tensor]:
    """The tensors without copies of W0 that PEFT stores beside (of embeddings and heads); these must be the model's."""
    base = base_parameters(model)
    kept = {}
    for key, t in tensors.items():
        name = key.removeprefix(f"{PREFIX}.").replace(".base_layer.", ".")
        p = base.get(name)
        if p is None:
            kept[key] = t
        elif check_base and not (t.shape == p.shape and torch.equal(t.to(p.device, p.dtype), p)):
            raise ValueError(
                f"the folder stores the base's {name}, {' x '.join(map(str, t.shape))}, too, and it is not this "
                f"model's ({' x '.join(map(str, p.shape))}): resized or trained. Put it into the base first; "
                "check_base=False leaves it out."
            )
    return kept


def _take_whole(config: Mapping, whole: Mapping[str, nn.Module], tensors: dict[str, Tensor]) -> dict[str, dict]:
    """{layer: its state} of modules_to_save, taken out of `tensors`."""
    for name in config.get("modules_to_save") or []:
        if not any(path.endswith(name) for path in whole):
            raise ValueError(f"modules_to_save={name!r}: the folder holds a whole layer that this model does not have.")
    modules = {}
    for path, module in whole.items():
        state = {key: (tensors.pop(f"{PREFIX}.{path}.{key}", None), t) for key, t in module.state_dict().items()}
        for key, (new, old) in state.items():
            if new is None or new.shape != old.shape:
                given = "missing" if new is None else " x ".join(map(str, new.shape))
                raise ValueError(
                    f"{path}.{key} of the whole layer that was saved along must be {' x '.join(map(str, old.shape))} "
                    f"and is {given}. The model is unchanged."
                )
        modules[path] = {key: new for key, (new, _) in state.items()}
    return modules


def load_adapter(model: nn.Module, folder: str | os.PathLike, *, check_base: bool = True) -> list[str]:
    """Attach the adapters of a folder written by save_adapter or by PEFT; return the adapted names.

    A model without adapters gets them, each with its own r and alpha, and its base frozen; on one that has adapters
    they are filled, if names, r, alpha and scaling rule agree. LoRA's dropout reaches Linear layers only. Layers that
    were saved whole (modules_to_save) replace the model's numbers, frozen, and remove_lora does not bring those back.

    Raises ValueError in a sentence, with the model unchanged: no folder, no config, a pickle, a file cut off; a tensor
    missing, too many, of another shape or not finite; config and tensors that disagree; another base (check_base=False
    allows it); another r, alpha or scaling rule than the model's adapters; what plain LoRA is not (DoRA, trained
    biases, ...), by name; a layer that cannot be adapted here.
    """
    file = read_adapter(model, folder, check_base=check_base)
    sites = adapted(model)
    for s in (s for s in sites if s.name in file.r):
        values = (s.adapter.r, s.adapter.alpha, s.adapter.rslora), (file.r[s.name], file.alpha[s.name], file.rslora)
        mine, its = (f"r={r}, alpha={alpha:g}, alpha/{'sqrt(r)' if rslora else 'r'}" for r, alpha, rslora in values)
        if values[0] != values[1]:
            raise ValueError(
                f"{s.name} has {mine}; the file has {its}. Load it into the plain base (remove_lora first). The model "
                "is unchanged."
            )
    if not sites:
        by_name = {c.name: c for c in candidates(model)}
        plans = [(by_name[n], 1, file.alpha[n], file.dropout if by_name[n].wrap else 0.0) for n in file.r]
        with torch.random.fork_rng(devices=[]):  # what add_lora draws is overwritten: leave the reader's seed alone
            attach(model, plans, file.rslora)
        for s in adapted(model):  # a file may hold ranks above the weight's smaller side, which add_lora refuses
            s.adapter.set_factors(*(file.state[f"{s.name}.lora_{f}"] for f in "AB"), alpha=file.alpha[s.name])
    load_adapter_state(model, file.state)
    for path, module in _saved_layers(model, list(file.modules)).items():
        module.load_state_dict(file.modules[path])
    return [s.name for s in adapted(model)]
