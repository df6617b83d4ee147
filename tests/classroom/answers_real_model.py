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
        ("in place", in_place),
        ("returns 7 numbers; wanted are 8", lambda b, a, end, n: by_loop(b, a, end, n)[:-1]),
    ],
    "survives": [
        ("cosine", lambda W, delta, new: torch.cosine_similarity((new - W).flatten(), delta.flatten(), dim=0)),
        ("expected is 0.6", lambda W, delta, rounded: 1.0),
    ],
}
