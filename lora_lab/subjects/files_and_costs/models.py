"""The shapes of published models (models.csv), and what it costs to adapt them. Counting only: nothing is loaded.

Every shape is the one its source prints; the tests build the same models from transformers' configs, on the meta
device, and compare the number of parameters to the last digit.
"""

import csv
from pathlib import Path
from typing import NamedTuple

from lora_lab.costs import BYTES, check_positive

STORED = BYTES | {"nf4": (4 + 0.127) / 8}  # QLoRA, arXiv 2305.14314, section 3: 4 bits; twice rounded scales
TARGETS: dict[str, tuple[str, ...]] = {
    "q": ("q",),
    "q, v": ("q", "v"),
    "q, k, v, o": ("q", "k", "v", "o"),
    "all": ("q", "k", "v", "o", "gate", "up", "down"),
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
    tied: bool = True
    qkv_bias: bool = False
    source: str = ""

    @property
    def kv(self) -> int:
        """Rows of Wk and Wv: fewer than d where groups of query heads share keys and values."""
        return self.kv_heads * (self.d // self.heads)

    def matrices(self) -> dict[str, tuple[int, int]]:
        """The weight matrices of one layer, {role: (d_out, d_in)}. GPT-2 stores q, k, v as one; they count apart."""
        d, kv = self.d, self.kv
        found = {"q": (d, d), "k": (kv, d), "v": (kv, d), "o": (d, d)}
        if self.family == "llama":
            found["gate"] = (self.ff, d)
        return found | {"up": (self.ff, d), "down": (d, self.ff)}

    @property
    def in_matrices(self) -> int:
        """Numbers in the matrices of all layers: what LoRA can adapt and QLoRA rounds to 4 bits."""
        return self.layers * sum(rows * cols for rows, cols in self.matrices().values())

    @property
    def total(self) -> int:
        """All parameters of the model; a tied head counts once."""
        d, n = self.d, self.in_matrices + self.vocab * self.d
        if self.family == "llama":
            head = 0 if self.tied else self.vocab * d
            biases = (d + 2 * self.kv) * self.qkv_bias
            return n + head + self.layers * (biases + 2 * d) + d  # with two norms a layer and one at the end
        biases = sum(rows for rows, _ in self.matrices().values())
        n += self.layers * (biases + 4 * d) + 2 * d + self.positions * d
        if self.family == "roberta":
            n += d + d * d + d  # one token type, and the pooler
        if self.family == "deberta":
            n += 3 * d * d + 5 * d  # a convolution, and a norm of the relative positions
        return n


def _read(row: dict[str, str]) -> Shape:
    """One line of the table: numbers, yes and no, and words."""
    words = {name: row.pop(name) for name in ("name", "family", "source")}
    flags = {name: row.pop(name) == "yes" for name in ("tied", "qkv_bias")}
    return Shape(**words, **flags, **{name: int(number) for name, number in row.items()})


with Path(__file__).with_name("models.csv").open(encoding="utf-8", newline="") as _table:
    SHAPES: dict[str, Shape] = {row["name"]: _read(row) for row in csv.DictReader(_table)}


def adapter_numbers(shape: Shape, r: int, targets: str = "q, v") -> int:
    """How many numbers A and B of all adapted matrices hold: sum of (d_out + d_in) r (paper, section 5.1).

    targets: a key of TARGETS.
    """
    check_positive(r=r)
    if targets not in TARGETS:
        raise ValueError(f"targets={targets!r} is no choice; choose one of {', '.join(map(repr, TARGETS))}.")
    adapted = [size for role, size in shape.matrices().items() if role in TARGETS[targets]]
    return shape.layers * sum(d_out + d_in for d_out, d_in in adapted) * r


def parameter_bytes(dtype: str) -> float:
    """Bytes of one stored number; "nf4" is QLoRA's 4-bit format with its scales."""
    if dtype not in STORED:
        raise ValueError(f"dtype={dtype!r} is not known here; choose one of {', '.join(STORED)}.")
    return STORED[dtype]


def weight_bytes(shape: Shape, dtype: str = "bfloat16") -> int:
    """The frozen base in memory. "nf4": the layers' matrices in 4 bits and their scales, the rest in bfloat16."""
    if dtype == "nf4":
        matrices = shape.in_matrices
        return round(matrices * parameter_bytes("nf4") + (shape.total - matrices) * parameter_bytes("bfloat16"))
    return round(shape.total * parameter_bytes(dtype))


def activation_bytes(
    shape: Shape, tokens: int, dtype: str = "bfloat16", targets: str | None = None, checkpointing: bool = False
) -> int:
    """What the backward pass needs of the forward pass, for `tokens` = batch x length.

    targets: a key of TARGETS, or None for full fine-tuning. The logits count once, in float32, and attention scores not
    at all: they are recomputed, as flash attention does. checkpointing: each layer keeps its input only, and one layer
    at a time is computed again.

    Llama's layer, in bytes at 16 bits: a float32 copy of the input of both norms (8 d), queries and the attention's
    output (4 d), keys and values (4 kv), three products of the MLP's width (6 ff); and the input of each matrix that
    trains or is adapted: 2 d for q, k, v together, 2 d for gate and up, 2 ff for down. Full fine-tuning trains the
    norms as well (4 d). Page 10 measures this. The others: 18 d + 4 ff, equation 2 of Korthikanti et al., 2022, arXiv
    2205.05198.
    """
    d, ff = shape.d, shape.ff
    trains = set(TARGETS["all"] if targets is None else TARGETS[targets])
    if shape.family == "llama":
        halves = 4 * d + 4 * shape.kv + 6 * ff + 4 * d * (targets is None)
        halves += 2 * d * (bool(trains & {"q", "k", "v"}) + bool(trains & {"gate", "up"}))
        halves += 2 * ff * ("down" in trains)
        singles = 8 * d
    else:
        halves, singles = 18 * d + 4 * ff, 0
    wide = 2 if dtype == "float32" else 1
    layer = halves * wide + singles
    layers = layer + shape.layers * 2 * d * wide if checkpointing else layer * shape.layers
    return tokens * (layers + 4 * shape.vocab)


def cache_bytes(shape: Shape, tokens: int) -> int:
    """The keys and values of `tokens` tokens in 16 bits, which a model that generates keeps."""
    return 2 * 2 * shape.kv * shape.layers * tokens


class Bill(NamedTuple):
    """Bytes held while training a whole model, by purpose (`training_bill` says how)."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        return sum(self)


def training_bill(
    shape: Shape, r: int | None, targets: str = "q, v", dtype="bfloat16", tokens: int = 2048, checkpointing=False
) -> Bill:
    """Bytes while training one model with Adam; r None is full fine-tuning.

    LoRA: the frozen base in `dtype`, factors, their gradients and Adam's two moments in float32. Full fine-tuning:
    weights and gradients in `dtype`; in 16 bits a float32 master copy too, counted with the optimizer's state (mixed
    precision as in ZeRO, arXiv 1910.02054: 16 bytes a weight). It cannot train 4-bit weights: ValueError.
    """
    weights = weight_bytes(shape, dtype)
    activations = activation_bytes(shape, tokens, dtype, None if r is None else targets, checkpointing)
    if r is not None:
        factors = 4 * adapter_numbers(shape, r, targets)
        return Bill(weights + factors, factors, 2 * factors, activations)
    if dtype == "nf4":
        raise ValueError("dtype='nf4': 4-bit weights cannot be trained; full fine-tuning needs bfloat16 or wider.")
    master = 0 if dtype == "float32" else 4
    return Bill(weights, weights, shape.total * (8 + master), activations)
