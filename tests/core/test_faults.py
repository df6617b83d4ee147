"""Faults that people reported of LoRA packages: one group for each kind, with the right value as the test."""

from __future__ import annotations

import copy
import re
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from test_adapters import ALPHA, R, adapt, gap, randomise, total_loss
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from zoo import ZOO, Animal, Nested, every_animal, fingerprint, mlp, output

from lora_lab import (
    AdapterSet,
    LoRALinear,
    adapter_state,
    adapters_disabled,
    add_lora,
    base_fingerprint,
    load_adapter,
    load_adapter_state,
    lora_parameters,
    merge,
    remove_lora,
    save_adapter,
    unmerge,
)
from lora_lab.adapters import adapted
from lora_lab.files import CONFIG, WEIGHTS
from lora_lab.layers import LowRankUpdate

# --------------------------------------------------------------------------- 1. the layer goes through its base's call


class FakeQuant(nn.Sequential):
    """Somebody's layer around the base, put in its place later."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.round(super().forward(x))


def patched(layer: nn.Linear) -> nn.Linear:
    old = layer.forward
    layer.forward = lambda x: 3 * old(x)
    return layer


def hooked(layer: nn.Linear) -> nn.Linear:
    layer.register_forward_hook(lambda module, inputs, out: 3 * out)
    return layer


CHANGES = {"a patched forward": patched, "a hook": hooked, "a layer of another class": FakeQuant}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_the_base_computes_it_computes_under_an_adapter(change, moment):
    x, base = torch.randn(4, 7), nn.Linear(7, 6)
    model = nn.Sequential(copy.deepcopy(base))
    if moment == "before" and change is not FakeQuant:
        change(model[0])
        add_lora(model, R, ALPHA)
    else:
        add_lora(model, R, ALPHA)
        model[0].base = change(model[0].base)
    wanted = change(copy.deepcopy(base))(x)
    assert torch.equal(model(x), wanted)
    randomise(model)
    assert torch.equal(model(x), torch.add(wanted, model[0].low_rank(x), alpha=model[0].scaling))
    with adapters_disabled(model):
        assert torch.equal(model(x), wanted)
    before = fingerprint(model)
    with pytest.raises(ValueError, match=r"^0: it cannot be merged: its base.*unchanged"):
        merge(model)
    assert fingerprint(model) == before and not model[0].merged
    assert torch.equal(remove_lora(model)(x), wanted)


def test_global_hooks_and_a_patched_class_see_the_base(monkeypatch):
    model, x, seen = nn.Sequential(nn.Linear(7, 6)), torch.randn(4, 7), []
    add_lora(model, R, ALPHA)
    handle = nn.modules.module.register_module_forward_hook(lambda module, inputs, out: seen.append(module))
    model(x)
    handle.remove()
    assert model[0].base in seen
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: F.linear(x, self.weight) + 5)
    assert torch.equal(model(x), F.linear(x, model[0].base.weight) + 5)
    with pytest.raises(ValueError, match="forward of its own"):
        merge(model)


# -------------------------------------------------------------------------------------------- 2. wrappers and names


def inner_compiled(model: nn.Module) -> nn.Module:
    model.module = torch.compile(model.module, backend="eager")
    return model


def inner_checkpointed(model: nn.Module) -> nn.Module:
    for name, child in list(model.named_children()):
        setattr(model, name, checkpoint_wrapper(child))
    return model


WRAPPERS = {
    "compile": lambda m: torch.compile(m, backend="eager"),
    "data parallel": nn.DataParallel,
    "both": lambda m: torch.compile(nn.DataParallel(m), backend="eager"),
    "checkpoint": checkpoint_wrapper,
    "average": torch.optim.swa_utils.AveragedModel,
}
INNER = {"compile inside": inner_compiled, "checkpoint inside": inner_checkpointed}


class Named(nn.Module):
    """A real submodule that is called `module`, and one called `base`."""

    def __init__(self) -> None:
        super().__init__()
        self.module, self.base = Nested(), nn.Linear(5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(torch.tanh(self.module(x)))


def leave_no_trace(animal: Animal, wrap: Callable, seen: Callable, folder: Path) -> None:
    """Whatever the order of adapting and wrapping, wrapped and plain models have the same names and files, which load
    into each other. `seen`: what is called to see the output."""
    base, inputs = animal.model().eval(), animal.inputs()
    plain = adapt(base)
    wanted = output(plain, inputs)
    save_adapter(plain, folder / "plain")
    after, before = wrap(copy.deepcopy(plain)), wrap(copy.deepcopy(base))
    assert add_lora(before, R, ALPHA) == [s.name for s in adapted(plain)]
    load_adapter_state(before, adapter_state(plain))
    for model in (after, before):
        assert list(adapter_state(model)) == list(adapter_state(plain))
        assert base_fingerprint(model) == base_fingerprint(base)
        save_adapter(model, folder / "wrapped")
        for name in (CONFIG, WEIGHTS):
            assert (folder / "plain" / name).read_bytes() == (folder / "wrapped" / name).read_bytes()
        assert gap(output(seen(model), inputs), wanted) < animal.tolerance
        remove_lora(model)
        assert gap(output(seen(model), inputs), output(base, inputs)) < animal.tolerance
        assert all(p.requires_grad for p in model.parameters())
    for fresh in (copy.deepcopy(base), wrap(copy.deepcopy(base))):
        load_adapter(fresh, folder / "wrapped")
        assert gap(output(seen(fresh), inputs), wanted) < animal.tolerance


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
@every_animal
def test_wrappers_leave_no_trace_in_names_and_files(animal, wrap, tmp_path):
    """What torch.compile returns is not called here, which would take most of the time: see the next test."""
    leave_no_trace(animal, wrap, lambda model: getattr(model, "_orig_mod", model), tmp_path)


@pytest.mark.parametrize("wrap", (WRAPPERS | INNER).values(), ids=(WRAPPERS | INNER).keys())
def test_wrappers_around_and_inside_a_model_are_run(wrap, tmp_path):
    assert add_lora(wrap(Named()), R, ALPHA)[::5] == ["module.blocks.0.up_proj", "base"], "no wrapper of these names"
    leave_no_trace(Animal(Named, lambda: (torch.randn(2, 4, 6),), ()), wrap, lambda model: model, tmp_path)


def test_a_layer_compiled_by_itself_is_neither_skipped_nor_left_adapted():
    layer, x = nn.Linear(7, 6), torch.randn(3, 7)
    model = torch.compile(layer, backend="eager")
    before = model(x)
    assert add_lora(model, R, ALPHA) == ["weight"]
    assert torch.equal(model(x), before)
    randomise(model)
    assert gap(model(x), before) > 0.01
    base = mlp()
    model = adapt(base)
    model[0] = torch.compile(model[0], backend="eager")
    assert torch.equal(remove_lora(model)(x), base(x))


# ------------------------------------------------------------------------------------------ 3. what else has trained


def trained(free: tuple[str, ...], train_mode: bool = True) -> tuple[nn.Module, nn.Module]:
    """A base, and it adapted and trained along with the layers that are left free, which are frozen in the end."""
    layers = {"fc": nn.Linear(7, 6), "d": nn.Tanh(), "norm": nn.BatchNorm1d(6), "head": nn.Linear(6, 5)}
    base = nn.Sequential(OrderedDict(layers))
    model = copy.deepcopy(base)
    add_lora(model, R, ALPHA, target_modules="fc")
    for name in free:
        model.get_submodule(name).requires_grad_(True)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        model.train(train_mode)(3 + torch.randn(8, 7)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    for name in free:
        model.get_submodule(name).requires_grad_(False)
    return base, model.eval()


CASES = {
    "a norm in train mode": ((), True, ["norm"], "norm.running_mean, norm.running_var, norm.num_batches_tracked"),
    "a head": (("head",), False, ["head"], "head.weight, head.bias"),
    "both": (("head", "norm"), True, ["head", "norm"], r"7 in all"),
}


@pytest.mark.parametrize("free, train_mode, names, sentence", CASES.values(), ids=CASES.keys())
def test_what_trained_beside_the_adapter_is_refused_or_saved(free, train_mode, names, sentence, tmp_path, peft):
    base, model = trained(free, train_mode)
    for frozen_again in (True, False):
        for name in free:
            model.get_submodule(name).requires_grad_(not frozen_again)
        with pytest.raises(ValueError, match=rf"{sentence}.*modules_to_save=.*Nothing was written"):
            save_adapter(model, tmp_path / "a")
    assert not (tmp_path / "a").exists()

    save_adapter(model, tmp_path / "a", modules_to_save=names)
    x = torch.randn(4, 7)
    fresh = copy.deepcopy(base).eval()
    load_adapter(fresh, tmp_path / "a")
    assert torch.equal(fresh(x), model(x))
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "a").eval()
    assert gap(theirs(x), model(x)) < 1e-5
    with pytest.raises(ValueError, match="would be lost"):
        save_adapter(fresh, tmp_path / "b")  # what came from the folder is not the base's either
    save_adapter(fresh, tmp_path / "b", modules_to_save=names)
    assert (tmp_path / "a" / WEIGHTS).read_bytes() == (tmp_path / "b" / WEIGHTS).read_bytes()
    theirs.save_pretrained(tmp_path / "theirs")
    again = copy.deepcopy(base).eval()
    load_adapter(again, tmp_path / "theirs")
    assert torch.equal(again(x), model(x))


@pytest.mark.parametrize("name", ["mlp", "embedding", "lstm", "conv2d", "encoder_layer"])
def test_a_base_weight_that_trained_and_was_frozen_again_is_named(name, tmp_path):
    """Under an adapter, too, and whatever holds the weight; another dtype of the same numbers does not count."""
    model = adapt(ZOO[name].model())
    save_adapter(copy.deepcopy(model).double(), tmp_path / "double")
    site = adapted(model)[-1]
    weight = site.base_weight.requires_grad_(True)
    total_loss(model, ZOO[name].inputs()).backward()
    torch.optim.SGD([weight], lr=0.1).step()
    weight.requires_grad_(False).grad = None
    layer = site.name.removesuffix(".weight_hh_l1_reverse")
    with pytest.raises(ValueError, match=rf"{re.escape(layer)}.* trained too, .* would be lost.*Nothing was written"):
        save_adapter(model, tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "names, sentence",
    [
        (["fc"], "fc is adapted"),
        (["tail"], "names no layer; there are: fc"),
        ("head", "must be a list"),
        (["d"], "go by endings of names and .'d'. would mean head, too"),
    ],
)
def test_modules_that_cannot_be_saved_whole(names, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        save_adapter(trained((), False)[1], tmp_path / "a", modules_to_save=names)


def test_a_whole_layer_must_fit_and_a_set_does_not_switch_it(tmp_path):
    base, model = trained(("head",), False)
    save_adapter(model, tmp_path, modules_to_save=["head"])
    with pytest.raises(ValueError, match="holds whole layers .head."):
        AdapterSet(adapt(base, target_modules="fc")).load("one", tmp_path)
    base.head = nn.Linear(6, 4)
    before = fingerprint(base)
    with pytest.raises(ValueError, match="head.weight of the whole layer .* must be 4 x 6 and is 5 x 6"):
        load_adapter(base, tmp_path)
    assert fingerprint(base) == before


# ------------------------------------------------------------------------------------- 6. folding where it is read


PRUNED = partial(prune.random_unstructured, name="weight", amount=0.5)


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize("change", [PRUNED, weight_norm, spectral_norm, nn.utils.weight_norm, nn.utils.spectral_norm])
def test_a_weight_that_something_computes_is_not_folded_into(change):
    model = adapt(mlp())
    change(model[2].base)
    x = torch.randn(3, 7)
    model.eval()(x)
    before, wanted = fingerprint(model), model(x)
    with pytest.raises(ValueError, match="the update of 2 cannot be kept: its weight is computed .*unchanged"):
        remove_lora(model, keep_delta=True)
    with pytest.raises(ValueError, match="2: it cannot be merged"):
        merge(model)
    assert fingerprint(model) == before and torch.equal(model(x), wanted)
    remove_lora(model)


@pytest.mark.parametrize("keep", [False, True])
def test_a_second_parametrization_is_not_taken_off_by_accident(keep):
    model = adapt(nn.Embedding(9, 5))
    spectral_norm(model)
    with pytest.raises(ValueError, match="weight was parametrized again"):
        remove_lora(model, keep_delta=keep)


# ----------------------------------------------------------------------- 7. a merged copy is never older than its parts


WRITES = {
    "halved": lambda p: p.mul_(0.5),
    "data copied": lambda p: p.data.copy_(0.5 * p.detach()),
    "data swapped": lambda p: setattr(p, "data", 0.5 * p.detach()),
    "one number": lambda p: p.view(-1)[-1:].add_(1.0),
}


@pytest.mark.parametrize("change", WRITES.values(), ids=WRITES.keys())
@pytest.mark.parametrize("part", ["lora_A", "lora_B", "base_weight"])
@pytest.mark.parametrize("name", ["mlp", "embedding", "conv2d_groups", "lstm", "bf16"])
@pytest.mark.parametrize("inference", [False, True], ids=["", "inference mode"])
def test_a_merged_model_follows_its_parts(name, part, change, inference):
    animal = ZOO[name]
    model, inputs = adapt(animal.model()).eval(), animal.inputs()
    merge(model)
    with torch.inference_mode(inference), torch.no_grad():
        output(model, inputs)
        site = adapted(model)[-1]
        change(site.base_weight if part == "base_weight" else getattr(site.adapter, part))
        got = output(model, inputs)
        assert site.adapter.merged
        unmerge(model)
        assert gap(got, output(model, inputs)) < animal.tolerance


@pytest.mark.parametrize("inference", [False, True], ids=["", "inference mode"])
def test_one_number_of_a_large_weight_reaches_a_merged_layer(inference):
    """Between the numbers that are sampled: torch's own count tells."""
    layer, x = randomise(LoRALinear(nn.Linear(64, 32), 2)), torch.ones(1, 64)
    layer.merge()
    with torch.inference_mode(inference), torch.no_grad():
        before = layer(x)
        layer.base.weight[0, 1] += 1.0
        assert layer(x)[0, 0] - before[0, 0] == pytest.approx(1.0, abs=1e-4)


def test_a_reloaded_base_reaches_a_merged_model(tmp_path):
    model, other, x = adapt(mlp()), mlp(), torch.randn(3, 7)
    merge(model)
    for i in (0, 2):
        model[i].base.load_state_dict(other[i].state_dict())
    with pytest.raises(ValueError, match="0.weight, 0.bias, 2.weight, 2.bias .* moved since add_lora"):
        save_adapter(model, tmp_path)
    state, merged = adapter_state(model), model(x)
    remove_lora(model)
    add_lora(model, R, ALPHA)
    load_adapter_state(model, state)
    load_adapter(other, save_adapter(model, tmp_path))
    assert gap(merged, other(x)) < 1e-6 > gap(model(x), other(x)), "the saved adapter is the model in use"
    merge(model)
    model[0].lora_A.data.fill_(torch.nan)
    with pytest.raises(ValueError, match="NaN"):
        model(x)


# --------------------------------------------------------------------------------------------- 8. tying


@pytest.mark.parametrize("name", ["mlp", "embedding", "conv2d", "lstm", "attention", "fan_in_fan_out"])
def test_an_adapted_weight_is_not_replaced_by_tying(name):
    model = adapt(ZOO[name].model())
    before = fingerprint(model)
    for site in adapted(model):
        with pytest.raises(ValueError, match=f"the {site.tensor} of an adapted .* cannot be replaced .*tie_weights"):
            setattr(site.module, site.tensor, nn.Parameter(site.base_weight.detach().clone()))
    assert fingerprint(model) == before
    site.module.register_parameter("another", nn.Parameter(torch.zeros(1)))


# ------------------------------------------------------------------------ 9, 14. devices, float8, failures half-way


def test_no_tensor_is_made_on_the_default_device(tmp_path):
    base, x = ZOO["language_model"].model(), ZOO["language_model"].inputs()
    plain = adapt(base)
    with torch.device("meta"):
        model = copy.deepcopy(base)
        add_lora(model, R, ALPHA)
        model.head.reset_lora(generator=torch.Generator("cpu").manual_seed(0))
        merge(model)
        load_adapter_state(model, adapter_state(plain))
        fresh = copy.deepcopy(base)
        load_adapter(fresh, save_adapter(model, tmp_path))
        adapters = AdapterSet(fresh)
        adapters.load("one", tmp_path)
        adapters.use({"one": 0.5})
        adapters.use("one")
        got = output(fresh, x)
    assert torch.equal(got, output(plain, x))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize("name", ["mlp", "embedding", "conv2d", "lstm", "encoder_layer", "bf16"])
def test_everything_works_on_a_gpu(name, tmp_path):
    animal = ZOO[name]
    base = animal.model().eval()
    inputs = tuple(t.cuda() for t in animal.inputs())
    model = adapt(copy.deepcopy(base).cuda())
    wanted = output(model, inputs)
    fresh = copy.deepcopy(base).cuda()
    load_adapter(fresh, save_adapter(model, tmp_path))
    assert gap(output(fresh, inputs), wanted) < animal.tolerance
    on_cpu = adapt(base)
    adapters = AdapterSet(on_cpu)
    adapters.load("one", tmp_path)
    on_cpu.cuda()
    adapters.use("one")
    merge(on_cpu)
    assert gap(output(on_cpu, inputs), wanted) < animal.tolerance


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", [1, 2, 3, 5])
@pytest.mark.parametrize("name", ["language_model", "encoder_layer"])
def test_a_failure_half_way_leaves_the_model_as_it_was(name, at, error, monkeypatch, tmp_path):
    model = ZOO[name].model()
    folder = save_adapter(adapt(model), tmp_path)
    next(model.parameters()).requires_grad_(False)
    before, calls, real = fingerprint(model), [], LowRankUpdate.reset_lora

    def fail(self, *args, **kwargs):
        calls.append(self)
        if len(calls) == min(at, len(ZOO[name].weights)):
            raise error
        return real(self, *args, **kwargs)

    for act in (lambda: add_lora(model, R, ALPHA), lambda: load_adapter(model, folder)):
        calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr(LowRankUpdate, "reset_lora", fail)
            with pytest.raises(type(error)):
                act()
        assert fingerprint(model) == before and not adapted(model)
        assert not any(key.startswith("_lora") for m in model.modules() for key in vars(m))
    add_lora(model, R, ALPHA)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_float8_bases_get_float32_factors(dtype):
    """Used as diffusers does: stored in eight bits, cast up by a hook for the time of the call."""
    layer, x = nn.Linear(7, 6).to(dtype), torch.randn(3, 7)
    layer.forward = lambda x: F.linear(x, layer.weight.float(), layer.bias.float())
    model = nn.Sequential(layer, nn.Embedding(9, 5).to(dtype))
    before = model[0](x)
    add_lora(model, R, ALPHA)
    assert {p.dtype for p in lora_parameters(model)} == {torch.float32}
    assert torch.equal(model[0](x), before)
    randomise(model)
    assert gap(model[0](x), F.linear(x, layer.weight.float() + model[0].delta_weight(), layer.bias.float())) < 1e-5
    assert model[1](torch.tensor([1, 2])).dtype == dtype
    model[0].low_rank(x).sum().backward()
    assert model[0].lora_A.grad.dtype == torch.float32
    remove_lora(model, keep_delta=True)


class Packed(torch.Tensor):
    """As quantized weights are: a tensor whose numbers do not lie there as bytes."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.reshape, torch.Tensor.data_ptr, torch.Tensor.stride):
            raise NotImplementedError(func)
        return super().__torch_function__(func, types, args, kwargs or {})


def test_weights_of_a_class_of_their_own_are_not_looked_into():
    model, x = nn.Sequential(nn.Linear(7, 6)), torch.randn(3, 7)
    model[0].weight = nn.Parameter(model[0].weight.detach().as_subclass(Packed), requires_grad=False)
    wanted = model(x)
    assert add_lora(model, R, ALPHA) == ["0"]
    assert torch.equal(model(x), wanted)


def test_a_bf16_layer_keeps_no_float32_copy_of_its_input():
    model, kept = adapt(nn.Sequential(nn.Linear(64, 96, dtype=torch.bfloat16))), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        model(torch.randn(50, 64, dtype=torch.bfloat16)).sum().backward()
    assert {t.shape for t in kept if t.dtype == torch.float32} <= {t.shape for t in lora_parameters(model)}
    assert sum(t.shape == (50, 64) for t in kept) == 1, "both paths keep one and the same input"
    assert model[0].lora_B.grad.dtype == torch.float32 and model[0].lora_B.grad.any()


# -------------------------------------------------------------------------------------------------- 16. gaps


def test_rank_and_alpha_by_layer(tmp_path):
    model = Nested()
    base, x = copy.deepcopy(model), torch.randn(2, 4, 6)
    ranks = {"0.up_proj": 3, r"blocks\.\d\.down_proj": 1, "up_proj": 2}  # the first that fits counts
    names = add_lora(model, 2, 4.0, rank_pattern=ranks, alpha_pattern={"1": 9.0})
    made = {s.name: (s.adapter.r, s.adapter.alpha) for s in adapted(model)}
    assert names == list(made) and made["heads.main.1"] == (2, 9.0) and made["blocks.1.up_proj"] == (2, 4.0)
    assert made["blocks.0.up_proj"] == (3, 4.0) and made["blocks.1.down_proj"] == (1, 4.0)
    load_adapter(base, save_adapter(randomise(model), tmp_path))
    assert {s.name: (s.adapter.r, s.adapter.alpha) for s in adapted(base)} == made
    assert torch.equal(base(x), model(x))
    for options, sentence in (
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern: 'q_proj' fits none"),
        ({"alpha_pattern": [1]}, "must map names"),
        ({"rank_pattern": {"(": 2}}, "no regular expression"),
        ({"rank_pattern": {"main.1": 9}}, "r=9 does not fit heads.main.1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            add_lora(Nested(), 2, 4.0, **options)
