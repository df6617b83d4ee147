"""Counting: parameters, bytes, multiply-adds. Everything is arithmetic under a stated convention."""

from __future__ import annotations

from typing import NamedTuple

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
NF4_BYTES = (4 + 0.127) / 8  # QLoRA, arXiv 2305.14314, section 3: 4 bits, and 0.127 for the twice rounded scales


class Memory(NamedTuple):
    """Bytes held while training, by purpose. Activations are not in it: LoRA does not change them much."""

    weights: int
    gradients: int
    adam: int

    @property
    def total(self) -> int:
        return sum(self)


class Bill(NamedTuple):
    """Bytes held while training a whole model, by purpose (models.training_bill says under which convention)."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        return sum(self)


def _positive(**numbers: int) -> None:
    for name, n in numbers.items():
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"{name}={n!r} is not a whole number of at least 1.")


def _width(dtype: str) -> int:
    if dtype not in BYTES:
        raise ValueError(f"dtype={dtype!r} is not known here; choose one of {', '.join(BYTES)}.")
    return BYTES[dtype]


def parameter_bytes(dtype: str) -> float:
    """Bytes of one stored number; "nf4" is QLoRA's 4-bit format with its scales."""
    if dtype == "nf4":
        return NF4_BYTES
    if dtype not in BYTES:
        raise ValueError(f"dtype={dtype!r} is not known here; choose one of {', '.join(BYTES)}, nf4.")
    return BYTES[dtype]


def lora_numbers(d_out: int, d_in: int, r: int) -> int:
    """How many numbers the factors A (r, d_in) and B (d_out, r) hold: (d_out + d_in) r."""
    _positive(d_out=d_out, d_in=d_in, r=r)
    return (d_out + d_in) * r


def full_memory(d_out: int, d_in: int, dtype: str = "float32") -> Memory:
    """Full fine-tuning of one d_out x d_in weight with Adam: the weight, its gradient, two moments, all in `dtype`."""
    _positive(d_out=d_out, d_in=d_in)
    n, b = d_out * d_in, _width(dtype)
    return Memory(n * b, n * b, 2 * n * b)


def lora_memory(d_out: int, d_in: int, r: int, dtype: str = "float32") -> Memory:
    """LoRA on one weight with Adam: the frozen weight in `dtype`; factors, their gradient and moments in float32."""
    _positive(d_out=d_out, d_in=d_in)
    k = lora_numbers(d_out, d_in, r)
    return Memory(d_out * d_in * _width(dtype) + 4 * k, 4 * k, 8 * k)


def disk_bytes(d_out: int, d_in: int, tasks: int, r: int | None = None, dtype: str = "float32") -> int:
    """What is stored for `tasks` tasks: a full copy each (r None), or one base and an adapter of rank r each."""
    _positive(d_out=d_out, d_in=d_in, tasks=tasks)
    weight = d_out * d_in * _width(dtype)
    return tasks * weight if r is None else weight + tasks * 4 * lora_numbers(d_out, d_in, r)


def forward_macs(d_out: int, d_in: int, r: int | None = None, materialised: bool = False, batch: int = 1) -> int:
    """Multiply-adds of one forward over `batch` rows: the base alone (r None), with the factored update,
    or with BA formed first and added to W (`materialised`, whose product does not shrink with the batch)."""
    _positive(d_out=d_out, d_in=d_in, batch=batch)
    base = batch * d_out * d_in
    if r is None:
        return base
    return base + (d_out * d_in * r if materialised else batch * lora_numbers(d_out, d_in, r))


def human(n: float) -> str:
    """Bytes in words: 8004 -> '8.0 kB', 4004000 -> '4.0 MB' (powers of 1000, as file managers and the paper count)."""
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if abs(n) < 999.5 or unit == "PB":
            break
        n /= 1000
    return f"{n:.0f} {unit}" if unit == "B" or abs(n) >= 100 else f"{n:.1f} {unit}"
