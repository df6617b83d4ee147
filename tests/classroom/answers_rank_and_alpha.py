"""Right answers to the exercises of rank_and_alpha, and wrong ones with a piece of what they are told."""

import numpy as np
import torch


def with_while(sigmas, d_out, limit):
    r = 0
    while torch.sum(sigmas[r:] ** 2) > limit * d_out:
        r += 1
    return r


def in_numpy(sigmas, d_out, limit):
    energy = np.append(sigmas.numpy().astype(float) ** 2, 0)
    floors = np.cumsum(energy[::-1])[::-1] / d_out
    return np.argmax(floors <= limit)


def floor(sigmas, r, d_out):
    return (sigmas[r:] ** 2).sum() / d_out


def in_place(sigmas, d_out, limit):
    sigmas **= 2
    return next(r for r in range(len(sigmas) + 1) if sigmas[r:].sum() / d_out <= limit)


def by_cases(r_new, r_old, alpha_old, rule):
    if rule == "alpha/r":
        return alpha_old
    ratio = torch.tensor(r_old / r_new)
    return alpha_old * (ratio if rule == "alpha" else ratio.sqrt())


def divided(r, rule):
    return {"alpha/r": r, "alpha/sqrt(r)": np.sqrt(r), "alpha": 1}[rule]


RIGHT = {
    "same_run": [(1e-4, 0.5), [0.0001, 1 / 2], torch.tensor([1e-4, 0.5]), (2e-4 / np.sqrt(4), np.float32(0.5))],
    "smallest_rank": [
        with_while,
        in_numpy,
        lambda sigmas, d_out, limit: sum(floor(sigmas, r, d_out) > limit for r in range(len(sigmas) + 1)),
    ],
    "alpha_for": [
        by_cases,
        lambda n, o, a, rule: a / divided(o, rule) * o / n * divided(n, rule),
        lambda r_new, r_old, alpha, rule: (
            np.float32(alpha * (r_old / r_new) ** (rule.count("q") / 2)) if "/" in rule else alpha * r_old / r_new
        ),
    ],
}

WRONG = {
    "same_run": [
        ("lr × 4", torch.tensor([8e-4, 1])),
        ("2 values are wanted", 1e-4),
        ("in place 2 the answer is 'half'", (1e-4, "half")),
    ],
    "smallest_rank": [
        ("changes `sigmas` in place", in_place),
        ("expected is 1", lambda sigmas, d_out, limit: len(sigmas)),
        ("`return` missing", lambda sigmas, d_out, limit: print(end="")),
    ],
    "alpha_for": [
        ("KeyError", lambda n, o, a, rule: a * {"alpha/r": 1}[rule]),
    ],
}
