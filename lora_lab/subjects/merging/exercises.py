"""Exercises of page 05, merging."""

from __future__ import annotations

import torch

from lora_lab.classroom.first_edition import Exercise, NotAttempted, equal, form_of, function_judge, value_judge
from lora_lab.subjects.linear_task.tasks import normal


def merged(W0, A, B, scaling, lam):
    return W0 + lam * scaling * B @ A


def _merge_case(d_out, d_in, r, seed):
    factors = normal(d_out, d_in, seed=seed), normal(r, d_in, seed=seed + 1), normal(d_out, r, seed=seed + 2)
    return (*factors, 2.0, 0.25)


E51 = Exercise(
    number="5.1",
    title="merge by hand",
    objective="merge and unmerge without fear",
    stub='''\
def merged(W0, A, B, scaling, lam):  # the one matrix that computes what the layer does at lam
    return ...

check("5.1", merged)''',
    solution='''\
def merged(W0, A, B, scaling, lam):  # the one matrix that computes what the layer does at lam
    return W0 + lam * scaling * B @ A

check("5.1", merged)''',
    hints=("ΔW is scaling · BA.", "At strength λ the layer computes with W₀ + λ·ΔW. Make a new matrix; keep W₀."),
    judge=lambda answer: _merged_judge(answer),
    right="W₀ + λ·ΔW, and W₀ itself untouched: that is what makes unmerging exact.",
)

_merged_values = function_judge(
    merged,
    [_merge_case(4, 6, 2, 10), _merge_case(5, 3, 1, 20), _merge_case(3, 3, 2, 30)],
    {
        "λ is missing.": lambda W0, A, B, s, lam: W0 + s * B @ A,
        "the scaling is missing.": lambda W0, A, B, s, lam: W0 + lam * B @ A,
        "W₀ is missing: that is the update alone.": lambda W0, A, B, s, lam: lam * s * B @ A,
        "W₀ is scaled by λ, too; λ belongs to the update.": lambda W0, A, B, s, lam: lam * (W0 + s * B @ A),
        "the update is added twice.": lambda W0, A, B, s, lam: W0 + 2 * lam * s * B @ A,
        "the update is subtracted: that is unmerging.": lambda W0, A, B, s, lam: W0 - lam * s * B @ A,
        "that blends W₀ and ΔW, (1 − λ)·W₀ + λ·ΔW; LoRA keeps all of W₀.": (
            lambda W0, A, B, s, lam: (1 - lam) * W0 + lam * s * B @ A
        ),
    },
    describe=lambda W0, A, B, s, lam: f"W₀ {tuple(W0.shape)}, r = {len(A)}, scaling {s:g}, λ = {lam:g}",
)


def _merged_judge(answer: object) -> str:
    if wrong := _merged_values(answer):
        return wrong
    case = _merge_case(4, 6, 2, 40)
    before = case[0].clone()
    answer(*case)
    if not torch.equal(case[0], before):
        return "the numbers are right, but W₀ itself was changed: a second call would add the update again."
    return ""


def _side_cases():
    return [
        (normal(2, 6, seed=s), normal(4, 2, seed=s + 1), normal(3, 6, seed=s + 2), normal(4, 3, seed=s + 3))
        for s in (50, 60)
    ] + [(normal(2, 3, seed=70), normal(3, 2, seed=71), normal(2, 3, seed=72), normal(3, 2, seed=73))]


def _sum_judge(answer: object) -> str:
    if answer is ...:
        raise NotAttempted
    if not callable(answer):
        return "the function itself is wanted, without calling it."
    for A1, B1, A2, B2 in _side_cases():
        got = answer(A1.clone(), B1.clone(), A2.clone(), B2.clone())
        if got is ...:
            raise NotAttempted
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            kind = "None" if got is None else f"a {type(got).__name__}"
            return f"your function returns {kind}; a pair (A, B) is wanted."
        if any(part is ... for part in got):
            raise NotAttempted
        A, B = got
        if wrong := form_of(A[:1], A1[:1], "a row of A") or form_of(B[:, :1], B1[:, :1], "a column of B"):
            return wrong
        if len(A) != B.shape[1]:
            return f"A has {len(A)} rows and B has {B.shape[1]} columns: they must be the same r."
        wanted = B1 @ A1 + B2 @ A2
        if equal(B @ A, wanted, 1e-4):
            continue
        if A1.shape == A2.shape and equal(B @ A, (B1 + B2) @ (A1 + A2), 1e-4):
            return "As and Bs are added: (B₁ + B₂)(A₁ + A₂) has two cross terms that nobody trained."
        if equal(B @ A, wanted / 2, 1e-4):
            return "that is half of the sum."
        if equal(B @ A, B2 @ A1 + B1 @ A2, 1e-4) if A1.shape == A2.shape else False:
            return "the order differs: A stacks 1 over 2, B has 2 beside 1, so B₁ meets A₂."
        return "B @ A is not B₁A₁ + B₂A₂."
    return ""


E52 = Exercise(
    number="5.2",
    title="add two adapters",
    objective="know which sum of adapters is the right one",
    stub='''\
def add(A1, B1, A2, B2):  # A1 (r1, d_in), B1 (d_out, r1), A2 (r2, d_in), B2 (d_out, r2)
    return ..., ...       # factors A, B with B @ A = B1 @ A1 + B2 @ A2

check("5.2", add)''',
    solution='''\
def add(A1, B1, A2, B2):  # A1 (r1, d_in), B1 (d_out, r1), A2 (r2, d_in), B2 (d_out, r2)
    return torch.cat((A1, A2)), torch.cat((B1, B2), dim=1)

check("5.2", add)''',
    hints=(
        "The sum has rank up to r₁ + r₂, so A needs r₁ + r₂ rows.",
        "Stack the rows of the As (torch.cat, dim 0) and put the columns of the Bs side by side (dim 1).",
    ),
    judge=_sum_judge,
    right="factors side by side: exactly the sum, at rank r₁ + r₂.",
)

E53 = Exercise(
    number="5.3",
    title="after a double merge",
    objective="recognise a double merge by its loss",
    stub='''\
# S1's shift (1 in each of 1000 x 1001 entries) is learned by an adapter, which is merged twice.
loss = ...  # to the nearest whole number

check("5.3", loss)''',
    solution='''\
# S1's shift (1 in each of 1000 x 1001 entries) is learned by an adapter, which is merged twice.
loss = 1001

check("5.3", loss)''',
    hints=(
        "The weight is now Θ + 2·ΔΘ where Θ + ΔΘ is right. By how much is each entry off?",
        "Off by 1 in every entry, as before fine-tuning: ‖ΔΘ‖²/d_out.",
    ),
    judge=value_judge(
        1001,
        {
            "0 would be right after one merge.": 0,
            "the weight is off by ΔΘ, not by 2·ΔΘ: one of the two is needed.": 4004,
            "a loss is a mean over outputs of a sum over d_in inputs; 1 is the mean squared entry.": 1,
            "that divides by d_in; the mean is over the d_out = 1000 outputs.": 1000,
            "that is twice too much.": 2002,
        },
        tolerance=1e-6,
    ),
    right="1001, the loss of the base: overshooting by ΔΘ is as bad as not moving at all.",
)

EXERCISES = (E51, E52, E53)
