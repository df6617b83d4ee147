"""Exercises of page 07, digits."""

from __future__ import annotations

import torch

from lora_lab.classroom.first_edition import Exercise, function_judge
from lora_lab.subjects.linear_task.tasks import normal


def _scores(n, seed):
    return normal(n, 10, seed=seed), normal(n, seed=seed + 1).mul(3).long().abs() % 10


def errors(scores, y):
    wrong = scores.argmax(1) != y
    return [int((wrong & (y == d)).sum()) for d in range(10)]


E71 = Exercise(
    number="7.1",
    title="who pays",
    objective="measure what the other classes pay",
    stub='''\
def errors(scores, y):  # logits (n, 10), true digits (n,) -> ten counts: wrong images of each true digit
    return ...

check("7.1", errors)''',
    solution='''\
def errors(scores, y):  # logits (n, 10), true digits (n,) -> ten counts: wrong images of each true digit
    wrong = scores.argmax(1) != y
    return [int((wrong & (y == d)).sum()) for d in range(10)]

check("7.1", errors)''',
    hints=(
        "The network's answer is `scores.argmax(1)`; an image is wrong where that differs from y.",
        "For each digit d, count the images that are wrong and whose *true* digit is d.",
    ),
    judge=function_judge(
        errors,
        [_scores(80, 1), _scores(120, 3)],
        {
            "those are the right ones; the wrong ones are wanted.": (
                lambda s, y: [int(((s.argmax(1) == y) & (y == d)).sum()) for d in range(10)]
            ),
            "they are counted by the answer; count them by the true digit, which is who pays.": (
                lambda s, y: [int(((s.argmax(1) != y) & (s.argmax(1) == d)).sum()) for d in range(10)]
            ),
            "that is how many images of each digit there are.": (
                lambda s, y: [int((y == d).sum()) for d in range(10)]
            ),
            "one number for all; ten are wanted, one for each digit.": lambda s, y: int((s.argmax(1) != y).sum()),
            "those are shares; counts are wanted.": (
                lambda s, y: [float((s.argmax(1) != y)[y == d].float().mean()) for d in range(10)]
            ),
        },
        tolerance=1e-9,
        describe=lambda s, y: f"{len(y)} images",
    ),
    right="ten counts by the true digit: one accuracy for all would have hidden who pays.",
)


def becomes_nine(scores, push):
    pushed = scores.clone()
    pushed[:, 9] += push
    return (pushed.argmax(1) == 9) & (scores.argmax(1) != 9)


E72 = Exercise(
    number="7.2",
    title="the push",
    objective="tell damage done by the data from damage done by LoRA",
    stub='''\
def becomes_nine(scores, push):  # logits (n, 10); every image's nine goes up by `push`
    return ...                   # (n,) booleans: answered nine now, and not before

check("7.2", becomes_nine)''',
    solution='''\
def becomes_nine(scores, push):  # logits (n, 10); every image's nine goes up by `push`
    pushed = scores.clone()
    pushed[:, 9] += push
    return (pushed.argmax(1) == 9) & (scores.argmax(1) != 9)

check("7.2", becomes_nine)''',
    hints=(
        "Add `push` to column 9 of a copy of the scores, and compare the answers (argmax) before and after.",
        "Now nine: `pushed.argmax(1) == 9`. Not before: `scores.argmax(1) != 9`. Both: `&`.",
    ),
    judge=function_judge(
        becomes_nine,
        [(normal(60, 10, seed=5), 1.0), (normal(60, 10, seed=6), 2.5), (normal(20, 10, seed=7), 0.0)],
        {
            "those that were nines before are among them.": (
                lambda s, p: (s + p * torch.eye(10)[9]).argmax(1) == 9
            ),
            "no image becomes a nine: is the push added, and to nine's logit alone?": (
                lambda s, p: torch.zeros(len(s), dtype=torch.bool)
            ),
            "nine is multiplied by the push; it is added.": (
                lambda s, p: ((s * (1 + (p - 1) * torch.eye(10)[9])).argmax(1) == 9) & (s.argmax(1) != 9)
            ),
            "those are the images that do *not* become nines.": (
                lambda s, p: ~(((s + p * torch.eye(10)[9]).argmax(1) == 9) & (s.argmax(1) != 9))
            ),
        },
        tolerance=1e-9,
        describe=lambda s, p: f"{len(s)} images and a push of {p:g}",
    ),
    right="an image falls where the push is larger than its lead over nine, whatever it shows.",
)


def choose(errors_at):
    return min(errors_at, key=lambda lam: (errors_at[lam], lam))


_AT = [
    ({0.0: 100, 0.2: 70, 0.4: 60, 0.6: 60, 0.8: 90, 1.0: 400},),
    ({1.0: 30, 0.5: 40, 0.0: 50},),
    ({0.9: 40, 0.6: 25, 0.3: 25, 0.0: 60},),
    ({0.0: 20, 0.5: 90, 1.0: 20},),
]

E73 = Exercise(
    number="7.3",
    title="choose λ",
    objective="choose a cure from numbers",
    stub='''\
def choose(errors_at):  # {λ: errors on the training half} -> the best λ, of equals the smallest
    return ...

check("7.3", choose)''',
    solution='''\
def choose(errors_at):  # {λ: errors on the training half} -> the best λ, of equals the smallest
    return min(errors_at, key=lambda lam: (errors_at[lam], lam))

check("7.3", choose)''',
    hints=(
        "`min(errors_at, key=…)` goes through the λs and returns one of them.",
        "Compare pairs: `key=lambda lam: (errors_at[lam], lam)` decides by errors first, then by λ.",
    ),
    judge=function_judge(
        choose,
        _AT,
        {
            "of equals, that takes the largest λ; the smallest changes the base least.": (
                lambda e: min(e, key=lambda lam: (e[lam], -lam))
            ),
            "of equals, that takes the first in the dictionary; take the smallest λ.": lambda e: min(e, key=e.get),
            "that is the number of errors; the λ is wanted.": lambda e: min(e.values()),
            "that is the λ with the *most* errors.": lambda e: max(e, key=lambda lam: (e[lam], -lam)),
            "that is the largest λ, whatever it costs.": lambda e: max(e),
            "that is the smallest λ, which is no adapter at all.": lambda e: min(e),
        },
        tolerance=1e-9,
        describe=lambda e: f"{e}",
    ),
    right="chosen on data the test never sees; of equals the one that changes the base least.",
)

EXERCISES = (E71, E72, E73)
