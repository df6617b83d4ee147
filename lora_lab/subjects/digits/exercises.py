"""Exercises about the repair of a digit."""

from __future__ import annotations

import torch

from lora_lab.classroom.judging import exercise
from lora_lab.subjects.linear_task.tasks import normal


def _scores(n, seed):
    """Logits (n, 10) and true digits (n,), every digit among them."""
    return normal(n, 10, seed=seed), torch.arange(n) * 7 % 10


def _three_images():
    """A nine taken for a 4, a 4 taken for a nine, and a 2 that is right."""
    return torch.eye(10)[[4, 9, 2]], torch.tensor([9, 4, 2])


def _counts(chosen, digits):
    return torch.bincount(digits[chosen], minlength=10)


@exercise(
    title="who pays",
    hints=(
        "The network's answer is `scores.argmax(1)`; an image is wrong where that differs from y.",
        "For each digit d, count the images that are wrong and whose *true* digit is d.",
    ),
    right="ten counts by the true digit: one accuracy for all would have hidden who pays.",
    cases=[_three_images(), _scores(80, 1), _scores(120, 3)],
    mistakes={
        "those are the right ones; the wrong ones are wanted.": lambda s, y: _counts(s.argmax(1) == y, y),
        "they are counted by the answer; count them by the true digit, which is who pays.": (
            lambda s, y: _counts(s.argmax(1) != y, s.argmax(1))
        ),
        "that is how many images of each digit there are.": lambda s, y: torch.bincount(y, minlength=10),
        "that is how often each digit is the answer.": lambda s, y: torch.bincount(s.argmax(1), minlength=10),
        "one number for all; ten are wanted, one for each digit.": lambda s, y: (s.argmax(1) != y).sum(),
        "one entry for each image; ten counts are wanted, one for each digit.": lambda s, y: s.argmax(1) != y,
        "those are shares; counts are wanted.": (
            lambda s, y: _counts(s.argmax(1) != y, y) / torch.bincount(y, minlength=10)
        ),
        "nine counts: the last digit, the nine, is missing.": lambda s, y: _counts(s.argmax(1) != y, y)[:9],
        "the nine is missing: its count is 0.": (
            lambda s, y: torch.cat([_counts(s.argmax(1) != y, y)[:9], torch.zeros(1, dtype=torch.long)])
        ),
    },
)
def errors_by_digit(scores, y):  # logits (n, 10), true digits (n,) -> ten counts: wrong images of each
    wrong = scores.argmax(1) != y
    return [int((wrong & (y == d)).sum()) for d in range(10)]


def _pushed(scores, push, digit=9):
    pushed = scores.clone()
    pushed[:, digit] += push
    return pushed.argmax(1)


def _a_two_and_a_nine():
    """A 2 that leads nine by 1, and an image that was a nine before."""
    return torch.tensor([[0, 0, 3.0, 0, 0, 0, 0, 0, 0, 2], [0, 0, 1.0, 0, 0, 0, 0, 0, 0, 4]]), 2.0


@exercise(
    title="the push",
    hints=(
        "Add `push` to column 9 of a copy of the scores, and compare the answers (argmax) before and after.",
        "Now nine: `pushed.argmax(1) == 9`. Not before: `scores.argmax(1) != 9`. Both: `&`.",
    ),
    right="an image falls where the push is larger than its lead over nine, whatever it shows.",
    cases=[
        _a_two_and_a_nine(),
        (normal(60, 10, seed=5), 1.0),
        (normal(60, 10, seed=6), 2.5),
        (normal(20, 10, seed=7), 0.0),
    ],
    mistakes={
        "those that were nines before are among them.": lambda s, p: _pushed(s, p) == 9,
        "no image becomes a nine: is the push added, and to nine's logit alone?": (
            lambda s, p: torch.zeros(len(s), dtype=torch.bool)
        ),
        "nine is multiplied by the push; it is added.": (
            lambda s, p: ((s * (1 + (p - 1) * torch.eye(10)[9])).argmax(1) == 9) & (s.argmax(1) != 9)
        ),
        "those are the images that do *not* become nines.": (
            lambda s, p: ~((_pushed(s, p) == 9) & (s.argmax(1) != 9))
        ),
        "how many become nines; one boolean for each image is wanted.": (
            lambda s, p: ((_pushed(s, p) == 9) & (s.argmax(1) != 9)).sum()
        ),
        "the push goes to the eight: column 9 is the nine's, the first column is 0's.": (
            lambda s, p: (_pushed(s, p, 8) == 8) & (s.argmax(1) != 8)
        ),
        "those are the digits after the push; booleans are wanted.": lambda s, p: _pushed(s, p),
    },
)
def becomes_nine(scores, push):  # logits (n, 10); every image's nine goes up by `push`
    # (n,) booleans: answered nine now, and not before
    pushed = scores.clone()
    pushed[:, 9] += push
    return (pushed.argmax(1) == 9) & (scores.argmax(1) != 9)


@exercise(
    title="choose λ",
    hints=(
        "`min(errors_at, key=…)` goes through the λs and returns one of them.",
        "Compare pairs: `key=lambda lam: (errors_at[lam], lam)` decides by errors first, then by λ.",
    ),
    right="chosen on data the test never sees; of equals the one that changes the base least.",
    cases=[
        ({1.0: 30, 0.5: 20, 0.0: 50},),
        ({0.0: 100, 0.2: 70, 0.4: 60, 0.6: 60, 0.8: 90, 1.0: 400},),
        ({0.9: 40, 0.6: 25, 0.3: 25, 0.0: 60},),
        ({0.0: 20, 0.5: 90, 1.0: 20},),
    ],
    mistakes={
        "of equals, that takes the largest λ; the smallest changes the base least.": (
            lambda e: min(e, key=lambda lam: (e[lam], -lam))
        ),
        "of equals, that takes the first in the dictionary; take the smallest λ.": lambda e: min(e, key=e.get),
        "that is the number of errors; the λ is wanted.": lambda e: min(e.values()),
        "that is the λ with the *most* errors.": lambda e: max(e, key=e.get),
        "that is the largest λ, whatever it costs.": lambda e: max(e),
        "that is the smallest λ, which is no adapter at all.": lambda e: min(e),
        "that is the place of the λ in the dictionary; the λ itself is wanted.": (
            lambda e: min(range(len(e)), key=lambda i: (list(e.values())[i], list(e)[i]))
        ),
    },
)
def choose(errors_at):  # {λ: errors on the training half} -> the best λ, of equals the smallest
    return min(errors_at, key=lambda lam: (errors_at[lam], lam))
