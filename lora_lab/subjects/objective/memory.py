"""What one adapted layer costs: bytes while training with Adam, and on disk."""

from typing import NamedTuple

from lora_lab.costs import check_positive, lora_numbers
from lora_lab.subjects.files_and_costs.models import parameter_bytes


class Memory(NamedTuple):
    """Bytes held while training, by purpose. Activations are not in it; page 10 measures them."""

    weights: int
    gradients: int
    adam: int

    @property
    def total(self) -> int:
        return sum(self)


def full_memory(d_out: int, d_in: int, dtype: str = "float32") -> Memory:
    """Full fine-tuning of one d_out x d_in weight with Adam: the weight, its gradient, two moments, all in `dtype`."""
    check_positive(d_out=d_out, d_in=d_in)
    n, b = d_out * d_in, parameter_bytes(dtype)
    return Memory(n * b, n * b, 2 * n * b)


def lora_memory(d_out: int, d_in: int, r: int, dtype: str = "float32") -> Memory:
    """LoRA on one weight with Adam: the frozen weight in `dtype`; factors, their gradient and moments in float32."""
    check_positive(d_out=d_out, d_in=d_in)
    k = lora_numbers(d_out, d_in, r)
    return Memory(d_out * d_in * parameter_bytes(dtype) + 4 * k, 4 * k, 8 * k)


def disk_bytes(d_out: int, d_in: int, tasks: int, r: int | None = None, dtype: str = "float32") -> int:
    """What is stored for `tasks` tasks: a full copy each (r None), or one base and an adapter of rank r each."""
    check_positive(d_out=d_out, d_in=d_in, tasks=tasks)
    weight = d_out * d_in * parameter_bytes(dtype)
    return tasks * weight if r is None else weight + tasks * 4 * lora_numbers(d_out, d_in, r)
