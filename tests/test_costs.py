"""Parameters, bytes and multiply-adds against figures worked out by hand for S1, and against torch's own counting."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lora_lab import LoRALinear, count_parameters
from lora_lab.costs import BYTES, disk_bytes, forward_macs, full_memory, human, lora_memory, lora_numbers

S1 = (1000, 1001)


def test_s1_counts():
    assert lora_numbers(*S1, r=1) == 2001
    assert lora_numbers(*S1, r=8) == 16_008
    assert 1_001_000 / lora_numbers(*S1, r=1) == pytest.approx(500, abs=0.3), "about 1/500"


def test_s1_memory():
    full = full_memory(*S1)
    assert full == (4_004_000, 4_004_000, 8_008_000) and full.total == 16_016_000
    adapter = lora_memory(*S1, r=1)
    assert adapter == (4_004_000 + 8_004, 8_004, 16_008) and adapter.total == 4_036_016


def test_half_precision_bases_keep_float32_factors():
    assert full_memory(*S1, dtype="bfloat16") == (2_002_000, 2_002_000, 4_004_000)
    assert lora_memory(*S1, r=1, dtype="bfloat16") == (2_002_000 + 8_004, 8_004, 16_008)
    assert BYTES["float16"] == 2


def test_s1_on_disk():
    assert disk_bytes(*S1, tasks=10) == 40_040_000
    assert disk_bytes(*S1, tasks=10, r=1) == 4_004_000 + 10 * 8_004
    assert disk_bytes(*S1, tasks=10, r=1, dtype="bfloat16") == 2_002_000 + 10 * 8_004


def test_s1_multiply_adds():
    assert forward_macs(*S1) == 1_001_000
    assert forward_macs(*S1, r=1) == 1_003_001
    assert forward_macs(*S1, r=1, materialised=True) == 2_002_000
    assert forward_macs(*S1, r=4, batch=128) == 128 * (1_001_000 + 8_004)
    assert forward_macs(*S1, r=4, batch=128, materialised=True) == 128 * 1_001_000 + 4_004_000


@pytest.mark.parametrize("r", [1, 3])
def test_the_counts_are_those_of_a_real_layer(r):
    layer = LoRALinear(nn.Linear(11, 7, bias=False), r)
    trained, total = count_parameters(layer)
    assert trained == lora_numbers(7, 11, r) and total == 7 * 11 + trained
    parameters = [p for p in layer.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters)
    layer(torch.randn(4, 11)).square().mean().backward()
    optimizer.step()
    moments = [t for state in optimizer.state.values() for name, t in state.items() if name.startswith("exp_avg")]
    memory = lora_memory(7, 11, r)
    assert memory.weights == sum(p.numel() * p.element_size() for p in layer.parameters())
    assert memory.gradients == sum(p.grad.numel() * p.grad.element_size() for p in parameters)
    assert memory.adam == sum(t.numel() * t.element_size() for t in moments)


@pytest.mark.parametrize(
    "n, words",
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (8004, "8.0 kB"),
        (99_940, "99.9 kB"),
        (123_456, "123 kB"),
        (999_499, "999 kB"),
        (999_600, "1.0 MB"),
        (4_004_000, "4.0 MB"),
        (350e9, "350 GB"),
        (1.2e12, "1.2 TB"),
        (5e18, "5000 PB"),
    ],
)
def test_bytes_in_words(n, words):
    assert human(n) == words


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda: lora_numbers(5, 7, 0), r"r=0 is not a whole number of at least 1"),
        (lambda: full_memory(5, 7.5), r"d_in=7.5 is not a whole number"),
        (lambda: full_memory(True, 7), r"d_out=True is not a whole number"),
        (lambda: disk_bytes(5, 7, tasks=-1), r"tasks=-1 is not a whole number"),
        (lambda: forward_macs(5, 7, batch=0), r"batch=0 is not a whole number"),
        (lambda: lora_memory(5, 7, 1, dtype="int4"), r"dtype='int4' is not known here; choose one of float32"),
    ],
)
def test_bad_arguments_are_refused_in_words(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
