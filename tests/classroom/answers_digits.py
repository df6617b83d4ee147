"""Right answers to the exercises of digits, and wrong ones with a piece of what they are told."""

import numpy as np
import torch
import torch.nn.functional as F


def counted_in_a_loop(scores, y):
    counts = [0] * 10
    for row, digit in zip(scores.tolist(), y.tolist()):
        if row.index(max(row)) != digit:
            counts[digit] += 1
    return counts


def pushes_the_callers_scores(scores, push):
    before = scores.argmax(1)
    scores[:, 9] += push
    return (scores.argmax(1) == 9) & (before != 9)


def lead_over_nine(scores, push):
    lead = scores[:, :9].amax(1) - scores[:, 9]
    return (lead >= 0) & (lead < push)


def each_digit_equally(y):
    return [1 / int((y == digit).sum()) for digit in y]


def forgets_the_labels(y):
    weights = torch.tensor(each_digit_equally(y))
    y[:] = 0
    return weights


def push_of(scores, push):
    return scores + push * F.one_hot(torch.tensor(9), 10)


RIGHT = {
    "errors_by_digit": [
        counted_in_a_loop,
        lambda scores, y: torch.bincount(y[scores.argmax(1) != y], minlength=10),
        lambda s, y: np.bincount(y.numpy()[s.numpy().argmax(1) != y.numpy()], minlength=10),
        lambda s, y: tuple(int((s[y == d].argmax(1) != d).sum()) for d in range(10)),
        lambda s, y: (F.one_hot(y, 10) * (s.argmax(1) != y)[:, None]).sum(0).double(),
    ],
    "becomes_nine": [
        lead_over_nine,
        lambda s, push: (push_of(s, push).argmax(1) == 9) & ~(s.argmax(1) == 9),
        lambda s, p: ((s.numpy() + p * np.eye(10)[9]).argmax(1) == 9) & (s.numpy().argmax(1) != 9),
        lambda s, p: [bool(a == 9 and b != 9) for a, b in zip(push_of(s, p).argmax(1), s.argmax(1))],
    ],
    "how_often": [
        each_digit_equally,
        lambda y: np.where(y.numpy() == 9, 1, 0.12 * (y == 9).sum().item()),
        lambda y: 1 + (y != 9) * ((y == 9).sum() // 12),
    ],
}

WRONG = {
    "errors_by_digit": [
        ("those are shares", lambda s, y: [(s[y == d].argmax(1) != d).double().mean() for d in range(10)]),
        ("TypeError", lambda s, y: s.argmax(1) + "9"),
    ],
    "becomes_nine": [
        ("changes `scores` in place", pushes_the_callers_scores),
    ],
    "how_often": [
        ("unseen nines and ", lambda y: torch.ones(len(y))),  # as they are
        ("gets 0 unseen nines and ", lambda y: y == 9),  # nines only
        ("before it were ", lambda y: 1.0 * (y != 9)),  # old images only
        ("At most 30 and 100 are allowed", lambda y: torch.where(y == 9, 1 / (y == 9).sum(), 1 / 45)),  # half and half
        ("unseen nines and ", lambda y: torch.where(y == 9, 1, 4000)),
        ("weights are not negative", lambda y: 1.0 - (y == 9) * 2),
        ("weights are not negative", lambda y: 0 * y),
        ("returns 2 numbers; wanted are", lambda y: torch.tensor([0.2, 0.8])),
        ("changes `y` in place", forgets_the_labels),
    ],
}
