"""Exercises of page 03, LoRA in torch."""

from __future__ import annotations

import torch
from torch import nn

from lora_lab.classroom.first_edition import Exercise, NotAttempted, function_judge
from lora_lab.subjects.linear_task.tasks import normal

# ------------------------------------------------------------------------------------------------ 3.1 the update

_AB = [
    (normal(2, 5, seed=1), normal(4, 2, seed=2), 6.0, 2),
    (normal(1, 3, seed=3), normal(6, 1, seed=4), 4.0, 1),
    (normal(3, 3, seed=5), normal(3, 3, seed=6), 2.0, 3),  # square: a swapped product has the right shape
]


def delta_weight(A, B, alpha, r):
    return alpha / r * (B @ A)


E31 = Exercise(
    number="3.1",
    title="the update",
    objective="write LoRALinear by hand",
    stub='''\
def delta_weight(A, B, alpha, r):  # A (r, d_in), B (d_out, r) -> (d_out, d_in)
    return ...

check("3.1", delta_weight)''',
    solution='''\
def delta_weight(A, B, alpha, r):  # A (r, d_in), B (d_out, r) -> (d_out, d_in)
    return alpha / r * (B @ A)

check("3.1", delta_weight)''',
    hints=(
        "ΔW has the shape of W: d_out rows, d_in columns. Which product of A and B has it?",
        "ΔW = (α/r)·BA: two matrices and one number.",
    ),
    judge=function_judge(
        delta_weight,
        _AB,
        {
            "the scaling α/r is missing.": lambda A, B, alpha, r: B @ A,
            "the scaling is α; it should be α/r.": lambda A, B, alpha, r: alpha * (B @ A),
            "the scaling is applied twice: (α/r)².": lambda A, B, alpha, r: (alpha / r) ** 2 * (B @ A),
            "the scaling is α/√r, rsLoRA's rule; this course's is α/r.": lambda A, B, alpha, r: alpha / r**0.5 * B @ A,
            "the result is transposed: it should be (d_out, d_in), as torch stores a weight.": (
                lambda A, B, alpha, r: alpha / r * (B @ A).T
            ),
            "B and A are multiplied entry by entry (*); a matrix product (@) is wanted.": lambda A, B, alpha, r: (
                alpha / r * (B * A) if A.shape == B.shape else None
            ),
        },
        describe=lambda A, B, alpha, r: f"A {tuple(A.shape)}, B {tuple(B.shape)}, α = {alpha:g}, r = {r}",
    ),
    right="ΔW = (α/r)·BA, with the shape of W.",
)

# ---------------------------------------------------------------------------------------------- 3.2 the forward pass


def _forward_cases() -> list[tuple]:
    cases = []
    for d_in, d_out, r, alpha, seed in ((5, 4, 2, 6.0, 10), (3, 7, 1, 0.5, 20)):
        base = nn.Linear(d_in, d_out)
        with torch.no_grad():
            base.weight.copy_(normal(d_out, d_in, seed=seed))
            base.bias.copy_(normal(d_out, seed=seed + 1))
        A, B = normal(r, d_in, seed=seed + 2), normal(d_out, r, seed=seed + 3)
        cases.append((normal(6, d_in, seed=seed + 4), base, A, B, alpha / r))
    return cases


def lora_forward(x, base, A, B, scaling):
    return base(x) + scaling * (x @ A.T) @ B.T


E32 = Exercise(
    number="3.2",
    title="the forward pass, factored",
    objective="write LoRALinear by hand",
    stub='''\
def lora_forward(x, base, A, B, scaling):  # x (n, d_in) -> (n, d_out), without building B @ A
    return ...

check("3.2", lora_forward)''',
    solution='''\
def lora_forward(x, base, A, B, scaling):  # x (n, d_in) -> (n, d_out), without building B @ A
    return base(x) + scaling * (x @ A.T) @ B.T

check("3.2", lora_forward)''',
    hints=(
        "Rows of x are examples, so a matrix acts from the right, transposed: x @ W.T is what nn.Linear computes.",
        "First to r dimensions: x @ A.T is (n, r). Then to d_out. Then add the base's output.",
    ),
    judge=function_judge(
        lora_forward,
        _forward_cases(),
        {
            "the base's output is missing: LoRA adds to W₀x.": lambda x, b, A, B, s: s * (x @ A.T) @ B.T,
            "the scaling is missing.": lambda x, b, A, B, s: b(x) + (x @ A.T) @ B.T,
            "the scaling is applied twice.": lambda x, b, A, B, s: b(x) + s * s * (x @ A.T) @ B.T,
            "the scaling multiplies the base's output too; it belongs to the update alone.": (
                lambda x, b, A, B, s: s * (b(x) + (x @ A.T) @ B.T)
            ),
            "the base's bias is missing: use base(x), not base.weight alone.": (
                lambda x, b, A, B, s: x @ b.weight.T + s * (x @ A.T) @ B.T
            ),
            "the update is subtracted; it should be added.": lambda x, b, A, B, s: b(x) - s * (x @ A.T) @ B.T,
        },
        describe=lambda x, b, A, B, s: f"x {tuple(x.shape)}, A {tuple(A.shape)}, B {tuple(B.shape)}",
    ),
    right="W₀x + (α/r)·B(Ax), from right to left: r numbers in the middle, never a d_out × d_in matrix.",
)

# ------------------------------------------------------------------------------------------------ 3.3 what trains


def _prepare_judge(answer: object) -> str:
    if answer is ...:
        raise NotAttempted
    if not callable(answer):
        return "the answer is no function; pass `prepare` itself, without calling it."
    from lora_lab.layers import LoRALinear

    layer = LoRALinear(nn.Linear(5, 4), r=2, alpha=2)
    for p in layer.parameters():
        p.requires_grad_(True)
    optimizer = answer(layer)
    if optimizer is ...:
        raise NotAttempted
    if not isinstance(optimizer, torch.optim.Optimizer):
        return f"your function returns {type(optimizer).__name__}; an optimizer is wanted: is a `return` missing?"
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    base_held = [n for n, p in layer.base.named_parameters() if id(p) in held and p.requires_grad]
    if any(p.requires_grad for p in layer.base.parameters()):
        also = " and the optimizer would move it" if base_held else ""
        return f"the base is not frozen: its parameters still ask for a gradient{also}."
    frozen = [n for n in ("lora_A", "lora_B") if not getattr(layer, n).requires_grad]
    if frozen:
        return f"{' and '.join(frozen)} no longer trains: freeze the base only."
    missing = [n for n in ("lora_A", "lora_B") if id(getattr(layer, n)) not in held]
    if missing:
        return f"the optimizer does not hold {' and '.join(missing)}."
    return ""


E33 = Exercise(
    number="3.3",
    title="freeze, then build the optimizer",
    objective="freeze the base and train the factors",
    stub='''\
def prepare(layer):  # a LoRALinear whose parameters all train -> an optimizer of A and B alone
    ...              # freeze layer.base
    return ...       # Adam on layer.lora_A and layer.lora_B

check("3.3", prepare)''',
    solution='''\
def prepare(layer):  # a LoRALinear whose parameters all train -> an optimizer of A and B alone
    layer.base.requires_grad_(False)
    return torch.optim.Adam([layer.lora_A, layer.lora_B], lr=1e-2)

check("3.3", prepare)''',
    hints=(
        "`module.requires_grad_(False)` freezes every parameter of a module.",
        "`torch.optim.Adam([one, other], lr=1e-2)` takes a list of parameters.",
    ),
    judge=_prepare_judge,
    right="the base asks for no gradient, and the optimizer holds A and B and nothing that trains besides.",
)

EXERCISES = (E31, E32, E33)
