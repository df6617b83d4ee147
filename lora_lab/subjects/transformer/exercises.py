"""Exercises about LoRA in a transformer."""

from __future__ import annotations

import torch

from lora_lab.classroom.judging import exercise
from lora_lab.subjects.linear_task.tasks import normal


@exercise(
    title="the paper's formula",
    hints=("A has r·d numbers, B has d·r.", "Two factors, each of d·r numbers, in each matrix of each layer."),
    right="2·L·d·r for each adapted matrix: 37 748 736 for GPT-3's query and value at r = 8.",
    cases=[(2, 5, 3, 4), (96, 12288, 2, 8), (24, 1024, 1, 4), (3, 64, 4, 2)],
    mistakes={
        "that counts one of the two factors, A or B.": lambda n, d, m, r: n * d * r * m,
        "that is one matrix in each layer; there are `matrices`.": lambda n, d, m, r: 2 * n * d * r,
        "that is one layer.": lambda n, d, m, r: 2 * d * r * m,
        "that is one matrix of one layer.": lambda n, d, m, r: 2 * d * r,
        "4·L·d·r is right for two matrices in a layer; here `matrices` says how many.": (
            lambda n, d, m, r: 4 * n * d * r
        ),
        "8·L·d·r is right for four matrices in a layer; here `matrices` says how many.": (
            lambda n, d, m, r: 8 * n * d * r
        ),
        "twice too many: a matrix has two factors, and `matrices` counts all the matrices already.": (
            lambda n, d, m, r: 4 * n * d * r * m
        ),
        "the rank is missing: A has r rows, B has r columns.": lambda n, d, m, r: 2 * n * d * m,
        "the rank is taken to be 8; it is an argument.": lambda n, d, m, r: 16 * n * d * m,
        "that is full fine-tuning of those matrices.": lambda n, d, m, r: n * d * d * m,
        "the frozen weights are counted, too; only A and B train.": lambda n, d, m, r: n * m * (d * d + 2 * d * r),
        "r matrices of d × d are what their products look like, not what is stored.": (
            lambda n, d, m, r: n * d * d * r * m
        ),
        "A is r × d and B is d × r: neither has d·d·r numbers.": lambda n, d, m, r: 2 * n * d * d * r * m,
        "there is no r × r matrix between A and B.": lambda n, d, m, r: n * m * (2 * d * r + r * r),
        "those are bytes; the numbers are wanted.": lambda n, d, m, r: 8 * n * d * r * m,
    },
)
def trained(layers, d, matrices, r):  # `matrices` d x d weights in each layer, all with rank r
    # how many numbers LoRA trains
    return 2 * layers * d * r * matrices


def _basis(r, d, seed):
    """Orthonormal directions in rows, (r, d)."""
    return torch.linalg.qr(normal(d, r, seed=seed).double())[0].T.float()


def _cosines(U1, U2, i, j):
    return U1[:i] @ U2[:j].T  # (i, j)


@exercise(
    title="φ by hand",
    hints=(
        "`U1[:i] @ U2[:j].T` holds the cosines between i directions and j directions.",
        "Square them, add them up, and divide by the largest value that sum can have, min(i, j).",
    ),
    right="eq. 4 of the paper: 1 if the smaller space lies in the larger one.",
    cases=[
        (torch.tensor([[1.0, 0, 0], [0, 1, 0]]), torch.tensor([[0.0, -1, 0], [0, 0, 1]]), 2, 1),
        (_basis(4, 12, seed=1), _basis(6, 12, seed=2), 2, 5),
        (_basis(3, 9, seed=3), _basis(3, 9, seed=4), 3, 1),
        (_basis(5, 5, seed=5), _basis(5, 5, seed=6), 3, 3),
    ],
    mistakes={
        "divided by max(i, j); the sum's largest possible value is min(i, j).": (
            lambda U1, U2, i, j: _cosines(U1, U2, i, j).square().sum() / max(i, j)
        ),
        "divided by i; the sum's largest possible value is min(i, j), and j may be the smaller.": (
            lambda U1, U2, i, j: _cosines(U1, U2, i, j).square().sum() / i
        ),
        "divided by j; the sum's largest possible value is min(i, j), and i may be the smaller.": (
            lambda U1, U2, i, j: _cosines(U1, U2, i, j).square().sum() / j
        ),
        "divided by i·j, which is the mean squared cosine; divide their sum by min(i, j).": (
            lambda U1, U2, i, j: _cosines(U1, U2, i, j).square().mean()
        ),
        "divided by i + j; the sum's largest possible value is min(i, j).": (
            lambda U1, U2, i, j: _cosines(U1, U2, i, j).square().sum() / (i + j)
        ),
        "divided by d; the sum's largest possible value is min(i, j).": (
            lambda U1, U2, i, j: _cosines(U1, U2, i, j).square().sum() / U1.shape[1]
        ),
        "not divided: the sum grows with i and j.": lambda U1, U2, i, j: _cosines(U1, U2, i, j).square().sum(),
        "that swaps i and j: the first i of U1 and the first j of U2 are wanted.": (
            lambda U1, U2, i, j: _cosines(U1, U2, j, i).square().sum() / min(i, j)
        ),
        "the cosines are not squared, so that signs cancel.": (
            lambda U1, U2, i, j: _cosines(U1, U2, i, j).sum() / min(i, j)
        ),
        "those are the cosines' sizes; square them.": (
            lambda U1, U2, i, j: _cosines(U1, U2, i, j).abs().sum() / min(i, j)
        ),
        "they are squared after they are added up; add up the squares.": (
            lambda U1, U2, i, j: _cosines(U1, U2, i, j).sum() ** 2 / min(i, j)
        ),
        "that is the norm; its square is wanted.": lambda U1, U2, i, j: _cosines(U1, U2, i, j).norm() / min(i, j),
        "that is the square root of φ.": (
            lambda U1, U2, i, j: (_cosines(U1, U2, i, j).square().sum() / min(i, j)).sqrt()
        ),
        "that compares the first with the first, the second with the second; every pair counts.": (
            lambda U1, U2, i, j: _cosines(U1, U2, i, j).diagonal().square().sum() / min(i, j)
        ),
        "that is direction i against direction j only; take the first i and the first j.": (
            lambda U1, U2, i, j: (U1[i - 1] @ U2[j - 1]) ** 2
        ),
        "all directions are compared; take the first i and the first j.": (
            lambda U1, U2, i, j: (U1 @ U2.T).square().sum() / min(i, j)
        ),
        "one direction too many of each: `U1[:i]` are the first i.": (
            lambda U1, U2, i, j: _cosines(U1, U2, i + 1, j + 1).square().sum() / min(i, j)
        ),
        "the directions are rows: `U1[:i]` takes the first i, `U1[:, :i]` cuts numbers off each of them.": (
            lambda U1, U2, i, j: (U1[:, :i] @ U2[:, :j].T).square().sum() / min(i, j)
        ),
        "that is one number for each direction; add them up.": (
            lambda U1, U2, i, j: _cosines(U1, U2, i, j).square().sum(1) / min(i, j)
        ),
        "one number for each pair of directions; add them up.": (
            lambda U1, U2, i, j: _cosines(U1, U2, i, j).square() / min(i, j)
        ),
    },
)
def phi(U1, U2, i, j):  # orthonormal directions in rows, (r1, d) and (r2, d), strongest first
    # how much of the first i of one lies in the first j of the other
    return (U1[:i] @ U2[:j].T).square().sum() / min(i, j)


@exercise(
    title="what chance gives",
    hints=(
        "A squared cosine between two random directions is 1/d on average. How many are added up?",
        "i·j of them, divided by min(i, j).",
    ),
    right="max(i, j)/d, which is no small number in a small model: always draw it.",
    cases=[(2, 3, 12), (8, 1, 64), (8, 8, 64), (3, 2, 50), (8, 64, 64)],
    mistakes={
        "random subspaces are not orthogonal: chance is not 0.": lambda i, j, d: 0,
        "`//` is the division of whole numbers, which rounds down; write `/`.": lambda i, j, d: max(i, j) // d,
        "that is right for i = j only: i·j squared cosines of 1/d each, divided by min(i, j).": (
            lambda i, j, d: min(i, j) / d
        ),
        "that is i/d, right where i is the larger; φ does not care which of the two is called i.": (
            lambda i, j, d: i / d
        ),
        "that is j/d, right where j is the larger; φ does not care which of the two is called i.": (
            lambda i, j, d: j / d
        ),
        "the division by min(i, j) is missing.": lambda i, j, d: i * j / d,
        "that is for one direction each.": lambda i, j, d: 1 / d,
        "a squared cosine is 1/d on average, not 1/d².": lambda i, j, d: max(i, j) / d**2,
        "1/√d is the size of a cosine; its square, 1/d, is added up.": lambda i, j, d: max(i, j) / d**0.5,
        "that is the square root of it: φ adds up squares.": lambda i, j, d: (max(i, j) / d) ** 0.5,
        "i·j squared cosines are added up, not i + j.": lambda i, j, d: (i + j) / d / min(i, j),
        "that is (i + j)/d: i·j squared cosines of 1/d each, divided by min(i, j).": lambda i, j, d: (i + j) / d,
        "that is upside down.": lambda i, j, d: d / max(i, j),
        "that is the share of the smaller space in the larger.": lambda i, j, d: min(i, j) / max(i, j),
        "that is in percent; 1 would be all of it.": lambda i, j, d: 100 * max(i, j) / d,
    },
)
def by_chance(i, j, d):  # two random subspaces of i and j dimensions in d
    # their expected φ
    return max(i, j) / d
