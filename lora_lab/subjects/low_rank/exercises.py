"""Exercises about low-rank decomposition."""

import torch

from lora_lab.classroom.judging import exercise
from lora_lab.subjects.linear_task import tasks


def _groups(delta: torch.Tensor) -> list[int]:
    """How many rows are alike, for each kind of row that is not zero; the largest group first."""
    rows, sizes = delta[delta.abs().sum(1) > 0], []
    while len(rows):
        alike = (rows - rows[0]).abs().amax(1) <= 1e-5 * rows[0].abs().max()
        sizes.append(int(alike.sum()))
        rows = rows[~alike]
    return sorted(sizes, reverse=True)


def _complaint_about_groups(delta: torch.Tensor) -> str:
    groups = _groups(delta)
    rank = int(torch.linalg.matrix_rank(delta, rtol=1e-5))
    if groups == [30, 20] and rank == 2:
        return ""
    if not groups:
        return "it is all zero."
    if _groups(delta.T) == [30, 20]:
        return "the groups are of columns, which are inputs; an output is a row."
    if rank == 1 and sum(groups) == 50:
        return "its rank is 1: one group's row is the other's, or a multiple of it."
    if len(groups) > 2:
        return f"{sum(groups)} outputs change, by {len(groups)} different rows (rank {rank}); a group shares one row."
    return f"the groups have {' and '.join(map(str, groups))} outputs; 30 and 20 are wanted, and no other changes."


@exercise(
    title="two groups of outputs",
    hints=(
        "Begin with torch.zeros(100, 101); `tasks.normal(1, 101, seed=1)` is one random row.",
        "`two_groups[:30] = row` writes the same row into thirty outputs.",
    ),
    right="rank 2: one direction for each group, however many outputs it has.",
    accept=_complaint_about_groups,
)
def groups_of_outputs():
    # (100, 101): 30 outputs change by one random row, 20 others by another
    two_groups = torch.zeros(100, 101)
    two_groups[:30] = tasks.normal(1, 101, seed=1)
    two_groups[30:50] = tasks.normal(1, 101, seed=2)
    return two_groups


@exercise(
    title="break-even",
    hints=("LoRA stores (d_out + d_in)·r numbers.", "Solve (4096 + 1024)·r = 4096 · 1024; take the next whole r."),
    right="from 820 on; at the paper's r = 8 it is a hundredth.",
    mistakes={
        "at 819 it still stores fewer: 819 · 5120 = 4 193 280 of 4 194 304.": 819,
        "a rank is a whole number; the first one above this is wanted.": 819.2,
        "one rank before that it stores more already.": 821,
        "half the width is right for a square layer only; this one is 4096 x 1024.": 512,
        "1024 is the largest possible rank; LoRA passes the layer's size before.": 1024,
        "that counts one of the two factors: A and B together have (4096 + 1024)·r numbers.": 4096,
    },
)
def break_even():
    # the first whole rank at which LoRA stores more numbers than a 4096 x 1024 layer has
    first_r = int(4096 * 1024 / (4096 + 1024)) + 1
    return first_r


@exercise(
    title="the floor",
    hints=("Rank r takes away the first r of `torch.linalg.svdvals(delta)`.", "Σ σᵢ² over i > r, divided by d_out."),
    right="Σ σᵢ² over i > r, divided by d_out: known before the first step.",
    cases=[
        (torch.tensor([[3.0, 0, 0], [0, 2, 0]]), 1),
        (tasks.normal(6, 9, seed=1), 2),
        (tasks.normal(8, 5, seed=2), 0),
        (tasks.normal(4, 4, seed=3), 4),
    ],
    mistakes={
        "one too few is taken away: with r = 0 nothing is, with r = 1 the first.": (
            "torch.linalg.svdvals(delta)[r - 1 :].square().sum() / len(delta)"
        ),
        "one too many is taken away.": "best_loss(delta, r + 1)",
        "that is what rank r explains; the floor is the rest.": "best_loss(delta, 0) - best_loss(delta, r)",
        "the singular values are not squared.": "torch.linalg.svdvals(delta)[r:].sum() / len(delta)",
        "divided by d_in; the loss is a mean over d_out outputs.": "best_loss(delta, r) * len(delta) / delta.shape[1]",
        "that is the mean squared entry of what is missing; each output adds up d_in of them.": (
            "best_loss(delta, r) / delta.shape[1]"
        ),
        "that is the share of the energy that is left over.": "best_loss(delta, r) / best_loss(delta, 0)",
        "the division by d_out is missing.": "best_loss(delta, r) * len(delta)",
    },
)
def best_loss(delta, r):  # delta (d_out, d_in); inputs of covariance 1
    # the best possible loss at rank r, one number
    return torch.linalg.svdvals(delta)[r:].square().sum() / len(delta)
