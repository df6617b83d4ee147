"""Exercises about LoRA in torch: the update, the forward pass, and what trains."""

import torch
from torch import nn

from lora_lab.classroom.comparing import shown
from lora_lab.classroom.judging import exercise
from lora_lab.layers import LoRALinear
from lora_lab.subjects.linear_task.tasks import normal


@exercise(
    title="the update",
    hints=("ΔW has the shape (d_out, d_in). Which product has it?", "ΔW = (α/r)·BA: two matrices and one number."),
    right="ΔW = (α/r)·BA, with the shape of W.",
    cases=[
        (torch.tensor([[1.0, 2, 0], [0, 1, 1]]), torch.tensor([[1.0, 0], [2, 1]]), 6.0, 2),
        (normal(3, 3, seed=5), normal(3, 3, seed=6), 2.0, 3),
        (normal(1, 3, seed=3), normal(6, 1, seed=4), 4.0, 1),
        (normal(2, 5, seed=1), normal(4, 2, seed=2), 0.5, 2),
    ],
    mistakes={
        "the scaling α/r is missing.": "B @ A",
        "the scaling is α; it should be α/r.": "alpha * B @ A",
        "the ratio is upside down: the scaling is α/r.": "r / alpha * B @ A",
        "the scaling is α/√r, rsLoRA's rule; this course's is α/r.": "alpha / r**0.5 * B @ A",
        "the result is transposed: it should be (d_out, d_in), as torch stores a weight.": "alpha / r * (B @ A).T",
        "the factors are in the wrong order: B @ A is (d_out, d_in), A @ B fits only by luck.": "alpha / r * A @ B",
        "neither factor needs a transpose: B is (d_out, r) and A is (r, d_in).": "alpha / r * B @ A.T",
        "B and A are multiplied entry by entry (*); a matrix product (@) is wanted.": "alpha / r * B * A",
    },
)
def delta_weight(A, B, alpha, r):  # A (r, d_in), B (d_out, r) -> (d_out, d_in)
    return alpha / r * (B @ A)


def _layer(d_in, d_out, r, scaling, seed):
    base = nn.utils.skip_init(nn.Linear, d_in, d_out).requires_grad_(False)
    base.weight.copy_(normal(d_out, d_in, seed=seed))
    base.bias.copy_(normal(d_out, seed=seed + 1))
    A, B = normal(r, d_in, seed=seed + 2), normal(d_out, r, seed=seed + 3)
    return normal(d_in + 2, d_in, seed=seed + 4), base, A, B, scaling


@exercise(
    title="the forward pass, factored",
    hints=(
        "Examples are rows: a matrix acts as x @ W.T.",
        "x @ A.T is (n, r). Then to d_out; then add the base.",
    ),
    right="W₀x + (α/r)·B(Ax), from right to left: r numbers in the middle, never a d_out × d_in matrix.",
    cases=[_layer(1, 2, 1, 2.0, seed=10), _layer(3, 3, 3, 0.5, seed=20), _layer(5, 4, 2, 3.0, seed=30)],
    trains=("A", "B"),
    avoids=lambda x, base, A, B, scaling: (B @ A).shape,
    mistakes={
        "the base's output is missing: LoRA adds to W₀x.": "scaling * x @ A.T @ B.T",
        "the scaling is missing.": "base(x) + x @ A.T @ B.T",
        "the scaling belongs to the update alone.": "scaling * (base(x) + x @ A.T @ B.T)",
        "the base's bias is missing: use base(x).": "x @ base.weight.T + scaling * x @ A.T @ B.T",
        "both transposes are missing: x @ A.T @ B.T.": "base(x) + scaling * x @ A @ B",
        "B's transpose is missing: B is (d_out, r), so `@ B.T`.": "base(x) + scaling * x @ A.T @ B",
        "A's transpose is missing: A is (r, d_in), so `x @ A.T`.": "base(x) + scaling * x @ A @ B.T",
        "x meets B first; A takes the d_in numbers.": "base(x) + scaling * x @ B.T @ A.T",
    },
)
def lora_forward(x, base, A, B, scaling):  # x (n, d_in) -> (n, d_out), without building B @ A
    return base(x) + scaling * (x @ A.T) @ B.T


def _all_trains(d_in, d_out, r):
    with torch.random.fork_rng(devices=[]):
        return LoRALinear(nn.Linear(d_in, d_out), r=r, alpha=r).requires_grad_(True)


def _complaint_about_optimizer(optimizer: object, layer: LoRALinear) -> str:
    if not isinstance(optimizer, torch.optim.Optimizer):
        return f"your function returns {shown(optimizer)}; the optimizer is wanted."
    held = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    asking = [parameter for parameter in layer.base.parameters() if parameter.requires_grad]
    if asking and "requires_grad" in vars(layer.base):
        return ("the base is not frozen: a module has no `requires_grad`, so `= False` only made an attribute of "
                "that name. `requires_grad_(False)` is the method that freezes.")  # fmt: skip
    if asking:
        also = ", and the optimizer would move them" if held & set(asking) else ""
        return f"the base is not frozen: {len(asking)} of its parameters still ask for a gradient{also}."
    for name in ("lora_A", "lora_B"):
        if not getattr(layer, name).requires_grad:
            return f"`{name}` no longer trains: freeze the base only."
        if getattr(layer, name) not in held:
            return f"the optimizer does not hold `{name}`."
    return _complaint_about_training(optimizer, layer.double())


def _complaint_about_training(optimizer: torch.optim.Optimizer, layer: LoRALinear) -> str:
    x = normal(32, layer.base.in_features, seed=1).double()

    def loss():
        optimizer.zero_grad()
        value = (layer(x) - 1).square().mean()
        value.backward()
        return value.detach()

    losses = [optimizer.step(loss) for _ in range(50)]
    if losses[-1].isnan():
        return "A is NaN after a step: B is 0 at first, so A's gradient is 0, and Adam with eps = 0 divides 0 by 0."
    if losses[-1] < losses[0]:
        return ""
    return f"50 steps take the loss from {losses[0]:.3g} to {losses[-1]:.3g}: look at the learning rate."


@exercise(
    title="freeze, then build the optimizer",
    hints=("`module.requires_grad_(False)` freezes a module.", "`torch.optim.Adam([one, other])` takes a list."),
    right="the base asks for no gradient, and the optimizer holds A and B and nothing that trains besides.",
    cases=[(_all_trains(3, 2, 1),), (_all_trains(5, 4, 2),)],
    may_change=("layer",),
    accept=_complaint_about_optimizer,
)
def prepare(layer):  # a LoRALinear whose parameters all train -> an optimizer
    # freeze layer.base; Adam trains layer.lora_A and layer.lora_B
    layer.base.requires_grad_(False)
    return torch.optim.Adam([layer.lora_A, layer.lora_B], lr=1e-2)
