"""LoRA's successors: each starts as its base, equals PEFT's where PEFT has it, and trains as the record says."""

from __future__ import annotations

import ast
import copy
from pathlib import Path

import numpy as np
import pages
import pytest
import torch
from torch import nn

from lora_lab import LoRALinear, count_parameters, figures, train
from lora_lab.subjects.linear_task import tasks
from lora_lab.subjects.successors import make_record, panels, record, variants
from lora_lab.subjects.successors.variants import (
    DoRALinear,
    ExactDoRALinear,
    PiSSALinear,
    QLoRALinear,
    RsLoRALinear,
    VeRALinear,
)

LAYERS = [LoRALinear, RsLoRALinear, PiSSALinear, DoRALinear, ExactDoRALinear]
X = tasks.normal(5, 12, seed=3)


def linear(seed: int = 0) -> nn.Linear:
    layer = nn.Linear(12, 20)
    with torch.no_grad():
        layer.weight.copy_(tasks.normal(20, 12, seed=seed, std=0.3))
        layer.bias.copy_(tasks.normal(20, seed=seed + 1))
    return layer


def randomise(layer: nn.Module) -> None:
    with torch.no_grad():
        for seed, p in enumerate(p for p in layer.parameters() if p.requires_grad):
            p.add_(tasks.normal(*p.shape, seed=50 + seed, std=0.2))


@pytest.mark.parametrize("make", LAYERS)
def test_it_starts_as_the_base(make):
    base = linear()
    layer = make(copy.deepcopy(base), r=3, alpha=6.0)
    assert torch.allclose(layer(X), base(X), atol=1e-5)
    trained = {name for name, p in layer.named_parameters() if p.requires_grad}
    assert trained == {"lora_A", "lora_B"} | ({"m"} if issubclass(make, DoRALinear) else set())
    randomise(layer)
    assert (layer(X) - base(X)).abs().max() > 0.1


def test_qlora_starts_as_the_rounded_base():
    base = nn.Linear(16, 20)
    layer = QLoRALinear(copy.deepcopy(base), r=2)
    rounded = variants.from_nf4(*variants.to_nf4(base.weight), base.weight.shape)
    assert torch.allclose(layer(torch.eye(16)), rounded.T + base.bias, atol=1e-6)
    assert not torch.equal(rounded, base.weight)


# ------------------------------------------------------------------------------------------------------ against PEFT


@pytest.fixture(scope="module")
def peft():
    return pytest.importorskip("peft", reason="PEFT is optional: pip install peft==0.21.2")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = linear()

    def forward(self, x):
        return self.inner(x)


def gradients(model: nn.Module, names: dict[str, str]) -> dict[str, torch.Tensor]:
    model(X).square().sum().backward()
    return {ours: dict(model.named_parameters())[theirs].grad for ours, theirs in names.items()}


@pytest.mark.parametrize(
    "make, options",
    [(RsLoRALinear, {"use_rslora": True}), (DoRALinear, {"use_dora": True})],
    ids=["rslora", "dora"],
)
def test_outputs_and_gradients_are_pefts(peft, make, options):
    ours = make(linear(), r=3, alpha=6.0)
    randomise(ours)
    theirs = peft.get_peft_model(Net(), peft.LoraConfig(r=3, lora_alpha=6, target_modules=["inner"], **options))
    names = {"lora_A": "lora_A.default.weight", "lora_B": "lora_B.default.weight"}
    if make is DoRALinear:
        names["m"] = "lora_magnitude_vector.default.weight"
    names = {mine: f"base_model.model.inner.{its}" for mine, its in names.items()}
    with torch.no_grad():
        for mine, its in names.items():
            dict(theirs.named_parameters())[its].copy_(getattr(ours, mine))
    assert torch.allclose(ours(X), theirs(X), atol=1e-5)
    mine, its = gradients(ours, {n: n for n in names}), gradients(theirs, names)
    for name in names:
        assert torch.allclose(mine[name], its[name], rtol=1e-3, atol=1e-4), name


def test_doras_short_cut_changes_the_gradient_and_not_the_output():
    layers = [make(linear(), r=3, alpha=6.0) for make in (DoRALinear, ExactDoRALinear)]
    for layer in layers:
        randomise(layer)
    layers[1].load_state_dict(layers[0].state_dict())
    assert torch.equal(layers[0](X), layers[1](X))
    short, exact = (gradients(layer, {n: n for n in ("lora_B", "m")}) for layer in layers)
    assert torch.equal(short["m"], exact["m"]) and not torch.allclose(short["lora_B"], exact["lora_B"], rtol=0.01)


def test_pissa_freezes_what_peft_freezes(peft):
    ours = PiSSALinear(linear(), r=3, alpha=6.0)
    config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=["inner"], init_lora_weights="pissa")
    layer = peft.get_peft_model(Net(), config).base_model.model.inner
    assert torch.allclose(ours.base.weight, layer.base_layer.weight, atol=1e-5)
    theirs = layer.scaling["default"] * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    assert torch.allclose(ours.delta_weight(), theirs, atol=1e-5)
    norms = [t.detach().norm() for t in (ours.lora_A, layer.lora_A["default"].weight)]
    assert norms[0] == pytest.approx(float(norms[1]), rel=1e-4), "the size is split between A and B in the same way"


def test_vera_is_pefts_vera(peft):
    config = peft.VeraConfig(r=9, target_modules=["inner"], projection_prng_key=1, d_initial=0.1)
    theirs = peft.get_peft_model(Net(), config)
    layer = theirs.base_model.model.inner
    A, B = variants.shared_factors(nn.Sequential(nn.Linear(12, 20), nn.Linear(20, 7)), r=9)
    assert A.shape == (9, 20) and B.shape == (20, 9)
    ours = VeRALinear(linear().requires_grad_(False), layer.vera_A["default"], layer.vera_B["default"])
    assert torch.equal(ours.d, layer.vera_lambda_d["default"]) and torch.equal(ours.b, layer.vera_lambda_b["default"])
    randomise(ours)
    with torch.no_grad():
        layer.vera_lambda_d["default"].copy_(ours.d)
        layer.vera_lambda_b["default"].copy_(ours.b)
    assert torch.allclose(ours(X), theirs(X), atol=1e-5)
    assert theirs.get_nb_trainable_parameters()[0] == 9 + 20


# ------------------------------------------------------------------------------------------------------------ NF4

PUBLISHED = """-1.0 -0.6961928009986877 -0.5250730514526367 -0.39491748809814453 -0.28444138169288635
    -0.18477343022823334 -0.09105003625154495 0.0 0.07958029955625534 0.16093020141124725 0.24611230194568634
    0.33791524171829224 0.44070982933044434 0.5626170039176941 0.7229568362236023 1.0"""  # arXiv 2305.14314, appendix E


def test_levels_are_the_published_ones():
    assert torch.allclose(variants.nf4_levels(), torch.tensor([float(v) for v in PUBLISHED.split()]), atol=1e-4)


def test_rounding_goes_to_the_nearest_level_and_keeps_zero_and_the_largest():
    W = tasks.normal(20, 16, seed=1)
    W[0, :3] = 0
    codes, scale = variants.to_nf4(W)
    back = variants.from_nf4(codes, scale, W.shape)
    assert codes.shape == (5, 64) and scale.shape == (5, 1) and codes.max() <= 15
    assert torch.equal(back[0, :3], torch.zeros(3))
    blocks = W.view(-1, 64)
    top = blocks.abs().argmax(1)
    assert torch.allclose(back.view(-1, 64)[range(5), top].abs(), blocks.abs().amax(1))
    distance = (blocks[..., None] / scale[..., None] - variants.nf4_levels()).abs()
    assert torch.allclose((back.view(-1, 64) - blocks).abs(), distance.amin(-1) * scale, atol=1e-6)
    assert torch.equal(variants.from_nf4(*variants.to_nf4(back), W.shape), back), "rounding twice is rounding once"


@pytest.mark.parametrize("layer, ratio, sentence", [
    (LoRALinear(linear(), r=2), 0, "lr_ratio=.* is not a positive number"),
    (LoRALinear(linear(), r=2), float("nan"), "lr_ratio=.* is not a positive number"),
    (linear(), 16, "for a model that trains a lora_B"),
])  # fmt: skip
def test_a_bad_ratio_is_refused_in_words(layer, ratio, sentence):
    with pytest.raises(ValueError, match=sentence):
        train(layer, X, tasks.normal(5, 20, seed=1), steps=1, lr_ratio=ratio, progress=None)


# ---------------------------------------------------------------------------------------------------- the record

RUNS = record.runs()


def test_the_record_holds_every_method_with_a_rate_tuned_inside_the_grid():
    assert RUNS.kinds("method") == list(variants.METHODS) == record.tuning().kinds("method")
    assert not set(record.tuning().kinds("seed")) & set(RUNS.kinds("seed"))
    for method, tries in record.tuning().by("method").items():
        means = {lr: seeds.mean("loss") for lr, seeds in tries.by("lr").items()}
        best = min(means, key=means.get)
        assert list(means) == make_record.RATES and best not in (make_record.RATES[0], make_record.RATES[-1])
        mine = RUNS.where(method=method)
        assert mine.kinds("lr") == [best] and mine.kinds("seed") == list(make_record.SEEDS)
        assert all(len(curve) == len(record.STEPS) for curve in mine.column("curve"))


@pytest.mark.parametrize("method", variants.METHODS)
def test_a_method_trains_the_recorded_numbers(method):
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 192), nn.ReLU(), nn.Linear(192, 10))
    variants.METHODS[method](model, seed=3)
    assert count_parameters(model)[0] == RUNS.where(method=method)[0].trained


def test_the_task_is_the_digits_a_quarter_turned():
    data = variants.turned_digits(3)
    assert torch.equal(data.turned[1], data.upright[1])
    upright, turned = (part[0][7].view(8, 8) for part in (data.upright, data.turned))
    assert torch.equal(upright.rot90(), turned)


# ------------------------------------------------------------------------------------------- the page and its panel


def class_bodies(source: str) -> dict[str, str]:
    """{class: its statements, without docstrings}."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            node.body = [n for n in node.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
            found[node.name] = ast.unparse(node).replace("variants.", "")
    return found


def test_the_layers_on_the_page_are_those_that_were_measured():
    page = "\n".join(cell.source for cell in pages.code_cells(pages.read(pages.find_page("12"))))
    written, measured = class_bodies(page), class_bodies(Path(variants.__file__).read_text(encoding="utf-8"))
    for name in ("RsLoRALinear", "PiSSALinear", "DoRALinear", "ExactDoRALinear", "VeRALinear", "QLoRALinear"):
        assert written[name] == measured[name], name


def test_panel_draws_both_bands_the_live_run_and_all_dots():
    pissa, lora = RUNS.where(method="PiSSA"), RUNS.where(method="LoRA")
    live = pissa[0].curve
    panel = panels.variant_panel(RUNS, record.STEPS, {"PiSSA": live})
    left, right = panel._figure.axes
    curves = np.array(pissa.column("curve"))
    assert list(left.lines[0].get_ydata()) == list(np.median(lora.column("curve"), 0))
    assert list(left.lines[1].get_ydata()) == list(np.median(curves, 0)) and list(left.lines[2].get_ydata()) == live
    heights = left.collections[1].get_paths()[0].vertices[:, 1]
    assert heights.min() == curves.min() and heights.max() == curves.max()
    dots = dict(zip(RUNS.kinds("method"), right.lines[::2]))
    assert list(dots["PiSSA"].get_xdata()) == pissa.column("loss")
    assert dots["PiSSA"].get_color() == figures.COLOURS["variant"]
    panel.set(method="DoRA")
    assert np.isnan(left.lines[2].get_ydata()).all(), "no live run of this one"
    assert dots["PiSSA"].get_color() == figures.COLOURS["rest"] and len(left.collections) == 2
