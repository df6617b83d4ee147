"""Exercises about the repair of a digit."""

from functools import cache

import torch
from torch import Tensor

from lora_lab.classroom.judging import exercise
from lora_lab.subjects.linear_task.tasks import normal

from . import repair


def _counts(chosen, digits):
    return torch.bincount(digits[chosen], minlength=10)


@exercise(
    title="who pays",
    hints=("Wrong is where `scores.argmax(1) != y`.", "For each d, count the wrong ones whose *true* digit is d."),
    right="ten counts by the true digit: one accuracy for all would have hidden who pays.",
    cases=[
        (torch.eye(10)[[4, 9, 2]], torch.tensor([9, 4, 2])),  # a nine taken for a 4, a 4 for a nine, and a right 2
        (normal(80, 10, seed=1), torch.arange(80) * 7 % 10),
        (normal(120, 10, seed=3), torch.arange(120) * 7 % 10),
    ],
    mistakes={
        "those are the right ones; the wrong ones are wanted.": "_counts(scores.argmax(1) == y, y)",
        "they are counted by the answer; count them by the true digit, which is who pays.": (
            "_counts(scores.argmax(1) != y, scores.argmax(1))"
        ),
        "that is how many images of each digit there are.": "torch.bincount(y, minlength=10)",
        "one number for all; ten are wanted, one for each digit.": "sum(errors_by_digit(scores, y))",
        "those are shares; counts are wanted.": "_counts(scores.argmax(1) != y, y) / torch.bincount(y, minlength=10)",
        "nine counts: the last digit, the nine, is missing.": "errors_by_digit(scores, y)[:9]",
        "the nine is missing: its count is 0.": "[*errors_by_digit(scores, y)[:9], 0]",
    },
)
def errors_by_digit(scores, y):  # logits (n, 10), true digits (n,) -> ten counts: wrong images of each
    wrong = scores.argmax(1) != y
    return [int((wrong & (y == d)).sum()) for d in range(10)]


@exercise(
    title="the push",
    hints=(
        "Add `push` to column 9 of a copy of the scores, and compare the answers (argmax) before and after.",
        "Now nine: `pushed.argmax(1) == 9`. Not before: `scores.argmax(1) != 9`. Both: `&`.",
    ),
    right="an image falls where the push is larger than its lead over nine, whatever it shows.",
    cases=[
        # a 2 that leads nine by 1, and an image that was a nine before
        (torch.tensor([[0, 0, 3.0, 0, 0, 0, 0, 0, 0, 2], [0, 0, 1.0, 0, 0, 0, 0, 0, 0, 4]]), 2.0),
        (normal(60, 10, seed=5), 1.0),
        (normal(60, 10, seed=6), 2.5),
        (normal(20, 10, seed=7), 0.0),
    ],
    mistakes={
        "those that were nines before are among them.": "(scores + push * torch.eye(10)[9]).argmax(1) == 9",
        "no image becomes a nine: is `pushed` a copy, and is only column 9 pushed?": "[False] * len(scores)",
        "those are the images that do *not* become nines.": "~becomes_nine(scores, push)",
        "how many become nines; one boolean for each image is wanted.": "becomes_nine(scores, push).sum()",
        "the digits after the push; booleans are wanted.": "(scores + push * torch.eye(10)[9]).argmax(1)",
    },
)
def becomes_nine(scores, push):  # logits (n, 10); every image's nine goes up by `push`
    # (n,) booleans: answered nine now, and not before
    pushed = scores.clone()
    pushed[:, 9] += push
    return (pushed.argmax(1) == 9) & (scores.argmax(1) != 9)


SEEDS = (6, 10)  # of split, base and start; the page shows 0, its record 0 to 4
NINES, OTHERS = 30, 100  # wrong test images that are few enough, of 90 and of 811


@cache
def _hidden(seed: int) -> tuple[repair.Digits, torch.nn.Module]:
    data = repair.load(seed)
    return data, repair.pretrain(data, seed)


def _kept(y: Tensor, seed: int) -> Tensor:
    """An image for each label, from a training half that the page does not show. (n,) -> (n, 64)."""
    data, _ = _hidden(seed)
    X = torch.empty(len(y), 64)
    for digit in range(10):
        X[y == digit] = data.X[data.y == digit][: int((y == digit).sum())]
    return X


def _complaint_about_weights(weights, y) -> str:
    if not (weights.isfinite().all() and weights.min() >= 0 and weights.max() > 0):
        return "weights are not negative, and at least one is above 0."
    for seed in SEEDS:
        rows = torch.multinomial(weights, 1000, replacement=True, generator=torch.Generator().manual_seed(seed))
        data, base = _hidden(seed)
        model = repair.adapt(base, (_kept(y, seed)[rows], y[rows]), seed=seed)
        *others, nines = repair.errors(repair.logits(model, data.test_X), data.test_y)
        if nines > NINES or sum(others) > OTHERS:
            was = repair.errors(repair.logits(base, data.test_X), data.test_y)
            return (
                f"a network that the page does not show gets {nines} unseen nines and {sum(others)} others wrong; "
                f"before it were {was[9]} and {sum(was[:9])}. At most {NINES} and {OTHERS} are allowed."
            )
    return ""


def _labels(nines: int, seed: int) -> Tensor:
    y = torch.cat([torch.full((nines,), 9), torch.arange(9).repeat(5)])
    return y[torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))]


@exercise(
    title="a repair with few old images",
    hints=(
        "As they are, over six images of ten are nines. Which share of replay did well in section 8.8?",
        "Three batches of four others: the 45 together weigh three to nine times as much as the 81 nines.",
    ),
    right="on two networks that the page does not show, the nine is repaired, and seven of eight others stay right.",
    cases=[(_labels(81, 1),), (_labels(40, 2),)],
    accept=_complaint_about_weights,
)
def how_often(y):  # digits of the images at hand: many nines, five kept images of each other digit
    # (n,) a weight for each image: rank-1 LoRA trains on 1000 images that are drawn by these weights
    share = torch.where(y == 9, 0.2, 0.8)
    return share / torch.where(y == 9, (y == 9).sum(), (y != 9).sum())
