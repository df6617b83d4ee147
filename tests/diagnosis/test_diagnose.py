"""`diagnose` finds each planted mistake, says nothing about sound models, changes nothing, and raises nothing."""

import copy
import subprocess
import sys
import warnings

import gallery_zoo
import pytest
import torch
from gallery_zoo import own_layers
from torch import Tensor, nn
from torch.nn.utils import parametrize
from zoo import ZOO, fingerprint, mlp, seeded, tied

import lora_lab
from lora_lab import adapters_disabled, add_lora, diagnose, load_adapter, lora_parameters, merge, save_adapter
from lora_lab.diagnosis.diagnose import Finding
from lora_lab.diagnosis.reading import read
from lora_lab.subjects.broken import gallery

every_animal = pytest.mark.parametrize("name", list(ZOO))
every_fault = pytest.mark.parametrize("fault", gallery.FAULTS.values(), ids=lambda f: f.code)


def codes(findings) -> list[str]:
    return [f.code for f in findings]


def leaves(value) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [leaf for part in value for leaf in leaves(part)] if isinstance(value, tuple) else []


def adam(model: nn.Module, lr: float = 1e-2) -> torch.optim.Optimizer:
    return torch.optim.Adam(lora_parameters(model), lr=lr)


def steps(model: nn.Module, optimizer, inputs: tuple, n: int) -> None:
    for _ in range(n):
        loss = sum((leaf.float() - 1).square().mean() for leaf in leaves(model(*inputs)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


# ------------------------------------------------------------------------------------------- the planted faults


@every_fault
def test_each_planted_fault_is_found_and_nothing_else(fault):
    findings = fault.findings()
    assert codes(findings) == [fault.code]
    assert len(findings[0].sentence) > 30 and len(findings[0].cure) > 10 and findings[0].where


def test_the_codes_of_the_gallery_are_all_different():
    assert len({f.code for f in gallery.FAULTS.values()}) == len(gallery.FAULTS) >= 16


@pytest.mark.parametrize("program", gallery.PROGRAMS)
def test_the_correct_programs_are_sound_at_the_start_at_the_end_and_shipped(program):
    for n in (0, 40):
        names = gallery._execute(gallery.PROGRAMS[program], n)
        model, optimizer, base = names["model"], names["optimizer"], names["base"]
        if program != "checkpoint":  # there the model has been merged and unmerged in place, which is not exact
            assert diagnose(model, optimizer, base=base) == []
        assert diagnose(model, optimizer) == []
        if n:
            state = {k: v for k, v in model.state_dict().items() if "lora_" in k}
            assert diagnose(names["shipped"], base=base, adapter=state) == []
    if program == "rslora":
        assert diagnose(names["shipped"], base=base, adapter=names["folder"]) == []


# --------------------------------------------------------------------------------------------------- sound models


@every_animal
def test_silent_on_every_sound_state_of_the_zoo(name, tmp_path):
    animal = ZOO[name]
    base, model, inputs = animal.model(), animal.model(), animal.inputs()
    model.eval()
    add_lora(model, r=2, alpha=4)
    assert diagnose(model) == [] and diagnose(model, base=base) == [], "fresh"
    model.train()
    optimizer = adam(model)
    assert diagnose(model, optimizer, base=base) == [], "before the first step"
    steps(model, optimizer, inputs, 1)
    assert diagnose(model, optimizer, base=base) == [], "after one step: A has not moved yet"
    steps(model, optimizer, inputs, 3)
    assert diagnose(model, optimizer, base=base) == [], "in the middle of training"
    model.eval()
    assert diagnose(model, optimizer, base=base) == [] and diagnose(model) == [], "evaluated between epochs"
    with adapters_disabled(model):
        assert diagnose(model, base=base) == [], "disabled to compare with the base"
    merge(model)
    assert diagnose(model, optimizer, base=base) == [] and diagnose(model) == [], "merged for inference"
    save_adapter(model, tmp_path / "adapter")
    other = animal.model()
    load_adapter(other, tmp_path / "adapter")
    resumed = adam(other)
    assert diagnose(other, resumed, base=base, adapter=tmp_path / "adapter") == [], "loaded, to train on"
    assert diagnose(other, resumed) == []


def test_silent_after_hundreds_of_steps_frozen_for_inference_and_with_two_optimizers():
    model, inputs = ZOO["mlp"].model(), ZOO["mlp"].inputs()
    add_lora(model, r=2, alpha=4)
    A, B = lora_parameters(model)[::2], lora_parameters(model)[1::2]
    pair = [torch.optim.Adam(A, lr=1e-3), torch.optim.SGD(B, lr=1e-2)]  # LoRA+: a larger rate for B
    assert diagnose(model, pair) == []
    optimizer = adam(model)
    steps(model, optimizer, inputs, 120)
    assert diagnose(model, optimizer) == []
    model.requires_grad_(False).eval()
    assert diagnose(model) == []


def test_silent_on_one_projection_of_each_block_and_on_a_trained_head():
    model = ZOO["nested"].model()
    add_lora(model, r=2, target_modules=["up_proj"])
    model.heads["main"][1].weight.requires_grad_(True)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
    assert diagnose(model, optimizer) == []


@pytest.mark.parametrize("name", own_layers)
def test_hand_written_layers_of_many_styles_are_read_and_sound(name):
    model = seeded(0, own_layers[name])
    model.requires_grad_(False)
    adapters = read(model)
    assert len(adapters) == 1 and adapters[0].weight is not None and adapters[0].r == 2
    for p in adapters[0].factors:
        p.requires_grad_(True)
    assert diagnose(model, torch.optim.Adam(adapters[0].factors)) == []


# ------------------------------------------------------------------------------------- more mistakes, in other makes


def test_a_model_without_an_adapter_is_said():
    found = diagnose(nn.Linear(3, 2))
    assert codes(found) == ["no-adapter"] and "Linear" in str(found)


def lab(**options) -> nn.Module:
    model = mlp()
    add_lora(model, r=2, alpha=4, **options)
    return model


def test_merged_or_disabled_while_training():
    model = lab()
    merge(model)
    assert codes(diagnose(model, adam(model))) == ["merged-while-training"]
    lora_lab.unmerge(model)
    with adapters_disabled(model):
        assert codes(diagnose(model, adam(model))) == ["disabled-while-training"]
    assert diagnose(model, adam(model)) == []


def test_an_optimizer_of_half_the_factors_and_one_made_before_the_injection():
    model = lab()
    one = torch.optim.Adam(lora_parameters(model)[:1])
    found = diagnose(model, one)
    assert codes(found) == ["optimizer-misses-adapter"] and found[0].where == ("0", "2")
    model = mlp()
    early = torch.optim.Adam(model.parameters())
    add_lora(model, r=2)
    assert codes(diagnose(model, early)) == ["optimizer-misses-adapter"]


def test_factors_that_are_not_finite():
    model = lab()
    model[0].lora_B.data[0, 0] = float("nan")
    found = diagnose(model)
    assert codes(found) == ["not-finite"] and found[0].where == ("0",)


def test_a_base_that_requires_a_gradient_and_is_not_trained_is_no_mistake():
    model = lab()
    model[0].base.weight.requires_grad_(True)
    assert codes(diagnose(model)) == ["base-trains"] and diagnose(model, adam(model)) == []
    assert codes(diagnose(model, torch.optim.SGD(model.parameters()))) == ["base-trains"]
    assert diagnose(model.eval()) == []


def test_pissa_by_hand_starts_as_the_base():
    model, base = lab(), mlp()
    with torch.no_grad():
        model[0].lora_B.fill_(0.1)
        model[0].base.weight.copy_(base[0].weight - model[0].delta_weight())
        model[2].base.weight.copy_(base[2].weight)
        for i in (0, 2):
            model[i].base.bias.copy_(base[i].bias)
    assert diagnose(model, adam(model), base=base) == []


def test_a_base_that_was_trained_along_and_one_that_is_another():
    base, model = mlp(), None
    model = copy.deepcopy(base)
    add_lora(model, r=2)
    with torch.no_grad():
        model[0].base.weight.mul_(1.05)
    assert codes(diagnose(model, base=base)) == ["base-changed"]
    assert codes(diagnose(model, base=base.state_dict())) == ["base-changed"]
    assert codes(diagnose(model, base=mlp())) == ["other-base"]
    assert codes(diagnose(model, base=nn.Linear(3, 2))) == ["base-not-comparable"]


def test_a_weight_shared_with_another_layer_is_a_mistake_only_where_a_merge_writes_into_it():
    model = lab()
    other = nn.Linear(7, 6, bias=False)
    other.weight = model[0].base.weight
    assert diagnose(nn.ModuleList([model, other])) == [], "this package keeps the sum beside the weight"
    own = own_layers_base()()
    other = nn.Linear(6, 6, bias=False)
    other.weight = own.base.weight
    own.forward = None
    found = diagnose(nn.ModuleDict({"own": own, "head": other}))
    assert codes(found) == ["tied-weight"] and "its weight is also head.weight" in found[0].sentence


def test_most_of_the_model_trains_beside_the_adapters():
    model = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 5))
    add_lora(model, r=2, target_modules=["1"])
    model[0].requires_grad_(True)
    found = diagnose(model)
    assert codes(found) == ["rest-trains"] and str(found).startswith("[rest-trains]\n    73 % of the model's numbers")


def test_an_adapter_that_the_forward_forgets_and_one_with_a_squared_scaling():
    class Forgets(own_layers_base()):
        def forward(self, x):
            return self.base(x)

    class Squares(own_layers_base()):
        def forward(self, x):
            return self.base(x) + self.scaling**2 * (x @ self.lora_A.T @ self.lora_B.T)

    class Swaps(own_layers_base()):
        def forward(self, x):
            return self.base(x) + self.scaling * (x @ self.lora_B @ self.lora_A)

    assert codes(diagnose(nn.Sequential(Forgets()))) == ["not-in-the-forward"]
    assert codes(diagnose(nn.Sequential(Squares()))) == ["scaling-squared"]
    assert codes(diagnose(nn.Sequential(Swaps()))) == ["factors-swapped"]


def test_alpha_without_r_is_measured_where_no_attribute_says_it():
    class NoDivision(gallery_zoo.Factors):
        def forward(self, x):
            return self.alpha * (x @ self.A @ self.B)

    model = nn.Sequential(gallery_zoo.SideBySide())
    model[0].lora = NoDivision(7, 5, 2, 8)
    model[0].linear.requires_grad_(False)
    found = diagnose(model)
    assert codes(found) == ["scaling-without-r"] and "alpha = 8, not by alpha/r = 4" in found[0].sentence


def test_adapters_on_adapters_in_other_forms():
    model = own_layers["parametrized"]()
    parametrize.register_parametrization(model[0], "weight", gallery_zoo.Parametrization(5, 7))
    model[0].parametrizations.weight.original.requires_grad_(False)
    assert codes(diagnose(model)) == ["stacked"]
    inner = own_layers_base()()
    inner.forward = None  # it is not asked
    outer = own_layers_base()()
    outer.base = inner
    assert codes(diagnose(nn.Sequential(outer))) == ["stacked"]


def own_layers_base():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.base = nn.Linear(6, 6).requires_grad_(False)
            self.r, self.alpha, self.scaling = 2, 6, 3.0
            self.lora_A, self.lora_B = nn.Parameter(torch.randn(2, 6)), nn.Parameter(torch.zeros(6, 2))

    return Own


def test_many_layers_with_one_fault_are_one_finding():
    model = lab()
    for p in model.parameters():
        p.requires_grad_(True)
    found = diagnose(model)
    assert codes(found) == ["base-trains"] and found[0].where == ("0", "2")
    assert str(found).startswith("[base-trains] 0 (and 1 more)\n    the weight under")


# -------------------------------------------------------------------------------------------------------- PEFT


def wrapped(**config):
    peft = pytest.importorskip("peft")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = {"r": 2, "lora_alpha": 4, "target_modules": ["up_proj", "down_proj"]} | config
        return peft.get_peft_model(ZOO["nested"].model(), peft.LoraConfig(**config))


def trainable(model):
    return torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)


@pytest.mark.parametrize(
    "config",
    [{}, {"use_rslora": True}, {"use_dora": True}, {"lora_dropout": 0.1}, {"modules_to_save": ["heads.main.1"]}],
    ids=str,
)
def test_peft_sound_in_every_state(config, tmp_path):
    model, inputs, base = wrapped(**config), ZOO["nested"].inputs(), ZOO["nested"].model()
    optimizer = trainable(model)
    assert diagnose(model, optimizer, base=base) == []
    steps(model, optimizer, inputs, 3)
    assert diagnose(model, optimizer, base=base) == []
    model.save_pretrained(tmp_path)
    assert diagnose(model, optimizer, base=base, adapter=tmp_path) == []
    model.eval()
    with model.disable_adapter():
        assert diagnose(model, base=base) == []
    model.merge_adapter()
    assert diagnose(model, optimizer, base=base) == []
    model.unmerge_adapter()
    assert diagnose(model, optimizer, base=base) == []


def test_peft_several_adapters_conv_and_embedding_are_sound():
    peft = pytest.importorskip("peft")
    model = wrapped()
    model.add_adapter("second", peft.LoraConfig(r=1, lora_alpha=1, target_modules=["up_proj", "down_proj"]))
    assert diagnose(model, trainable(model)) == []
    for name, target in (("conv2d", ["0", "1"]), ("language_model", ["embedding", "head"])):
        config = peft.LoraConfig(r=2, target_modules=target)
        other = peft.get_peft_model(ZOO[name].model(), config)
        optimizer = trainable(other)
        steps(other, optimizer, ZOO[name].inputs(), 3)
        assert diagnose(other, optimizer, base=ZOO[name].model()) == []


def test_peft_attention_and_pissa_are_sound():
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(ZOO["attention"].model(), peft.LoraConfig(r=2, target_modules=["attn"]))
    assert diagnose(model, trainable(model), base=ZOO["attention"].model()) == []
    model.eval().merge_adapter()
    assert diagnose(model, base=ZOO["attention"].model()) == []
    model = wrapped(init_lora_weights="pissa")
    steps(model, trainable(model), ZOO["nested"].inputs(), 3)
    assert diagnose(model, trainable(model), base=ZOO["nested"].model()) == []


def test_peft_mistakes():
    model = wrapped()
    model.merge_adapter()
    assert codes(diagnose(model, trainable(model))) == ["merged-while-training"]
    model = wrapped()
    early = torch.optim.Adam(ZOO["nested"].model().parameters())
    assert codes(diagnose(model, early)) == ["optimizer-misses-adapter"]
    for p in model.parameters():
        p.requires_grad_(True)
    assert codes(diagnose(model)) == ["base-trains"]
    assert codes(diagnose(wrapped(target_modules=["blocks.0.up_proj"]))) == ["uneven-targets"]
    model = wrapped()
    steps(model, trainable(model), ZOO["nested"].inputs(), 5)
    saved = {k: v.clone() for k, v in model.state_dict().items()}
    model.merge_adapter()
    merged = model.state_dict()
    assert codes(diagnose(model, base=ZOO["nested"].model())) == []
    fresh = wrapped()
    fresh.load_state_dict({k: merged[k] for k in saved})
    assert codes(diagnose(fresh, base=ZOO["nested"].model())) == ["base-contains-update"]
    assert codes(diagnose(wrapped(), adapter={k: v for k, v in saved.items() if "lora" in k})) == ["adapter-not-loaded"]


def test_peft_tied_weight_and_another_scaling_rule(tmp_path):
    peft = pytest.importorskip("peft")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(seeded(0, tied), peft.LoraConfig(r=2, target_modules=["head"]))
    assert codes(diagnose(model)) == ["tied-weight"]
    model = wrapped(use_rslora=True)
    steps(model, trainable(model), ZOO["nested"].inputs(), 3)
    model.save_pretrained(tmp_path)
    other = wrapped()
    other.load_state_dict(model.state_dict())
    assert codes(diagnose(other, adapter=tmp_path)) == ["scaling-not-the-files"]


# ------------------------------------------------------------------------------------------------------ loralib


def loralib_model() -> tuple[nn.Module, tuple]:
    lora = pytest.importorskip("loralib")
    layers = [lora.Linear(7, 6, r=2, lora_alpha=4), nn.Tanh(), lora.MergedLinear(6, 6, r=2, enable_lora=[True, False])]
    model = nn.Sequential(*layers, lora.Linear(6, 5, r=0))
    lora.mark_only_lora_as_trainable(model)
    return model, (torch.randn(3, 7),)


def test_loralib_sound_and_merged_checkpoint():
    model, inputs = seeded(0, loralib_model)
    base = {k: v.clone() for k, v in model.state_dict().items() if "lora" not in k}
    optimizer = trainable(model)
    assert diagnose(model, optimizer, base=base) == []
    steps(model, optimizer, inputs, 5)
    assert diagnose(model, optimizer, base=base) == []
    model.eval()  # merges
    assert diagnose(model, optimizer, base=base) == []
    saved = model.state_dict()
    fresh, _ = seeded(1, loralib_model)
    fresh.load_state_dict(saved)
    found = diagnose(fresh, base=base)
    assert codes(found) == ["base-contains-update"] and found[0].where == ("0", "2")
    assert "once more" in found[0].sentence


def test_loralib_base_that_trains():
    model, _ = seeded(0, loralib_model)
    model[0].weight.requires_grad_(True)
    assert codes(diagnose(model)) == ["base-trains"]


def test_loralib_embedding_and_convolution_are_sound():
    lora = pytest.importorskip("loralib")
    model = nn.ModuleList([lora.Embedding(9, 4, r=2), lora.Conv2d(3, 4, 3, r=2)])
    lora.mark_only_lora_as_trainable(model)
    assert diagnose(model, trainable(model)) == []


# --------------------------------------------------------------------------------------------- it changes nothing


@every_animal
def test_it_changes_nothing(name):
    animal = ZOO[name]
    model = animal.model()
    add_lora(model, r=2, alpha=4)
    optimizer = adam(model)
    steps(model, optimizer, animal.inputs(), 2)
    unchanged(model, lambda: diagnose(model, optimizer, base=animal.model()))


@pytest.mark.parametrize("program", ["shipped", "dropout"])
def test_it_changes_nothing_in_a_layer_that_it_asks(program):
    names = gallery._execute(gallery.PROGRAMS[program], 3)
    calls = []
    for m in names["model"].modules():
        m.register_forward_hook(lambda *args: calls.append(args))
    for p in names["model"].parameters():
        if p.requires_grad:
            p.register_hook(lambda g: calls.append(g))
    unchanged(names["model"], lambda: diagnose(names["model"], names["optimizer"], base=names["base"]))
    assert calls == []


def unchanged(model, look) -> None:
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    before, rng, enabled = fingerprint(model), torch.get_rng_state(), torch.is_grad_enabled()
    versions = [p._version for p in model.parameters()]
    look()
    assert fingerprint(model) == before and versions == [p._version for p in model.parameters()]
    assert torch.equal(rng, torch.get_rng_state()) and torch.is_grad_enabled() == enabled
    for p, g in zip(model.parameters(), grads):
        assert (p.grad is None) == (g is None) and (g is None or torch.equal(p.grad, g))


# ------------------------------------------------------------------------------------------------ it never raises


class Odd(nn.Module):
    """Looks like LoRA and is not."""

    def __init__(self):
        super().__init__()
        self.lora_A, self.lora_B, self.scaling = nn.Parameter(torch.ones(3)), "text", {"default": None}
        self.merged_adapters, self.merge_weights, self.lora_alpha = None, True, None

    def __getattr__(self, name):
        if name == "weight":
            raise RuntimeError("no")
        return super().__getattr__(name)


class Angry(nn.Module):
    def __init__(self):
        super().__init__()
        self.base = nn.Linear(4, 4)
        self.lora_A, self.lora_B = nn.Parameter(torch.ones(2, 4)), nn.Parameter(torch.zeros(4, 2))

    def forward(self, x, y):
        raise RuntimeError("two inputs")

    def __deepcopy__(self, memo):
        raise RuntimeError("no copies")


@pytest.mark.parametrize(
    "model",
    [nn.Identity(), nn.Sequential(), Odd(), Angry(), nn.ModuleDict({"a": Odd(), "b": Angry()}), nn.LazyLinear(3),
     nn.Linear(4, 4, device="meta"), nn.ParameterDict({"A": nn.Parameter(torch.ones(2, 3)),
                                                       "B": nn.Parameter(torch.ones(3, 2))})],
    ids=lambda m: type(m).__name__,
)  # fmt: skip
def test_no_module_makes_it_raise(model):
    assert isinstance(diagnose(model), list)
    assert isinstance(diagnose(model, torch.optim.SGD(nn.Linear(2, 2).parameters()), base=nn.Linear(2, 2)), list)


def test_meta_factors_are_left_alone():
    model = lab().to("meta")
    assert diagnose(model, adam(model)) == []
    assert codes(diagnose(model, adam(model), base=mlp())) == ["base-not-comparable"]


@pytest.mark.parametrize(
    "arguments, options, words",
    [
        (("text",), {}, "model is a str"),
        ((mlp(), "adam"), {}, "optimizer is a str, which has no param_groups"),
        ((mlp(), [3]), {}, "optimizer is a int"),
        ((mlp(),), {"base": 3}, "base is a int"),
        ((mlp(),), {"adapter": 3}, "adapter is a int"),
        ((mlp(),), {"adapter": "nowhere"}, "'nowhere' is no adapter folder"),
    ],
)
def test_bad_arguments_get_a_sentence(arguments, options, words):
    with pytest.raises(TypeError, match=words):
        diagnose(*arguments, **options)


# ----------------------------------------------------------------------------------------------------- its name


ORDERS = (
    "pass",
    "import lora_lab.gallery",
    "import lora_lab.diagnose",
    "from lora_lab.diagnose import Finding",
    "import lora_lab.gallery, lora_lab.diagnose as d; from lora_lab import gallery",
    "import importlib; importlib.import_module('lora_lab.diagnose')",
    "import lora_lab; lora_lab.diagnose",
    "from lora_lab import *",
)
IN_ORDER = """
import sys, types
for first in {orders}:
    for name in [n for n in sys.modules if n.split(".")[0] == "lora_lab"]:
        del sys.modules[name]
    exec(first, {{}})
    from lora_lab import diagnose
    import lora_lab.gallery
    import lora_lab.diagnose
    from lora_lab import diagnose as again
    import lora_lab
    assert diagnose is again is lora_lab.diagnose and type(diagnose) is types.FunctionType, first
"""


def test_the_name_is_the_function_in_whatever_order_things_are_imported():
    subprocess.run([sys.executable, "-c", IN_ORDER.format(orders=ORDERS)], check=True, timeout=120)


def test_findings_print_as_sentences():
    finding = Finding("a-code", ("x", "y"), "It is so.", "do this.")
    assert str(finding) == "[a-code] x (and 1 more)\n    It is so.\n    Cure: do this."
    long = Finding("a-code", (), "word " * 60, "do this.")
    assert max(map(len, str(long).splitlines())) <= 96
    assert str(diagnose(lab())) == "nothing found"
