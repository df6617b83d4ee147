"""Beside PEFT and transformers: every PEFT adapter that is plain LoRA loads, and PEFT computes the same from ours."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_adapters import ALPHA, R, adapt, deltas_by_hand, gap, randomise, same
from test_files import refuse
from torch import nn
from zoo import ZOO, Nested, mlp, output, replaced

from lora_lab import AdapterSet, adapter_state, add_lora, load_adapter, save_adapter
from lora_lab.files import CONFIG, WEIGHTS


def fill(theirs: nn.Module) -> nn.Module:
    """Nonzero factors in a PEFT model."""
    for key, p in theirs.named_parameters():
        if "lora_" in key:
            p.data = 0.4 * torch.randn(p.shape).to(p.dtype)
    return theirs


class Inner(nn.Module):
    """PEFT adapts no model that is one bare layer."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.inner = model

    def forward(self, *inputs):
        return self.inner(*inputs)


class Decoder(nn.Module):
    """Names like a language model's: layers with numbers in them, an embedding, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(11, 6)
        self.layers = nn.ModuleList(Nested() for _ in range(3))
        self.lm_head = nn.Linear(5, 11, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed_tokens(tokens)
        return self.lm_head(sum(layer(x) for layer in self.layers))


# What PEFT 0.21 does otherwise, although the tensors agree.
GROUPS = ("conv1d_groups", "conv2d_groups", "conv3d_groups")  # refuses: its factors of these are no matrix BA
SEPARATE = ("attention_kv", "attention_kv_no_bias")  # refuses separate query, key and value weights
ONLY_MERGED = ("conv2d", "shared")  # its conv A pads with zeros, not circularly; a shared layer is adapted in one place
ATTENTION = [n for n in ZOO if ("attention" in n or "coder" in n) and n not in SEPARATE]
STAND_IN = ("fan_in_fan_out",)  # PEFT knows transformers' own Conv1D only: tests/subjects/test_files_and_costs.py
PLAIN = [n for n in ZOO if n not in (*GROUPS, *SEPARATE, *ATTENTION, *STAND_IN)]

OPTIONS = {
    "layers_to_transform": {"target_modules": ["up_proj", "1"], "layers_to_transform": [0, 2]},
    "one layer": {"target_modules": ["up_proj"], "layers_to_transform": 1},
    "layers_pattern": {"target_modules": ["up_proj"], "layers_to_transform": [1], "layers_pattern": "blocks"},
    "patterns": {"target_modules": ["up_proj"], "layers_to_transform": [1], "layers_pattern": ["none", "layers"]},
    "exclude_modules": {"target_modules": ["up_proj", "down_proj"], "exclude_modules": ["0.up_proj", "proj"]},
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
}  # fmt: skip


def from_ours(peft, name: str, folder: Path) -> tuple[nn.Module, nn.Module]:
    """An adapted animal, and PEFT's model of its folder."""
    ours = adapt(Inner(ZOO[name].model())).train()
    save_adapter(ours, folder)
    return ours, peft.PeftModel.from_pretrained(Inner(ZOO[name].model()), folder).train()


@pytest.mark.parametrize("name", [*PLAIN, *OPTIONS])
def test_both_compute_the_same_from_each_others_folders(peft, name, tmp_path):
    """An animal goes to PEFT and back, PEFT's options come here and go back; the tensors stay the same all the way."""
    if name in OPTIONS:
        base, inputs, tolerance = Decoder().eval(), (torch.randint(11, (2, 4)),), 1e-5
        theirs = peft.get_peft_model(copy.deepcopy(base), peft.LoraConfig(**{"r": 2, **OPTIONS[name]})).eval()
    else:
        base, inputs, tolerance = Inner(ZOO[name].model()).train(), ZOO[name].inputs(), ZOO[name].tolerance
        ours, theirs = from_ours(peft, name, tmp_path / "first")
        assert name in ONLY_MERGED or gap(output(theirs, inputs), output(ours, inputs)) < tolerance
    fill(theirs).save_pretrained(tmp_path / "theirs", save_embedding_layers=True)
    ours = copy.deepcopy(base)
    load_adapter(ours, tmp_path / "theirs")
    save_adapter(ours, tmp_path / "ours")
    if name != "target_parameters":  # which are written as modules
        wanted, got = (load_file(tmp_path / f / WEIGHTS) for f in ("theirs", "ours"))
        assert got.keys() == {k for k in wanted if "lora_" in k}
        assert all(torch.equal(t, wanted[k]) for k, t in got.items())
    again = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / "ours").train(base.training)
    wanted = output(ours, inputs)
    assert gap(output(base, inputs), wanted) > 3 * tolerance
    if name not in ONLY_MERGED:
        assert gap(output(theirs, inputs), wanted) < tolerance
        assert gap(output(again, inputs), wanted) < tolerance
    assert gap(output(again.merge_and_unload(), inputs), wanted) < tolerance


@pytest.mark.parametrize("name", ATTENTION)
def test_peft_reads_our_attention_and_counts_out_proj_once_or_twice(peft, name, tmp_path):
    """PEFT 0.21.2 merges out_proj's update twice (huggingface/peft#3774), in every forward. The tensors are right."""
    inputs, base = ZOO[name].inputs(), Inner(ZOO[name].model())
    ours, theirs = from_ours(peft, name, tmp_path / "ours")
    deltas = deltas_by_hand(base, ours)
    twice = replaced(base, {k: (1 + ("out_proj" in k)) * d for k, d in deltas.items()}).train()
    got = output(theirs, inputs)
    assert min(gap(got, output(twice, inputs)), gap(got, output(ours, inputs))) < 1e-5
    theirs.save_pretrained(tmp_path / "theirs")
    load_adapter(base, tmp_path / "theirs")
    assert same(adapter_state(base), adapter_state(ours))


def test_an_out_proj_that_peft_adapted_alone_comes_as_a_plain_layer(peft, tmp_path):
    config = peft.LoraConfig(r=2, target_modules=["out_proj"])
    theirs = fill(peft.get_peft_model(Inner(ZOO["attention"].model()), config))
    theirs.save_pretrained(tmp_path)
    base = Inner(ZOO["attention"].model())
    assert load_adapter(base, tmp_path) == ["inner.attn.out_proj"]
    B = theirs.base_model.model.inner.attn.out_proj.lora_B["default"].weight
    assert torch.equal(adapter_state(base)["inner.attn.out_proj.lora_B"], B)


@pytest.mark.parametrize("name", [*GROUPS, *SEPARATE, "linear", "embedding", "lstm", "gru_cell"])
def test_peft_refuses_what_it_has_no_counterpart_for(peft, name, tmp_path):
    """The last four: a model that is one bare layer."""
    holder = Inner if name in (*GROUPS, *SEPARATE) else lambda model: model
    save_adapter(adapt(holder(ZOO[name].model())), tmp_path)
    sentence = "size mismatch|Only same embed|No modules were targeted|top-level module|not found"
    with pytest.raises((RuntimeError, ValueError), match=sentence):
        peft.PeftModel.from_pretrained(holder(ZOO[name].model()), tmp_path)


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.randn(3, 6, 8))
        self.router = nn.Linear(6, 3)


def test_weights_of_another_kind_are_named_as_such(peft, tmp_path):
    """3-D expert weights, and PEFT's factors of a grouped convolution."""
    model = nn.ModuleDict({"experts": Experts()})
    for target, sentence in (
        ("experts", r"means experts, a Experts, which holds gate_up_proj \(3 x 6 x 8\), a kind"),
        ("gate_up_proj", "means experts.gate_up_proj, .* a kind of weight that is not adapted here"),
    ):
        with pytest.raises(ValueError, match=sentence):
            add_lora(model, R, ALPHA, target_modules=target)
    config = peft.LoraConfig(r=2, target_modules=[], target_parameters=["experts.gate_up_proj"])
    peft.get_peft_model(copy.deepcopy(model), config).save_pretrained(tmp_path / "experts")
    refuse(model, tmp_path / "experts", "for experts.gate_up_proj, a 3 x 6 x 8 tensor, and this kind")
    model = Inner(ZOO["conv2d_groups"].model())
    config = peft.LoraConfig(r=2, target_modules=["inner"])
    peft.get_peft_model(copy.deepcopy(model), config).save_pretrained(tmp_path / "conv")
    refuse(model, tmp_path / "conv", "shape 2 x 2 x 3 x 3, got 2 x 4 x 3 x 3")


def test_data_driven_starts_are_plain_once_trained(tmp_path):
    base = mlp()
    folder = save_adapter(adapt(base), tmp_path)
    config = json.loads((folder / CONFIG).read_text())
    for start in ({"init_lora_weights": "eva", "eva_config": {"rho": 2.0}}, {"corda_config": {"corda_method": "kpm"}}):
        (folder / CONFIG).write_text(json.dumps(config | start))
        load_adapter(copy.deepcopy(base), folder)


def test_base_weights_stored_beside_must_be_the_models(tmp_path):
    base = Decoder()
    folder = save_adapter(adapt(base, target_modules=["embed_tokens", "lm_head"]), tmp_path)
    tensors, weight = load_file(folder / WEIGHTS), base.lm_head.weight.detach()
    for value, fits in ((weight.clone(), True), (weight + 1, False), (torch.randn(13, 5), False)):
        tensors["base_model.model.lm_head.base_layer.weight"] = value
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})
        if not fits:
            refuse(base, folder, "the base's lm_head.weight.*not this model's .11 x 5.: resized")
        load_adapter(copy.deepcopy(base), folder, check_base=fits)


@pytest.fixture
def llama():
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=40,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


@pytest.mark.parametrize("targets", [["q_proj"], ["q_proj", "embed_tokens", "lm_head"]], ids=str)
def test_embeddings_that_peft_stores_beside_are_recognised(llama, peft, targets, tmp_path):
    tokens, base = torch.randint(40, (2, 5)), copy.deepcopy(llama)
    theirs = fill(peft.get_peft_model(llama, peft.LoraConfig(r=2, target_modules=targets)).eval())
    theirs.save_pretrained(tmp_path, save_embedding_layers=True)
    assert any(key.endswith("embed_tokens.weight") or "base_layer" in key for key in load_file(tmp_path / WEIGHTS))
    load_adapter(base, tmp_path)
    assert gap(base(tokens).logits, theirs(tokens).logits) < 1e-5


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
    assert "low_rank" not in vars(llama.model.layers[0].self_attn.q_proj)
