"""Exercises about two layers, and about the names of layers."""

from collections import Counter

import torch

from lora_lab.classroom.judging import exercise
from lora_lab.layers import LoRALinear
from lora_lab.subjects.linear_task import bases, tasks
from lora_lab.training import evaluate, train

SEED = 31  # of the bases, the data and the starts: the page shows others
LIMIT = 0.01  # of the loss before


def _hidden(change: str, *sizes: int) -> tuple[bases.TwoLayer, tasks.LinearTask, tasks.LinearTask]:
    """A frozen base with random weights, the new task's data, and examples that nobody trains on."""
    d_in, hidden, d_out = sizes
    base = bases.TwoLayer(*sizes).requires_grad_(False)
    base.first.weight.copy_(tasks.normal(hidden, d_in, seed=SEED, std=d_in**-0.5))
    base.second.weight.copy_(tasks.normal(d_out, hidden, seed=SEED + 1, std=hidden**-0.5))
    theta = base.end_to_end() + tasks.shift(change, d_out, d_in, SEED)
    return base, tasks.linear_task(theta, 1000, SEED + 1), tasks.linear_task(theta, 1000, SEED + 2)


def _complaint_about_ranks(ranks, sizes, change, budget) -> str:
    if not all(r.numel() == 1 and r >= 0 and r == r.round() for r in ranks):
        return "the ranks are whole numbers, 0 for a layer without an adapter."
    r1, r2 = (int(r) for r in ranks)
    numbers = r1 * (sizes[0] + sizes[1]) + r2 * (sizes[1] + sizes[2])
    asked = f"for the layers {' → '.join(map(str, sizes))}, ranks {r1} and {r2}"
    if numbers > budget:
        return f"{asked} have {numbers} numbers in A and B; the budget is {budget}."
    model, new, unseen = _hidden(change, *sizes)
    before = evaluate(model, unseen.X, unseen.y)
    torch.manual_seed(SEED)
    for name, r in (("first", r1), ("second", r2)):
        if r:
            setattr(model, name, LoRALinear(getattr(model, name), r, alpha=r))
    if r1 or r2:
        train(model, new.X, new.y, epochs=20, lr=0.1, schedule="cosine", progress=None)
    left = evaluate(model, unseen.X, unseen.y) / before
    return "" if left < LIMIT else f"{asked}: trained, they leave {left:.1%} of the loss on unseen data."


@exercise(
    title="a budget of numbers",
    hints=(
        "Which layer can read what the change depends on, and write what it alters? Look at where the model is narrow.",
        "Rank 4 end to end needs rank 4 in that layer: `4 * (d_in + hidden)` numbers in the first, and so on.",
    ),
    right="trained on data that the page does not show, your choice leaves less than 1 % of the loss.",
    cases=[
        ((101, 60, 40), "rank-4", 650),
        ((40, 60, 101), "rank-4", 650),
        ((101, 60, 40), "ones", 170),
    ],
    accept=_complaint_about_ranks,
)
def ranks_within(sizes, change, budget):  # (d_in, hidden, d_out); "ones" or "rank-4"; numbers in A and B
    # the ranks of layer 1 and layer 2, 0 for none
    r = 1 if change == "ones" else 4
    r1, r2 = (r, 0) if sizes[0] > sizes[2] else (0, r)
    return r1, r2


def _complaint_about_names(got: list, names: list, ending: str) -> str:
    wanted = adapted(names, ending)
    for name, times in Counter(str(part) for part in got).items():
        if name not in wanted:
            return f"for {ending!r}, {name!r} is among them; its last parts are not {ending!r}."
        if times > 1:
            return f"for {ending!r}, {name!r} is there {times} times; a layer is adapted once."
    missing = [name for name in wanted if name not in got]
    return f"for {ending!r}, {missing[0]!r} is missing." if missing else ""


_NAMES = ["fc", "blocks.0.fc", "blocks.0.myfc", "blocks.1.fc", "blocks.1.fc2", "head.out", "fc.inner", "out"]


@exercise(
    title="what a name matches",
    hints=("It is the ending itself, or ends with it after a dot.", '`n == ending or n.endswith("." + ending)`.'),
    right='whole parts of a name, from the right, as in PEFT: "fc" is not "myfc".',
    cases=[
        (["fc", "a.fc", "a.myfc", "a.fc2", "fc.a"], "fc"),
        (_NAMES, "out"),
        (_NAMES, "0.fc"),
        (_NAMES, "nothing"),
        (["enc.q", "enc.q_norm", "dec.0.q", "q", "decoder.0.q", "dec.0_q", "dec"], "dec.0.q"),
        (["dec.0_q", "x.0.q", "10.q", "0.q"], "0.q"),
    ],
    accept=_complaint_about_names,
    mistakes={
        'the dot is missing: "myfc" ends with "fc", too.': "[n for n in names if n.endswith(ending)]",
        "that looks for the ending anywhere in the name; it stands at its end.": "[n for n in names if ending in n]",
        "the ending is a part anywhere; it stands at the end.": "[n for n in names if ending in n.split('.')]",
        "only whole names are compared; an ending is enough.": "[n for n in names if n == ending]",
        "an ending can have several parts, as `0.fc` has.": "[n for n in names if n.split('.')[-1] == ending]",
        "a name that is the ending itself is missing.": "[n for n in names if n.endswith('.' + ending)]",
    },
)
def adapted(names, ending):  # ["blocks.0.fc", "blocks.0.myfc", …], "fc" -> those that are adapted
    return [n for n in names if n == ending or n.endswith("." + ending)]
