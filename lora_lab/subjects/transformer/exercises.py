"""Exercises of page 08, a transformer."""

from __future__ import annotations

import torch

from lora_lab.classroom.first_edition import Exercise, function_judge
from lora_lab.subjects.linear_task.tasks import normal


def trained(layers, d, matrices, r):
    return 2 * layers * d * r * matrices


E81 = Exercise(
    number="8.1",
    title="the paper's formula",
    objective="count what LoRA trains in a transformer",
    stub='''\
def trained(layers, d, matrices, r):  # `matrices` d x d weights in each layer, all with rank r
    return ...

check("8.1", trained)''',
    solution='''\
def trained(layers, d, matrices, r):  # `matrices` d x d weights in each layer, all with rank r
    return 2 * layers * d * r * matrices

check("8.1", trained)''',
    hints=("A has r·d numbers, B has d·r.", "Two factors, each of d·r numbers, in each matrix of each layer."),
    judge=function_judge(
        trained,
        [(96, 12288, 2, 8), (24, 1024, 1, 4), (3, 64, 4, 2)],
        {
            "that counts one of the two factors.": lambda layers, d, m, r: layers * d * r * m,
            "that is one matrix in each layer.": lambda layers, d, m, r: 2 * layers * d * r,
            "that is one layer.": lambda layers, d, m, r: 2 * d * r * m,
            "that is full fine-tuning of those matrices.": lambda layers, d, m, r: layers * d * d * m,
            "r matrices of d × d are what their products look like, not what is stored.": (
                lambda layers, d, m, r: layers * d * d * r * m
            ),
        },
        tolerance=1e-9,
        describe=lambda layers, d, m, r: f"{layers} layers, d = {d}, {m} matrices, r = {r}",
    ),
    right="2·L·d·r for each adapted matrix: 37 748 736 for GPT-3's query and value at r = 8.",
)


def phi(U1, U2, i, j):
    return (U1[:i] @ U2[:j].T).square().sum() / min(i, j)


def _basis(r, d, seed):
    return torch.linalg.qr(normal(d, r, seed=seed).double())[0].T


E82 = Exercise(
    number="8.2",
    title="φ by hand",
    objective="compare the directions of two adapters",
    stub='''\
def phi(U1, U2, i, j):  # orthonormal directions in rows, (r1, d) and (r2, d), strongest first
    return ...          # how much of the first i of one lies in the first j of the other

check("8.2", phi)''',
    solution='''\
def phi(U1, U2, i, j):  # orthonormal directions in rows, (r1, d) and (r2, d), strongest first
    return (U1[:i] @ U2[:j].T).square().sum() / min(i, j)

check("8.2", phi)''',
    hints=(
        "`U1[:i] @ U2[:j].T` holds the cosines between i directions and j directions.",
        "Square them, add them up, and divide by the largest value that sum can have, min(i, j).",
    ),
    judge=function_judge(
        phi,
        [(_basis(4, 12, 1), _basis(6, 12, 2), 2, 5), (_basis(3, 9, 3), _basis(3, 9, 4), 3, 1)],
        {
            "divided by max(i, j); the sum's largest possible value is min(i, j).": (
                lambda a, b, i, j: (a[:i] @ b[:j].T).square().sum() / max(i, j)
            ),
            "not divided: the sum grows with i and j.": lambda a, b, i, j: (a[:i] @ b[:j].T).square().sum(),
            "the cosines are not squared, so that signs cancel.": (
                lambda a, b, i, j: (a[:i] @ b[:j].T).sum() / min(i, j)
            ),
            "divided by i·j, which is the mean squared cosine.": (
                lambda a, b, i, j: (a[:i] @ b[:j].T).square().mean()
            ),
            "that is the norm; its square is wanted.": lambda a, b, i, j: (a[:i] @ b[:j].T).norm() / min(i, j),
            "all directions are compared; take the first i and the first j.": (
                lambda a, b, i, j: (a @ b.T).square().sum() / min(i, j)
            ),
        },
        describe=lambda a, b, i, j: f"U₁ {tuple(a.shape)}, U₂ {tuple(b.shape)}, i = {i}, j = {j}",
    ),
    right="eq. 4 of the paper: 1 if the smaller space lies in the larger one.",
)


def by_chance(i, j, d):
    return max(i, j) / d


E83 = Exercise(
    number="8.3",
    title="what chance gives",
    objective="read φ against its baseline",
    stub='''\
def by_chance(i, j, d):  # the expected φ of two random subspaces of i and j dimensions in d
    return ...

check("8.3", by_chance)''',
    solution='''\
def by_chance(i, j, d):  # the expected φ of two random subspaces of i and j dimensions in d
    return max(i, j) / d

check("8.3", by_chance)''',
    hints=(
        "A squared cosine between two random directions is 1/d on average. How many are added up?",
        "i·j of them, divided by min(i, j).",
    ),
    judge=function_judge(
        by_chance,
        [(8, 8, 64), (1, 8, 64), (8, 64, 128), (3, 2, 50)],
        {
            "random subspaces are not orthogonal: chance is not 0.": lambda i, j, d: 0,
            "that is right for i = j only: i·j squared cosines of 1/d each, divided by min(i, j).": (
                lambda i, j, d: min(i, j) / d
            ),
            "the division by min(i, j) is missing.": lambda i, j, d: i * j / d,
            "that is for one direction each.": lambda i, j, d: 1 / d,
        },
        tolerance=1e-9,
        describe=lambda i, j, d: f"i = {i}, j = {j}, d = {d}",
    ),
    right="max(i, j)/d, which is no small number in a small model: always draw it.",
)

EXERCISES = (E81, E82, E83)
