"""Faults that people reported of LoRA packages: one group for each kind, with the right value as the test."""

from __future__ import annotations

import copy
import json
import re

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from test_adapters import ALPHA, R, adapt, gap, randomise, total_loss
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from zoo import ZOO, Nested, fingerprint, mlp, output

from lora_lab import (
    AdapterSet,
    adapter_state,
    adapters_disabled,
    add_lora,
    base_fingerprint,
    combine,
    delta_weights,
    load_adapter,
    load_adapter_state,
    lora_parameters,
    merge,
    rank_floor,
    remove_lora,
    save_adapter,
    theory,
    unmerge,
)
from lora_lab.adapters import adapted
from lora_lab.layers import LowRankUpdate

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture(autouse=True)
def seed():
    torch.default_generator.manual_seed(0)


@pytest.fixture
def peft():
    return pytest.importorskip("peft", reason="PEFT is optional: pip install 'peft==0.21.*' transformers")


# --------------------------------------------------------------------------- 1. the layer goes through its base's call


class FakeQuant(nn.Module):
    """Somebody's layer, put in the base's place later."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.round(self.linear(x))


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
    assert torch.equal(model(x), wanted + model[0].update(x))
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


def test_a_hook_on_a_base_does_not_stop_folding():
    model, x = adapt(nn.Sequential(hooked(nn.Linear(7, 6)))), torch.randn(4, 7)
    wanted = 3 * F.linear(x, model[0].base.weight + model[0].delta_weight(), model[0].base.bias)
    assert gap(remove_lora(model, keep_delta=True)(x), wanted) < 1e-5


# -------------------------------------------------------------------------------------------- 2. wrappers and names


class Named(nn.Module):
    """A real submodule that is called `module`, and one called `base`."""

    def __init__(self) -> None:
        super().__init__()
        self.module, self.base = nn.Linear(7, 6), nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(torch.tanh(self.module(x)))


def inner_compiled(model: nn.Module) -> nn.Module:
    holder = model.blocks if isinstance(model, Nested) else model
    name, child = next(iter(holder.named_children()))
    setattr(holder, name, torch.compile(child, backend="eager"))
    return model


def inner_checkpointed(model: nn.Module) -> nn.Module:
    holder = model.blocks if isinstance(model, Nested) else model
    for name, child in list(holder.named_children()):
        setattr(holder, name, checkpoint_wrapper(child))
    return model


WRAPPERS = {
    "compile": lambda m: torch.compile(m, backend="eager"),
    "data parallel": nn.DataParallel,
    "both": lambda m: torch.compile(nn.DataParallel(m), backend="eager"),
    "checkpoint": checkpoint_wrapper,
    "checkpoint inside": inner_checkpointed,
    "compile inside": inner_compiled,
    "average": lambda m: torch.optim.swa_utils.AveragedModel(m),
}
MODELS = {"nested": (Nested, (2, 4, 6)), "names": (Named, (3, 7)), "layers": (mlp, (3, 7))}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
@pytest.mark.parametrize("build, shape", MODELS.values(), ids=MODELS.keys())
@pytest.mark.parametrize("order", ["adapted, then wrapped", "wrapped, then adapted"])
def test_wrappers_leave_no_trace_in_names_and_files(wrap, build, shape, order, tmp_path):
    base, x = build().eval(), torch.randn(shape)
    plain = adapt(base)
    if order == "adapted, then wrapped":
        model = wrap(copy.deepcopy(plain))
    else:
        model = wrap(copy.deepcopy(base))
        assert add_lora(model, R, ALPHA) == [s.name for s in adapted(plain)]
        load_adapter_state(model, adapter_state(plain))
    wanted = output(plain, (x,))
    assert gap(output(model, (x,)), wanted) < 1e-6
    assert list(adapter_state(model)) == list(adapter_state(plain))
    assert base_fingerprint(model) == base_fingerprint(base)

    save_adapter(plain, tmp_path / "plain")
    save_adapter(model, tmp_path / "wrapped")
    for name in (CONFIG, WEIGHTS):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "wrapped" / name).read_bytes()
    fresh, other = copy.deepcopy(base), wrap(copy.deepcopy(base))
    load_adapter(fresh, tmp_path / "wrapped")
    load_adapter(other, tmp_path / "plain")
    assert torch.equal(output(fresh, (x,)), wanted) and gap(output(other, (x,)), wanted) < 1e-6
    adapters = AdapterSet(model)
    adapters.load("one", tmp_path / "plain")
    adapters.use("one")
    assert gap(output(model, (x,)), wanted) < 1e-6
    remove_lora(model)
    assert gap(output(model, (x,)), output(base, (x,))) < 1e-6
    assert all(p.requires_grad for p in model.parameters())


def test_a_bare_layer_that_was_compiled_is_not_skipped():
    layer, x = nn.Linear(7, 6), torch.randn(3, 7)
    model = torch.compile(layer, backend="eager")
    before = model(x)
    assert add_lora(model, R, ALPHA) == ["weight"]
    assert torch.equal(model(x), before)
    randomise(model)
    assert gap(model(x), before) > 0.01


# ------------------------------------------------------------------------------------------ 3. what else has trained


class Headed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm, self.head = nn.Linear(7, 6), nn.BatchNorm1d(6), nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(torch.tanh(self.fc(x))))


def trained(free: tuple[str, ...], train_mode: bool = True) -> tuple[nn.Module, nn.Module]:
    """A base, and it adapted and trained along with the layers that are left free, which are frozen in the end."""
    base = Headed()
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


def test_pefts_modules_to_save_are_loaded(peft, tmp_path):
    base = Headed()
    config = peft.LoraConfig(r=2, target_modules=["fc", "head"], modules_to_save=["norm"])
    theirs = peft.get_peft_model(copy.deepcopy(base), config)
    theirs.train()(3 + torch.randn(8, 7))
    for p in theirs.parameters():
        if p.requires_grad:
            p.data.normal_()
    theirs.save_pretrained(tmp_path)
    assert load_adapter(base, tmp_path) == ["fc", "head"]
    x = torch.randn(4, 7)
    assert gap(base.eval()(x), theirs.eval()(x)) < 1e-5


@pytest.mark.parametrize(
    "names, sentence",
    [
        (["fc"], "fc is adapted"),
        (["tail"], "names no layer; there are: fc"),
        ("head", "must be a list"),
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


def pruned(layer: nn.Linear) -> None:
    prune.random_unstructured(layer, "weight", 0.5)


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize("change", [pruned, weight_norm, spectral_norm, nn.utils.weight_norm, nn.utils.spectral_norm])
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


def test_a_second_parametrization_is_not_taken_off_by_accident():
    model = nn.Sequential(nn.Embedding(9, 5))
    add_lora(model, R, ALPHA)
    spectral_norm(randomise(model)[0])
    for keep in (False, True):
        with pytest.raises(ValueError, match="0 was parametrized again"):
            remove_lora(model, keep_delta=keep)


# ----------------------------------------------------------------------- 7. a merged copy is never older than its parts


def halve(p: torch.Tensor) -> None:
    p.mul_(0.5)


def data_copy(p: torch.Tensor) -> None:
    p.data.copy_(0.5 * p.detach())


def data_swap(p: torch.Tensor) -> None:
    p.data = 0.5 * p.detach()


def one_number(p: torch.Tensor) -> None:
    p.view(-1)[-1] += 1.0


@pytest.mark.parametrize("change", [halve, data_copy, data_swap, one_number])
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


def test_a_reloaded_base_reaches_a_merged_model(tmp_path):
    model, (x,) = adapt(mlp()), torch.randn(1, 3, 7)
    merge(model)
    other = mlp()
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


# --------------------------------------------------------------- 8, 13, 15. every PEFT adapter that is plain LoRA loads


class Decoder(nn.Module):
    """Names like a language model's: layers with numbers in them, an embedding, a head."""

    def __init__(self, rows: int = 11) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(rows, 6)
        self.layers = nn.ModuleList(Nested() for _ in range(3))
        self.lm_head = nn.Linear(5, rows, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed_tokens(tokens)
        outs = [layer(x) for layer in self.layers]
        return self.lm_head(sum(outs))


PLAIN = {
    "layers_to_transform": {"target_modules": ["up_proj", "1"], "layers_to_transform": [0, 2]},
    "one layer": {"target_modules": ["up_proj"], "layers_to_transform": 1},
    "layers_pattern": {"target_modules": ["up_proj"], "layers_to_transform": [1], "layers_pattern": "blocks"},
    "patterns": {"target_modules": ["up_proj"], "layers_to_transform": [1], "layers_pattern": ["none", "layers"]},
    "exclude_modules": {"target_modules": ["up_proj", "down_proj"], "exclude_modules": ["0.up_proj"]},
    "exclude by expression": {"target_modules": ["up_proj"], "exclude_modules": r".*blocks\.1.*"},
    "a rank above the smaller side": {"target_modules": ["main.1", "lm_head"], "r": 20, "lora_alpha": 3},
    "rsLoRA above it": {"target_modules": ["up_proj"], "r": 7, "rank_pattern": {"0.up_proj": 30}, "use_rslora": True},
    "the embedding and the head": {"target_modules": ["embed_tokens", "lm_head"]},
    "target_parameters": {"target_modules": [], "target_parameters": ["main.1.weight", "embed_tokens.weight"]},
    "rsLoRA": {"target_modules": ["up_proj"], "r": 4, "lora_alpha": 8, "use_rslora": True, "lora_dropout": 0.1},
    "an expression": {"target_modules": r"layers\.\d\.blocks\.\d\.down_proj", "lora_alpha": 3},
    "rank and alpha": {
        "target_modules": ["up_proj", "main.1"], "rank_pattern": {"1.up_proj": 1}, "alpha_pattern": {"0.up_proj": 7}
    },
    "orthogonal": {"target_modules": ["up_proj"], "r": 4, "init_lora_weights": "orthogonal"},
    "mica": {"target_modules": ["up_proj"], "r": 4, "init_lora_weights": "mica"},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", PLAIN.values(), ids=PLAIN.keys())
def test_what_peft_calls_by_other_fields_is_loaded(peft, options, tmp_path):
    base, x = Decoder().eval(), torch.randint(11, (2, 4))
    theirs = peft.get_peft_model(copy.deepcopy(base), peft.LoraConfig(**{"r": 2, **options})).eval()
    for key, p in theirs.named_parameters():
        if "lora_" in key:
            p.data = 0.3 * torch.randn(p.shape)
    theirs.save_pretrained(tmp_path, save_embedding_layers=True)
    load_adapter(base, tmp_path)
    assert gap(base(x), theirs(x)) < 1e-5
    if "parameters" in str(options):
        return
    save_adapter(base, tmp_path / "ours")
    again = peft.PeftModel.from_pretrained(Decoder().eval(), tmp_path / "ours")
    again.base_model.model.load_state_dict(base.state_dict(), strict=False)
    kept, first = load_file(tmp_path / "ours" / WEIGHTS), load_file(tmp_path / WEIGHTS)
    assert all(torch.equal(t, first[k]) for k, t in kept.items())


def test_data_driven_starts_are_plain_once_trained(tmp_path):
    base = mlp()
    folder = save_adapter(adapt(base), tmp_path)
    config = json.loads((folder / CONFIG).read_text())
    for start in ({"init_lora_weights": "eva", "eva_config": {"rho": 2.0}}, {"corda_config": {"corda_method": "kpm"}}):
        (folder / CONFIG).write_text(json.dumps(config | start))
        load_adapter(copy.deepcopy(base), folder)


def stored_beside(folder, key: str, value: torch.Tensor) -> None:
    tensors = load_file(folder / WEIGHTS)
    save_file(tensors | {f"base_model.model.{key}": value}, folder / WEIGHTS, {"format": "pt"})


def test_base_weights_stored_beside_must_be_the_models(tmp_path):
    base = Decoder()
    folder = save_adapter(adapt(base, target_modules=["embed_tokens", "lm_head"]), tmp_path)
    stored_beside(folder, "lm_head.base_layer.weight", base.lm_head.weight.detach().clone())
    load_adapter(copy.deepcopy(base), folder)
    for value in (base.lm_head.weight.detach() + 1, torch.randn(13, 5)):
        stored_beside(folder, "lm_head.base_layer.weight", value)
        before = fingerprint(base)
        with pytest.raises(ValueError, match="the base's lm_head.weight.*not this model's .11 x 5.: resized"):
            load_adapter(base, folder)
        assert fingerprint(base) == before
        load_adapter(copy.deepcopy(base), folder, check_base=False)


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.randn(3, 6, 8))
        self.router = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bi,eio,be->bo", x, self.gate_up_proj, self.router(x).softmax(-1))


def test_a_weight_of_another_kind_is_named_as_one(peft, tmp_path):
    model = nn.ModuleDict({"experts": Experts()})
    with pytest.raises(ValueError, match=r"means experts, a Experts, which holds gate_up_proj \(3 x 6 x 8\), a kind"):
        add_lora(model, R, ALPHA, target_modules="experts")
    with pytest.raises(ValueError, match=r"means experts.gate_up_proj, .* a kind of weight that is not adapted here"):
        add_lora(model, R, ALPHA, target_modules="gate_up_proj")
    net = nn.Sequential(Experts())
    config = peft.LoraConfig(r=2, target_modules=[], target_parameters=["0.gate_up_proj"])
    peft.get_peft_model(copy.deepcopy(net), config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="for 0.gate_up_proj, a 3 x 6 x 8 tensor, and this kind"):
        load_adapter(net, tmp_path)


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
    torch.set_default_device("meta")
    try:
        model = copy.deepcopy(base)
        add_lora(model, R, ALPHA)
        model.head.reset_lora(generator=torch.Generator("cpu").manual_seed(0))
        merge(model)
        unmerge(model)
        load_adapter_state(model, adapter_state(plain))
        save_adapter(model, tmp_path)
        fresh = copy.deepcopy(base)
        load_adapter(fresh, tmp_path)
        adapters = AdapterSet(fresh)
        adapters.load("one", tmp_path)
        adapters.use({"one": 0.5})
        adapters.use("one")
        got = output(fresh, x)
    finally:
        torch.set_default_device("cpu")
    assert torch.equal(got, output(plain, x))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize("name", ["mlp", "embedding", "conv2d", "lstm", "encoder_layer", "bf16"])
def test_everything_works_on_a_gpu(name, tmp_path):
    animal = ZOO[name]
    base = animal.model().eval()
    inputs = tuple(t.cuda() for t in animal.inputs())
    model = adapt(copy.deepcopy(base).cuda())
    wanted = output(model, inputs)
    save_adapter(model, tmp_path)
    fresh = copy.deepcopy(base).cuda()
    load_adapter(fresh, tmp_path)
    assert gap(output(fresh, inputs), wanted) < animal.tolerance
    on_cpu = copy.deepcopy(base)
    add_lora(on_cpu, R, ALPHA)
    adapters = AdapterSet(on_cpu)
    adapters.load("one", tmp_path)
    on_cpu.cuda()
    adapters.use("one")
    merge(on_cpu)
    assert gap(output(on_cpu, inputs), wanted) < animal.tolerance


def test_entries_of_a_set_follow_the_model():
    model = adapt(mlp())
    adapters = AdapterSet(model)
    adapters.add("one")
    adapters.add("two", adapters["one"])
    model.to("meta")
    adapters.use({"one": 0.5, "two": 2.0})  # another rank, hence new tensors
    assert model[0].r == 4 and {p.device.type for p in lora_parameters(model)} == {"meta"}
    adapters.use("one")
    assert {p.device.type for p in lora_parameters(model)} == {"meta"}
    assert {t.device.type for t in adapters._entries["one"].state.values()} == {"cpu"}


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
    model[0].update(x).sum().backward()
    assert model[0].lora_A.grad.dtype == torch.float32
    remove_lora(model, keep_delta=True)


def kept_for_backward(model: nn.Module, x: torch.Tensor) -> int:
    """Bytes that autograd keeps, parameters not counted, each storage once."""
    own, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def pack(t: torch.Tensor) -> torch.Tensor:
        if t.untyped_storage().data_ptr() not in own:
            kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        model(x).sum().backward()
    return sum(kept.values())


def test_a_bf16_layer_keeps_no_float32_copy_of_its_input():
    layer = nn.Linear(64, 96, dtype=torch.bfloat16)
    model, x = nn.Sequential(layer), torch.randn(50, 64, dtype=torch.bfloat16)
    add_lora(model, 2, 4.0)
    small = 4 * 50 * 2 * 4 + 2 * 64 * 2  # (n, r) twice over, and A in bf16
    assert kept_for_backward(model, x) <= x.nbytes + small < 2 * x.nbytes + x.nbytes
    assert model[0].lora_B.grad.dtype == torch.float32 and model[0].lora_B.grad.any()


def test_theory_computes_in_float64_on_the_cpu_whatever_the_default_device_is():
    delta, X = torch.randn(5, 7), torch.randn(20, 7)

    def numbers() -> tuple:
        return rank_floor(delta, 2, X), theory.shift_loss(delta, X), theory.energy_rank(delta)

    wanted = numbers()
    torch.set_default_device("meta")
    try:
        assert numbers() == wanted
    finally:
        torch.set_default_device("cpu")


# ----------------------------------------------------------------------------------------- 12. a state and its scaling


def two_scalings(tmp_path) -> tuple[nn.Module, AdapterSet, dict]:
    """A set of two adapters with different alpha/r, and what each adds to the weights."""
    base, deltas = mlp(), {}
    for name, r, alpha, rslora in (("one", 1, 8.0, False), ("two", 4, 2.0, True)):
        model = copy.deepcopy(base)
        add_lora(model, r, alpha, rslora=rslora)
        save_adapter(randomise(model, seed=r), tmp_path / name)
        deltas[name] = delta_weights(model)
    add_lora(base, 2, 3.0)
    adapters = AdapterSet(base)
    for name in deltas:
        adapters.load(name, tmp_path / name)
    return base, adapters, deltas


@pytest.mark.parametrize("in_use", ["one", "two", {}, {"one": 0.5, "two": 2.0}], ids=str)
def test_a_copy_of_an_adapter_equals_it_whatever_is_in_use(in_use, tmp_path):
    model, adapters, deltas = two_scalings(tmp_path)
    adapters.use(in_use)
    scalings = [s.adapter.scaling for s in adapted(model)]
    adapters.add("copy", adapters["one"])
    adapters.add("sum", combine([adapters["one"], adapters["two"]], [2.0, -1.0]))
    for state in (None, adapters["one"]):
        if state is None:
            adapters.use("copy")
        else:
            load_adapter_state(model, adapters["copy"]) if model[0].r == 1 else adapters.use("copy")
        assert all(gap(d, deltas["one"][n]) < 1e-6 for n, d in delta_weights(model).items())
    adapters.use("sum")
    for n, d in delta_weights(model).items():
        assert gap(d, 2 * deltas["one"][n] - deltas["two"][n]) < 1e-5
    adapters.add("again", adapter_state(model))
    adapters.use("again")
    assert all(gap(d, 2 * deltas["one"][n] - deltas["two"][n]) < 1e-5 for n, d in delta_weights(model).items())
    assert [s.adapter.scaling for s in adapted(model)] == scalings == [1.5, 1.5]


# -------------------------------------------------------------------------------------------------- 16. gaps


def test_adapters_of_different_layers_in_one_set(tmp_path):
    base, x = mlp().eval(), torch.randn(4, 7)
    singles = {}
    for target in ("0", "2"):
        model = adapt(base, target_modules=target)
        save_adapter(model, tmp_path / target)
        singles[target] = model
    model = copy.deepcopy(base)
    add_lora(model, R, ALPHA)
    adapters = AdapterSet(model)
    for target in singles:
        adapters.load(target, tmp_path / target)
        adapters.use(target)
        assert torch.equal(model(x), singles[target](x))
    both = copy.deepcopy(base)
    for target in singles:
        load = adapters[target]
        assert {key[0] for key in load} == {target}
        with torch.no_grad():
            both[int(target)].weight += delta_weights(singles[target])[target]
    adapters.use({"0": 1.0, "2": 1.0})
    assert gap(model(x), both(x)) < 1e-5
    served = adapters.serve(x, ["0", "2", None, "0"])
    wanted = torch.stack([singles["0"](x)[0], singles["2"](x)[1], base(x)[2], singles["0"](x)[3]])
    assert gap(served, wanted) < 1e-5
    with pytest.raises(ValueError, match="not wanted: 9.lora_A"):
        adapters.add("new", {"9.lora_A": torch.ones(1, 7), "9.lora_B": torch.ones(6, 1)})


def test_rank_and_alpha_by_layer():
    model = Nested()
    ranks = {"0.up_proj": 3, r"blocks\.\d\.down_proj": 1}
    names = add_lora(model, 2, 4.0, rank_pattern=ranks, alpha_pattern={"1": 9.0})
    assert names == [s.name for s in adapted(model)]
    r = {s.name: s.adapter.r for s in adapted(model)}
    assert r["blocks.0.up_proj"] == 3 and r["blocks.1.up_proj"] == 2 and r["blocks.1.down_proj"] == 1
    assert {s.name: s.adapter.alpha for s in adapted(model)}["heads.main.1"] == 9.0
    for options, sentence in (
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern: 'q_proj' fits none"),
        ({"alpha_pattern": [1]}, "must map names"),
        ({"rank_pattern": {"(": 2}}, "no regular expression"),
        ({"rank_pattern": {"main.1": 9}}, "r=9 does not fit heads.main.1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            add_lora(Nested(), 2, 4.0, **options)


@pytest.fixture
def llama():
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=40,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("targets", [["q_proj"], ["q_proj", "embed_tokens", "lm_head"]], ids=str)
def test_embeddings_that_peft_stores_beside_are_recognised(llama, peft, targets, tmp_path):
    tokens, base = torch.randint(40, (2, 5)), copy.deepcopy(llama)
    theirs = peft.get_peft_model(llama, peft.LoraConfig(r=2, target_modules=targets)).eval()
    for key, p in theirs.named_parameters():
        if "lora_" in key:
            p.data = 0.3 * torch.randn(p.shape)
    theirs.save_pretrained(tmp_path, save_embedding_layers=True)
    assert any(key.endswith("embed_tokens.weight") or "base_layer" in key for key in load_file(tmp_path / WEIGHTS))
    load_adapter(base, tmp_path)
    assert gap(base(tokens).logits, theirs(tokens).logits) < 1e-5


@pytest.mark.filterwarnings("ignore")
def test_our_folder_names_its_base_and_its_task(llama, peft, tmp_path):
    llama.save_pretrained(tmp_path / "base")
    model = type(llama).from_pretrained(tmp_path / "base").eval()
    add_lora(model, R, ALPHA, target_modules=["q_proj", "down_proj"])
    save_adapter(randomise(model), tmp_path / "a")
    config = json.loads((tmp_path / "a" / CONFIG).read_text())
    assert (config["base_model_name_or_path"], config["task_type"]) == (str(tmp_path / "base"), "CAUSAL_LM")
    theirs = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "a").eval()
    tokens = torch.randint(40, (2, 5))
    assert gap(theirs(tokens).logits, model(tokens).logits) < 1e-5


@pytest.mark.filterwarnings("ignore")
def test_a_model_that_takes_keywords_and_returns_an_object_is_served(llama):
    add_lora(llama, R, ALPHA, target_modules=["q_proj", "down_proj"])
    adapters = AdapterSet(llama)
    wanted, tokens, rows = [], torch.randint(40, (3, 5)), ["a", None, "b"]
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 1, 1, 1, 1]])
    for i, name in enumerate("ab"):
        randomise(llama, seed=i)
        adapters.add(name)
    with torch.no_grad():
        for i, name in enumerate(rows):
            adapters.use(name or {})
            wanted.append(llama(tokens[i : i + 1], attention_mask=mask[i : i + 1]).logits)
        out = adapters.serve(tokens, rows, attention_mask=mask)
        whole = adapters.serve(tokens, rows)
    assert type(out) is type(whole) and type(out).__name__ == "CausalLMOutputWithPast"
    assert gap(out.logits[:, 2:], torch.cat(wanted)[:, 2:]) < 1e-5
    assert gap(whole.logits[0], wanted[0][0]) < 1e-5 < gap(whole.logits[1], wanted[1][0])
    assert "update" not in vars(llama.model.layers[0].self_attn.q_proj)


def test_rows_that_are_not_batch_first_are_refused():
    model = nn.Sequential(nn.Flatten(0, 1), nn.Linear(7, 6))
    add_lora(model, R, ALPHA)
    adapters = AdapterSet(model.eval())
    adapters.add("one")
    with pytest.raises(ValueError, match="1 gets an input of 6 rows, not 2: it is not batch first"):
        adapters.serve(torch.randn(2, 3, 7), ["one", None])
