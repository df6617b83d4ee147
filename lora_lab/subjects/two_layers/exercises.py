"""Exercises about two layers, and about the names of layers."""

from __future__ import annotations

import re
from collections import Counter

import torch

from lora_lab.classroom.judging import exercise
from lora_lab.subjects.linear_task.tasks import normal


def _layers(d_in, middle, d_out, seed):
    first = normal(middle, d_in, seed=seed), normal(middle, d_in, seed=seed + 1)
    return *first, normal(d_out, middle, seed=seed + 2), normal(d_out, middle, seed=seed + 3)


_SMALL = [torch.tensor(rows) for rows in ([[1.0, 2], [0, 1]], [[1.0, 0], [1, 0]], [[1.0, 1]], [[0.0, 2]])]


@exercise(
    title="what two layers change together",
    hints=(
        "After the updates the model computes (W₂ + D₂)(W₁ + D₁)x. What did it compute before?",
        "Subtract W₂W₁. Three terms remain: W₂D₁, D₂W₁ and D₂D₁.",
    ),
    right="W₂D₁ + D₂(W₁ + D₁): of rank 2 at most when both updates have rank 1.",
    cases=[tuple(_SMALL), _layers(5, 4, 3, 10), _layers(4, 4, 4, 30), _layers(3, 6, 5, 20)],
    mistakes={
        "the term D₂D₁ is missing: the second update also acts on what the first one adds.": (
            lambda W1, D1, W2, D2: W2 @ D1 + D2 @ W1
        ),
        "a sign: D₂D₁ is added, not subtracted.": lambda W1, D1, W2, D2: W2 @ D1 + D2 @ W1 - D2 @ D1,
        "a sign: that is the old minus the new.": lambda W1, D1, W2, D2: W2 @ W1 - (W2 + D2) @ (W1 + D1),
        "the old matrix is added; subtract it.": lambda W1, D1, W2, D2: (W2 + D2) @ (W1 + D1) + W2 @ W1,
        "that is only D₂D₁: each update also meets the other layer's old weight.": lambda W1, D1, W2, D2: D2 @ D1,
        "that is the new matrix; its *change* is wanted: subtract the old one.": (
            lambda W1, D1, W2, D2: (W2 + D2) @ (W1 + D1)
        ),
        "the layers are in the wrong order: x meets W₁ first, so W₁ stands on the right.": (
            lambda W1, D1, W2, D2: (W1 + D1) @ (W2 + D2) - W1 @ W2
        ),
        "only the first layer's update is in it.": lambda W1, D1, W2, D2: W2 @ D1,
        "only the second layer's update is in it.": lambda W1, D1, W2, D2: D2 @ W1,
        "the second layer's update meets W₁ + D₁; W₂D₁ is missing.": lambda W1, D1, W2, D2: D2 @ (W1 + D1),
        "the first layer's update meets W₂ + D₂; D₂W₁ is missing.": lambda W1, D1, W2, D2: (W2 + D2) @ D1,
        "the updates are added; the layers are multiplied.": lambda W1, D1, W2, D2: D1 + D2,
        "the result is transposed.": lambda W1, D1, W2, D2: ((W2 + D2) @ (W1 + D1) - W2 @ W1).T,
    },
)
def end_to_end(W1, D1, W2, D2):  # y = W2 W1 x; D1 and D2 are the layers' updates
    # the change of the matrix from x to y
    return (W2 + D2) @ (W1 + D1) - W2 @ W1


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
    hints=(
        "A name matches if it is the ending itself, or ends with it after a dot.",
        '`n == ending or n.endswith("." + ending)`, in a list comprehension.',
    ),
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
        'the dot is missing: "myfc" ends with "fc", too.': lambda names, end: [n for n in names if n.endswith(end)],
        "that looks for the ending anywhere in the name; it stands at its end.": (
            lambda names, end: [n for n in names if end in n]
        ),
        "that looks for the ending among the parts; it stands at the name's end.": (
            lambda names, end: [n for n in names if end in n.split(".")]
        ),
        "only whole names are compared; an ending is enough.": lambda names, end: [n for n in names if n == end],
        "only the last part is compared; an ending can have several, as `0.fc` has.": (
            lambda names, end: [n for n in names if n.split(".")[-1] == end]
        ),
        "a name that is the ending itself is missing.": lambda names, end: [n for n in names if n.endswith("." + end)],
        "in a pattern a dot stands for any letter, so that `0.q` finds `0_q`: use re.escape.": (
            lambda names, end: [n for n in names if re.search(rf"(^|\.){end}$", n)]
        ),
        "that looks at the beginning of the names.": lambda names, end: [n for n in names if n.startswith(end)],
        "that is how many; the names are wanted.": lambda names, end: len(adapted(names, end)),
        "that says of each name whether it matches; the names themselves are wanted.": (
            lambda names, end: [n in adapted(names, end) for n in names]
        ),
    },
)
def adapted(names, ending):  # ["blocks.0.fc", "blocks.0.myfc", …], "fc" -> those that are adapted
    return [n for n in names if n == ending or n.endswith("." + ending)]
