"""Exercises about merging."""

import torch

from lora_lab.classroom.comparing import equal, shown
from lora_lab.classroom.judging import exercise
from lora_lab.subjects.linear_task.tasks import normal


def _layer(d_out, d_in, r, scaling, lam, seed):
    W0, A, B = normal(d_out, d_in, seed=seed), normal(r, d_in, seed=seed + 1), normal(d_out, r, seed=seed + 2)
    return W0, A, B, scaling, lam


_SMALL = [torch.tensor(rows) for rows in ([[1.0, 2, 0], [0, 1, 3]], [[1.0, 0, 2]], [[1.0], [3]])]


@exercise(
    title="merge by hand",
    hints=("ΔW is scaling · BA.", "At strength λ the layer computes with W₀ + λ·ΔW. Make a new matrix; keep W₀."),
    right="W₀ + λ·ΔW, and W₀ itself untouched: that is what makes unmerging exact.",
    cases=[
        (*_SMALL, 4.0, 0.5),
        _layer(3, 3, 3, 1.5, 0.7, 30),
        _layer(4, 6, 2, 2.0, 0.25, 10),
        _layer(5, 3, 1, 0.5, -1.0, 20),
    ],
    mistakes={
        "λ and the scaling are missing.": "W0 + B @ A",
        "λ is missing.": "W0 + scaling * B @ A",
        "the scaling is missing.": "W0 + lam * B @ A",
        "W₀ is missing: that is the update alone.": "lam * scaling * B @ A",
        "W₀ is scaled by λ, too; λ belongs to the update.": "lam * (W0 + scaling * B @ A)",
        "that blends W₀ and ΔW; LoRA keeps all of W₀.": "(1 - lam) * W0 + lam * scaling * B @ A",
        "the factors are in the wrong order: B @ A has the shape of W₀.": "W0 + lam * scaling * A @ B",
        "the update is transposed: B @ A has the shape of W₀.": "W0 + lam * scaling * A.T @ B.T",
    },
)
def merged(W0, A, B, scaling, lam):  # the one matrix that computes what the layer does at lam
    return W0 + lam * scaling * B @ A


def _two(d_out, d_in, r1, r2, seed):
    A1, B1 = normal(r1, d_in, seed=seed), normal(d_out, r1, seed=seed + 1)
    return A1, B1, normal(r2, d_in, seed=seed + 2), normal(d_out, r2, seed=seed + 3)


def _complaint_about_sum(factors, A1, B1, A2, B2) -> str:
    A, B = factors
    d_out, d_in, r = len(B1), A1.shape[1], len(A1) + len(A2)
    if A.ndim != 2 or B.ndim != 2 or (len(B), B.shape[1], A.shape[1]) != (d_out, len(A), d_in):
        shapes = f"A has the shape {tuple(A.shape)}, B {tuple(B.shape)}"
        return f"{shapes}; (r, {d_in}) and ({d_out}, r) are wanted, with the same r."
    if not equal(B @ A, B1 @ A1 + B2 @ A2):
        return f"B @ A is {shown((B @ A)[0])} in its first row; B₁A₁ + B₂A₂ is {shown((B1 @ A1 + B2 @ A2)[0])}."
    if len(A) > r:
        return f"the product is right, but its rank is r₁ + r₂ = {r}, and A has {len(A)} rows: that saves nothing."
    return ""


@exercise(
    title="add two adapters",
    hints=("The sum has rank up to r₁ + r₂.", "`torch.cat` the rows of the As, and the columns of the Bs."),
    right="factors side by side: exactly the sum, at rank r₁ + r₂.",
    cases=[_two(4, 4, 1, 1, 50), _two(6, 7, 2, 2, 60), _two(8, 6, 2, 3, 70)],
    accept=_complaint_about_sum,
    mistakes={
        "As and Bs are added: (B₁ + B₂)(A₁ + A₂) has two cross terms, B₁A₂ and B₂A₁, that nobody trained.": (
            "(A1 + A2, B1 + B2)"
        ),
        "the orders differ, so that B₂ meets A₁.": "(torch.cat((A1, A2)), torch.cat((B2, B1), dim=1))",
        "A and B are swapped: A comes first.": "add(A1, B1, A2, B2)[::-1]",
        "B₁ and B₂ are stacked; their columns go side by side (dim=1).": "(torch.cat((A1, A2)), torch.cat((B1, B2)))",
        "A₁ and A₂ are side by side; stack them.": "(torch.cat((A1, A2), dim=1), torch.cat((B1, B2), dim=1))",
        "that is the sum itself; its two factors are wanted.": "B1 @ A1 + B2 @ A2",
    },
)
def add(A1, B1, A2, B2):  # A1 (r1, d_in), B1 (d_out, r1), A2 (r2, d_in), B2 (d_out, r2)
    # factors A, B of r1 + r2 rows and columns with B @ A = B1 @ A1 + B2 @ A2
    return torch.cat((A1, A2)), torch.cat((B1, B2), dim=1)


@exercise(
    title="after a double merge",
    hints=("By how much is each entry of Θ + 2·ΔΘ off?", "By 1, as before fine-tuning: ‖ΔΘ‖²/d_out."),
    right="the base's loss, 1001 on average (1029 on this page, 1005 on page 01): too far is as bad as not moving.",
    accept=lambda loss: "" if round(float(loss)) in (1001, 1005, 1029) else f"{shown(loss)} is not right.",
    mistakes={
        "0 would be right after one merge.": 0,
        "the weight is off by ΔΘ, not by 2·ΔΘ: one of the two is needed.": 4004,
        "a loss is a mean over outputs of a sum over d_in inputs; 1 is the mean squared entry.": 1,
        "4 would be the mean squared entry of 2·ΔΘ; the weight is off by ΔΘ, and the loss adds up d_in inputs.": 4,
        "nearly: the layer has 1001 inputs.": 1000,
        "that is twice too much.": 2002,
        "that is the sum over all outputs; the loss is a mean over them.": 1_001_000,
    },
)
def double_merge():
    # S1's shift (1 in each of 1000 x 1001 entries) is learned by an adapter, which is merged twice
    loss_then = 1001  # to the nearest whole number
    return loss_then
