"""LoRA on whole models: attach, freeze, switch off, scale, merge, take off again.

Every function works in place on any `nn.Module` and finds the adapters by walking the module tree, so a model
may nest as it likes. Nothing is half-done: a call checks everything first, and what fails later is rolled back.

A name here is a path without what wraps a module: torch.compile, DataParallel, checkpoint and FSDP wrappers put
segments of their own into paths, and an adapter of the plain model has none of them.

What this does not do:
- Threads: "enabled", lam and the merged state belong to the model, and two threads in `adapters_disabled` or
  `AdapterSet.serve` on one model get each other's answers. Give each thread a copy, or a lock.
- Export (torch.fx, torch.jit.script, transformers' `save_pretrained`, which writes adapted names): do it after
  remove_lora(model, keep_delta=True). torch.jit.trace works, and keeps the number of the input's dimensions.
- pickle of a whole model with adapted weights that are no Linear's (torch's parametrize refuses it): use state_dict.
- `resize_token_embeddings` and `tie_weights` on adapted layers: resize and tie before add_lora.
- Noticing what else trained where add_lora was not called: layers that were made LoRALinear by hand.
- Dropout where a parent reads a layer's `weight` and multiplies by it itself: there is no input to drop.
"""

import difflib
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .layers import (
    MAX_ALPHA,
    LoRALinear,
    LoRAParametrization,
    LowRankUpdate,
    check_hyperparameters,
    is_conv1d,
    is_scale,
    matrix_shape,
    refuse_replacement,
    why_not,
    why_not_fold,
)

# Layers whose one matrix is called `weight`; recurrent layers and attention own several, listed by `weights_of`.
_ONE_WEIGHT = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)
_ATTENTION = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")

# What a wrapper calls the module in it: torch.compile, a checkpoint wrapper, FSDP. `module` is one of these names only
# inside the wrappers that use it; everywhere else it is a name like any other.
_WRAPPED = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, torch.optim.swa_utils.AveragedModel)
_KINDS = "Linear, Embedding, Conv1d/2d/3d, RNN, LSTM, GRU, MultiheadAttention, GPT-2's Conv1D"
_SAMPLE = 65_536  # numbers of a larger tensor that go into its digest


class Site(NamedTuple):
    """One adapted weight: `name` is the layer's name ("layers.0.q_proj"), or layer and weight ("rnn.weight_hh_l0")."""

    name: str
    module: nn.Module
    tensor: str
    adapter: LowRankUpdate

    @property
    def place(self) -> tuple[nn.Module, str]:
        """The module that holds W0, and W0's name in it."""
        if isinstance(self.adapter, LoRALinear):
            return self.adapter.base, "weight"
        return self.module.parametrizations[self.tensor], "original"

    @property
    def base_weight(self) -> nn.Parameter:
        """W0, the frozen parameter itself."""
        return getattr(*self.place)


class Candidate(NamedTuple):
    name: str
    path: str  # of the module
    module: nn.Module
    tensor: str
    aliases: frozenset[str]  # every name a pattern may mean: paths of a shared module, with and without the weight
    wrap: bool  # True: replace the module by LoRALinear; False: parametrize its weight


# ---------------------------------------------------------------------------------------------------- finding


def _is_wrapped(parent: nn.Module, child: str) -> bool:
    if isinstance(parent, LoRALinear):
        return child == "base"
    return child in _WRAPPED or child == "module" and isinstance(parent, _WRAPPERS)


def named_layers(model: nn.Module, remove_duplicate: bool = True) -> Iterator[tuple[str, nn.Module]]:
    """model.named_modules() under plain names: a wrapper and the module in it have one name, and so have a
    LoRALinear and its base."""
    parents: dict[str, tuple[str, nn.Module]] = {}
    for path, module in model.named_modules(remove_duplicate=remove_duplicate):
        above, _, child = path.rpartition(".")
        if path:
            name, parent = parents[above]
            name = name if _is_wrapped(parent, child) else join(name, child)
        else:
            name = ""
        parents[path] = name, module
        yield name, module


def base_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The base's parameters, adapted or not, under the names they have in the plain model."""
    found = {}
    for path, module in named_layers(model):
        if not isinstance(module, LowRankUpdate):
            for tensor, p in module._parameters.items():
                name = re.sub(r"(^|\.)parametrizations\.(\w+)\.original$", r"\1\2", join(path, tensor))
                if p is not None:
                    found[name] = p
    return found


def digest(t: Tensor) -> bytes:
    """The numbers of a tensor (of a large one, a sample spread evenly) as bytes."""
    numbers = t.detach().reshape(-1)
    numbers = numbers[:: -(-numbers.numel() // _SAMPLE) or 1].cpu().contiguous()
    return numbers.view(torch.uint8).numpy().tobytes()


def _digests(model: nn.Module) -> dict[str, str]:
    """{name: dtype and digest} of the base's parameters, and of the buffers in state_dict: a norm's statistics."""
    tensors: dict[str, Tensor] = dict(base_parameters(model))
    for path, module in named_layers(model):
        kept = {n: b for n, b in module._buffers.items() if n not in module._non_persistent_buffers_set}
        tensors |= {join(path, n): b for n, b in kept.items() if b is not None}
    return {n: f"{t.dtype} {hashlib.sha256(digest(t)).hexdigest()}" for n, t in tensors.items() if _span(t)}


def also_trained(model: nn.Module) -> list[str]:
    """Names of what is trainable beside A and B, and of what is not but differs from what it was at add_lora.

    The same numbers in another dtype (`model.half()`) do not count.
    """
    names = [name for name, p in base_parameters(model).items() if p.requires_grad]
    for path, module in named_layers(model):
        _, before = vars(module).get("_lora_before", ((), {}))
        for name, now in _digests(module).items() if before else ():
            old, name = before.get(name, now), join(path, name)
            if old != now and old.split()[0] == now.split()[0] and name not in names:
                names.append(name)
    return names


def _has_one_weight(module: nn.Module) -> bool:
    return isinstance(module, _ONE_WEIGHT) or is_conv1d(module)


def weights_of(module: nn.Module) -> list[str]:
    if _has_one_weight(module):
        return ["weight"]
    if isinstance(module, _RECURRENT):
        names = [n for n in module._parameters if n.startswith("weight")]
        return names + [n for n in getattr(module, "parametrizations", {}) if n not in names]
    if isinstance(module, nn.MultiheadAttention):
        return [n for n in _ATTENTION if getattr(module, n, None) is not None]
    return []


def join(path: str, tail: str) -> str:
    return f"{path}.{tail}" if path else tail


def candidates(model: nn.Module) -> list[Candidate]:
    paths: dict[int, list[str]] = {}
    modules: dict[int, nn.Module] = {}
    attention_outputs: dict[int, list[str]] = {}
    unwrappable = {id(model)}  # torch.compile keeps a bound call of what it was given: nothing can take its place
    for path, module in named_layers(model, remove_duplicate=False):
        paths.setdefault(id(module), []).append(path)
        modules[id(module)] = module
        unwrappable.add(id(module._modules.get("_orig_mod")))
        if isinstance(module, nn.MultiheadAttention):
            # its forward reads out_proj.weight and never calls out_proj: a wrapper's dropout would be skipped
            attention_outputs.setdefault(id(module.out_proj), []).append(path)
    found = []
    for key, module in modules.items():
        single = _has_one_weight(module)
        for tensor in weights_of(module):
            aliases = {join(p, tensor) for p in paths[key]} | {p for p in paths[key] if p}
            aliases |= {p for p in attention_outputs.get(key, []) if p}
            name = paths[key][0] if single and paths[key][0] else join(paths[key][0], tensor)
            wrap = isinstance(module, nn.Linear) and key not in unwrappable and key not in attention_outputs
            found.append(Candidate(name, paths[key][0], module, tensor, frozenset(aliases), wrap))
    return found


def _choose(model: nn.Module, target_modules: str | Sequence[str] | None) -> list[Candidate]:
    """The candidates that `target_modules` means; each pattern must mean at least one."""
    everything = candidates(model)
    if not everything:
        kinds = {type(m).__name__ for m in model.modules() if any(True for _ in m.parameters(recurse=False))}
        raise ValueError(
            f"{type(model).__name__} has no layer that LoRA can adapt ({_KINDS}); its layers with parameters are: "
            f"{', '.join(sorted(kinds)) or 'none'}."
        )
    if target_modules is None:
        chosen = [c for c in everything if not why_not(c.module, c.tensor) or _is_unready(c)]
        if not chosen:
            reasons = "; ".join(f"{c.name}: {why_not(c.module, c.tensor)}" for c in everything)
            raise ValueError(f"no layer can be adapted: {reasons}")
        return chosen
    one = isinstance(target_modules, str) or not isinstance(target_modules, Iterable)
    patterns = [target_modules] if one else list(target_modules)
    if not patterns or not all(isinstance(p, str) and p for p in patterns):
        raise ValueError(
            f"target_modules={target_modules!r} names no layer: "
            "give a name, a list of names or endings, or None for every layer."
        )
    chosen: set[str] = set()
    for pattern in patterns:
        hits = [c for c in everything if any(f".{alias}".endswith(f".{pattern}") for alias in c.aliases)]
        if not hits and isinstance(target_modules, str):  # PEFT reads a single string as a regular expression
            try:
                hits = [c for c in everything if any(re.fullmatch(pattern, a) for a in c.aliases)]
            except re.error:
                hits = []
        if not hits:
            raise ValueError(_no_match(model, pattern, everything))
        chosen |= {c.name for c in hits}
    return [c for c in everything if c.name in chosen]


def _is_unready(c: Candidate) -> bool:
    """Lazy and meta weights are refused by name, not left out in silence: the caller forgot a step."""
    weight = getattr(c.module, c.tensor)
    return nn.parameter.is_lazy(weight) or weight.is_meta


def _no_match(model: nn.Module, pattern: str, everything: list[Candidate]) -> str:
    for path, module in named_layers(model):
        own = {n: p for n, p in module._parameters.items() if p is not None and p.ndim > 1}
        for name in (path, *(join(path, n) for n in own)):
            if f".{name}".endswith(f".{pattern}"):
                shapes = ", ".join(f"{n} ({' x '.join(map(str, p.shape))})" for n, p in own.items())
                what = f"holds {shapes}, a kind of weight that is not adapted here" if own else "has no weight matrix"
                return (
                    f"target_modules={pattern!r} means {name}, a {type(module).__name__}, which {what}; "
                    f"name layers of a kind that is adapted: {_KINDS}."
                )
    names = [c.name for c in everything]
    endings = sorted({n.rsplit(".", 1)[-1] for n in names} | set(names if len(names) <= 12 else ()))
    near = difflib.get_close_matches(pattern, endings, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    shown = ", ".join(endings[:12]) + (", …" if len(endings) > 12 else "")
    return f"target_modules={pattern!r} matches no layer; the model has: {shown}.{hint}"


def _span(p: Tensor) -> tuple[int, int] | None:
    """The bytes a tensor occupies, or None: it has none (lazy, meta, empty) or no plain ones (sparse, quantized)."""
    if nn.parameter.is_lazy(p) or p.is_meta or not p.numel() or p.layout != torch.strided:
        return None
    if type(p.detach()) is not Tensor:
        return None
    extent = sum((n - 1) * s for n, s in zip(p.shape, p.stride(), strict=True)) + 1
    return p.data_ptr(), p.data_ptr() + extent * p.element_size()


def _refuse_tied(model: nn.Module, chosen: list[Candidate]) -> None:
    """A weight with a second owner must not be adapted: the other owner would change, or would not, by accident."""
    named = base_parameters(model)
    for c in chosen:
        own = join(c.path, c.tensor)
        p, mine = named[own], _span(named[own])
        for name, q in named.items():
            other = _span(q)
            overlap = mine and other and q.device == p.device and mine[0] < other[1] and other[0] < mine[1]
            if name != own and (q is p or overlap):
                raise ValueError(
                    f"{c.name} is tied: its {c.tensor} is also {name}, so an update of one would be missing in, or "
                    "leak into, the other. Untie them (give each its own copy), or name other layers in target_modules."
                )


def adapted(model: nn.Module) -> list[Site]:
    """Every adapted weight of the model, in the order of its modules. A shared module appears once."""
    sites = []
    for path, module in named_layers(model):
        if isinstance(module, LoRALinear):
            sites.append(Site(path or "weight", module, "weight", module))
        elif "parametrizations" in module._modules:
            for tensor, steps in module.parametrizations.items():
                for step in steps:
                    if isinstance(step, LoRAParametrization):
                        single = _has_one_weight(module) and path
                        sites.append(Site(path if single else join(path, tensor), module, tensor, step))
    return sites


def sites_of(model: nn.Module) -> list[Site]:
    """`adapted`, or a ValueError where there is none."""
    sites = adapted(model)
    if not sites:
        raise ValueError(f"this {type(model).__name__} carries no LoRA adapter: call add_lora(model, ...) first.")
    return sites


# -------------------------------------------------------------------------------------------------- attaching


def add_lora(
    model: nn.Module,
    r: int = 8,
    alpha: float = 8.0,
    *,
    target_modules: str | Sequence[str] | None = None,
    dropout: float = 0.0,
    rslora: bool = False,
    rank_pattern: Mapping[str, int] | None = None,
    alpha_pattern: Mapping[str, float] | None = None,
) -> list[str]:
    """Attach a rank-r update to the model's layers, in place, freeze everything else, return the adapted names.

    target_modules: names or endings of names as in PEFT ("q_proj", ["q_proj", "v_proj"], "layers.0.fc"), a regular
    expression as one string, a single weight of a recurrent layer ("rnn.weight_hh_l0"), or None for every supported
    layer. Linear layers become `LoRALinear`; Embedding, Conv1d/2d/3d, RNN/LSTM/GRU, MultiheadAttention and GPT-2's
    Conv1D are parametrized. Right after the call the model computes exactly what it computed before.
    rank_pattern, alpha_pattern: another r or alpha for some layers, as in PEFT: {name, ending or regular expression of
    an ending: value}, the first that fits counts.

    Raises ValueError, in words: r, alpha or dropout out of range for one of the layers; a pattern that matches nothing;
    no supported layer; a tied weight; a model that carries adapters already; dropout on a layer whose input the adapter
    does not see. TypeError if `model` is not an nn.Module. After any failure the model is as it was.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}, not a torch.nn.Module.")
    old = adapted(model)
    if old:
        raise ValueError(
            f"the model carries {len(old)} LoRA adapter(s) already (first: {old[0].name}); a second set would stack on "
            "them. Call remove_lora(model) first, with keep_delta=True if their update is to stay."
        )
    chosen = _choose(model, target_modules)
    ranks = _by_pattern("rank_pattern", rank_pattern, chosen)
    alphas = _by_pattern("alpha_pattern", alpha_pattern, chosen)
    plans = [(c, ranks.get(c.name, r), alphas.get(c.name, alpha), dropout) for c in chosen]
    attach(model, plans, rslora)
    return [site.name for site in adapted(model)]


def fitting_pattern(patterns: Iterable[str], name: str) -> str | None:
    """PEFT's rule for rank_pattern and alpha_pattern: the first that matches the end of the name."""
    return next((p for p in patterns if re.match(rf"(.*\.)?({p})$", name)), None)


def _by_pattern(field: str, patterns: Mapping[str, float] | None, chosen: list[Candidate]) -> dict[str, float]:
    """{name: value} of the candidates that a pattern means; every pattern must mean one."""
    patterns = patterns or {}
    if not isinstance(patterns, Mapping):
        raise ValueError(f"{field} must map names to numbers, got {patterns!r}.")
    values = {}
    for pattern, value in reversed(patterns.items()):  # so that the first one counts
        try:
            fitting = [c.name for c in chosen if any(fitting_pattern([pattern], alias) for alias in c.aliases)]
        except re.error as e:
            raise ValueError(f"{field}: {pattern!r} is no regular expression ({e}).") from None
        if not fitting:
            names = ", ".join(c.name for c in chosen[:8])
            raise ValueError(f"{field}: {pattern!r} fits none of the adapted layers, which are: {names}.")
        values |= dict.fromkeys(fitting, value)
    return values


def attach(model: nn.Module, plans: Sequence[tuple[Candidate, int, float, float]], rslora: bool) -> None:
    """The work of add_lora, for weights that are chosen already, each with its r, alpha and dropout (files.py)."""
    for c, r, alpha, dropout in plans:
        reason = why_not(c.module, c.tensor)
        if reason:
            raise ValueError(f"{c.name} cannot be adapted: {reason}.")
        shape = matrix_shape(c.module, getattr(c.module, c.tensor))
        check_hyperparameters(r, alpha, dropout, (shape[0], shape[1:].numel()), c.name)
        if dropout and not c.wrap:
            bare = c.module is model and isinstance(model, nn.Linear)
            cure = "wrap it: LoRALinear(model, r, alpha, dropout=...)" if bare else "target Linear layers only"
            raise ValueError(
                f"dropout={dropout} cannot act on {c.name}: LoRA's dropout is on a layer's input, and the update of "
                f"this {type(c.module).__name__} is added to its weight. Use dropout=0.0, or {cure}."
            )
    _refuse_tied(model, [c for c, *_ in plans])

    # Kept for remove_lora: what was trainable; for save_adapter: what the base was.
    trainable = [n for n, p in base_parameters(model).items() if p.requires_grad]
    try:
        _roots(model)[-1]._lora_before = trainable, _digests(model)
        model.requires_grad_(False)
        orders = {id(c.module): list(c.module._parameters) for c, *_ in plans}
        for c, r, alpha, dropout in plans:
            if c.wrap:
                layer = LoRALinear(c.module, r, alpha, dropout=dropout, rslora=rslora)
                _replace(model, c.module, layer.train(c.module.training))
            else:
                _parametrize(c, r, alpha, rslora, orders[id(c.module)])
    except BaseException:  # out of memory, Ctrl-C: the layers done so far are undone
        if adapted(model):
            remove_lora(model)
        else:
            _restore(model, model)
        raise


def _parametrize(c: Candidate, r: int, alpha: float, rslora: bool, order: list[str]) -> None:
    weight, transposed = getattr(c.module, c.tensor), is_conv1d(c.module)
    update = LoRAParametrization(weight, r, alpha, rslora=rslora, where=c.name, transposed=transposed)
    update._parameter_order = order
    parametrize.register_parametrization(c.module, c.tensor, update)
    c.module.parametrizations.train(c.module.training)
    own_class = type(c.module)  # made by register_parametrization
    own_class.register_parameter = _register_parameter
    if isinstance(c.module, nn.RNNBase) and _forget_graph not in c.module._forward_hooks.values():
        c.module.register_forward_hook(_forget_graph, always_call=True)
        own_class._apply = _apply_without_graph


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """At every place where a (perhaps shared) module hangs."""
    for parent in list(model.modules()):
        if not isinstance(parent, LoRALinear):
            for child, module in parent._modules.items():
                if module is old:
                    parent._modules[child] = new


def _roots(model: nn.Module) -> list[nn.Module]:
    """The model and what it wraps."""
    return [module for name, module in named_layers(model) if not name]


def _restore(model: nn.Module, result: nn.Module) -> None:
    """Parameters that were trainable before add_lora are trainable again."""
    trainable = {name for root in _roots(model) for name in vars(root).pop("_lora_before", [()])[0]}
    for name, p in base_parameters(result).items():
        if name in trainable:
            p.requires_grad_(True)


def remove_lora(model: nn.Module, keep_delta: bool = False) -> nn.Module:
    """Take the adapters off. The base comes back bit for bit, or, with keep_delta=True, as W0 + lam * delta.

    In place; the model is returned (for a bare `LoRALinear`, its base layer). Parameters that were trainable before
    add_lora are trainable again. Raises ValueError, with the model unchanged: there is no adapter; a sum is not finite;
    a weight that something else computes by now (pruning, weight_norm), so that what is written would not be read.
    """
    sites = sites_of(model)
    sums: list[Tensor | None] = [None] * len(sites)
    for i, site in enumerate(sites):
        wrapped = isinstance(site.adapter, LoRALinear)
        if not wrapped and len(site.module.parametrizations[site.tensor]) > 1:
            raise ValueError(f"{site.name} was parametrized again after add_lora; take that off first.")
        if keep_delta:
            reason = why_not_fold(*site.place)
            if reason:
                raise ValueError(f"the update of {site.name} cannot be kept: {reason}. The model is unchanged.")
            try:
                sums[i] = site.adapter.checked_sum(site.base_weight)
            except ValueError as e:
                raise ValueError(f"{site.name}: {e}") from None
    result = model
    for site, total in zip(sites, sums, strict=True):
        if total is not None:
            with torch.no_grad():
                site.base_weight.copy_(total)
        if isinstance(site.adapter, LoRALinear):
            outer = site.adapter
            for module in model.modules():
                if module._modules.get("_orig_mod") is outer:
                    outer = module  # torch.compile of this layer alone has bound its call: the wrapper goes as well
            _replace(model, outer, site.adapter.base)
            if outer is model:
                result = site.adapter.base
        else:
            _remove_parametrization(site)
    _restore(model, result)
    return result


def _remove_parametrization(site: Site) -> None:
    module, order = site.module, site.adapter._parameter_order
    _own_class(module)
    for key in [k for k, hook in module._forward_hooks.items() if hook is _forget_graph]:
        del module._forward_hooks[key]
        module._forward_hooks_always_called.pop(key, None)
    parametrize.remove_parametrizations(module, site.tensor, leave_parametrized=False)
    # torch puts the weight last; put it back where it was
    names = [n for n in order if n in module._parameters] + [n for n in module._parameters if n not in order]
    module._parameters = {n: module._parameters[n] for n in names}


def _forget_graph(rnn: nn.RNNBase, args: tuple, output: object) -> None:
    """A recurrent layer caches its weights, here computed ones with their graph: that would keep the graph alive after
    backward, and copy.deepcopy(model) would refuse."""
    rnn._flat_weights = [w if w is None else w.detach() for w in rnn._flat_weights]


def _apply_without_graph(rnn: nn.RNNBase, *args, **kwargs) -> nn.RNNBase:
    """`model.to(...)` refills that cache, too."""
    with torch.no_grad():
        return nn.RNNBase._apply(rnn, *args, **kwargs)


def _register_parameter(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
    """An assignment to an adapted weight: torch would say "attribute 'weight' already exists"."""
    if parametrize.is_parametrized(module, name):
        refuse_replacement(type(module).__name__.removeprefix("Parametrized"), name)
    super(type(module), module).register_parameter(name, param)


def _own_class(module: nn.Module) -> None:
    """Give a parametrized module its class for itself.

    copy.deepcopy shares the class that torch made for the parametrization, and removing a parametrization deletes a
    property of that class: taking LoRA off one copy would break the other (seen with torch 2.13).
    """
    shared = type(module)
    body = {k: v for k, v in vars(shared).items() if k not in ("__dict__", "__weakref__")}
    module.__class__ = type(shared.__name__, shared.__bases__, body)


# ------------------------------------------------------------------------------------------- switching, merging


@contextmanager
def adapters_disabled(model: nn.Module) -> Iterator[nn.Module]:
    """Inside the `with`, the model is exactly the base, merged or not. Restored on the way out, also after an error.

    The switch is the model's: another thread that uses the same model meanwhile gets the base, too.
    """
    before = [(s.adapter, s.adapter.enabled) for s in sites_of(model)]
    for adapter, _ in before:
        adapter.enabled = False
    try:
        yield model
    finally:
        for adapter, enabled in before:
            adapter.enabled = enabled


def set_scale(model: nn.Module, lam: float) -> None:
    """Turn the adapters up or down: W0 + lam * delta. lam = 0 is the base, 1 the adapted model."""
    if not is_scale(lam):
        raise ValueError(
            f"lam={lam!r} is not a finite number of at most {MAX_ALPHA:g} in size: "
            "0 is the base, 1 the trained update, 0.5 half of it."
        )
    before = [(s.adapter, s.adapter.lam) for s in sites_of(model)]
    for adapter, _ in before:
        adapter.lam = float(lam)
    try:
        _merge([s for s in adapted(model) if s.adapter.merged])
    except ValueError:
        for adapter, old in before:
            adapter.lam = old
        raise


def _merge(sites: list[Site]) -> None:
    """All or none: if one layer cannot be merged, every layer is as it was."""
    before = [(s.adapter, s.adapter.kept_sum, s.adapter.merged_parts) for s in sites]
    for s in sites:
        try:
            s.adapter.merge() if isinstance(s.adapter, LoRALinear) else s.adapter.merge_onto(s.base_weight)
        except ValueError as e:
            for adapter, *kept in before:
                adapter.kept_sum, adapter.merged_parts = kept
            raise ValueError(f"{s.name}: {e}") from None


def merge(model: nn.Module) -> None:
    """Compute with W0 + lam * delta as one matrix per layer (paper, section 4.1: "no additional inference latency").

    W0 itself stays as it is, beside the sum: merging twice is merging once, `unmerge` is exact, and `state_dict()`
    is the same as before. When A, B or W0 change later, by whatever means, the sum is made anew at the next forward.
    To fold the update in for good, and free the second copy: remove_lora(model, keep_delta=True).
    Raises ValueError, with the model unchanged, for a sum that is not finite, and for a Linear whose call does more
    than W0 x + b (hooks, a patched forward): a merged layer would skip that. A hook that is put on a merged layer's
    base is not called until unmerge.
    """
    _merge(sites_of(model))


def unmerge(model: nn.Module) -> None:
    """Back to W0 plus a separate update; W0 is bit for bit what it was."""
    for s in sites_of(model):
        s.adapter.unmerge()


# ------------------------------------------------------------------------------------------------------- reading


def _factors(model: nn.Module) -> dict[str, nn.Parameter]:
    return {f"{s.name}.{f}": getattr(s.adapter, f) for s in sites_of(model) for f in ("lora_A", "lora_B")}


def lora_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Every lora_A and lora_B, each once: what the optimizer gets."""
    return list(_factors(model).values())


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """(trainable, total) numbers; a shared parameter counts once."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, trains in sizes if trains), sum(n for n, _ in sizes)


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """The adapters alone, as detached copies: {"layers.0.q_proj.lora_A": (r, in), "….lora_B": (out, r)}.

    The same whether the model is merged, scaled or disabled. Meant at the layers' own alpha/r: a model with another
    alpha/r makes another update of the same A and B. Between such models use save_adapter, which keeps r and alpha.
    """
    return {name: p.detach().clone() for name, p in _factors(model).items()}


def load_adapter_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put factors made by `adapter_state` into the model's adapters; r and alpha stay as they are.

    Strict: exactly the model's names and shapes, finite numbers. Otherwise a ValueError, and the model is unchanged.
    A merged model comes back unmerged, because its sum was made of the old factors.
    """
    targets = _factors(model)
    checked = check_state(state, {name: (p.shape, p.dtype) for name, p in targets.items()})
    unmerge(model)
    with torch.no_grad():
        for name, p in targets.items():
            p.copy_(checked[name])


def check_state(
    state: Mapping[str, Tensor], wanted: Mapping[str, tuple[Sequence[int], torch.dtype]]
) -> dict[str, Tensor]:
    """The tensors of `state`, cast; a ValueError unless they are exactly those `wanted`: {name: (shape, dtype)}."""
    missing, extra = [n for n in wanted if n not in state], [n for n in state if n not in wanted]
    if missing or extra:
        parts = [f"{kind}: {', '.join(map(str, names[:4]))}{', …' if len(names) > 4 else ''} ({len(names)} in all)"
                 for kind, names in (("missing", missing), ("not wanted", extra)) if names]
        raise ValueError(
            f"these factors are not those of this model's adapters. {'; '.join(parts)}. The model is unchanged."
        )
    checked = {}
    for name, (shape, dtype) in wanted.items():
        t = state[name]
        if not isinstance(t, Tensor) or not t.is_floating_point() or t.shape != torch.Size(shape):
            given = f"{' x '.join(map(str, t.shape))}, {t.dtype}" if isinstance(t, Tensor) else type(t).__name__
            raise ValueError(
                f"{name} must be a floating-point tensor of shape {' x '.join(map(str, shape))}, got {given}: "
                "was it made with another r, or for another model? The model is unchanged."
            )
        checked[name] = t.detach().to(dtype)
        if not torch.isfinite(checked[name]).all():
            raise ValueError(
                f"{name} holds NaN or infinity in {dtype}: the training that made it diverged. The model is unchanged."
            )
    return checked


@torch.no_grad()
def delta_weights(model: nn.Module) -> dict[str, Tensor]:
    """{name: s * B A}, each an (out, in) matrix, without lam; a convolution's kernel is flattened to (out, in*k*k)."""
    return {s.name: s.adapter.delta_weight() for s in sites_of(model)}
