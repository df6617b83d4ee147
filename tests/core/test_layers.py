"""LoRALinear: the formula stands here, for shapes, ranks, scalings, dtypes."""

from __future__ import annotations

import math

import pytest
import torch
import zoo
from torch import nn

from lora_lab import LoRALinear


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("alpha, rslora", [(3.0, False), (-8.0, True), (5e-324, False), (1e15, False), (0, True)])
@pytest.mark.parametrize("d_out, d_in, r, lead", [(5, 7, 2, (3,)), (9, 4, 4, ()), (1, 12, 1, (2, 3)), (8, 1, 1, (0,))])
def test_forward_is_the_papers_formula(d_out, d_in, r, lead, alpha, rslora, dtype):
    layer = LoRALinear(nn.Linear(d_in, d_out, bias=d_out > 5, dtype=dtype), r, alpha, rslora=rslora)
    assert layer.scaling == alpha / (math.sqrt(r) if rslora else r)
    trained = [p for p in layer.parameters() if p.requires_grad]
    assert [p.shape for p in trained] == [(r, d_in), (d_out, r)] == [layer.lora_A.shape, layer.lora_B.shape]
    assert {p.dtype for p in trained} == {torch.float32 if dtype == torch.bfloat16 else dtype}

    for p in layer.parameters():
        nn.init.normal_(p)
    x = torch.randn(*lead, d_in).to(dtype)
    bias = torch.zeros(d_out) if layer.bias is None else layer.bias
    X, W, b, A, B = (t.detach().double() for t in (x, layer.base.weight, bias, layer.lora_A, layer.lora_B))
    wanted = X @ W.T + b + layer.scaling * (X @ A.T) @ B.T
    got = layer(x)
    size = X.abs() @ W.abs().T + b.abs() + abs(layer.scaling) * (X.abs() @ A.abs().T) @ B.abs().T
    rounding = 40 * torch.finfo(dtype).eps * size + torch.finfo(dtype).tiny
    assert got.shape == (*lead, d_out) and got.dtype == dtype
    assert ((got.double() - wanted).abs() <= rounding).all()
    layer.reset_lora()
    assert torch.equal(layer(x), layer.base(x)) and not layer.delta_weight().any(), "fresh, it is its base"


def test_bf16_sums_are_added_in_float32_and_rounded_once():
    layer = LoRALinear(nn.Linear(7, 5, dtype=torch.bfloat16), 2, 2.0)
    with torch.no_grad():
        layer.base.weight.fill_(1.0)
        layer.lora_A.fill_(1.0)
        layer.lora_B.fill_(2**-9 * (1 + 2**-10))  # delta = 2 B: just over half of bf16's step of 2^-7 above 1
    layer.merge()
    assert torch.equal(layer.weight, torch.full((5, 7), 1 + 2**-7, dtype=torch.bfloat16))


def test_weight_and_bias_read_like_a_linear_layers():
    layer = LoRALinear(nn.Linear(7, 5), 2, 3.0)
    nn.init.normal_(layer.lora_B)
    plain = layer.base.weight + layer.delta_weight()
    torch.testing.assert_close(layer.weight, plain)
    assert layer.weight.requires_grad and layer.bias is layer.base.bias
    layer.merge()
    torch.testing.assert_close(layer.weight, plain.detach())
    assert not layer.weight.requires_grad
    layer.enabled = False
    assert layer.weight is layer.base.weight
    assert LoRALinear(nn.Linear(7, 5, bias=False), 2).bias is None


def test_the_forward_never_forms_the_product():
    """The factored forward must work where a d_out x d_in product would take 4 GB."""
    d, layer = 32_768, LoRALinear(nn.Linear(8, 8))
    layer.lora_A, layer.lora_B = nn.Parameter(torch.ones(1, d)), nn.Parameter(torch.ones(d, 1))
    assert layer.low_rank(torch.ones(1, d)).shape == (1, d)


def test_reset_draws_A_by_the_seed_and_zeroes_B():
    def start(seed: int, dtype: torch.dtype = torch.float32, std: float | None = None) -> torch.Tensor:
        layer = LoRALinear(nn.Linear(400, 300, dtype=dtype), 100)
        nn.init.normal_(layer.lora_B)
        layer.merge()
        layer.reset_lora(std, generator=torch.Generator().manual_seed(seed))
        assert not layer.merged and not layer.lora_B.any()
        return layer.lora_A.detach()

    A = start(3)
    assert A.std().item() == pytest.approx(1 / 20, rel=0.02) and abs(A.mean().item()) < 0.001
    torch.testing.assert_close(start(3, std=1.0), 20 * A)
    assert torch.equal(start(3), A) and not torch.equal(start(4), A)
    assert torch.equal(start(3, torch.float64).float(), A), "whatever the dtype"


@pytest.mark.parametrize(
    "base, sentence",
    [
        (lambda: LoRALinear(nn.Linear(7, 5), 2), "base is a LoRALinear; LoRALinear adapts a plain nn.Linear"),
        (lambda: nn.Conv1d(4, 6, 3), "base is a Conv1d; LoRALinear adapts a plain nn.Linear, add_lora other layers"),
        (lambda: torch.randn(5, 7), "base is a Tensor"),
        (lambda: zoo.DoubledLinear(7, 5), "DoubledLinear overrides nn.Linear's forward"),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(7, 5)), "its weight is computed by something else"),
    ],
)
def test_a_base_that_is_no_plain_linear_is_refused(base, sentence):
    with pytest.raises(TypeError, match=sentence):
        LoRALinear(base())
