"""Exercises about layers that are no plain matrix."""

from __future__ import annotations

from lora_lab.classroom.first_edition import Exercise, function_judge
from lora_lab.subjects.linear_task.tasks import normal


def conv_update(A, B, scaling, shape):
    return (scaling * B @ A).view(shape)


def _kernel_case(out, inp, k, r, seed, scaling):
    return normal(r, inp * k * k, seed=seed), normal(out, r, seed=seed + 1), scaling, (out, inp, k, k)


E61 = Exercise(
    number="6.1",
    title="a convolution",
    objective="adapt any weight that can be seen as a matrix",
    stub='''\
def conv_update(A, B, scaling, shape):  # A (r, in·k·k), B (out, r), shape (out, in, k, k)
    return ...                          # the update of the kernel, in the kernel's shape

check("6.1", conv_update)''',
    solution='''\
def conv_update(A, B, scaling, shape):  # A (r, in·k·k), B (out, r), shape (out, in, k, k)
    return (scaling * B @ A).view(shape)

check("6.1", conv_update)''',
    hints=(
        "LoRA sees the kernel as a matrix with a row for each output channel: out × in·k·k.",
        "Compute scaling · BA, then `.view(shape)` gives the numbers the kernel's shape.",
    ),
    judge=function_judge(
        conv_update,
        [_kernel_case(4, 3, 3, 2, 10, 2.0), _kernel_case(5, 2, 1, 1, 20, 0.5)],
        {
            "the scaling is missing.": lambda A, B, s, shape: (B @ A).view(shape),
            "it is still a matrix: give it the kernel's shape with `.view(shape)`.": lambda A, B, s, shape: s * B @ A,
            "the matrix is laid into the kernel column by column; out must stay the first axis.": (
                lambda A, B, s, shape: (s * B @ A).T.reshape(shape)
            ),
            "the scaling is applied twice.": lambda A, B, s, shape: (s * s * B @ A).view(shape),
        },
        describe=lambda A, B, s, shape: f"A {tuple(A.shape)}, B {tuple(B.shape)}, shape {shape}",
    ),
    right="r·(out + in·k·k) numbers for a kernel of out·in·k·k. `add_lora` does the same.",
)

EXERCISES = (E61,)
