"""The shapes of published models, and what it costs to adapt them. Counting only: nothing is loaded or downloaded.

Every shape is the one its source prints; tests/test_costs.py builds the same models from transformers' configs, on the
meta device, and compares the number of parameters to the last digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lora_lab.costs import Bill, _positive, parameter_bytes

ATTENTION = ("q", "k", "v", "o")
TARGETS: dict[str, tuple[str, ...]] = {
    "q": ("q",),
    "q, v": ("q", "v"),
    "q, k, v, o": ATTENTION,
    "all": (*ATTENTION, "gate", "up", "down"),
}


class Shape(NamedTuple):
    """One transformer. d: width; ff: width inside the MLP; heads: query heads; kv_heads: key and value heads.

    family: "gpt2" (GPT-2 and GPT-3: biases, learned positions, tied head), "llama" (gated MLP, no biases, except
    Qwen's on q, k, v), "roberta" or "deberta" (encoders, without a task head).
    """

    name: str
    family: str
    layers: int
    d: int
    ff: int
    heads: int
    kv_heads: int
    vocab: int
    positions: int
    source: str
    tied: bool = True
    qkv_bias: bool = False
    head_dim: int = 0

    @property
    def kv(self) -> int:
        """Rows of Wk and Wv: fewer than d where groups of query heads share keys and values."""
        return self.kv_heads * (self.head_dim or self.d // self.heads)

    def matrices(self) -> dict[str, tuple[int, int]]:
        """The weight matrices of one layer, {role: (d_out, d_in)}. GPT-2 stores q, k, v as one; they count apart."""
        q, kv = self.d, self.kv
        found = {"q": (q, self.d), "k": (kv, self.d), "v": (kv, self.d), "o": (self.d, q)}
        if self.family == "llama":
            found["gate"] = (self.ff, self.d)
        return found | {"up": (self.ff, self.d), "down": (self.d, self.ff)}

    @property
    def in_matrices(self) -> int:
        """Numbers in the matrices of all layers: what LoRA can adapt and QLoRA rounds to 4 bits."""
        return self.layers * sum(rows * cols for rows, cols in self.matrices().values())

    @property
    def total(self) -> int:
        """All parameters of the model; a tied head counts once."""
        d, one = self.d, sum(rows for rows, _ in self.matrices().values())  # `one`: a bias for each output
        embedding = self.vocab * d
        if self.family == "llama":
            biases = (d + 2 * self.kv) * self.qkv_bias
            return self.in_matrices + embedding * (1 if self.tied else 2) + self.layers * (biases + 2 * d) + d
        norms = self.layers * 4 * d + 2 * d
        rest = self.layers * one + norms + embedding
        if self.family == "gpt2":
            return self.in_matrices + rest + self.positions * d
        if self.family == "roberta":  # one token type, and the pooler
            return self.in_matrices + rest + (self.positions + 1) * d + d * d + d
        return self.in_matrices + rest + self.positions * d + 2 * d + 3 * d * d + 3 * d  # positions, a convolution


def _gpt(name: str, layers: int, d: int, heads: int, source: str, positions: int = 1024) -> Shape:
    return Shape(name, "gpt2", layers, d, 4 * d, heads, heads, 50257, positions, source)


def _roberta(name: str, layers: int, d: int, heads: int) -> Shape:
    return Shape(name, "roberta", layers, d, 4 * d, heads, heads, 50265, 514, "arXiv 1907.11692, appendix A")


GPT2, GPT3 = "Radford et al. 2019, table 2", "arXiv 2005.14165, table 2.1"
QWEN = "arXiv 2412.15115, table 1; config.json on the model's page"
SHAPES: dict[str, Shape] = {
    shape.name: shape
    for shape in (
        _gpt("GPT-2 small", 12, 768, 12, GPT2),
        _gpt("GPT-2 medium", 24, 1024, 16, GPT2),
        _gpt("GPT-2 large", 36, 1280, 20, GPT2),
        _gpt("GPT-2 XL", 48, 1600, 25, GPT2),
        _gpt("GPT-3 175B", 96, 12288, 96, GPT3, 2048),
        _roberta("RoBERTa base", 12, 768, 12),
        _roberta("RoBERTa large", 24, 1024, 16),
        Shape(
            *("DeBERTa XXL", "deberta", 48, 1536, 6144, 24, 24, 128100, 512),
            "arXiv 2006.03654; config.json of microsoft/deberta-v2-xxlarge",
        ),
        Shape("Llama-2-7B", "llama", 32, 4096, 11008, 32, 32, 32000, 4096, "arXiv 2307.09288; config.json", False),
        Shape("Llama-3-8B", "llama", 32, 4096, 14336, 32, 8, 128256, 8192, "arXiv 2407.21783, table 3", False),
        Shape("Mistral-7B", "llama", 32, 4096, 14336, 32, 8, 32000, 8192, "arXiv 2310.06825, table 1", False),
        Shape("Qwen2.5-0.5B", "llama", 24, 896, 4864, 14, 2, 151936, 32768, QWEN, True, True),
        Shape("Qwen2.5-7B", "llama", 28, 3584, 18944, 28, 4, 152064, 131072, QWEN, False, True),
    )
}

# What the LoRA paper prints for q and v (its tables 2, 3 and 4), in millions: (model, r, printed).
PAPER_COUNTS = (
    ("RoBERTa base", 8, "0.3"),
    ("RoBERTa large", 8, "0.8"),
    ("DeBERTa XXL", 16, "4.7"),
    ("GPT-2 medium", 4, "0.35"),
    ("GPT-2 large", 4, "0.77"),
    ("GPT-3 175B", 1, "4.7"),
    ("GPT-3 175B", 8, "37.7"),
)
PAPER_FULL_GPT3 = 175_255.8e6  # its table 4, "FT"


def shape_of(name: str) -> Shape:
    if name not in SHAPES:
        raise ValueError(f"model={name!r} is not in the table; choose one of {', '.join(SHAPES)}.")
    return SHAPES[name]


def adapter_numbers(shape: Shape, r: int, targets: str | Sequence[str] = "q, v") -> int:
    """How many numbers A and B of all adapted matrices hold: sum of (d_out + d_in) r (paper, section 5.1).

    targets: a key of TARGETS, or roles such as ("q", "v", "up").
    """
    _positive(r=r)
    if isinstance(targets, str):
        if targets not in TARGETS:
            raise ValueError(f"targets={targets!r} is no choice; choose one of {', '.join(map(repr, TARGETS))}.")
        targets = [role for role in TARGETS[targets] if role in shape.matrices()]
    unknown = [role for role in targets if role not in shape.matrices()]
    if unknown or not targets:
        raise ValueError(f"targets={targets!r}: {shape.name} has the matrices {', '.join(shape.matrices())}.")
    return shape.layers * sum(sum(shape.matrices()[role]) for role in targets) * r


def weight_bytes(shape: Shape, dtype: str = "bfloat16") -> int:
    """The frozen base in memory. "nf4": the layers' matrices in 4 bits and their scales, the rest in bfloat16."""
    if dtype == "nf4":
        matrices = shape.in_matrices
        return round(matrices * parameter_bytes("nf4") + (shape.total - matrices) * parameter_bytes("bfloat16"))
    return round(shape.total * parameter_bytes(dtype))


def activation_bytes(shape: Shape, tokens: int, dtype: str = "bfloat16") -> int:
    """What the backward pass needs of the forward pass, for `tokens` = batch x length.

    Per token and layer 18 d + 4 ff bytes at 16 bits (34 d where ff = 4 d), 18 d + 8 ff with a gated MLP, and the logits
    once in float32. Korthikanti et al., 2022, arXiv 2205.05198, equation 2, without its term 5 a s / h: attention
    scores are recomputed, as flash attention does. LoRA needs about as much; a few inputs of frozen layers less.
    """
    _positive(tokens=tokens)
    wide = 2 if dtype == "float32" else 1
    mlp = (8 if shape.family == "llama" else 4) * shape.ff
    return tokens * (shape.layers * (18 * shape.d + mlp) * wide + 4 * shape.vocab)


def training_bill(
    shape: Shape,
    r: int | None,
    targets: str = "q, v",
    dtype: str = "bfloat16",
    optimizer: str = "Adam",
    tokens: int = 2048,
) -> Bill:
    """Bytes while training one model; r None is full fine-tuning.

    LoRA: the frozen base in `dtype`, factors, their gradients and the optimizer's state in float32. Full fine-tuning:
    weights and gradients in `dtype`; in 16 bits a float32 master copy too, counted with the optimizer's state (mixed
    precision as in ZeRO, arXiv 1910.02054: 16 bytes a weight with Adam). It cannot train 4-bit weights: ValueError.
    """
    state = {"Adam": 8, "8-bit Adam": 2, "SGD": 0}
    if optimizer not in state:
        raise ValueError(f"optimizer={optimizer!r} is not known here; choose one of {', '.join(state)}.")
    if r is None:
        if dtype == "nf4":
            raise ValueError("dtype='nf4': 4-bit weights cannot be trained; full fine-tuning needs bfloat16 or wider.")
        b = parameter_bytes(dtype)
        master = 0 if dtype == "float32" else 4
        parts = (shape.total * b, shape.total * b, shape.total * (state[optimizer] + master))
        return Bill(*map(round, parts), activation_bytes(shape, tokens, dtype))
    n = adapter_numbers(shape, r, targets)
    return Bill(weight_bytes(shape, dtype) + 4 * n, 4 * n, state[optimizer] * n, activation_bytes(shape, tokens, dtype))


def adapters_beside(shape: Shape, r: int, targets: str, dtype: str, memory: float) -> int:
    """How many adapters in 16 bits fit into `memory` bytes beside one base in `dtype`; 0 if the base does not fit."""
    return max(0, int(memory - weight_bytes(shape, dtype)) // (2 * adapter_numbers(shape, r, targets)))
