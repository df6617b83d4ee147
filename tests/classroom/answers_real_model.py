"""Right answers to the exercises of real_model, and wrong ones with a piece of what they are told."""

import numpy as np
import torch


def by_loop(before, after, end, length):
    ids = [*before, *after, end]
    found = []
    for t in range(length):
        inside = len(before) <= t + 1 < len(ids)
        found.append(ids[t + 1] if inside else -100)
    return found


def as_tensor(before, after, end, length):
    y = torch.full((length,), -100)
    y[len(before) - 1 : len(before) + len(after)] = torch.tensor([*after, end])
    return y


def in_place(before, after, end, length):
    after.append(end)
    return as_tensor(before, after[:-1], end, length)


def own_token(before, after, end, length):
    return ([-100] * len(before) + [*after, end] + [-100] * length)[:length]


def by_cosine(W, delta, rounded):
    return torch.nn.functional.cosine_similarity((rounded - W).flatten(), delta.flatten(), dim=0)


RIGHT = {
    "targets": [by_loop, as_tensor, lambda *given: np.array(by_loop(*given)), lambda *given: tuple(by_loop(*given))],
    "survives": [
        lambda W, delta, rounded: torch.dot((rounded - W).flatten(), delta.flatten()) / delta.norm() ** 2,
        lambda W, delta, rounded: float(((rounded - W) * delta).double().sum() / (delta**2).double().sum()),
        lambda W, delta, rounded: np.sum((rounded - W).numpy() * delta.numpy()) / np.sum(delta.numpy() ** 2),
        lambda W, delta, rounded: torch.trace((rounded - W).T @ delta) / torch.trace(delta.T @ delta),
    ],
}

WRONG = {
    "targets": [
        ("one place to the left", own_token),
        ("in place", in_place),
        ("prompt counts", lambda b, a, end, n: [*b[1:], *a, end] + [-100] * (n - len(b) - len(a))),
        ("never learn to stop", lambda b, a, end, n: [-100] * (len(b) - 1) + a + [-100] * (n + 1 - len(b + a))),
        ("padding counts", lambda b, a, end, n: [-100] * (len(b) - 1) + a + [end] * (n + 1 - len(b + a))),
        ("returns 7 numbers; wanted are 8", lambda b, a, end, n: by_loop(b, a, end, n)[:-1]),
    ],
    "survives": [
        ("cosine", by_cosine),
        ("noise", lambda W, delta, rounded: (rounded - W).norm() / delta.norm()),
        ("W is still in it", lambda W, delta, rounded: (rounded * delta).sum() / delta.square().sum()),
        ("", lambda W, delta, rounded: 1.0),
    ],
}
