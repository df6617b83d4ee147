"""Exercises about the fine-tuning objective."""

from __future__ import annotations

import torch

from lora_lab.classroom.judging import exercise
from lora_lab.subjects.linear_task.tasks import normal


def _layer(d_out, d_in, n, seed):
    weights = normal(d_out, d_in, seed=seed), normal(d_out, d_in, seed=seed + 1)
    return *weights, normal(n, d_in, seed=seed + 2), normal(n, d_out, seed=seed + 3)


_SMALL = [torch.tensor(rows) for rows in ([[1.0, 2], [0, 1]], [[0.0, 1], [1, 0]], [[1.0, 2]], [[3.0, 2]])]


@exercise(
    title="the objective",
    hints=(
        "The model's weight is Θ₀ + ΔΘ, and torch computes x times the weight transposed.",
        "Square the difference to y, and take the mean over all examples and outputs.",
    ),
    right="the mean squared error of Θ₀ + ΔΘ, with Θ₀ held fixed.",
    cases=[tuple(_SMALL), _layer(3, 4, 7, 20), _layer(5, 2, 6, 30)],
    mistakes={
        "ΔΘ is missing.": lambda t, d, X, y: ((X @ t.T - y) ** 2).mean(),
        "Θ₀ is missing: the frozen weights still compute.": lambda t, d, X, y: ((X @ d.T - y) ** 2).mean(),
        "ΔΘ is subtracted; it is added.": lambda t, d, X, y: ((X @ (t - d).T - y) ** 2).mean(),
        "a transpose is missing: torch stores a weight as (d_out, d_in), so X @ weight.T.": (
            lambda t, d, X, y: ((X @ (t + d) - y) ** 2).mean()
        ),
        "that is the sum of the squares; their mean is wanted.": (
            lambda t, d, X, y: ((X @ (t + d).T - y) ** 2).sum()
        ),
        "that is half of the mean; this course's loss has no ½.": (
            lambda t, d, X, y: ((X @ (t + d).T - y) ** 2).mean() / 2
        ),
        "summed over the outputs; the mean is over examples and outputs.": (
            lambda t, d, X, y: ((X @ (t + d).T - y) ** 2).sum(1).mean()
        ),
        "that is the square root of the mean squared error.": (
            lambda t, d, X, y: ((X @ (t + d).T - y) ** 2).mean() ** 0.5
        ),
        "that is the mean absolute error; the errors are squared.": (
            lambda t, d, X, y: (X @ (t + d).T - y).abs().mean()
        ),
        "one loss for each example; their mean is wanted.": lambda t, d, X, y: ((X @ (t + d).T - y) ** 2).mean(1),
        "that squares the mean error, in which signs cancel; square each error before.": (
            lambda t, d, X, y: (X @ (t + d).T - y).mean() ** 2
        ),
    },
)
def objective(theta0, delta, X, y):  # (d_out, d_in) twice, X (n, d_in), y (n, d_out) -> one number
    return ((X @ (theta0 + delta).T - y) ** 2).mean()


def _ten_of_a_hundred():
    delta = normal(100, 30, seed=9)
    delta[10:] = 0
    return delta


@exercise(
    title="the loss after a shift",
    hints=(
        "One output is off by Σⱼ Δᵢⱼ xⱼ. With independent xⱼ of variance 1, what is the mean of its square?",
        "Σⱼ Δᵢⱼ² for output i; the loss is the mean of that over the outputs.",
    ),
    right="‖ΔΘ‖² / d_out. Ten of a thousand outputs off by one in each entry: a hundredth of 1001.",
    cases=[
        (torch.tensor([[1.0, 2, 0], [3, 0, 1]]),),
        (normal(4, 6, seed=10),),
        (normal(9, 3, seed=11),),
        (_ten_of_a_hundred(),),
    ],
    mistakes={
        "that is the mean squared entry of ΔΘ; every output adds up d_in of them.": lambda d: d.square().mean(),
        "the sum over all outputs; the loss is a mean over them.": lambda d: d.square().sum(),
        "divided by d_in; the mean is over the d_out outputs.": lambda d: d.square().sum() / d.shape[1],
        "that is the square root of it: the loss is a mean of squares.": lambda d: (d.square().sum() / len(d)) ** 0.5,
        "the norm is not squared.": lambda d: d.norm() / len(d),
        "that squares the row sums, as if all inputs were 1.": lambda d: d.sum(1).square().mean(),
        "the entries are not squared, so that signs cancel.": lambda d: d.sum() / len(d),
        "that is right where every entry is 1, as in S1; take the entries' squares.": lambda d: d.shape[1],
        "one number for each output; the loss is their mean.": lambda d: d.square().sum(1),
    },
)
def expected_loss(delta):  # the shift (d_out, d_in); inputs are N(0, 1), the old weights fit exactly
    return delta.square().sum() / len(delta)


@exercise(
    title="what Adam keeps",
    hints=(
        "A float32 number takes 4 bytes. A frozen weight is only that.",
        "A trained weight has a gradient and two moments beside it: four numbers in all.",
    ),
    right="16 bytes for a trained number, 4 for a frozen one.",
    cases=[(1, 0), (0, 10), (2001, 1_001_000), (1_001_000, 3)],
    mistakes={
        "the frozen weights are missing: they stay in memory.": lambda t, f: 16 * t,
        "one of the four numbers is missing: weight, gradient and two moments.": lambda t, f: 12 * t + 4 * f,
        "Adam's two moments are missing.": lambda t, f: 8 * t + 4 * f,
        "gradient and moments are missing.": lambda t, f: 4 * (t + f),
        "frozen weights have no gradient and no moments.": lambda t, f: 16 * (t + f),
        "frozen weights have no gradient.": lambda t, f: 16 * t + 8 * f,
        "those are numbers; each takes 4 bytes.": lambda t, f: 4 * t + f,
        "a float32 number takes 4 bytes, not 2.": lambda t, f: 8 * t + 2 * f,
        "those are bits; a byte has 8.": lambda t, f: 128 * t + 32 * f,
        "trained and frozen are swapped.": lambda t, f: 4 * t + 16 * f,
    },
)
def training_bytes(trained, frozen):  # how many float32 numbers train, and how many are frozen
    # weights, gradients and Adam's moments, in bytes
    return 16 * trained + 4 * frozen
