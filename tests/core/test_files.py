"""Adapter folders: the same numbers back, both directions with PEFT, every refusal, and a crash at every moment."""

from __future__ import annotations

import copy
import errno
import json
import os
import pickle
from pathlib import Path
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_adapters import ALPHA, R, adapt, randomise, same
from torch import nn
from zoo import ZOO, LanguageModel, Nested, every_animal, fingerprint, mlp, output

from lora_lab import (
    LoRALinear,
    adapter_state,
    adapters_disabled,
    add_lora,
    base_fingerprint,
    files,
    load_adapter,
    merge,
    remove_lora,
    save_adapter,
    set_scale,
)
from lora_lab.adapters import adapted
from lora_lab.files import CONFIG, WEIGHTS

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:LSTM with projections")


def same_state(a: nn.Module, b: nn.Module) -> bool:
    return same(adapter_state(a), adapter_state(b))


def edit_config(folder: Path, **changes) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | changes))


def weigh(folder: Path, change=lambda tensors: None) -> None:
    """Rewritten without our note, as PEFT would write it."""
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


# ------------------------------------------------------------------------------------------ there and back


@every_animal
@pytest.mark.parametrize("filled", [False, True], ids=["plain base", "over other adapters"])
def test_a_saved_adapter_comes_back_bit_for_bit(animal, filled, tmp_path):
    model, inputs = adapt(animal.model()), animal.inputs()
    assert save_adapter(model, tmp_path / "a") == tmp_path / "a"
    fresh = animal.model()
    if filled:
        fresh = randomise(adapt(fresh), seed=77)
        merge(fresh)
    random = torch.random.get_rng_state()
    assert load_adapter(fresh, tmp_path / "a") == [s.name for s in adapted(model)]
    assert torch.equal(torch.random.get_rng_state(), random)
    assert same_state(fresh, model)
    for m in (model, fresh):
        m.eval()
    with torch.no_grad():
        assert torch.equal(output(fresh, inputs), output(model, inputs))
    assert all(p.requires_grad == n.endswith(("lora_A", "lora_B")) for n, p in fresh.named_parameters())
    fresh = remove_lora(fresh)
    assert same(dict(fresh.named_parameters()), dict(animal.model().named_parameters()))
    assert all(p.requires_grad for p in fresh.parameters())


@pytest.mark.parametrize("name", ["mlp", "embedding", "lstm", "encoder_layer", "conv2d_groups"])
def test_the_file_is_the_same_merged_scaled_or_disabled(name, tmp_path):
    model = adapt(ZOO[name].model())
    wanted = (save_adapter(model, tmp_path / "a") / WEIGHTS).read_bytes()
    set_scale(model, 0.3)
    merge(model)
    with adapters_disabled(model):
        save_adapter(model, tmp_path / "b")
    assert (tmp_path / "b" / WEIGHTS).read_bytes() == wanted
    assert (tmp_path / "a" / CONFIG).read_bytes() == (tmp_path / "b" / CONFIG).read_bytes()


def test_an_ending_that_would_mean_other_layers_becomes_a_pattern(tmp_path):
    """PEFT reads "0" as "every layer whose name ends in .0"."""
    base = nn.Sequential(nn.Linear(7, 6), nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 5)))
    model = adapt(base)
    remove_lora(model[1])
    config = json.loads((save_adapter(model, tmp_path) / CONFIG).read_text())
    assert config["target_modules"] == "0"
    assert load_adapter(base, tmp_path) == ["0"]


@pytest.mark.parametrize("part", ["attn.in_proj_weight", "out_proj"])
def test_half_an_attention_is_saved_beside_zeros_and_loaded_as_half(part, tmp_path):
    base, inputs = ZOO["attention"].model(), ZOO["attention"].inputs()
    model = adapt(base, target_modules=part)
    assert len(load_file(save_adapter(model, tmp_path) / WEIGHTS)) == 4
    assert load_adapter(base, tmp_path) == [adapted(model)[0].name]
    assert torch.equal(output(base, inputs), output(model, inputs))


def test_dropout_travels_with_linear_layers(tmp_path):
    model = adapt(Nested(), dropout=0.25)
    fresh = copy.deepcopy(model)
    remove_lora(fresh)
    load_adapter(fresh, save_adapter(model, tmp_path))
    assert {s.adapter.dropout.p for s in adapted(fresh)} == {0.25}


def test_the_folder_is_as_small_as_the_factors(tmp_path):
    model = nn.Sequential(nn.Linear(1001, 1000, bias=False))
    add_lora(model, 1, 1.0)
    folder = save_adapter(model, tmp_path / "deep" / "er" / "a")
    assert sorted(os.listdir(folder)) == [CONFIG, WEIGHTS] and os.listdir(folder.parent) == ["a"]
    assert 2001 * 4 < (folder / WEIGHTS).stat().st_size < 2001 * 4 + 1000


# --------------------------------------------------------------------------------------------------- the fingerprint


@every_animal
def test_the_fingerprint_is_the_bases_whatever_the_adapters_do(animal):
    model = adapt(animal.model())
    merge(model)
    assert base_fingerprint(model) == base_fingerprint(animal.model()) != base_fingerprint(animal.model(seed=1))


def test_the_fingerprint_sees_one_number_a_name_and_a_dtype():
    model = nn.Sequential(nn.Linear(1001, 1000, bias=False))  # large enough to be sampled
    seen = {base_fingerprint(model), base_fingerprint(copy.deepcopy(model).double())}
    seen.add(base_fingerprint(nn.Sequential(model)))
    model[0].requires_grad_(False)
    assert base_fingerprint(model) in seen
    model[0].weight[-3:] += 1e-4
    small = mlp().requires_grad_(False)
    seen |= {base_fingerprint(model), base_fingerprint(small)}
    small[2].weight[4, 5] += 1e-6
    assert len(seen | {base_fingerprint(small)}) == 6


# --------------------------------------------------------------------------------------------------------- refusals


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def pickled(folder: Path, name: str, write=lambda bomb, path: torch.save({"x": bomb}, path)) -> None:
    (folder / WEIGHTS).unlink()
    write(Bomb(), folder / name)


FIRST = "base_model.model.0.lora_A.weight"


def replace_first(folder: Path, tensor: torch.Tensor) -> None:
    weigh(folder, lambda tensors: tensors.update({FIRST: tensor}))


REFUSALS = {
    "no config": (lambda f: (f / CONFIG).unlink(), "holds no adapter_config.json"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "holds no adapter_model.safetensors"),
    "config cut off": (lambda f: (f / CONFIG).write_text('{"r": 2, '), "not readable JSON"),
    "config a list": (lambda f: (f / CONFIG).write_text("[1]"), "holds a list, not PEFT's fields"),
    "empty file": (lambda f: os.truncate(f / WEIGHTS, 0), "not a whole safetensors file"),
    "cut off in the numbers": (lambda f: os.truncate(f / WEIGHTS, 830), "not a whole safetensors file"),
    "garbage": (lambda f: (f / WEIGHTS).write_bytes(b"hello world, this is no tensor"), "not a whole safetensors file"),
    "pickle in place": (lambda f: pickled(f, WEIGHTS), "a pickle under this name, which is not read"),
    "bare pickle in place": (lambda f: pickled(f, WEIGHTS, lambda bomb, path: path.write_bytes(pickle.dumps(bomb))),
                             "a pickle under this name, which is not read"),
    "pickle": (lambda f: pickled(f, "adapter_model.bin"), "holds adapter_model.bin, a pickle"),
    "missing tensor": (lambda f: weigh(f, lambda t: t.pop(FIRST)), f"missing: {FIRST}"),
    "missing layer": (
        lambda f: weigh(f, lambda t: [t.pop(k) for k in list(t) if ".2." in k]), "missing: base_model.model.2"),
    "extra tensor": (lambda f: weigh(f, lambda t: t.update({"base_model.model.9.lora_A.weight": torch.ones(2, 2)})),
                     "not wanted: base_model.model.9"),
    "misshaped": (lambda f: replace_first(f, torch.ones(2, 8)), "of shape 2 x 7, got 2 x 8"),
    "a scalar": (lambda f: replace_first(f, torch.tensor(1.0)), "of shape 2 x 7"),
    "integers": (lambda f: replace_first(f, torch.ones(2, 7, dtype=torch.int8)), "int8"),
    "nan": (lambda f: replace_first(f, torch.full((2, 7), torch.nan)), "NaN or infinity"),
    "infinity in float32": (lambda f: replace_first(f, torch.full((2, 7), 1e300, dtype=torch.float64)), "infinity"),
    "r of the config": (lambda f: edit_config(f, r=3), "r 2 against 3"),
    "r of the config, from PEFT": (lambda f: (weigh(f), edit_config(f, r=3)),
                                   "says r = 3 for 0, but its tensors have rank 2"),
    "alpha of the config": (lambda f: edit_config(f, lora_alpha=9), "lora_alpha 3 against 9"),
    "rslora of the config": (lambda f: edit_config(f, use_rslora=True), "use_rslora False against True"),
    "alpha nan": (lambda f: (weigh(f), edit_config(f, lora_alpha=float("nan"))), "alpha=nan"),
    "dropout": (lambda f: edit_config(f, lora_dropout=2), "dropout=2"),
    "another method": (lambda f: edit_config(f, peft_type="IA3"), "peft_type is 'IA3'"),
    "DoRA": (lambda f: edit_config(f, use_dora=True), "use_dora=True"),
    "modules_to_save": (lambda f: (weigh(f), edit_config(f, modules_to_save=["2"])), "2.weight of the whole layer"),
    "modules_to_save elsewhere": (lambda f: edit_config(f, modules_to_save=["x"]), "'x': .* this model does not have"),
    "bias": (lambda f: edit_config(f, bias="all"), "bias='all'"),
    "PiSSA": (lambda f: edit_config(f, init_lora_weights="pissa"), "init_lora_weights='pissa' changes the base"),
    "a field of tomorrow": (lambda f: edit_config(f, use_warp_drive=True), "use_warp_drive=True"),
    "bad pattern": (lambda f: (weigh(f), edit_config(f, rank_pattern={"(": 1})), "no regular expression"),
    "patterns a list": (lambda f: (weigh(f), edit_config(f, alpha_pattern=[1])), "is not of the kind that PEFT writes"),
    "targets elsewhere": (lambda f: edit_config(f, target_modules=["q_proj"]), "does not have; its layers are: 0, 2"),
    "rslora a text": (lambda f: (weigh(f), edit_config(f, use_rslora="yes")), "is not of the kind that PEFT writes"),
}  # fmt: skip


@pytest.mark.parametrize("carrying", [False, True], ids=["plain base", "with adapters"])
@pytest.mark.parametrize("spoil, sentence", REFUSALS.values(), ids=REFUSALS.keys())
def test_a_spoilt_folder_is_refused_in_words_and_the_model_stays(spoil, sentence, carrying, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = ZOO["mlp"].model()
    folder = save_adapter(adapt(model), tmp_path / "a")
    spoil(folder)
    if carrying:
        model = adapt(model)
    before = fingerprint(model)
    with pytest.raises(ValueError, match=sentence):
        load_adapter(model, folder)
    assert fingerprint(model) == before
    assert not (tmp_path / "exploded").exists(), "a pickle was run"


def refuse(model: nn.Module, folder: Path, sentence: str, **options) -> None:
    before = fingerprint(model)
    with pytest.raises(ValueError, match=sentence):
        load_adapter(model, folder, **options)
    assert fingerprint(model) == before


def test_another_base_is_refused_and_may_be_forced(tmp_path):
    folder = save_adapter(adapt(ZOO["mlp"].model()), tmp_path / "a")
    for other in (ZOO["mlp"].model(seed=1), ZOO["mlp"].model().double()):
        refuse(other, folder, "trained on another base")
        refuse(adapt(other), folder, "trained on another base")
        load_adapter(other, folder, check_base=False)
    narrower = nn.Sequential(nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 4))
    refuse(narrower, folder, "of shape 4 x 2, got 5 x 2", check_base=False)
    refuse(nn.Sequential(nn.ReLU(), nn.Linear(7, 6)), folder, "does not have", check_base=False)


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"r": R, "alpha": 4.0}, "has r=2, alpha=4, alpha/r; the file has r=2, alpha=3, alpha/r"),
        ({"r": R, "alpha": ALPHA, "rslora": True}, r"alpha/sqrt\(r\); the file has .* alpha/r"),
        ({"r": 3, "alpha": ALPHA}, "has r=3.* the file has r=2|shape"),
        ({"r": R, "alpha": ALPHA, "target_modules": "0"}, "not those of this model's adapters.*not wanted: 2.lora_A"),
    ],
)
def test_adapters_that_the_model_has_must_agree(options, sentence, tmp_path):
    folder = save_adapter(adapt(ZOO["mlp"].model()), tmp_path)
    model = ZOO["mlp"].model()
    add_lora(model, **options)
    refuse(model, folder, sentence)


def test_a_file_for_some_layers_does_not_pass_for_all(tmp_path):
    folder = save_adapter(adapt(ZOO["mlp"].model(), target_modules="0"), tmp_path)
    refuse(adapt(ZOO["mlp"].model()), folder, "missing: 2.lora_A")


def test_a_layer_that_cannot_be_adapted_here_is_refused(tmp_path):
    model = LanguageModel()
    folder = save_adapter(adapt(model), tmp_path)
    model.embedding.max_norm = 1.0
    refuse(model, folder, "max_norm")


def test_no_folder_is_a_sentence(tmp_path):
    for _ in range(2):
        refuse(mlp(), tmp_path / "a", "there is no adapter folder 'a'")
        (tmp_path / "a").write_text("a file")


# ------------------------------------------------------------------------------------------------------------ saving


def poisoned() -> nn.Module:
    model = adapt(mlp())
    model[2].lora_A.data[0, 0] = torch.inf
    return model


def two_rules() -> nn.Module:
    return nn.Sequential(LoRALinear(nn.Linear(7, 6), 2), LoRALinear(nn.Linear(6, 5), 2, rslora=True))


def two_alphas_in_one_attention() -> nn.Module:
    return adapt(ZOO["attention"].model(), alpha_pattern={"out_proj": 9.0})


def ambiguous_lstms() -> nn.Module:
    model = nn.ModuleDict({"lstm": nn.LSTM(5, 6), "deep": nn.ModuleDict({"lstm": nn.LSTM(5, 6)})})
    model.requires_grad_(False)
    add_lora(model["lstm"], R, ALPHA)
    return model


@pytest.mark.parametrize(
    "build, sentence",
    [
        (mlp, "carries no LoRA adapter"),
        (poisoned, "2 holds NaN or infinity"),
        (two_rules, "one rule for all"),
        (two_alphas_in_one_attention, "one r and one alpha for all weights of attn"),
        (ambiguous_lstms, "would mean deep.lstm.weight_ih_l0, too"),
    ],
)
def test_what_cannot_be_saved_writes_nothing(build, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        save_adapter(build(), tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_only_the_two_files_of_a_folder_are_written(tmp_path, monkeypatch):
    """Also "." and "": the folder itself stays."""
    model = adapt(mlp())
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "final.txt").write_text("years of work")
    monkeypatch.chdir(tmp_path / "thesis")
    there = os.stat(".").st_ino
    for place in (".", "", tmp_path / "thesis"):
        assert save_adapter(model, place) == tmp_path / "thesis"
        assert os.stat(".").st_ino == there == os.stat(tmp_path / "thesis").st_ino
    assert Path("final.txt").read_text() == "years of work"
    assert sorted(os.listdir()) == [CONFIG, WEIGHTS, "final.txt"]
    with pytest.raises(ValueError, match="final.txt is a file"):
        save_adapter(model, "final.txt")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("place, at", [("replace", 1), ("fsync", 1), ("fsync", 2)])
def test_a_failed_save_leaves_the_old_adapter_whole(place, at, error, tmp_path):
    base = mlp()
    old, new = adapt(base), randomise(adapt(base), seed=5)
    folder = save_adapter(old, tmp_path / "a")
    done = [mock.DEFAULT] * (at - 1)  # before the error
    with mock.patch.object(files.os, place, wraps=getattr(os, place), side_effect=[*done, error]):
        with pytest.raises(type(error)):
            save_adapter(new, folder)
    assert sorted(os.listdir(folder)) == [CONFIG, WEIGHTS], "nothing is left lying about"
    fresh = copy.deepcopy(base)
    load_adapter(fresh, folder)
    assert same_state(fresh, old)
    save_adapter(new, folder)
    remove_lora(fresh)
    load_adapter(fresh, folder)
    assert same_state(fresh, new)
