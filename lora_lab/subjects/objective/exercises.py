"""Exercises about the fine-tuning objective."""

import torch

from lora_lab.classroom.judging import exercise
from lora_lab.subjects.linear_task.tasks import normal


def _layer(d_out, d_in, n, seed):
    weights = normal(d_out, d_in, seed=seed), normal(d_out, d_in, seed=seed + 1)
    return *weights, normal(n, d_in, seed=seed + 2), normal(n, d_out, seed=seed + 3)


_SMALL = [torch.tensor(rows) for rows in ([[1.0, 2], [0, 1]], [[0.0, 1], [1, 0]], [[1.0, 2]], [[3.0, 2]])]


@exercise(
    title="the objective",
    hints=("The weight is Θ₀ + ΔΘ; torch computes x @ weight.T.", "Take the mean of all squared differences to y."),
    right="the mean squared error of Θ₀ + ΔΘ, with Θ₀ held fixed.",
    cases=[tuple(_SMALL), _layer(3, 4, 7, 20), _layer(5, 2, 6, 30)],
    mistakes={
        "ΔΘ is missing.": "((X @ theta0.T - y) ** 2).mean()",
        "Θ₀ is missing: the frozen weights still compute.": "((X @ delta.T - y) ** 2).mean()",
        "ΔΘ is subtracted; it is added.": "((X @ (theta0 - delta).T - y) ** 2).mean()",
        "a transpose is missing: X @ weight.T, as torch stores it.": "((X @ (theta0 + delta) - y) ** 2).mean()",
        "that is the sum of the squares; their mean is wanted.": "((X @ (theta0 + delta).T - y) ** 2).sum()",
        "that is half of the mean; this course's loss has no ½.": "objective(theta0, delta, X, y) / 2",
        "summed over the outputs; the mean is over them, too.": "objective(theta0, delta, X, y) * y.shape[1]",
    },
)
def objective(theta0, delta, X, y):  # (d_out, d_in) twice, X (n, d_in), y (n, d_out) -> one number
    return ((X @ (theta0 + delta).T - y) ** 2).mean()


@exercise(
    title="the loss after a shift",
    hints=(
        "One output is off by Σⱼ Δᵢⱼ xⱼ. With independent xⱼ of variance 1, what is the mean of its square?",
        "Σⱼ Δᵢⱼ² for output i; the loss is the mean of that over the outputs.",
    ),
    right="‖ΔΘ‖² / d_out. Ten of a thousand outputs off by one in each entry: a hundredth of 1001.",
    cases=[(torch.tensor([[1.0, 2], [3, 0], [0, 0]]),), (normal(4, 6, seed=10),), (normal(9, 3, seed=11),)],
    mistakes={
        "that is the mean squared entry of ΔΘ; every output adds up d_in of them.": "delta.square().mean()",
        "the sum over all outputs; the loss is a mean over them.": "delta.square().sum()",
        "divided by d_in; the mean is over the d_out outputs.": "delta.square().sum() / delta.shape[1]",
        "the norm is not squared.": "delta.norm() / len(delta)",
        "that squares the row sums, as if all inputs were 1.": "delta.sum(1).square().mean()",
        "that is right where every entry is 1, as in S1; take the entries' squares.": "delta.shape[1]",
    },
)
def expected_loss(delta):  # the shift (d_out, d_in); inputs are N(0, 1), the old weights fit exactly
    return delta.square().sum() / len(delta)


@exercise(
    title="what Adam keeps",
    hints=("A float32 number takes 4 bytes.", "A trained weight has a gradient and two moments beside it."),
    right="16 bytes for a trained number, 4 for a frozen one.",
    cases=[(1, 0), (0, 10), (2001, 1_001_000), (1_001_000, 3)],
    mistakes={
        "the frozen weights are missing: they stay in memory.": "16 * trained",
        "one of the four numbers is missing: weight, gradient and two moments.": "12 * trained + 4 * frozen",
        "Adam's two moments are missing.": "8 * trained + 4 * frozen",
        "gradient and moments are missing.": "4 * (trained + frozen)",
        "frozen weights have no gradient and no moments.": "16 * (trained + frozen)",
        "those are numbers; each takes 4 bytes.": "4 * trained + frozen",
    },
)
def training_bytes(trained, frozen):  # how many float32 numbers train, and how many are frozen
    # weights, gradients and Adam's moments, in bytes
    return 16 * trained + 4 * frozen
