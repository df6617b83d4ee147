"""The zoo: one small model of every kind that the package adapts, each with an example input. Nothing is square.

    animal = ZOO["lstm"]
    model, inputs = animal.model(), animal.inputs()
    output(model, inputs)                  # one flat tensor, whatever the model returns

`animal.weights` lists the parameters that `add_lora(model)` must adapt: written down here by hand, so that a weight
the package overlooks is a failing test and not a smaller list.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils._pytree import tree_leaves

torch.set_num_threads(1)  # small steps on shared cores: a second thread only makes them wait for each other


class Animal(NamedTuple):
    build: Callable[[], nn.Module]
    example: Callable[[], tuple[Tensor, ...]]
    weights: tuple[str, ...]
    tolerance: float = 1e-5  # of an output, relative to its largest entry

    def model(self, seed: int = 0) -> nn.Module:
        return seeded(seed, self.build)

    def inputs(self, seed: int = 1) -> tuple[Tensor, ...]:
        return seeded(seed, self.example)


def seeded(seed: int, build: Callable):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed prepares every accelerator too: 20 times slower
        return build()


# ------------------------------------------------------------------------------------------------ models of our own


class Block(nn.Module):
    """A residual block whose two layers are called like those of a language model."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up_proj, self.down_proj = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down_proj(torch.tanh(self.up_proj(x)))


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(6, 9), Block(6, 4)])
        self.heads = nn.ModuleDict({"main": nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 5, bias=False))})

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.heads["main"](x)


class Attention(nn.Module):
    """Attention of a query over a memory; self-attention when there is one input."""

    def __init__(self, need_weights: bool = False, **options) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(8, 2, **options)
        self.need_weights = need_weights

    def forward(self, query: Tensor, key: Tensor | None = None, value: Tensor | None = None) -> tuple:
        key = query if key is None else key
        return self.attn(query, key, key if value is None else value, need_weights=self.need_weights)


def encoder_layer(**options) -> Callable[[], nn.Module]:
    return lambda: nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, **options)


class PaddedEncoder(nn.Module):
    """A TransformerEncoder with padding: in eval mode torch runs it on nested tensors, past every layer's forward.

    Only positions that are no padding are returned: the fast path leaves zeros at the others, the slow path numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoder(encoder_layer(batch_first=True)(), 2)

    def forward(self, x: Tensor) -> Tensor:
        padding = torch.tensor([[False, False, False, True], [False, False, False, False], [False, True, True, True]])
        return self.encoder(x, src_key_padding_mask=padding)[~padding]


class LanguageModel(nn.Module):
    """S3's shape of a language model."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 5)
        self.lstm = nn.LSTM(5, 6, batch_first=True)
        self.head = nn.Linear(6, 11)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.lstm(self.embedding(tokens))[0])


class DoubledLinear(nn.Linear):
    """Not a plain Linear: a wrapper that multiplies by the weight would forget the factor 2."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Conv1D(nn.Module):
    """Like the layer of that name in transformers, which GPT-2 is made of: linear, its weight stored (in, out)."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf = nf
        self.weight, self.bias = nn.Parameter(0.4 * torch.randn(nx, nf)), nn.Parameter(torch.randn(nf))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], self.nf)


class Siamese(nn.Module):
    """One layer at two places, under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.left = self.right = nn.Linear(7, 6)
        self.head = nn.Linear(12, 5)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.head(torch.tanh(torch.cat((self.left(a), self.right(b)), dim=-1)))


def tied() -> nn.Module:
    """Two layers, one weight: the input and the output embedding of many language models. add_lora refuses it."""
    model = LanguageModel()
    model.lstm = nn.LSTM(5, 6, batch_first=True, proj_size=5)
    model.head = nn.Linear(5, 11, bias=False)
    model.head.weight = model.embedding.weight
    return model


def overlapping() -> nn.Module:
    """Two Parameters, one memory: `is` does not see it. add_lora refuses it."""
    model = nn.Sequential(nn.Linear(7, 6, bias=False), nn.Linear(6, 7, bias=False))
    model[1].weight = nn.Parameter(model[0].weight.detach().T)
    return model


def mlp(dtype: torch.dtype = torch.float32) -> nn.Module:
    return nn.Sequential(nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 5)).to(dtype)


def randn(*shape: int, dtype: torch.dtype = torch.float32) -> Callable[[], tuple[Tensor]]:
    return lambda: (torch.randn(*shape, dtype=torch.float64).to(dtype),)


def gates(kinds: str, layers: int = 1, ends: tuple[str, ...] = ("",)) -> tuple[str, ...]:
    return tuple(f"weight_{k}_l{layer}{end}" for layer in range(layers) for end in ends for k in kinds.split())


def mlp_in(dtype: torch.dtype, tolerance: float) -> Animal:
    return Animal(lambda: mlp(dtype), randn(3, 7, dtype=dtype), MLP, tolerance)


ENCODER_LAYER = ("self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "linear2.weight")
SELF_ATTENTION = ("attn.in_proj_weight", "attn.out_proj.weight")
SEPARATE_ATTENTION = (*(f"attn.{k}_proj_weight" for k in "qkv"), "attn.out_proj.weight")
CELL = ("weight_ih", "weight_hh")
MLP = ("0.weight", "2.weight")

ZOO: dict[str, Animal] = {
    "linear": Animal(lambda: nn.Linear(7, 5), randn(3, 7), ("weight",)),
    "linear_no_bias": Animal(lambda: nn.Linear(7, 5, bias=False), randn(2, 3, 7), ("weight",)),
    "mlp": Animal(mlp, randn(3, 7), MLP),
    "two_layer": Animal(
        lambda: nn.Sequential(nn.Linear(7, 6, bias=False), nn.Linear(6, 5, bias=False)),
        randn(3, 7),
        ("0.weight", "1.weight"),
    ),
    "nested": Animal(
        Nested,
        randn(2, 4, 6),
        (*(f"blocks.{i}.{n}_proj.weight" for i in (0, 1) for n in ("up", "down")), "heads.main.1.weight"),
    ),
    "conv1d": Animal(lambda: nn.Conv1d(4, 6, 3, padding=1), randn(2, 4, 9), ("weight",)),
    "conv1d_groups": Animal(lambda: nn.Conv1d(4, 6, 3, groups=2, bias=False), randn(2, 4, 9), ("weight",)),
    "conv2d": Animal(
        lambda: nn.Sequential(nn.Conv2d(3, 5, (3, 2), 2, padding=1, padding_mode="circular"), nn.Conv2d(5, 4, 1)),
        randn(2, 3, 8, 7),
        ("0.weight", "1.weight"),
    ),
    "conv2d_groups": Animal(lambda: nn.Conv2d(4, 6, 3, groups=2, dilation=2), randn(2, 4, 8, 9), ("weight",)),
    "conv3d": Animal(lambda: nn.Conv3d(3, 5, 2), randn(2, 3, 4, 5, 4), ("weight",)),
    "conv3d_groups": Animal(lambda: nn.Conv3d(4, 6, 2, groups=2), randn(2, 4, 4, 5, 4), ("weight",)),
    "fan_in_fan_out": Animal(lambda: nn.Sequential(Conv1D(6, 7), nn.Tanh(), Conv1D(5, 6)), randn(2, 3, 7), MLP),
    "embedding": Animal(
        lambda: nn.Embedding(10, 6, padding_idx=3), lambda: (torch.tensor([[1, 2, 3, 9], [3, 0, 7, 1]]),), ("weight",)
    ),
    "lstm": Animal(
        lambda: nn.LSTM(5, 6, 2, batch_first=True, bidirectional=True),
        randn(2, 3, 5),
        gates("ih hh", 2, ("", "_reverse")),
    ),
    "lstm_proj": Animal(lambda: nn.LSTM(5, 6, proj_size=4), randn(3, 2, 5), gates("ih hh hr")),
    "gru": Animal(lambda: nn.GRU(5, 6, bias=False), randn(3, 2, 5), gates("ih hh")),
    "rnn": Animal(lambda: nn.RNN(5, 6, 2), randn(3, 2, 5), gates("ih hh", 2)),
    "lstm_cell": Animal(
        lambda: nn.LSTMCell(5, 6), lambda: (torch.randn(3, 5), (torch.randn(3, 6), torch.randn(3, 6))), CELL
    ),
    "gru_cell": Animal(lambda: nn.GRUCell(5, 6, bias=False), lambda: (torch.randn(3, 5), torch.randn(3, 6)), CELL),
    "attention": Animal(lambda: Attention(batch_first=True), randn(2, 3, 8), SELF_ATTENTION),
    "attention_weights": Animal(
        lambda: Attention(need_weights=True, batch_first=True, bias=False), randn(2, 3, 8), SELF_ATTENTION
    ),
    "attention_seq_first": Animal(lambda: Attention(), randn(3, 2, 8), SELF_ATTENTION),
    "attention_kv": Animal(
        lambda: Attention(kdim=6, vdim=5, batch_first=True),
        lambda: (torch.randn(2, 3, 8), torch.randn(2, 4, 6), torch.randn(2, 4, 5)),
        SEPARATE_ATTENTION,
    ),
    "attention_kv_no_bias": Animal(
        lambda: Attention(kdim=6, vdim=6, bias=False),
        lambda: (torch.randn(3, 2, 8), torch.randn(4, 2, 6)),
        SEPARATE_ATTENTION,
    ),
    "encoder_layer": Animal(encoder_layer(batch_first=True), randn(2, 3, 8), ENCODER_LAYER),
    "encoder_layer_gelu": Animal(encoder_layer(batch_first=True, activation="gelu"), randn(2, 3, 8), ENCODER_LAYER),
    "encoder_layer_pre": Animal(encoder_layer(batch_first=True, norm_first=True), randn(2, 3, 8), ENCODER_LAYER),
    "encoder_layer_pre_gelu": Animal(
        encoder_layer(batch_first=True, norm_first=True, activation="gelu"), randn(2, 3, 8), ENCODER_LAYER
    ),
    "encoder_layer_seq_first": Animal(encoder_layer(bias=False), randn(3, 2, 8), ENCODER_LAYER),
    "encoder_padded": Animal(
        PaddedEncoder, randn(3, 4, 8), tuple(f"encoder.layers.{i}.{n}" for i in (0, 1) for n in ENCODER_LAYER)
    ),
    "decoder_layer": Animal(
        lambda: nn.TransformerDecoderLayer(8, 2, 12, dropout=0.0, batch_first=True),
        lambda: (torch.randn(2, 3, 8), torch.randn(2, 4, 8)),
        (*ENCODER_LAYER[:2], "multihead_attn.in_proj_weight", "multihead_attn.out_proj.weight", *ENCODER_LAYER[2:]),
    ),
    "shared": Animal(Siamese, lambda: (torch.randn(3, 7), torch.randn(3, 7)), ("left.weight", "head.weight")),
    "bf16": mlp_in(torch.bfloat16, 3e-2),
    "float16": mlp_in(torch.float16, 4e-3),
    "float64": mlp_in(torch.float64, 1e-12),
    "bf16_embedding": Animal(
        lambda: nn.Embedding(10, 6, dtype=torch.bfloat16),
        lambda: (torch.tensor([[1, 2, 9], [0, 7, 1]]),),
        ("weight",),
        1e-2,
    ),
    "language_model": Animal(
        LanguageModel,
        lambda: (torch.randint(11, (2, 4)),),
        ("embedding.weight", "lstm.weight_ih_l0", "lstm.weight_hh_l0", "head.weight"),
    ),
    "own_forward": Animal(
        lambda: nn.Sequential(DoubledLinear(7, 6), nn.Tanh(), nn.Linear(6, 5)), randn(3, 7), ("2.weight",)
    ),
    "weight_norm": Animal(
        lambda: nn.Sequential(weight_norm(nn.Linear(7, 6)), nn.Tanh(), nn.Linear(6, 5)), randn(3, 7), ("2.weight",)
    ),
    "batch_norm": Animal(
        lambda: nn.Sequential(nn.Linear(7, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 5)),
        randn(4, 7),
        ("0.weight", "3.weight"),
    ),
}


every_animal = pytest.mark.parametrize("animal", ZOO.values(), ids=ZOO.keys())
every_mode = pytest.mark.parametrize("train, grad", list(itertools.product([True, False], repeat=2)))


# --------------------------------------------------------------------------------------------------- looking at them


def output(model: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """Everything the model returns (an LSTM's states too), as one flat detached tensor."""
    return torch.cat([t.detach().flatten() for t in tree_leaves(model(*inputs)) if t is not None])


@contextmanager
def mode(model: nn.Module, train: bool, grad: bool) -> Iterator[None]:
    """The model in train or eval mode, with or without gradients. BatchNorm's statistics may move; copy the model."""
    model.train(train)
    with torch.set_grad_enabled(grad):
        yield


def base_outputs(model: nn.Module, inputs: tuple[Tensor, ...], train: bool, grad: bool) -> list[Tensor]:
    """What the base computes, frozen and trainable.

    torch takes another path through some layers when nothing requires a gradient (the encoder's fast path; another
    order of summation for non-contiguous inputs), so the base itself has two outputs that differ in the last bit.
    """
    outputs = []
    for trainable in (False, True):
        base = copy.deepcopy(model).requires_grad_(trainable)
        with mode(base, train, grad):
            outputs.append(output(base, inputs))
    return outputs


def replaced(model: nn.Module, deltas: dict[str, Tensor]) -> nn.Module:
    """The independent reference: a copy of the base whose plain weights are W0 + delta, added in float64."""
    model = copy.deepcopy(model)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, delta in deltas.items():
            weight = parameters[name]
            turned = delta.shape == weight.shape[::-1] != weight.shape  # a Conv1D; nothing here is square
            weight.copy_(weight.double() + (delta.T if turned else delta.view(weight.shape)))
    return model


def fingerprint(model: nn.Module) -> list[tuple]:
    """Everything an untouched model must keep: layers and their classes, parameters with their identity, flags, order
    and bytes, hooks, modes."""
    found = []
    for path, m in model.named_modules():
        found.append((path, id(m), type(m), m.training, len(m._forward_hooks), len(m._forward_pre_hooks)))
    for name, t in model.state_dict(keep_vars=True).items():
        numbers = t.detach().double().numpy(force=True).tobytes()
        found.append((name, id(t), t.requires_grad, t.dtype, t.shape, numbers))
    return found
