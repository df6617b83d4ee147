"""Right answers to the exercises of low_rank, and wrong ones with a piece of what they are told."""

import numpy as np
import torch

from lora_lab.subjects.linear_task.tasks import normal

ROW, OTHER = normal(1, 101, seed=1), normal(1, 101, seed=2)
COLUMN, OTHER_COLUMN = normal(100, 1, seed=3), normal(100, 1, seed=4)


def blocks(*parts):
    """The parts one below the other, and zeros down to 100 rows."""
    given = torch.cat(parts)
    return torch.cat([given, torch.zeros(100 - len(given), 101)])


def shuffled():
    change = blocks(ROW.expand(30, -1), OTHER.expand(20, -1))
    return change[torch.randperm(100, generator=torch.Generator().manual_seed(0))]


def of_factors():
    membership = np.zeros((100, 2))
    membership[:30, 0] = membership[60:80, 1] = 1
    return membership @ np.concatenate([ROW.numpy(), OTHER.numpy()])


def columns_of(first, second):
    change = torch.zeros(100, 101)
    change[:, :30], change[:, 30:50] = first, second
    return change


RIGHT = {
    "groups_of_outputs": [
        blocks(ROW.expand(30, -1), OTHER.expand(20, -1)),
        shuffled(),
        of_factors(),
        shuffled().tolist(),
    ],
    "break_even": [820, 820.0, torch.tensor(820), np.ceil(819.2), next(r for r in range(999) if 5120 * r > 4194304)],
    "best_loss": [
        lambda delta, r: (torch.linalg.svdvals(delta.double())[r:] ** 2).sum() / delta.shape[0],
        lambda delta, r: np.sum(np.linalg.svd(delta.numpy(), compute_uv=False)[r:] ** 2) / len(delta),
        lambda delta, r: (delta.square().sum() - torch.linalg.svdvals(delta)[:r].square().sum()) / len(delta),
        lambda delta, r: torch.linalg.eigvalsh(delta.T @ delta).flip(0)[r:].sum() / len(delta),
    ],
}

WRONG = {
    "groups_of_outputs": [
        ("its rank is 1", blocks(ROW.expand(50, -1))),
        ("its rank is 1: one group's row", blocks(ROW.expand(30, -1), 2 * ROW.expand(20, -1))),
        ("100 different rows (rank 2)", normal(100, 2, seed=1) @ normal(2, 101, seed=2)),
        ("70 and 30 outputs", blocks(ROW.expand(30, -1), OTHER.expand(70, -1))),
        ("30 and 19 outputs", blocks(ROW.expand(30, -1), OTHER.expand(19, -1))),
        ("which are inputs", columns_of(COLUMN, OTHER_COLUMN)),
        ("all zero", torch.zeros(100, 101)),
        ("transposed", blocks(ROW.expand(30, -1), OTHER.expand(20, -1)).T),
        ("wanted is shape (100, 101)", 2),
        ("NaN", torch.full((100, 101), torch.nan)),
    ],
    "break_even": [("8 is not right", 8), ("a number is wanted", "820")],
    "best_loss": [
        ("a single number|for each", lambda delta, r: torch.linalg.svdvals(delta)[r:]),
        ("share of the energy", lambda delta, r: 1 - (torch.linalg.svdvals(delta)[:r].norm() / delta.norm()) ** 2),
    ],
}
