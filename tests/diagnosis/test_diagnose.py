"""`diagnose` finds mistakes, says nothing about sound models, changes nothing, and raises nothing.

Whole trainings, faulty and healthy, are in test_cases.py; the gallery's faults in tests/subjects/test_broken.py.
"""

import copy
import warnings
from types import SimpleNamespace

import pytest
import torch
from own_layers import LAYERS, parametrized
from torch import nn
from zoo import ZOO, fingerprint, mlp, seeded, tied

from lora_lab import adapters_disabled, add_lora, diagnose, load_adapter, lora_parameters, merge, save_adapter
from lora_lab.diagnosis.evidence import FEW_STEPS
from lora_lab.diagnosis.findings import Finding
from lora_lab.diagnosis.reading import read
from lora_lab.subjects.broken import gallery


def codes(findings) -> list[str]:
    return [f.code for f in findings]


def lab(**options) -> nn.Module:
    model = mlp()
    add_lora(model, r=2, alpha=4, **options)
    return model


def adam(model: nn.Module, lr: float = 1e-2) -> torch.optim.Optimizer:
    return torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr)


def steps(model: nn.Module, optimizer, inputs: tuple, n: int) -> None:
    for _ in range(n):
        out = model(*inputs)
        optimizer.zero_grad()
        ((out[0] if isinstance(out, tuple) else out).float() - 1).square().mean().backward()
        optimizer.step()


def in_zoo(name: str) -> tuple[nn.Module, tuple]:
    return ZOO[name].model(), ZOO[name].inputs()


# --------------------------------------------------------------------------------------- the gallery, sound models


@pytest.mark.parametrize("program", gallery.PROGRAMS)
def test_the_correct_programs_are_sound_at_the_start_at_the_end_and_shipped(program):
    for n in (0, 40):
        names = gallery.run(gallery.PROGRAMS[program], n)
        model, optimizer, base = names.model, names.optimizer, names.base
        if program != "checkpoint":  # there the model has been merged and unmerged in place, which is not exact
            assert diagnose(model, optimizer, base=base) == []
        assert diagnose(model, optimizer) == []
        if n:
            state = {k: v for k, v in model.state_dict().items() if "lora_" in k}
            assert diagnose(names.shipped, base=base, adapter=state) == []
    if program == "rslora":
        assert diagnose(names.shipped, base=base, adapter=names.folder) == []


@pytest.mark.parametrize("name", list(ZOO))
def test_silent_on_every_sound_state_of_the_zoo(name, tmp_path):
    animal = ZOO[name]
    base, model, inputs = animal.model(), animal.model(), animal.inputs()
    model.eval()
    add_lora(model, r=2, alpha=4)
    assert diagnose(model) == [] and diagnose(model, base=base) == [], "fresh"
    for m in model.modules():
        m.training = not isinstance(m, nn.BatchNorm1d)
    optimizer = adam(model)
    for n in (0, 1, FEW_STEPS):  # after one step A has not moved yet
        steps(model, optimizer, inputs, n)
        assert diagnose(model, optimizer, base=base) == [], n
    model.eval()
    assert diagnose(model, optimizer, base=base) == [] and diagnose(model) == [], "evaluated between epochs"
    with adapters_disabled(model):
        assert diagnose(model, base=base) == [], "disabled to compare with the base"
    merge(model)
    assert diagnose(model, optimizer, base=base) == [] and diagnose(model) == [], "merged for inference"
    other = animal.model()
    load_adapter(other, save_adapter(model, tmp_path))
    resumed = adam(other)
    assert diagnose(other, resumed, base=base, adapter=tmp_path) == [], "loaded, to train on"
    assert diagnose(other, resumed) == []
    assert diagnose(other.requires_grad_(False).eval()) == [], "frozen for inference"


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)
def test_hand_written_layers_of_many_styles_are_read_and_sound(layer):
    model = nn.Sequential(nn.Sequential(seeded(0, layer)), nn.Tanh()).requires_grad_(False)
    adapters = read(model)
    assert len(adapters) == 1 and adapters[0].weight is not None and adapters[0].r == 2
    for p in adapters[0].factors:
        p.requires_grad_(True)
    assert diagnose(model, torch.optim.Adam(adapters[0].factors)) == []


# ------------------------------------------------------------------------------------------------ more mistakes


class Own(nn.Module):
    """A layer by hand; `update` stands for what people write there."""

    def __init__(self, update=lambda x, A, B: 3 * (x @ A.T @ B.T)):
        super().__init__()
        self.base, self.update = nn.Linear(6, 6).requires_grad_(False), update
        self.r, self.alpha, self.scaling = 2, 6, 3.0
        self.lora_A, self.lora_B = nn.Parameter(torch.randn(2, 6)), nn.Parameter(torch.zeros(6, 2))

    def forward(self, x):
        return self.base(x) + self.update(x, self.lora_A, self.lora_B)


def parametrized_twice():
    layer = parametrized(times=2)
    layer.parametrizations.weight.original.requires_grad_(False)
    return nn.Sequential(layer)


def rest_trains():
    model = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 5))
    add_lora(model, r=2, target_modules=["1"])
    model[0].requires_grad_(True)
    return model


MISTAKES = [
    (lambda: nn.Linear(3, 2), "no-adapter", "this Linear carries"),
    (lambda: Own(lambda x, A, B: 0), "not-in-the-forward", "] Own\n    the layer's output does not depend on lora_B"),
    (lambda: Own(lambda x, A, B: 9 * (x @ A.T @ B.T)), "scaling-squared", "(alpha/r)² = 9 instead of 3"),
    (lambda: Own(lambda x, A, B: 3 * (x @ B @ A)), "factors-swapped", "A and B have changed places"),
    (parametrized_twice, "stacked", "adds two updates"),
    (lambda: lab().requires_grad_(True), "base-trains", "] 0 (and 1 more)\n    the weight under"),
    (rest_trains, "rest-trains", "[rest-trains]\n    73 % of the model's numbers"),
]


@pytest.mark.parametrize("build, code, text", MISTAKES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_mistake_in_the_model_is_one_finding(build, code, text):
    found = diagnose(build())
    assert codes(found) == [code] and text in str(found)


def test_what_looks_like_one_of_these_and_is_none():
    model = lab()
    head = nn.Linear(7, 6, bias=False)
    head.weight = model[0].base.weight
    assert diagnose(nn.ModuleList([model, head])) == [], "this package keeps the sum beside a tied weight"
    model = lab()
    model[0].base.weight.requires_grad_(True)
    assert diagnose(model, torch.optim.Adam(lora_parameters(model))) == [], "the base is in no optimizer"
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    add_lora(model, r=2)
    model[1].lora_A = model[0].lora_A
    assert codes(diagnose(model)) == ["shared-factor"]
    model[0].lora_A.requires_grad_(False)
    assert diagnose(model, adam(model)) == [], "a shared and frozen A, B trains: VeRA's way, and LoRA-FA's"
    model, inputs = in_zoo("batch_norm")
    add_lora(model, r=2)
    model.train()(*inputs)
    model[1].requires_grad_(True)
    assert diagnose(model, adam(model)) == [], "a norm whose statistics move is trained along, knowingly"
    with torch.no_grad():  # PiSSA by hand
        model, base = lab(), mlp()
        model[0].lora_B.fill_(0.1)
        model[0].base.weight.copy_(base[0].weight - model[0].delta_weight())
        model[2].base.weight.copy_(base[2].weight)
    assert diagnose(model, adam(model), base=base) == [], "W - BA under BA starts as the base"


class Drops(nn.Module):
    """Leaves its second layer out unless `used`."""

    def __init__(self):
        super().__init__()
        self.always, self.sometimes, self.used = nn.Linear(6, 5), nn.Linear(6, 5), False

    def forward(self, x):
        return self.always(x) + self.sometimes(x) if self.used else self.always(x)


@pytest.mark.parametrize("momentum", [0, 0.9])
@pytest.mark.parametrize("trained_before", [False, True])
def test_a_layer_without_gradient_is_found_whatever_sgd_keeps(momentum, trained_before):
    model, x = seeded(0, Drops), (torch.randn(8, 6),)
    add_lora(model, r=2)
    if trained_before:
        model.used = True
        steps(model, adam(model), x, 3)
        model.zero_grad()
        model.used = False
    optimizer = torch.optim.SGD(lora_parameters(model), lr=0.1, momentum=momentum)
    assert diagnose(model, optimizer) == [], "before the first step"
    steps(model, optimizer, x, 5)
    found = diagnose(model, optimizer)
    if trained_before and not momentum:
        assert found == [], "no state, no zero: it may have been left out of the last step only"
    else:
        assert codes(found) == ["no-gradient"] and found[0].where == ("sometimes",)
    if not momentum:
        optimizer.zero_grad()
        assert diagnose(model, optimizer) == [], "nothing is left that could tell"


def test_adam_needs_some_steps_before_a_layer_counts_as_left_out():
    model, x = seeded(0, Drops), (torch.randn(8, 6),)
    add_lora(model, r=2)
    optimizer = adam(model)
    steps(model, optimizer, x, FEW_STEPS - 1)  # layers are left out on purpose, too: layer drop, rare experts
    assert diagnose(model, optimizer) == []
    steps(model, optimizer, x, 1)
    assert codes(diagnose(model, optimizer)) == ["no-gradient"]
    model.used = True
    steps(model, optimizer, x, 1)
    assert diagnose(model, optimizer) == []


def test_a_base_that_was_trained_along_and_one_that_is_another():
    base = mlp()
    model = copy.deepcopy(base)
    add_lora(model, r=2)
    with torch.no_grad():
        model[0].base.weight.mul_(1.05)
    assert codes(diagnose(model, base=base)) == codes(diagnose(model, base=base.state_dict())) == ["base-changed"]
    assert codes(diagnose(model, base=mlp())) == ["other-base"]
    assert codes(diagnose(model, base=nn.Linear(3, 2))) == ["base-not-comparable"]


# ------------------------------------------------------------------------------------------------ PEFT, loralib


def wrapped(base: str | nn.Module = "nested", targets=("up_proj", "down_proj"), **config) -> nn.Module:
    peft = pytest.importorskip("peft")
    base = ZOO[base].model() if isinstance(base, str) else base
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.get_peft_model(base, peft.LoraConfig(r=2, lora_alpha=4, target_modules=list(targets), **config))


@pytest.mark.parametrize(
    "config",
    [{}, {"use_rslora": True}, {"use_dora": True}, {"lora_dropout": 0.1}, {"modules_to_save": ["heads.main.1"]},
     {"init_lora_weights": "pissa"}, {"base": "conv2d", "targets": ("0", "1")},
     {"base": "language_model", "targets": ("embedding", "head")}, {"base": "attention", "targets": ("attn",)}],
    ids=str,
)  # fmt: skip
def test_peft_sound_in_every_state(config, tmp_path):
    model = wrapped(**config)
    base, inputs = in_zoo(config.get("base", "nested"))
    optimizer = adam(model)
    assert diagnose(model, optimizer, base=base) == []
    if config.get("base") == "attention":  # PEFT merges it in every forward
        return
    steps(model, optimizer, inputs, FEW_STEPS)
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


def test_peft_mistakes(tmp_path):
    base, inputs = in_zoo("nested")
    assert codes(diagnose(wrapped().requires_grad_(True))) == ["base-trains"]
    assert codes(diagnose(wrapped(seeded(0, tied), targets=["head"]))) == ["tied-weight"]
    model = wrapped()
    steps(model, adam(model), inputs, 5)
    adapter = {name: t.clone() for name, t in model.state_dict().items() if "lora" in name}
    assert codes(diagnose(wrapped(), adapter=adapter)) == ["adapter-not-loaded"]
    model.merge_adapter()
    saved_while_merged = wrapped()
    saved_while_merged.load_state_dict(model.state_dict())
    assert codes(diagnose(saved_while_merged, base=base)) == ["base-contains-update"]
    model = wrapped(use_rslora=True)
    steps(model, adam(model), inputs, 3)
    model.save_pretrained(tmp_path)
    other = wrapped()
    other.load_state_dict(model.state_dict())
    assert codes(diagnose(other, adapter=tmp_path)) == ["scaling-not-the-files"]


def test_loralib_sound_and_a_checkpoint_taken_while_merged():
    lora = pytest.importorskip("loralib")
    model = nn.Sequential(lora.Linear(7, 6, r=2, lora_alpha=4), lora.Linear(6, 6, r=2))
    lora.mark_only_lora_as_trainable(model)
    fresh, optimizer = copy.deepcopy(model), adam(model)
    base = {k: v.clone() for k, v in model.state_dict().items() if "lora" not in k}
    steps(model, optimizer, (torch.randn(3, 7),), 5)
    assert diagnose(model, optimizer, base=base) == []
    model.eval()  # merges
    assert diagnose(model, optimizer, base=base) == []
    fresh.load_state_dict(model.state_dict())
    (found,) = diagnose(fresh, base=base)
    assert found.code == "base-contains-update" and found.where == ("0", "1") and "once more" in found.sentence


# --------------------------------------------------------------------- it changes nothing, never raises, has words


@pytest.mark.parametrize("name", ["lstm", "batch_norm", "shipped", "dropout"])
def test_it_changes_nothing(name):
    calls = []
    if name in ZOO:
        base, inputs = in_zoo(name)
        model = ZOO[name].model()
        add_lora(model, r=2, alpha=4)
        optimizer = adam(model)
        steps(model, optimizer, inputs, 2)
    else:  # a program of the gallery, whose layers are asked
        names = gallery.run(gallery.PROGRAMS[name], 3)
        model, optimizer, base = names.model, names.optimizer, names.base
        for m in model.modules():
            m.register_forward_hook(lambda *args: calls.append(args))
        for p in read(model)[0].factors:
            p.register_hook(calls.append)

    def everything() -> list:
        gradients = [p.grad is not None and (id(p.grad), p.grad.tolist()) for p in model.parameters()]
        state = torch.get_rng_state().tolist(), torch.is_grad_enabled()
        return [fingerprint(model), gradients, [p._version for p in model.parameters()], state]

    before = everything()
    diagnose(model, optimizer, base=base)
    assert everything() == before and calls == []


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


class Angry(Own):
    def forward(self, x, y):
        raise RuntimeError("two inputs")

    def __deepcopy__(self, memo):
        raise RuntimeError("no copies")


ODD = [nn.Identity(), nn.Sequential(), Odd(), Angry(), nn.ModuleDict({"a": Odd(), "b": Angry()}), nn.LazyLinear(3),
       nn.Linear(4, 4, device="meta"), nn.ParameterDict({"A": torch.ones(2, 3), "B": torch.ones(3, 2)})]  # fmt: skip


@pytest.mark.parametrize("model", ODD, ids=lambda m: type(m).__name__)
def test_no_module_makes_it_raise(model):
    diagnose(model)
    diagnose(model, torch.optim.SGD(nn.Linear(2, 2).parameters()), base=nn.Linear(2, 2))
    diagnose(model, SimpleNamespace(param_groups=[{"params": list(model.parameters())}]))


def test_meta_factors_are_left_alone():
    model = lab().to("meta")
    assert diagnose(model, adam(model)) == []
    assert codes(diagnose(model, adam(model), base=mlp())) == ["base-not-comparable"]


def test_bad_arguments_get_a_sentence():
    for arguments, options, text in [
        (("text",), {}, "model is a str"),
        ((mlp(), "adam"), {}, "optimizer is a str, which has no param_groups"),
        ((mlp(), [3]), {}, "optimizer is a int"),
        ((mlp(),), {"base": 3}, "base is a int"),
        ((mlp(),), {"adapter": 3}, "adapter=3 is neither"),
        ((mlp(),), {"adapter": "nowhere"}, "'nowhere' is neither"),
    ]:
        with pytest.raises(TypeError, match=text):
            diagnose(*arguments, **options)


def test_findings_print_as_sentences():
    found = Finding("a-code", ("x", "y"), "It is so.", "do this.")
    assert str(found) == "[a-code] x (and 1 more)\n    It is so.\n    Cure: do this."
    long = Finding("a-code", (), "word " * 60, "do this.")
    assert max(map(len, str(long).splitlines())) <= 96
    assert str(diagnose(lab())) == "nothing found"
