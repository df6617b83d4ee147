"""Exercises of page 02, low-rank decomposition."""

from __future__ import annotations

import torch

from lora_lab.classroom.judging import Exercise, NotAttempted, form_of, function_judge, value_judge
from lora_lab.subjects.linear_task.tasks import normal


def _two_groups_judge(delta: object) -> str:
    if delta is ...:
        raise NotAttempted
    wanted = torch.zeros(100, 101)
    if wrong := form_of(delta, wanted, "the answer"):
        return wrong
    rank = int(torch.linalg.matrix_rank(torch.as_tensor(delta).double()))
    moved = int((torch.as_tensor(delta).abs().sum(1) > 0).sum())
    if rank == 2:
        return ""
    if rank == 1:
        return "its rank is 1: both groups change by the same row, or by multiples of it."
    if rank == 0:
        return "it is all zero."
    return f"its rank is {rank}: {moved} outputs change, each by a row of its own; within a group the row is one."


E21 = Exercise(
    number="2.1",
    title="two groups of outputs",
    objective="say which rank a change needs",
    stub='''\
delta = ...  # (100, 101): 30 outputs change by one random row, 20 others by another

check("2.1", delta)''',
    solution='''\
delta = torch.zeros(100, 101)
delta[:30] = tasks.normal(1, 101, seed=1)
delta[30:50] = tasks.normal(1, 101, seed=2)

check("2.1", delta)''',
    hints=(
        "Begin with torch.zeros(100, 101); `tasks.normal(1, 101, seed=1)` is one random row.",
        "`delta[:30] = row` writes the same row into thirty outputs.",
    ),
    judge=_two_groups_judge,
    right="rank 2: one direction for each group, however many outputs it has.",
)

E22 = Exercise(
    number="2.2",
    title="break-even",
    objective="count what a rank costs",
    stub='''\
r = ...  # the first whole rank at which LoRA stores more numbers than a 4096 x 1024 layer has

check("2.2", r)''',
    solution='''\
r = int(4096 * 1024 / (4096 + 1024)) + 1

check("2.2", r)''',
    hints=("LoRA stores (d_out + d_in)·r numbers.", "Solve (4096 + 1024)·r = 4096 · 1024, and go to the next whole r."),
    judge=value_judge(
        820,
        {
            "at 819 it still stores fewer: 819 · 5120 = 4 193 280 of 4 194 304.": 819,
            "a rank is a whole number.": 819.2,
            "1024 is the largest possible rank; LoRA passes the layer's size before.": 1024,
            "that would be half of 1024, right for a square layer only.": 512,
            "that would be half of 4096.": 2048,
        },
        tolerance=1e-9,
    ),
    right="from 820 on; at the paper's r = 8 it is a hundredth.",
)


def floor(delta, r):
    return torch.linalg.svdvals(delta)[r:].square().sum() / len(delta)


def _s(delta):
    return torch.linalg.svdvals(delta)


E23 = Exercise(
    number="2.3",
    title="the floor",
    objective="compute the floor of a rank before training",
    stub='''\
def floor(delta, r):  # delta (d_out, d_in), inputs of covariance 1 -> the best possible loss at rank r
    return ...

check("2.3", floor)''',
    solution='''\
def floor(delta, r):  # delta (d_out, d_in), inputs of covariance 1 -> the best possible loss at rank r
    return torch.linalg.svdvals(delta)[r:].square().sum() / len(delta)

check("2.3", floor)''',
    hints=(
        "`torch.linalg.svdvals(delta)` gives σ₁ ≥ σ₂ ≥ …; a rank-r update can take away the first r.",
        "What is left over is Σ σᵢ² over i > r, and the loss is that divided by d_out.",
    ),
    judge=function_judge(
        floor,
        [(normal(6, 9, seed=1), 2), (normal(8, 5, seed=2), 0), (normal(7, 7, seed=3), 3)],
        {
            "one too few is taken away: with r = 0 nothing is, with r = 1 the first.": (
                lambda d, r: _s(d)[max(r - 1, 0) :].square().sum() / len(d)
            ),
            "one too many is taken away.": lambda d, r: _s(d)[r + 1 :].square().sum() / len(d),
            "that is the energy of the first r, which is what rank r explains; the floor is the rest.": (
                lambda d, r: _s(d)[:r].square().sum() / len(d)
            ),
            "the singular values are not squared.": lambda d, r: _s(d)[r:].sum() / len(d),
            "it is divided by d_in; the loss is a mean over d_out outputs.": (
                lambda d, r: _s(d)[r:].square().sum() / d.shape[1]
            ),
            "the division by d_out is missing.": lambda d, r: _s(d)[r:].square().sum(),
            "that is only the first of the singular values left over; all of them count.": (
                lambda d, r: _s(d)[r].square() / len(d)
            ),
        },
        describe=lambda d, r: f"ΔΘ of shape {tuple(d.shape)} and r = {r}",
    ),
    right="Σ σᵢ² over i > r, divided by d_out: known before the first step.",
)

EXERCISES = (E21, E22, E23)
