"""Several adapters on one base: adding, cutting, switching, and one batch with a different adapter for each row."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from test_adapters import adapt, deltas_by_hand, gap, randomise, same
from torch import nn
from zoo import ZOO, every_animal, mlp, output, replaced

from lora_lab import (
    AdapterSet,
    adapter_state,
    add_lora,
    combine,
    combine_deltas,
    delta_weights,
    load_adapter,
    load_adapter_state,
    lora_parameters,
    merge,
    save_adapter,
    set_scale,
    truncate,
    truncate_state,
)
from lora_lab.adapters import adapted

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:LSTM with projections")
SIZES = [(1, 9), (6, 4), (8, 8)]
NAMES = ("half", "train", "weight", "parameters", "a name.with.dots")  # all but the last are attributes of a Module


def filled(name: str = "mlp") -> tuple[nn.Module, AdapterSet]:
    model = adapt(ZOO[name].model().eval())
    adapters = AdapterSet(model)
    for seed, n in enumerate(NAMES):
        randomise(model, seed)
        adapters.add(n)
    return model, adapters


# --------------------------------------------------------------------------------------------------- load_adapter_state


@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (lambda s: s.pop("2.lora_B"), "missing: 2.lora_B"),
        (lambda s: s.update({"4.lora_A": torch.zeros(1)}), "not wanted: 4.lora_A"),
        (lambda s: s.update({"0.lora_A": torch.zeros(2, 8)}), "0.lora_A must be a floating-point .* 2 x 7, got 2 x 8"),
        (lambda s: s.update({"0.lora_A": [1.0]}), "got list"),
        (lambda s: s["2.lora_B"].fill_(math.nan), "2.lora_B holds NaN"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(spoil, sentence):
    model, adapters = filled()
    before, state = adapter_state(model), adapters["half"]
    spoil(state)
    with pytest.raises(ValueError, match=sentence):
        load_adapter_state(model, state)
    if "got 2 x 8" not in sentence:  # to a set the width is what does not fit
        with pytest.raises(ValueError, match=sentence):
            adapters.add("new", state)
    assert same(adapter_state(model), before) and adapters.names == list(NAMES)


# -------------------------------------------------------------------------------------------------- combine, truncate


@pytest.mark.parametrize("parts", [[(2, 1.5)], [(1, 0.5), (4, -2.0), (2, 0.0)]])
@pytest.mark.parametrize("rows, cols", SIZES)
def test_combined_factors_are_the_sum_of_the_updates(parts, rows, cols):
    states = [{"w.lora_A": torch.randn(r, cols), "w.lora_B": torch.randn(rows, r)} for r, _ in parts]
    weights = [w for _, w in parts]
    both = combine(states, weights)
    wanted = sum(w * s["w.lora_B"].double() @ s["w.lora_A"].double() for w, s in zip(weights, states))
    assert both["w.lora_A"].shape == (sum(r for r, _ in parts), cols)
    torch.testing.assert_close(both["w.lora_B"].double() @ both["w.lora_A"].double(), wanted, rtol=0, atol=1e-4)
    deltas = combine_deltas([{"w": s["w.lora_B"] @ s["w.lora_A"]} for s in states], weights)
    torch.testing.assert_close(deltas["w"].double(), wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda s: combine([]), "nothing to combine"),
        (lambda s: combine([s, s], [1.0]), "one finite number for each of the 2"),
        (lambda s: combine([s, {k: t for k, t in s.items() if k[0] == "0"}]), "different layers .2.lora_A"),
        (lambda s: combine([{"0.lora_A": s["0.lora_A"]}]), "not an adapter's state"),
        (lambda s: combine([s, {k: t[:, :1] for k, t in s.items()}]), "different shapes"),
        (lambda s: truncate_state({}, 1), "not an adapter's state"),
        (lambda s: truncate(torch.ones(3, 4), 0), "r=0 does not fit the matrix, 3 x 4: .*1 <= r <= 3"),
        (lambda s: truncate(torch.ones(3), 1), "needs a finite .rows, cols. matrix"),
        (lambda s: truncate(torch.full((3, 4), math.inf), 1), "needs a finite"),
    ],
)
def test_misuse_gets_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(adapter_state(adapt(mlp())))


@pytest.mark.parametrize("rows, cols", SIZES)
@pytest.mark.parametrize("rank, r", [(1, 2), (5, 1), (5, 3), (12, 4)])
def test_a_matrix_and_a_state_are_cut_to_the_best_copy_and_know_its_error(rows, cols, rank, r):
    r = min(r, rows, cols)
    A, B = torch.randn(rank, cols, dtype=torch.float64), torch.randn(rows, rank, dtype=torch.float64)
    cut, (state, errors) = truncate(B @ A, r), truncate_state({"w.lora_A": A, "w.lora_B": B}, r)
    tail = torch.linalg.svdvals(B @ A)[r:].norm()  # Eckart and Young
    assert cut.A.shape == (r, cols) and cut.B.shape == (rows, r)
    assert cut.error == pytest.approx(float(tail), abs=1e-9)
    assert float((B @ A - cut.B @ cut.A).norm()) == pytest.approx(cut.error, abs=1e-9)
    assert cut.relative == pytest.approx(float(tail / (B @ A).norm()), abs=1e-9)
    assert state["w.lora_A"].shape == (min(r, rank), cols) and errors["w"] == pytest.approx(cut.relative, abs=1e-8)
    torch.testing.assert_close(state["w.lora_B"] @ state["w.lora_A"], cut.B @ cut.A, rtol=0, atol=1e-8)


# ---------------------------------------------------------------------------------------------------------- switching


@every_animal
def test_switching_puts_each_adapter_in_and_the_base_back(animal):
    model, inputs = animal.model().eval(), animal.inputs()
    with torch.no_grad():
        add_lora(model, 2, 3.0)
        base = output(model, inputs)
        adapters, wanted = AdapterSet(model), {}
        for seed, name in enumerate(NAMES):
            randomise(model, seed)
            adapters.add(name)
            wanted[name] = output(model, inputs)
        merge(model)
        for site in adapted(model):
            site.adapter.enabled = False
        for name in reversed(NAMES):
            adapters.use(name)
            assert torch.equal(output(model, inputs), wanted[name])
        adapters.use({})
        assert torch.equal(output(model, inputs), base)


@every_animal
def test_a_weighted_sum_is_the_sum_of_the_deltas(animal):
    base, inputs = animal.model().eval(), animal.inputs()
    model = adapt(base)
    adapters = AdapterSet(model)
    weights, deltas = {"half": 0.7, "train": -0.4, "weight": 1.1}, []
    for seed, name in enumerate(weights):
        randomise(model, seed)
        adapters.add(name)
        deltas.append(delta_weights(model))
    total = combine_deltas(deltas, list(weights.values()))
    adapters.use(weights)
    for name, delta in delta_weights(model).items():
        assert gap(delta, total[name]) < 1e-5
    reference = replaced(base, deltas_by_hand(base, model, 1.5))
    with torch.no_grad():
        assert gap(output(model, inputs), output(reference, inputs)) < animal.tolerance
    limits = [min(s.base_weight.shape[0], s.base_weight[0].numel()) for s in adapted(model)]
    assert [s.adapter.r for s in adapted(model)] == [min(6, limit) for limit in limits]


@pytest.mark.parametrize("in_use", ["one", "two", {}, {"one": 0.5, "two": 2.0}], ids=str)
def test_adapters_of_other_ranks_and_scalings_and_copies_of_them_stay_what_they_are(in_use, tmp_path):
    """Whatever is in use, while the model's alpha/r stays."""
    model, deltas = mlp().eval(), {}
    base = copy.deepcopy(model)
    for name, r, alpha, rslora in (("one", 1, 8.0, False), ("two", 4, 2.0, True)):
        other = copy.deepcopy(model)
        add_lora(other, r, alpha, rslora=rslora)
        save_adapter(randomise(other, seed=r), tmp_path / name)
        deltas[name] = delta_weights(other)
    add_lora(model, 2, 3.0)
    adapters, x = AdapterSet(model), torch.randn(3, 7)
    for name in deltas:
        adapters.load(name, tmp_path / name)
    assert torch.equal(model(x), base(x)), "loading changes nothing"

    adapters.use(in_use)
    adapters.add("copy", adapters["one"])
    adapters.add("sum", combine([adapters["one"], adapters["two"]], [2.0, -1.0]))
    adapters.use("sum")
    adapters.add("again", adapter_state(model))
    total = combine_deltas(list(deltas.values()), [2.0, -1.0])
    wanted = {**deltas, "copy": deltas["one"], "sum": total, "again": total}
    served = adapters.serve(x, ["one", "two", None])
    for i, (name, its) in enumerate(wanted.items()):
        adapters.use(name)
        assert all(gap(d, its[n]) < 1e-5 for n, d in delta_weights(model).items()), name
        assert i > 1 or gap(served[i], model(x)[i]) < 1e-5
    adapters.use({"one": 2.0, "two": -1.0})
    assert all(gap(d, total[n]) < 1e-5 for n, d in delta_weights(model).items())
    assert [s.adapter.scaling for s in adapted(model)] == [1.5, 1.5]
    fresh = copy.deepcopy(base)
    load_adapter(fresh, save_adapter(model, tmp_path / "sum"))
    assert gap(fresh(x), model(x)) < 1e-5


def test_adapters_of_different_layers_in_one_set(tmp_path):
    base, x = mlp().eval(), torch.randn(4, 7)
    singles = {target: adapt(base, target_modules=target) for target in ("0", "2")}
    model = copy.deepcopy(base)
    add_lora(model, 2, 3.0)
    adapters = AdapterSet(model)
    both = copy.deepcopy(base)
    for target, single in singles.items():
        adapters.load(target, save_adapter(single, tmp_path / target))
        adapters.use(target)
        assert torch.equal(model(x), single(x)) and {key[0] for key in adapters[target]} == {target}
        both[int(target)].weight.data += delta_weights(single)[target]
    adapters.use({"0": 1.0, "2": 1.0})
    assert gap(model(x), both(x)) < 1e-5
    served = adapters.serve(x, ["0", "2", None, "0"])
    wanted = torch.stack([singles["0"](x)[0], singles["2"](x)[1], base(x)[2], singles["0"](x)[3]])
    assert gap(served, wanted) < 1e-5
    with pytest.raises(ValueError, match="not wanted: 9.lora_A"):
        adapters.add("new", {"9.lora_A": torch.ones(1, 7), "9.lora_B": torch.ones(6, 1)})
    add_lora(base, 2, alpha=0.0)
    with pytest.raises(ValueError, match="0 has alpha = 0, so no update can be put into it"):
        AdapterSet(base).load("0", tmp_path / "0")


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


def test_a_kept_adapter_does_not_change_with_the_model():
    model, adapters = filled()
    kept = copy.deepcopy(adapters["half"])
    adapters.use("half")
    randomise(model, seed=33)
    adapters["half"]["0.lora_A"].zero_()
    assert same(adapters["half"], kept)


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda a: a.add("half"), "there is an adapter 'half' already"),
        (lambda a: a.add(""), "a text that is not empty"),
        (lambda a: a.use("hlaf"), "no adapter 'hlaf'; there are: 'half', 'train'"),
        (lambda a: a.use({"half": 1.0, "no": 1.0}), "no adapter 'no'"),
        (lambda a: a.use({"half": math.inf}), "must be a finite number"),
        (lambda a: AdapterSet(mlp()), "carries no LoRA adapter"),
        (lambda a: a.add("new", {}), "holds no factors"),
        (lambda a: a.serve(torch.ones(2, 7), ["half"]), "1 names for 2 rows"),
        (lambda a: a.serve(torch.ones(1, 7), ["no"]), "no adapter 'no'"),
        (lambda a: a.serve(a.model.train() and torch.ones(1, 7), ["half"]), "model.eval"),
    ],
)
def test_misuse_of_a_set_changes_nothing(call, sentence):
    model, adapters = filled()
    before = adapter_state(model)
    with pytest.raises(ValueError, match=sentence):
        call(adapters)
    assert same(adapter_state(model), before) and adapters.names == list(NAMES)


# -------------------------------------------------------------------------------- one batch, many adapters

SERVED = ("mlp", "two_layer", "nested", "bf16", "float16", "float64", "own_forward", "weight_norm", "batch_norm")


@pytest.mark.parametrize("name", SERVED)
def test_rows_with_different_adapters_equal_one_row_at_a_time(name):
    model, adapters = filled(name)
    (x,) = ZOO[name].inputs()
    rows = (["half", None, "weight", "half"] * 3)[: len(x)]
    with torch.no_grad():
        one_by_one = []
        for i, row in enumerate(rows):
            adapters.use(row or {})
            one_by_one.append(model(x[i : i + 1]))
        before = output(model, (x,))
        together = adapters.serve(x, rows)
        assert gap(together, torch.cat(one_by_one)) < ZOO[name].tolerance
        assert torch.equal(output(model, (x,)), before), "serving leaves the model as it is"
    for change in (merge, lambda model: set_scale(model, 0.5)):
        change(model)
        with pytest.raises(ValueError, match="is merged, disabled or scaled"):
            adapters.serve(x, rows)


@pytest.mark.parametrize("name", ["lstm", "attention", "conv2d", "embedding", "fan_in_fan_out", "linear"])
def test_a_model_that_cannot_be_served_by_row_gets_a_sentence(name):
    model, adapters = filled(name)
    (x,) = ZOO[name].inputs()
    before = output(model, (x,))
    site = adapted(model)[0]
    sentence = f"the {site.tensor} of this .*, {site.name}, is read as one weight for all rows. Use each adapter"
    with pytest.raises(ValueError, match=sentence):
        adapters.serve(x, ["half"] * len(x))
    assert torch.equal(output(model, (x,)), before)


def test_rows_that_are_not_batch_first_are_refused():
    adapters = AdapterSet(adapt(nn.Sequential(nn.Flatten(0, 1), nn.Linear(7, 6))).eval())
    adapters.add("one")
    with pytest.raises(ValueError, match="1 gets an input of 6 rows, not 2: it is not batch first"):
        adapters.serve(torch.randn(2, 3, 7), ["one", None])
