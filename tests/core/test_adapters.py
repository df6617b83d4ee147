"""LoRA on whole models: every promise of `lora_lab.adapters`, over the whole zoo."""

from __future__ import annotations

import copy
import math
from unittest import mock

import pytest
import torch
import zoo
from torch import nn
from zoo import ZOO, base_outputs, every_animal, every_mode, fingerprint, mlp, mode, output, replaced

from lora_lab import (
    LoRALinear,
    adapter_state,
    adapters_disabled,
    add_lora,
    count_parameters,
    delta_weights,
    lora_parameters,
    merge,
    remove_lora,
    set_scale,
    unmerge,
)
from lora_lab.adapters import adapted

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:LSTM with projections")

R, ALPHA = 2, 3.0
S = ALPHA / R


def randomise(model: nn.Module, seed: int = 2) -> nn.Module:
    """Nonzero A and B, so that the update is about as large as the weights."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in lora_parameters(model):
            p.copy_(0.4 * torch.randn(p.shape, generator=generator))
    return model


def adapt(base: nn.Module, **options) -> nn.Module:
    """A copy of the base with nonzero adapters."""
    model = copy.deepcopy(base)
    add_lora(model, R, ALPHA, **options)
    return randomise(model)


def deltas_by_hand(base: nn.Module, model: nn.Module, scale: float = S) -> dict[str, torch.Tensor]:
    """{parameter of the base: scale * B A} in float64, from the factors alone."""
    parameters, factors, deltas = dict(base.named_parameters()), adapter_state(model), {}
    for name in [key.removesuffix(".lora_A") for key in factors if key.endswith(".lora_A")]:
        A, B = factors[f"{name}.lora_A"].double(), factors[f"{name}.lora_B"].double()
        deltas[name if name in parameters else f"{name}.weight"] = scale * B @ A
    return deltas


def gap(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference, relative to the largest entry of b."""
    a, b = a.detach().double(), b.detach().double()
    return float((a - b).abs().max() / b.abs().max())


def equals_one_of(x: torch.Tensor, candidates: list[torch.Tensor]) -> bool:
    return any(torch.equal(x, c) for c in candidates)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """The same names in the same order, and the same numbers."""
    return list(a) == list(b) and all(torch.equal(t, b[key]) for key, t in a.items())


# ------------------------------------------------------------------------------------------------------- attaching


@every_animal
def test_every_weight_is_adapted_and_counted(animal):
    base = animal.model()
    sizes = {name: p.shape for name, p in base.named_parameters()}
    total = sum(shape.numel() for shape in sizes.values())
    model = copy.deepcopy(base).eval()

    names = add_lora(model, R, ALPHA)

    assert not any(m.training for m in model.modules()), "each layer keeps its mode"
    assert sorted(deltas_by_hand(base, model)) == sorted(animal.weights)
    assert len(names) == len(set(names)) == len(animal.weights)
    factors = sum(R * (sizes[w][0] + sizes[w][1:].numel()) for w in animal.weights)
    assert count_parameters(model) == (factors, total + factors)
    assert {id(p) for p in lora_parameters(model)} == {id(p) for p in model.parameters() if p.requires_grad}


@every_animal
@every_mode
def test_a_fresh_adapter_changes_nothing(animal, train, grad):
    model, inputs = animal.model(), animal.inputs()
    expected = base_outputs(model, inputs, train, grad)
    add_lora(model, R, ALPHA)
    with mode(model, train, grad):
        assert equals_one_of(output(model, inputs), expected)


def total_loss(model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """A loss that depends on every entry of the output, each in its own way."""
    out = model(*inputs)
    out = (out[0] if isinstance(out, tuple) else out).float()
    return (out - torch.linspace(-1, 1, out.numel()).view(out.shape)).square().mean()


@every_animal
def test_training_moves_the_factors_and_not_the_base(animal):
    model, inputs = animal.model(), animal.inputs()
    parameters = {name: p.detach().clone() for name, p in model.named_parameters()}
    add_lora(model, R, ALPHA)
    start, before = adapter_state(model), total_loss(model, inputs)
    optimizer = torch.optim.Adam(lora_parameters(model), lr=0.05)
    for step in range(5):
        optimizer.zero_grad()
        total_loss(model, inputs).backward()
        if step == 0:
            for site in adapted(model):
                assert not site.adapter.lora_A.grad.any(), "B = 0 makes the gradient of A exactly 0"
                assert site.adapter.lora_B.grad.any()
            assert all(("lora_" in n) == (p.grad is not None) for n, p in model.named_parameters())
        optimizer.step()

    assert total_loss(model, inputs) < before
    assert all(not torch.equal(after, start[name]) for name, after in adapter_state(model).items())
    assert same(dict(remove_lora(model).named_parameters()), parameters)


# ---------------------------------------------------------------------- the adapter acts, on every path through torch


def outputs_beside_reference(model, base, deltas, inputs, train: bool, grad: bool) -> tuple[torch.Tensor, ...]:
    """Of the adapted model, of plain layers whose weights were replaced by W0 + s B A, and of the base."""
    reference = replaced(base, deltas)
    with mode(model, train, grad), mode(reference, train, grad), mode(base, train, grad):
        return tuple(output(m, inputs) for m in (model, reference, base))


@every_animal
@every_mode
def test_under_autocast_the_output_is_the_bases_and_then_that_of_the_changed_weights(animal, train, grad):
    """Skipped where torch's own layer fails under bfloat16 autocast on the CPU, without LoRA: with torch 2.13 a padded
    TransformerEncoder in eval mode, and an LSTM on processors without AVX-512."""
    base, inputs = animal.model(), animal.inputs()
    model = copy.deepcopy(base)
    add_lora(model, R, ALPHA)
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        try:
            expected = base_outputs(base, inputs, train, grad)
        except RuntimeError as e:
            pytest.skip(f"torch's own layer under autocast: {e}")
        with mode(model, train, grad):
            assert equals_one_of(output(model, inputs), expected)
        deltas = deltas_by_hand(base, randomise(model))
        got, wanted, before = outputs_beside_reference(model, base, deltas, inputs, train, grad)
    assert gap(got, wanted) < 0.05 < gap(before, wanted)


@every_animal
@every_mode
def test_the_output_is_that_of_the_changed_weights(animal, train, grad):
    """All updates together, and each alone, all others zero: an adapter that is silently skipped would show here."""
    base, inputs = animal.model(), animal.inputs()
    model = adapt(base)
    deltas = deltas_by_hand(base, model)
    Bs = dict(zip(deltas, [site.adapter.lora_B for site in adapted(model)]))
    kept = {weight: B.detach().clone() for weight, B in Bs.items()}
    for chosen in (animal.weights, *([weight] for weight in animal.weights)):
        with torch.no_grad():
            for other, B in Bs.items():
                B.copy_(kept[other] if other in chosen else torch.zeros_like(B))
        some = {weight: deltas[weight] for weight in chosen}
        got, wanted, before = outputs_beside_reference(model, base, some, inputs, train, grad)
        assert gap(before, wanted) > 2 * animal.tolerance, "the update is too small to be seen"
        assert gap(got, wanted) < animal.tolerance, chosen


KERNELS = {
    "encoder_layer": "_transformer_encoder_layer_fwd",
    "encoder_layer_pre_gelu": "_transformer_encoder_layer_fwd",
    "encoder_padded": "_nested_tensor_from_mask",
    "attention": "_native_multi_head_attention",
}


@pytest.mark.parametrize("name, kernel", KERNELS.items())
def test_the_fast_path_is_really_taken(name, kernel):
    """Without this the two tests above could pass because torch chose the slow path."""
    animal = ZOO[name]
    model = adapt(animal.model())
    with mode(model, train=False, grad=False), mock.patch.object(torch, kernel, wraps=getattr(torch, kernel)) as fast:
        output(model, animal.inputs())
    assert fast.called


@pytest.mark.parametrize("target", ["layers.1.linear1", "layers.0.linear2", "layers.0.self_attn.out_proj"])
@pytest.mark.parametrize("grad", [True, False])
def test_one_adapted_layer_in_a_padded_encoder(target, grad):
    """torch looks at the first layer only when it decides on nested tensors for all."""
    animal = ZOO["encoder_padded"]
    base, inputs = animal.model(), animal.inputs()
    model = adapt(base, target_modules=target)
    reference = replaced(base, deltas_by_hand(base, model))
    with mode(model, False, grad), mode(reference, False, grad):
        assert gap(output(model, inputs), output(reference, inputs)) < 1e-5


# -------------------------------------------------------------------------------------------------------- merging


@every_animal
@every_mode
def test_merge_gives_the_same_output_and_unmerge_the_old_one(animal, train, grad):
    base, inputs = animal.model(), animal.inputs()
    model = adapt(base)
    with mode(model, train, grad):
        before, disabled = output(model, inputs), base_outputs(base, inputs, train, grad)[0]
        state, factors = copy.deepcopy(model.state_dict()), adapter_state(model)
        merge(model)
        assert all(site.adapter.merged for site in adapted(model))
        assert same(model.state_dict(), state) and same(adapter_state(model), factors), "nothing is written into it"
        once = output(model, inputs)
        merge(model)
        assert torch.equal(output(model, inputs), once), "merge twice = merge once"
        assert gap(once, before) < animal.tolerance
        with adapters_disabled(model):
            assert torch.equal(output(model, inputs), disabled)
        unmerge(model)
        assert torch.equal(output(model, inputs), before) and not any(site.adapter.merged for site in adapted(model))


@every_animal
@pytest.mark.parametrize("merged", ["source", "target"])
def test_a_state_dict_comes_back(animal, merged):
    inputs = animal.inputs()
    source, target = adapt(animal.model()).eval(), randomise(adapt(animal.model(seed=7)), seed=8).eval()
    with torch.no_grad():
        wanted = output(source, inputs)
        merge(source if merged == "source" else target)
        target.load_state_dict(source.state_dict())
        assert gap(output(target, inputs), wanted) < animal.tolerance, "a sum of the old numbers must not survive"


@pytest.mark.parametrize("value", [math.nan, 3e38])
@pytest.mark.parametrize("name", ["float16", "bf16_embedding", "lstm", "encoder_layer"])
@pytest.mark.parametrize("act", [merge, lambda m: remove_lora(m, keep_delta=True)], ids=["merge", "remove_lora"])
def test_a_sum_that_is_not_finite_is_refused_for_the_whole_model(name, act, value):
    model = adapt(ZOO[name].model())
    site = adapted(model)[-1]  # merging the layers before it must be taken back
    with torch.no_grad():
        site.adapter.lora_B[0] = value
    before = fingerprint(model)
    with pytest.raises(ValueError, match=rf"^{site.name}: .*NaN or infinity.*overflows .*unchanged"):
        act(model)
    assert fingerprint(model) == before
    assert not any(site.adapter.merged for site in adapted(model))


def test_a_merge_under_inference_mode_can_be_trained_through_later():
    model = adapt(ZOO["language_model"].model())
    with torch.inference_mode():
        merge(model)
    hidden = torch.randn(2, 3, 5, requires_grad=True)
    model.lstm(hidden)[0].sum().backward()
    assert hidden.grad is not None


@pytest.mark.parametrize("name", ["mlp", "embedding", "lstm", "encoder_layer"])
def test_a_merge_under_autocast_keeps_every_digit(name):
    model = adapt(ZOO[name].model())
    merge(model)
    wanted = [site.adapter.kept_sum for site in adapted(model)]
    unmerge(model)
    with torch.autocast("cpu", torch.bfloat16):
        merge(model)
    assert all(torch.equal(site.adapter.kept_sum, w) for site, w in zip(adapted(model), wanted))


# ----------------------------------------------------------------------------------------- switching off, scaling


@every_animal
@every_mode
def test_disabled_is_exactly_the_base_until_the_outer_block_ends_even_by_an_error(animal, train, grad):
    base, inputs = animal.model(), animal.inputs()
    model = adapt(base)
    wanted = base_outputs(base, inputs, train, grad)[0]
    with mode(model, train, grad):
        before = output(model, inputs)
        with pytest.raises(RuntimeError, match="on purpose"), adapters_disabled(model) as given:
            with adapters_disabled(model):
                pass
            assert given is model and torch.equal(output(model, inputs), wanted)
            raise RuntimeError("on purpose")
        assert torch.equal(output(model, inputs), before)


@every_animal
def test_scale_turns_the_update_up_and_down(animal):
    base, inputs = animal.model(), animal.inputs()
    model = adapt(base).eval()
    reference = replaced(base, deltas_by_hand(base, model, scale=-0.5 * S)).eval()
    bases = base_outputs(base, inputs, train=False, grad=False)
    deltas, state = delta_weights(model), adapter_state(model)
    with torch.no_grad():
        for change in (unmerge, merge):
            change(model)
            full = output(model, inputs)
            set_scale(model, -0.5)
            assert same(delta_weights(model), deltas) and same(adapter_state(model), state)
            assert gap(output(model, inputs), output(reference, inputs)) < animal.tolerance
            set_scale(model, 0)
            assert equals_one_of(output(model, inputs), bases)
            set_scale(model, 1)
            assert torch.equal(output(model, inputs), full)


@pytest.mark.parametrize("lam", [math.nan, math.inf, 1e300, "1", None, True, 1e9])
def test_scale_refuses_what_is_no_number_and_what_overflows_a_merged_weight(lam):
    model, inputs = adapt(ZOO["float16"].model()), ZOO["float16"].inputs()
    merge(model)
    before = output(model, inputs)
    with pytest.raises(ValueError, match="overflows" if lam == 1e9 else "lam=.* is not a finite number"):
        set_scale(model, lam)
    assert torch.equal(output(model, inputs), before) and {site.adapter.lam for site in adapted(model)} == {1.0}


# -------------------------------------------------------------------------------------------------------- removing


@every_animal
@every_mode
def test_remove_gives_the_base_back(animal, train, grad):
    base, inputs = animal.model(), animal.inputs()
    model = copy.deepcopy(base)
    with mode(model, train, grad):
        untouched = fingerprint(model)
        add_lora(model, R, ALPHA)
        randomise(model)
        output(copy.deepcopy(model), inputs)
        merge(model)
        adapted_model = fingerprint(model)
        with pytest.raises(ValueError, match=r"already .*remove_lora"):
            add_lora(model, R, ALPHA)
        assert fingerprint(model) == adapted_model
        assert remove_lora(model) is model
        assert fingerprint(model) == untouched
        assert torch.equal(output(model, inputs), base_outputs(base, inputs, train, grad)[1])
    with pytest.raises(ValueError, match="no LoRA adapter"):
        remove_lora(model)
    assert len(add_lora(model, R, ALPHA)) == len(animal.weights)


@every_animal
@pytest.mark.parametrize("merged", [False, True], ids=["", "merged"])
def test_remove_with_keep_delta_leaves_plain_layers_with_the_sum(animal, merged):
    base, inputs = animal.model().eval(), animal.inputs()
    model = adapt(base)
    reference = replaced(base, deltas_by_hand(base, model, scale=0.5 * S))
    set_scale(model, 0.5)
    if merged:
        merge(model)
    model = remove_lora(model, keep_delta=True)
    assert [(n, type(m)) for n, m in model.named_modules()] == [(n, type(m)) for n, m in base.named_modules()]
    assert list(model.state_dict()) == list(base.state_dict())
    assert all(p.requires_grad for p in model.parameters())
    torch.testing.assert_close(dict(model.named_parameters()), dict(reference.named_parameters()))
    with torch.no_grad():
        assert gap(output(model, inputs), output(reference, inputs)) < animal.tolerance


def test_remove_restores_each_flag_and_gives_a_bare_layers_base():
    base, model = nn.Linear(7, 5), ZOO["nested"].model()
    assert remove_lora(LoRALinear(base, R, ALPHA)) is base
    model.blocks[0].requires_grad_(False)
    before = fingerprint(model)
    add_lora(model, R, ALPHA)
    assert sum(p.requires_grad for p in model.parameters()) == len(lora_parameters(model))
    remove_lora(model)
    assert fingerprint(model) == before


@pytest.mark.parametrize(
    "act", [merge, unmerge, remove_lora, lora_parameters, adapter_state, delta_weights, lambda m: set_scale(m, 1)]
)
def test_a_model_without_adapters_gets_a_sentence(act):
    with pytest.raises(ValueError, match=r"Sequential carries no LoRA adapter: call add_lora"):
        act(mlp())


# --------------------------------------------------------------------------------------------------------- copying


@every_animal
@pytest.mark.parametrize("moment", ["fresh", "after_backward", "merged", "moved"])
def test_a_copy_is_a_model_of_its_own(animal, moment):
    """copy.deepcopy at any moment; then LoRA comes off one of the two, and the other still works."""
    base, inputs = animal.model().eval(), animal.inputs()
    model = adapt(base)
    if moment == "after_backward":
        total_loss(model, inputs).backward()
    elif moment == "merged":
        merge(model)
    elif moment == "moved":
        model.to(torch.float64).to(next(base.parameters()).dtype)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        wanted = output(model, inputs)
        assert torch.equal(output(twin, inputs), wanted)
        randomise(twin, seed=5)
        unmerge(twin)
        assert gap(output(twin, inputs), wanted) > 1e-3
        assert torch.equal(output(model, inputs), wanted), "training a copy must not reach the original"

        twin = remove_lora(twin)
        assert torch.equal(output(model, inputs), wanted), "taking LoRA off a copy must not reach the original"
        assert equals_one_of(output(twin, inputs), base_outputs(base, inputs, train=False, grad=False))
        third = copy.deepcopy(model)
        remove_lora(model)
        assert torch.equal(output(third, inputs), wanted), "and the other way round"
    add_lora(twin, R, ALPHA)


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn", "lstm_proj"])
def test_a_recurrent_layer_can_be_copied_after_a_failed_forward(name):
    model = adapt(ZOO[name].model())
    with pytest.raises(RuntimeError):
        model(torch.randn(2, 3, 99))
    copy.deepcopy(model)
    remove_lora(model)
    assert not model._forward_hooks and not model._forward_hooks_always_called


# --------------------------------------------------------------------------------------------------------- reading


@every_animal
def test_what_is_read_is_a_copy_and_delta_weights_are_s_B_A(animal):
    base = animal.model()
    model = adapt(base)
    wanted, deltas, state = deltas_by_hand(base, model), delta_weights(model), adapter_state(model)
    kept = copy.deepcopy(state)
    assert list(deltas) == [site.name for site in adapted(model)]
    for got, by_hand, site in zip(deltas.values(), wanted.values(), adapted(model)):
        as_stored = (site.base_weight.shape[0], site.base_weight[0].numel())
        assert got.shape == (as_stored[::-1] if isinstance(site.module, zoo.Conv1D) else as_stored)
        assert gap(got, by_hand) < 1e-6 and not got.requires_grad
    randomise(model, seed=9)
    assert same(state, kept) and not any(t.requires_grad for t in state.values())
    assert not any(torch.equal(t, state[k]) for k, t in adapter_state(model).items())


# ------------------------------------------------------------------------------------------------- target_modules

ENCODER = [
    f"encoder.layers.{i}.{n}"
    for i in (0, 1)
    for n in ("self_attn.in_proj_weight", "self_attn.out_proj", "linear1", "linear2")
]
BLOCKS = [f"blocks.{i}.{n}_proj" for i in (0, 1) for n in ("up", "down")]


@pytest.mark.parametrize(
    "build, target, names",
    [
        (zoo.Nested, "up_proj", ["blocks.0.up_proj", "blocks.1.up_proj"]),
        (zoo.Nested, ["up_proj", "down_proj"], BLOCKS),
        (zoo.Nested, "blocks.1.up_proj", ["blocks.1.up_proj"]),
        (zoo.Nested, ["main.1", "up_proj", "blocks.0.up_proj"], [BLOCKS[0], BLOCKS[2], "heads.main.1"]),
        (zoo.Nested, r"blocks\.\d\.(up|down)_proj", BLOCKS),
        (zoo.Nested, "up_proj.weight", ["blocks.0.up_proj", "blocks.1.up_proj"]),
        (zoo.LanguageModel, "lstm", ["lstm.weight_ih_l0", "lstm.weight_hh_l0"]),
        (zoo.LanguageModel, ["lstm.weight_ih_l0", "head"], ["lstm.weight_ih_l0", "head"]),
        (lambda: nn.LSTM(5, 6), "weight_hh_l0", ["weight_hh_l0"]),
        (lambda: nn.Linear(7, 5), "weight", ["weight"]),
        (zoo.PaddedEncoder, "self_attn", [n for n in ENCODER if "self_attn" in n]),
        (zoo.PaddedEncoder, ["layers.0.linear1", "layers.1.self_attn.in_proj_weight"], [ENCODER[2], ENCODER[4]]),
        (zoo.Siamese, "right", ["left"]),
        (zoo.tied, "lstm", [f"lstm.weight_{k}_l0" for k in ("ih", "hh", "hr")]),
    ],
)
def test_target_modules_means(build, target, names):
    model = build()
    assert add_lora(model, R, ALPHA, target_modules=target) == names
    trained = sorted({n.rsplit(".lora_", 1)[0] for n, p in model.named_parameters() if p.requires_grad})
    assert len(trained) == len(names)


# --------------------------------------------------------------------------------------------------------- refusals


def before_a_linear(first, *args, **options):
    return lambda: nn.Sequential(first(*args, **options), nn.Linear(args[-1], 4))


REFUSED = {
    "rank 0": (mlp, {"r": 0}, r"r=0 does not fit 0, 6 x 7: .*1 <= r <= 6"),
    "rank above the second layer": (mlp, {"r": 6}, r"r=6 does not fit 2, 5 x 6: .*1 <= r <= 5"),
    "rank no integer": (mlp, {"r": 2.0}, r"r=2.0 does not fit 0"),
    "alpha nan": (mlp, {"alpha": math.nan}, r"alpha=nan is not a finite number"),
    "alpha beyond float32": (mlp, {"alpha": 1e39}, r"alpha=1e\+39 is not a finite number of at most 1e\+15"),
    "dropout 1": (mlp, {"dropout": 1.0}, r"dropout=1.0 is not a probability in \[0, 1\)"),
    "dropout on attention": (
        zoo.encoder_layer(batch_first=True),
        {"dropout": 0.1},
        r"dropout=0.1 cannot act on self_attn.in_proj_weight.*MultiheadAttention.*dropout=0.0",
    ),
    "dropout on out_proj": (
        zoo.Attention, {"dropout": 0.1, "target_modules": "out_proj"}, r"cannot act on attn.out_proj"
    ),
    "dropout on an LSTM": (zoo.LanguageModel, {"dropout": 0.1, "target_modules": "lstm"}, r"act on lstm.weight_ih"),
    "dropout on a bare Linear": (lambda: nn.Linear(7, 5), {"dropout": 0.1}, r"wrap it: LoRALinear\(model"),
    "no match": (zoo.Nested, {"target_modules": "q_proj"}, r"'q_proj' matches no layer; .* has: .*down_proj.*up_proj"),
    "a typo": (zoo.Nested, {"target_modules": "up_prj"}, r"matches no layer.*Did you mean 'up_proj'\?"),
    "one of two patterns": (zoo.Nested, {"target_modules": ["up_proj", "gate"]}, r"'gate' matches no layer"),
    "a broken regular expression": (zoo.Nested, {"target_modules": "(up"}, r"'\(up' matches no layer"),
    "a container": (zoo.Nested, {"target_modules": "blocks"}, r"blocks, a ModuleList, which has no weight matrix"),
    "no pattern": (zoo.Nested, {"target_modules": []}, r"target_modules=\[\] names no layer"),
    "no supported layer": (
        lambda: nn.Sequential(nn.ConvTranspose1d(4, 5, 3), nn.LayerNorm(5)),
        {},
        r"Sequential has no layer that LoRA can adapt .*: ConvTranspose1d, LayerNorm",
    ),
    "no layer at all": (nn.ReLU, {}, r"ReLU has no layer that LoRA can adapt.*: none"),
    "tied": (zoo.tied, {}, r"embedding is tied: its weight is also head.weight"),
    "overlapping memory": (zoo.overlapping, {}, r"0 is tied: its weight is also 1.weight"),
    "meta": (before_a_linear(nn.Linear, 7, 6, device="meta"), {}, r"0 cannot .* its weight is on the meta device"),
    "complex": (lambda: nn.Linear(7, 5, dtype=torch.complex64), {}, r"dtype torch.complex64.*floating-point"),
    "empty": (lambda: nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 0)), {"target_modules": "1"}, r"1 .*empty \(0 x 5\)"),
    "own forward": (ZOO["own_forward"].build, {"target_modules": "0"}, r"0 cannot be adapted: DoubledLinear overrides"),
    "weight norm": (ZOO["weight_norm"].build, {"target_modules": "0"}, r"0 cannot be adapted: its weight is computed"),
    "max_norm": (before_a_linear(nn.Embedding, 9, 5, max_norm=1.0), {"target_modules": "0"}, r"0 cannot .* max_norm"),
    "sparse": (before_a_linear(nn.Embedding, 9, 5, sparse=True), {"target_modules": "0"}, r"0 cannot .* sparse=True"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("build, arguments, sentence", REFUSED.values(), ids=REFUSED.keys())
def test_bad_input_is_refused_in_words_and_changes_nothing(build, arguments, sentence):
    model = build()
    next(model.parameters(), nn.Parameter(torch.zeros(1))).requires_grad_(False)
    before = None if any(p.is_meta or p.is_complex() for p in model.parameters()) else fingerprint(model)
    flags = [p.requires_grad for p in model.parameters()]
    with pytest.raises(ValueError, match=sentence):
        add_lora(model, **{"r": R, "alpha": ALPHA, **arguments})
    assert [p.requires_grad for p in model.parameters()] == flags
    assert before is None or fingerprint(model) == before
    assert not adapted(model) and not hasattr(model, "_lora_before")


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
def test_layers_that_cannot_be_adapted_are_left_out_unless_named():
    model = nn.Sequential(nn.Linear(7, 6), nn.utils.weight_norm(nn.Linear(6, 5)), nn.Embedding(9, 5, max_norm=1.0))
    assert add_lora(model, R, ALPHA) == ["0"]


def test_a_lazy_layer_is_refused_by_name():
    model = nn.Sequential(nn.Linear(7, 6), nn.LazyLinear(5))
    with pytest.raises(ValueError, match=r"1 cannot be adapted: it is a lazy layer.*run one batch"):
        add_lora(model, R, ALPHA)
    assert all(p.requires_grad for p in model.parameters())
    model(torch.randn(3, 7))
    assert add_lora(model, R, ALPHA) == ["0", "1"]


@pytest.mark.parametrize("model", [None, {}, nn.Linear], ids=repr)
def test_a_model_that_is_none_is_refused(model):
    with pytest.raises(TypeError, match="not a torch.nn.Module"):
        add_lora(model)


# -------------------------------------------------------------------------------------------------- LoRA's dropout


def test_dropout_acts_on_the_update_in_train_mode_only():
    base, (x,) = ZOO["nested"].model(), ZOO["nested"].inputs()
    model = adapt(base, dropout=0.5)
    reference = replaced(base, deltas_by_hand(base, model))
    torch.manual_seed(0)
    assert not torch.equal(output(model.train(), (x,)), output(model, (x,)))
    assert gap(output(model.eval(), (x,)), output(reference, (x,))) < 1e-5
    model.train()
    merge(model)
    assert gap(output(model, (x,)), output(reference, (x,))) < 1e-5, "a merged weight has no dropout"
    with adapters_disabled(model):
        assert torch.equal(output(model, (x,)), output(base.requires_grad_(False), (x,)))
