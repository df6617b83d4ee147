"""Exercises of page 06, whole models."""

from __future__ import annotations

from lora_lab.classroom.first_edition import Exercise, NotAttempted, function_judge
from lora_lab.subjects.linear_task.tasks import normal


def end_to_end(W1, D1, W2, D2):
    return (W2 + D2) @ (W1 + D1) - W2 @ W1


def _two_layers(a, b, c, seed):
    return (
        normal(b, a, seed=seed),
        normal(b, a, seed=seed + 1),
        normal(c, b, seed=seed + 2),
        normal(c, b, seed=seed + 3),
    )


E62 = Exercise(
    number="6.2",
    title="what two layers change together",
    objective="say what an adapter in each of two layers does to the whole",
    stub='''\
def end_to_end(W1, D1, W2, D2):  # y = W2 W1 x; D1 and D2 are the layers' updates
    return ...                   # the change of the matrix from x to y

check("6.2", end_to_end)''',
    solution='''\
def end_to_end(W1, D1, W2, D2):  # y = W2 W1 x; D1 and D2 are the layers' updates
    return (W2 + D2) @ (W1 + D1) - W2 @ W1

check("6.2", end_to_end)''',
    hints=(
        "After the updates the model computes (W₂ + D₂)(W₁ + D₁)x. What did it compute before?",
        "Subtract W₂W₁. Three terms remain: W₂D₁, D₂W₁ and D₂D₁.",
    ),
    judge=function_judge(
        end_to_end,
        [_two_layers(5, 4, 3, 10), _two_layers(3, 6, 5, 20), _two_layers(4, 4, 4, 30)],
        {
            "the term D₂D₁ is missing: the second update also acts on what the first one adds.": (
                lambda W1, D1, W2, D2: W2 @ D1 + D2 @ W1
            ),
            "that is only D₂D₁: each update also meets the other layer's old weight.": (
                lambda W1, D1, W2, D2: D2 @ D1
            ),
            "that is the new matrix; its *change* is wanted: subtract the old one.": (
                lambda W1, D1, W2, D2: (W2 + D2) @ (W1 + D1)
            ),
            "the layers are in the wrong order: x meets W₁ first, so W₁ stands on the right.": (
                lambda W1, D1, W2, D2: (W1 + D1) @ (W2 + D2) - W1 @ W2 if W1.shape == W2.shape else None
            ),
            "only the first layer's update is in it.": lambda W1, D1, W2, D2: W2 @ D1,
            "only the second layer's update is in it.": lambda W1, D1, W2, D2: D2 @ W1,
        },
        describe=lambda W1, D1, W2, D2: f"W₁ {tuple(W1.shape)}, W₂ {tuple(W2.shape)}",
    ),
    right="W₂D₁ + D₂(W₁ + D₁): of rank 2 at most when both updates have rank 1.",
)


def adapted(names, ending):
    return [n for n in names if n == ending or n.endswith("." + ending)]


_NAMES = ["fc", "blocks.0.fc", "blocks.0.myfc", "blocks.1.fc", "blocks.1.fc2", "head.out", "fc.inner", "out"]

def _names_judge(answer):
    if answer is ...:
        raise NotAttempted
    if not callable(answer):
        return "the function itself is wanted, without calling it."
    for ending in ("fc", "out", "blocks.0.fc", "nothing"):
        got, wanted = answer(list(_NAMES), ending), adapted(_NAMES, ending)
        if got is ...:
            raise NotAttempted
        if not isinstance(got, (list, tuple, set)) or not all(isinstance(n, str) for n in got):
            what = "None: is a `return` missing?" if got is None else f"a {type(got).__name__}."
            return f"a list of names is wanted, your function returns {what}"
        extra, missing = [n for n in got if n not in wanted], [n for n in wanted if n not in got]
        if extra:
            return f"for {ending!r}, {extra[0]!r} is among them; its last parts are not {ending!r}."
        if missing:
            return f"for {ending!r}, {missing[0]!r} is missing."
    return ""


E63 = Exercise(
    number="6.3",
    title="what a name matches",
    objective="name the layers that get an adapter",
    stub='''\
def adapted(names, ending):  # ["blocks.0.fc", "blocks.0.myfc", …], "fc" -> those that are adapted
    return ...

check("6.3", adapted)''',
    solution='''\
def adapted(names, ending):  # ["blocks.0.fc", "blocks.0.myfc", …], "fc" -> those that are adapted
    return [n for n in names if n == ending or n.endswith("." + ending)]

check("6.3", adapted)''',
    hints=(
        "A name matches if it is the ending itself, or ends with it after a dot.",
        "`n == ending or n.endswith(\".\" + ending)`, in a list comprehension.",
    ),
    judge=_names_judge,
    right="whole parts of a name, from the right, as in PEFT: \"fc\" is not \"myfc\".",
)


EXERCISES = (E62, E63)
