"""Parameters, bytes and multiply-adds against figures worked out by hand for S1, and against torch's own counting."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lora_lab import LoRALinear, count_parameters
from lora_lab.costs import forward_macs, human, lora_numbers
from lora_lab.subjects.files_and_costs import models
from lora_lab.subjects.files_and_costs.models import SHAPES, TARGETS, Shape, activation_bytes, adapter_numbers
from lora_lab.subjects.objective.panels import disk_bytes, training_memory

S1 = (1000, 1001)


def test_s1_by_hand():
    assert lora_numbers(*S1, r=1) == 2001 and lora_numbers(*S1, r=8) == 16_008
    full, adapter = training_memory(*S1), training_memory(*S1, r=1)
    assert full == (4_004_000, 4_004_000, 8_008_000) and full.total == 16_016_000
    assert adapter == (4_004_000 + 8_004, 8_004, 16_008) and adapter.total == 4_036_016
    halved = training_memory(*S1, r=1, dtype="bfloat16")
    assert halved == (2_002_000 + 8_004, 8_004, 16_008), "factors stay in float32"
    assert disk_bytes(*S1, tasks=10) == 40_040_000
    assert disk_bytes(*S1, tasks=10, r=1) == 4_004_000 + 10 * 8_004
    assert forward_macs(*S1) == 1_001_000 and forward_macs(*S1, r=1) == 1_003_001
    assert forward_macs(*S1, r=1, materialised=True) == 2_002_000
    assert forward_macs(*S1, r=4, batch=128) == 128 * (1_001_000 + 8_004)


def test_the_counts_are_those_of_a_real_layer():
    r = 3
    layer = LoRALinear(nn.Linear(11, 7, bias=False), r)
    trained, total = count_parameters(layer)
    assert trained == lora_numbers(7, 11, r) and total == 7 * 11 + trained
    parameters = [p for p in layer.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters)
    layer(torch.randn(4, 11)).square().mean().backward()
    optimizer.step()
    moments = [t for state in optimizer.state.values() for name, t in state.items() if name.startswith("exp_avg")]
    memory = training_memory(7, 11, r)
    assert memory.weights == sum(p.numel() * p.element_size() for p in layer.parameters())
    assert memory.gradients == sum(p.grad.numel() * p.grad.element_size() for p in parameters)
    assert memory.adam == sum(t.numel() * t.element_size() for t in moments)


def test_bytes_in_words():
    words = {0: "0 B", 999: "999 B", 8004: "8.0 kB", 99_940: "99.9 kB", 123_456: "123 kB", 999_600: "1.0 MB",
             350e9: "350 GB", 1.2e12: "1.2 TB", 5e18: "5000 PB"}  # fmt: skip
    assert {n: human(n) for n in words} == words


# ------------------------------------------------------------------------------------------------- published models

CONFIGS = {  # family -> (config class, arguments) in transformers; the numbers of a shape under transformers' names
    "gpt2": lambda t, s: t.GPT2Config(
        n_layer=s.layers, n_embd=s.d, n_head=s.heads, vocab_size=s.vocab, n_positions=s.positions, n_inner=s.ff
    ),
    "roberta": lambda t, s: t.RobertaConfig(
        num_hidden_layers=s.layers, hidden_size=s.d, num_attention_heads=s.heads, intermediate_size=s.ff,
        vocab_size=s.vocab, max_position_embeddings=s.positions, type_vocab_size=1,
    ),
    "deberta": lambda t, s: t.DebertaV2Config(
        num_hidden_layers=s.layers, hidden_size=s.d, num_attention_heads=s.heads, intermediate_size=s.ff,
        vocab_size=s.vocab, max_position_embeddings=s.positions, type_vocab_size=0, position_biased_input=False,
        relative_attention=True, position_buckets=256, norm_rel_ebd="layer_norm", share_att_key=True,
        conv_kernel_size=3, conv_act="gelu", pos_att_type=["p2c", "c2p"],
    ),
    "llama": lambda t, s: (t.Qwen2Config if s.qkv_bias else t.LlamaConfig)(
        num_hidden_layers=s.layers, hidden_size=s.d, num_attention_heads=s.heads, num_key_value_heads=s.kv_heads,
        intermediate_size=s.ff, vocab_size=s.vocab, tie_word_embeddings=s.tied, max_position_embeddings=s.positions,
    ),
}


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers", reason="transformers is optional: pip install peft==0.21.2")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_totals_are_those_of_the_real_architectures(transformers, shape):
    """Built with two and three layers (no numbers are made on the meta device, but modules are) and multiplied up."""
    counts = {}
    make = transformers.AutoModelForCausalLM if shape.family in ("gpt2", "llama") else transformers.AutoModel
    for layers in (2, 3):
        with torch.device("meta"):
            model = make.from_config(CONFIGS[shape.family](transformers, shape._replace(layers=layers)))
        counts[layers] = sum(p.numel() for p in model.parameters())
    assert shape.total == counts[2] + (shape.layers - 2) * (counts[3] - counts[2])
    assert shape._replace(layers=3).total == counts[3] and shape.source


def test_roles():
    llama = SHAPES["Llama-3-8B"]
    assert llama.matrices()["v"] == (1024, 4096) and llama.matrices()["down"] == (4096, 14336)
    assert adapter_numbers(llama, 3, "q") == 3 * 32 * (4096 + 4096)
    assert adapter_numbers(llama, 3, "q, v") == 3 * 32 * (4096 + 4096 + 1024 + 4096)
    assert adapter_numbers(llama, 3, "all") == 3 * 32 * sum(map(sum, llama.matrices().values()))
    assert "gate" not in SHAPES["GPT-2 small"].matrices()
    assert adapter_numbers(SHAPES["GPT-2 small"], 1, "all") == 12 * (4 * 2 * 768 + 2 * 5 * 768)
    assert set(TARGETS["all"]) == set(llama.matrices())


TINY = Shape("tiny", "gpt2", layers=2, d=8, ff=32, heads=2, kv_heads=2, vocab=50, positions=16, source="")


def test_bills_by_hand():
    n, matrices = TINY.total, 2 * 12 * 64
    assert TINY.in_matrices == matrices
    factors = 2 * 2 * 16 * 3
    assert adapter_numbers(TINY, 3) == factors
    acts = 10 * (2 * 34 * 8 + 4 * 50)
    assert activation_bytes(TINY, 10) == acts and activation_bytes(TINY, 10, "float32") == 10 * (2 * 68 * 8 + 4 * 50)
    assert models.training_bill(TINY, None, tokens=10) == (2 * n, 2 * n, 12 * n, acts)
    assert models.training_bill(TINY, None, dtype="float32", tokens=10)[:3] == (4 * n, 4 * n, 8 * n)
    lora = models.training_bill(TINY, 3, tokens=10)
    assert lora == (2 * n + 4 * factors, 4 * factors, 8 * factors, acts) and lora.total == sum(lora)
    assert models.weight_bytes(TINY, "nf4") == round(matrices * 4.127 / 8 + 2 * (n - matrices))
    assert models.parameter_bytes("nf4") == 4.127 / 8 and models.parameter_bytes("float16") == 2


def test_a_llamas_activations_by_hand():
    d, kv, ff = 4096, 1024, 14336
    whole = {None: 20 * d + 4 * kv + 8 * ff, "q, v": 14 * d + 4 * kv + 6 * ff, "all": 16 * d + 4 * kv + 8 * ff}
    for targets, layer in whole.items():
        shape, logits = SHAPES["Llama-3-8B"], 4 * 128256
        assert activation_bytes(shape, 1, targets=targets) == 32 * layer + logits
        assert activation_bytes(shape, 3, targets=targets, checkpointing=True) == 3 * (32 * 2 * d + layer + logits)
        assert activation_bytes(shape, 1, "float32", targets) == 32 * (2 * layer - 8 * d) + logits, "norms are float32"
    assert models.cache_bytes(shape, 2048) == 2048 * 32 * 2 * 1024 * 2


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda: lora_numbers(5, 7, 0), r"r=0 is not a whole number of at least 1"),
        (lambda: training_memory(5, 7.5), r"d_in=7.5 is not a whole number"),
        (lambda: disk_bytes(5, 7, tasks=-1), r"tasks=-1 is not a whole number"),
        (lambda: forward_macs(5, 7, batch=0), r"batch=0 is not a whole number"),
        (lambda: training_memory(5, 7, True), r"r=True is not a whole number"),
        (lambda: training_memory(5, 7, 1, dtype="int4"), r"dtype='int4' is not known here; choose one of float32"),
        (lambda: adapter_numbers(TINY, 0), "r=0 is not a whole number"),
        (lambda: adapter_numbers(TINY, 1, "q, w"), "targets='q, w' is no choice; choose one of 'q', 'q, v'"),
        (lambda: models.training_bill(TINY, None, dtype="nf4"), "4-bit weights cannot be trained"),
    ],
)
def test_bad_questions_are_refused_in_words(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
