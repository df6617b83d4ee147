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


def first_of_sorted(errors_at):
    return sorted(errors_at.items(), key=lambda item: (item[1], item[0]))[0][0]


def empties_the_table(errors_at):
    best = min(errors_at, key=lambda lam: (errors_at[lam], lam))
    errors_at.clear()
    return best


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
    "choose": [
        first_of_sorted,
        lambda errors_at: min(lam for lam in errors_at if errors_at[lam] == min(errors_at.values())),
        lambda e: min((count, lam) for lam, count in e.items())[1],
        lambda e: np.array(sorted(e))[np.argmin([e[lam] for lam in sorted(e)])],
    ],
}

WRONG = {
    "errors_by_digit": [
        ("right ones", lambda s, y: [int(((s.argmax(1) == y) & (y == d)).sum()) for d in range(10)]),
        ("one number for all", lambda s, y: int((s.argmax(1) != y).sum())),
        ("nine is missing", lambda s, y: [int(((s.argmax(1) != y) & (y == d)).sum()) for d in range(9)] + [0]),
        ("nine counts", lambda s, y: [int(((s.argmax(1) != y) & (y == d)).sum()) for d in range(9)]),
        ("those are shares", lambda s, y: [(s[y == d].argmax(1) != d).double().mean() for d in range(10)]),
        ("TypeError", lambda s, y: s.argmax(1) + "9"),
    ],
    "becomes_nine": [
        ("changes `scores` in place", pushes_the_callers_scores),
    ],
    "choose": [
        ("changes `errors_at` in place", empties_the_table),
    ],
}
