"""A small GPT, written for reading: one linear layer per matrix that the paper names, and a checkpoint to start from.

Shapes: B lines, T tokens, d = width, H heads. Pre-norm, learned positions, GELU, an untied head. Every weight that
LoRA may adapt is an nn.Linear of its own: q_proj, k_proj, v_proj, o_proj, up_proj, down_proj.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load as from_bytes
from torch import Tensor, nn

from lora_lab.subjects.mini_language import language
from lora_lab.subjects.mini_language.language import LENGTH, PROMPT, VOCABULARY

CHECKPOINT = Path(__file__).with_name("base.safetensors")  # written by make_base
ADAPTERS = Path(__file__).with_name("adapters")  # folders in PEFT's format, written by make_record
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj")
RANKS = (1, 2, 4, 8, 16, 64)  # that are compared
_END = VOCABULARY.index(language.END)


class Attention(nn.Module):
    """Each token looks at itself and at what came before."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj = nn.Linear(d, d), nn.Linear(d, d)
        self.v_proj, self.o_proj = nn.Linear(d, d), nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        B, T, d = x.shape
        q, k, v = (
            f(x).view(B, T, self.heads, d // self.heads).transpose(1, 2)  # (B, H, T, d/H)
            for f in (self.q_proj, self.k_proj, self.v_proj)
        )
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, d/H)
        return self.o_proj(seen.transpose(1, 2).reshape(B, T, d))  # (B, T, d)


class Block(nn.Module):
    """x + attention, then x + MLP, each on a normalised copy of x."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(d), Attention(d, heads)
        self.norm2 = nn.LayerNorm(d)
        self.up_proj, self.down_proj = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))  # (B, T, d)
        return x + self.down_proj(F.gelu(self.up_proj(self.norm2(x))))  # (B, T, 4d) -> (B, T, d)


class GPT(nn.Module):
    """Token numbers (B, T) -> logits of the next token (B, T, vocabulary). T up to LENGTH."""

    def __init__(self, d: int = 96, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(len(VOCABULARY), d), nn.Embedding(LENGTH, d)
        self.layers = nn.ModuleList(Block(d, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, len(VOCABULARY))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))  # (B, T, d)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))  # (B, T, vocabulary)


def new_gpt(seed: int = 0) -> GPT:
    """A GPT at its start: weights scaled as usual, drawn in float64, the same on every CPU."""
    model = GPT()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 2:
                std = 0.05 if "tokens" in name or "places" in name else p.shape[1] ** -0.5
                if name.endswith(("o_proj.weight", "down_proj.weight")):  # what is added to x, once per layer
                    std /= (2 * len(model.layers)) ** 0.5
                p.copy_(std * torch.randn(p.shape, generator=generator, dtype=torch.float64, device="cpu"))
            elif name.endswith("bias"):
                p.zero_()
    return model


def linears(model: nn.Module) -> dict[str, nn.Linear]:
    """{name: layer} of the matrices that LoRA may adapt, six in each block."""
    return {name: m for name, m in model.named_modules() if name.endswith(LINEARS)}


def text_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy in nats per token of text; targets of -100 (record, padding) do not count.

    logits (B, T, vocabulary), y (B, T) -> ().
    """
    return F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=-100)


@torch.no_grad()
def above_floor(model: nn.Module, lines: Sequence[language.Line]) -> float:
    """Loss on these lines minus their floor, nats per token: the part of the loss that a better model could avoid."""
    X, y = (t.to(next(model.parameters()).device) for t in language.tensors(lines))
    return float(text_loss(model(X), y)) - language.floor(lines)


@torch.no_grad()
def generate(
    model: nn.Module, records: Sequence[Sequence[str]], draws: torch.Generator | None = None
) -> list[tuple[str, ...]]:
    """One sentence for each record: always the likeliest next word, or drawn with `draws`. Stops at the END token."""
    ids = language.prompts(records).to(next(model.parameters()).device)  # (n, 8)
    while ids.shape[1] < LENGTH + 1 and not (ids[:, PROMPT:] == _END).any(1).all():
        p = model(ids)[:, -1].softmax(-1)  # (n, vocabulary)
        word = torch.multinomial(p, 1, generator=draws) if draws else p.argmax(-1, keepdim=True)  # (n, 1)
        ids = torch.cat([ids, word], 1)  # (n, T + 1)
    return [language.decode(row) for row in ids[:, PROMPT:]]


def record_of(checkpoint: Path = CHECKPOINT) -> dict:
    """The record that python -m lora_lab.subjects.transformer.make_base wrote beside the checkpoint."""
    return json.loads(checkpoint.with_suffix(".json").read_text(encoding="utf-8"))


def load_base(checkpoint: Path = CHECKPOINT) -> GPT:
    """The pretrained base. Raises ValueError for a file that is missing or is not the one that its record describes."""
    if not checkpoint.is_file():
        raise ValueError(f"there is no {checkpoint.name}: python -m lora_lab.subjects.transformer.make_base makes it.")
    data = checkpoint.read_bytes()
    wanted, found = record_of(checkpoint)["sha256"], hashlib.sha256(data).hexdigest()
    if found != wanted:
        raise ValueError(
            f"{checkpoint.name} is not the file that its record describes: sha256 {found[:12]}… instead of "
            f"{wanted[:12]}…. Fetch both again, or run python -m lora_lab.subjects.transformer.make_base."
        )
    model = GPT()
    model.load_state_dict(from_bytes(data))
    return model
