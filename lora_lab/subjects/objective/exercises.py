"""Exercises of page 01, the fine-tuning objective."""

from __future__ import annotations

from lora_lab.classroom.judging import Exercise, function_judge
from lora_lab.subjects.linear_task.tasks import normal


def objective(theta0, delta, X, y):
    return ((X @ (theta0 + delta).T - y) ** 2).mean()


_CASES = [
    (normal(3, 4, seed=1), normal(3, 4, seed=2), normal(7, 4, seed=3), normal(7, 3, seed=4)),
    (normal(5, 2, seed=5), normal(5, 2, seed=6), normal(6, 2, seed=7), normal(6, 5, seed=8)),
]

E11 = Exercise(
    number="1.1",
    title="the objective",
    objective="write down the fine-tuning objective",
    stub='''\
def objective(theta0, delta, X, y):  # (d_out, d_in) twice, X (n, d_in), y (n, d_out) -> one number
    return ...

check("1.1", objective)''',
    solution='''\
def objective(theta0, delta, X, y):  # (d_out, d_in) twice, X (n, d_in), y (n, d_out) -> one number
    return ((X @ (theta0 + delta).T - y) ** 2).mean()

check("1.1", objective)''',
    hints=(
        "The model's weight is Θ₀ + ΔΘ, and torch computes x times the weight transposed.",
        "Square the difference to y, and take the mean over all examples and outputs.",
    ),
    judge=function_judge(
        objective,
        _CASES,
        {
            "ΔΘ is missing.": lambda t, d, X, y: ((X @ t.T - y) ** 2).mean(),
            "Θ₀ is missing: the frozen weights still compute.": lambda t, d, X, y: ((X @ d.T - y) ** 2).mean(),
            "ΔΘ is subtracted; it is added.": lambda t, d, X, y: ((X @ (t - d).T - y) ** 2).mean(),
            "that is the sum of the squares; their mean is wanted.": (
                lambda t, d, X, y: ((X @ (t + d).T - y) ** 2).sum()
            ),
            "that is the square root of the mean squared error.": (
                lambda t, d, X, y: ((X @ (t + d).T - y) ** 2).mean() ** 0.5
            ),
            "that is the mean absolute error; the errors are squared.": (
                lambda t, d, X, y: (X @ (t + d).T - y).abs().mean()
            ),
            "one loss for each example; their mean is wanted.": (
                lambda t, d, X, y: ((X @ (t + d).T - y) ** 2).mean(1)
            ),
        },
        describe=lambda t, d, X, y: f"Θ₀ {tuple(t.shape)}, X {tuple(X.shape)}, y {tuple(y.shape)}",
    ),
    right="the mean squared error of Θ₀ + ΔΘ, with Θ₀ held fixed.",
)


def expected_loss(delta):
    return delta.square().sum() / len(delta)


def _ten_of_a_thousand():
    delta = normal(20, 30, seed=9)
    delta[10:] = 0
    return delta


E12 = Exercise(
    number="1.2",
    title="the loss after a shift",
    objective="predict the loss after a shift before measuring it",
    stub='''\
def expected_loss(delta):  # the shift (d_out, d_in); inputs are N(0, 1), the old weights fit exactly
    return ...

check("1.2", expected_loss)''',
    solution='''\
def expected_loss(delta):  # the shift (d_out, d_in); inputs are N(0, 1), the old weights fit exactly
    return delta.square().sum() / len(delta)

check("1.2", expected_loss)''',
    hints=(
        "One output is off by Σⱼ Δᵢⱼ xⱼ. With independent xⱼ of variance 1, what is the mean of its square?",
        "Σⱼ Δᵢⱼ² for output i; the loss is the mean of that over the outputs.",
    ),
    judge=function_judge(
        expected_loss,
        [(normal(4, 6, seed=10),), (normal(9, 3, seed=11),), (_ten_of_a_thousand(),)],
        {
            "that is the mean squared entry of ΔΘ; every output adds up d_in of them.": lambda d: d.square().mean(),
            "the sum over all outputs; the loss is a mean over them.": lambda d: d.square().sum(),
            "divided by d_in; the mean is over the d_out outputs.": lambda d: d.square().sum() / d.shape[1],
            "that is the square root of it: the loss is a mean of squares.": (
                lambda d: (d.square().sum() / len(d)) ** 0.5
            ),
            "the norm is not squared.": lambda d: d.norm() / len(d),
            "that squares the row sums, as if all inputs were 1.": lambda d: d.sum(1).square().mean(),
        },
        describe=lambda d: f"ΔΘ of shape {tuple(d.shape)}",
    ),
    right="‖ΔΘ‖² / d_out. Ten of a thousand outputs off by one: a hundredth of 1001.",
)


def training_bytes(trained, frozen):
    return 16 * trained + 4 * frozen


E13 = Exercise(
    number="1.3",
    title="what Adam keeps",
    objective="count what fine-tuning costs",
    stub='''\
def training_bytes(trained, frozen):  # how many float32 numbers train, and how many are frozen
    return ...                        # weights, gradients and Adam's moments, in bytes

check("1.3", training_bytes)''',
    solution='''\
def training_bytes(trained, frozen):  # how many float32 numbers train, and how many are frozen
    return 16 * trained + 4 * frozen

check("1.3", training_bytes)''',
    hints=(
        "A float32 number takes 4 bytes. A frozen weight is only that.",
        "A trained weight has a gradient and two moments beside it: four numbers in all.",
    ),
    judge=function_judge(
        training_bytes,
        [(1_001_000, 0), (2001, 1_001_000), (0, 10)],
        {
            "the frozen weights are missing: they stay in memory.": lambda t, f: 16 * t,
            "Adam's second moment is missing.": lambda t, f: 12 * t + 4 * f,
            "Adam's two moments are missing.": lambda t, f: 8 * t + 4 * f,
            "the gradient is missing.": lambda t, f: 12 * t + 4 * f,
            "frozen weights have no gradient and no moments.": lambda t, f: 16 * (t + f),
            "those are numbers; each takes 4 bytes.": lambda t, f: 4 * t + f,
            "the weights themselves are missing.": lambda t, f: 12 * t,
        },
        tolerance=1e-9,
        describe=lambda t, f: f"{t:,} trained and {f:,} frozen numbers",
    ),
    right="16 bytes for a trained number, 4 for a frozen one.",
)

EXERCISES = (E11, E12, E13)
