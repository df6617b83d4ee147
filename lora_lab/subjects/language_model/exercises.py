"""Exercises about layers that are no plain matrix."""

from __future__ import annotations

import torch

from lora_lab.classroom.judging import exercise
from lora_lab.subjects.linear_task.tasks import normal


def _kernel(out, inp, k, r, scaling, seed):
    return normal(r, inp * k * k, seed=seed), normal(out, r, seed=seed + 1), scaling, (out, inp, k, k)


def _as(layout, order):
    """The mistake of giving the matrix the sizes named in `layout`, and then ordering the axes."""

    def mistake(A, B, scaling, shape):
        sizes = dict(zip("oikl", shape))
        return (scaling * B @ A).reshape([sizes[axis] for axis in layout]).permute(order)

    return mistake


@exercise(
    title="a convolution",
    hints=(
        "LoRA sees the kernel as a matrix with a row for each output channel: out × in·k·k.",
        "Compute scaling · BA, then `.view(shape)` gives the numbers the kernel's shape.",
    ),
    right="r·(out + in·k·k) numbers for a kernel of out·in·k·k. `add_lora` does the same.",
    cases=[
        (torch.tensor([[1.0, 2, 3, 4]]), torch.tensor([[1.0], [10]]), 2.0, (2, 1, 2, 2)),
        _kernel(4, 1, 2, 4, 3.0, seed=30),  # as a matrix it is square
        _kernel(3, 3, 3, 2, 0.5, seed=40),
        _kernel(4, 3, 2, 2, 2.0, seed=10),
        _kernel(5, 2, 1, 1, 0.25, seed=20),
    ],
    mistakes={
        "the scaling is missing.": lambda A, B, s, shape: (B @ A).view(shape),
        "the scaling is applied twice.": lambda A, B, s, shape: (s * s * B @ A).view(shape),
        "it is still a matrix: give it the kernel's shape with `.view(shape)`.": lambda A, B, s, shape: s * B @ A,
        "the factors are in the wrong order: B @ A has a row for each output channel.": (
            lambda A, B, s, shape: (s * A @ B).view(shape)
        ),
        "the matrix is laid into the kernel column by column; out must stay the first axis.": (
            lambda A, B, s, shape: (s * B @ A).T.reshape(shape)
        ),
        "the columns are read as k, k, in; a kernel's are in, k, k.": _as("okli", (0, 3, 1, 2)),
        "the matrix is read as (in, out, k, k); its rows are the output channels.": _as("iokl", (1, 0, 2, 3)),
        "the kernel's rows and columns (its last two axes) are swapped.": _as("oikl", (0, 1, 3, 2)),
        "out and in are swapped: the shape is (out, in, k, k).": _as("oikl", (1, 0, 2, 3)),
        "the kernel is turned around: its axes are in the opposite order.": _as("oikl", (3, 2, 1, 0)),
    },
)
def conv_update(A, B, scaling, shape):  # A (r, in·k·k), B (out, r), shape (out, in, k, k)
    # the update of the kernel, in the kernel's shape
    return (scaling * B @ A).view(shape)
