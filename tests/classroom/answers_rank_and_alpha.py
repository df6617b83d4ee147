"""Right answers to the exercises of rank_and_alpha, and wrong ones with a piece of what they are told."""

import numpy as np
import torch


def from_the_end(sigmas, d_out, limit):
    r, left = len(sigmas), 0.0
    while r > 0 and (left + float(sigmas[r - 1]) ** 2) / d_out <= limit:
        r -= 1
        left += float(sigmas[r]) ** 2
    return r


def with_while(sigmas, d_out, limit):
    r = 0
    while torch.sum(sigmas[r:] ** 2) > limit * d_out:
        r += 1
    return r


def in_numpy(sigmas, d_out, limit):
    energy = np.append(sigmas.numpy().astype(float) ** 2, 0)
    floors = np.cumsum(energy[::-1])[::-1] / d_out
    return np.argmax(floors <= limit)


def among(ranks, floor):
    """The first of the ranks whose floor is low enough."""
    return lambda sigmas, d_out, limit: next((r for r in ranks(len(sigmas)) if floor(sigmas, r, d_out) <= limit), None)


def floor(sigmas, r, d_out):
    return (sigmas[r:] ** 2).sum() / d_out


def in_place(sigmas, d_out, limit):
    sigmas **= 2
    return next(r for r in range(len(sigmas) + 1) if sigmas[r:].sum() / d_out <= limit)


def all_ranks(n):
    return range(n + 1)


def by_cases(r_new, r_old, alpha_old, rule):
    if rule == "alpha/r":
        return alpha_old
    ratio = torch.tensor(r_old / r_new)
    return alpha_old * (ratio if rule == "alpha" else ratio.sqrt())


def divided(r, rule):
    return {"alpha/r": r, "alpha/sqrt(r)": np.sqrt(r), "alpha": 1}[rule]


def same_scaling(r_new, r_old, alpha_old, rule):
    return alpha_old / divided(r_old, rule) * divided(r_new, rule)


RIGHT = {
    "same_run": [(1e-4, 0.5), [0.0001, 1 / 2], torch.tensor([1e-4, 0.5]), (2e-4 / np.sqrt(4), np.float32(0.5))],
    "smallest_rank": [
        with_while,
        from_the_end,
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
        ("other way round", (4e-4, 2)),
        ("lr × 4", (2e-4 * 4, 1)),
        ("popular rule", (2e-4 / 4, 1)),
        ("2 values are wanted", 1e-4),
        ("in place 2 the answer is 'half'", (1e-4, "half")),
    ],
    "smallest_rank": [
        ("singular values are not squared", among(all_ranks, lambda s, r, d_out: s[r:].sum() / d_out)),
        ("one too many", lambda sigmas, d_out, limit: with_while(sigmas, d_out, limit) + 1),
        ("d_out is missing", among(all_ranks, lambda s, r, d_out: (s[r:] ** 2).sum())),
        ("a mean over", among(all_ranks, lambda s, r, d_out: (s[r:] ** 2).mean().nan_to_num())),
        ("single", lambda sigmas, d_out, limit: int((sigmas**2 / d_out > limit).sum())),
        ("ends too early", among(range, floor)),
        ("begins too late:", among(lambda n: range(1, n + 1), floor)),
        ("begins too late and", among(lambda n: range(1, n), floor)),
        ("equal to the limit", lambda s, d_out, limit: next(r for r in range(99) if floor(s, r, d_out) < limit)),
        ("rounds", among(all_ranks, lambda s, r, d_out: (s[r:] ** 2).sum() // d_out)),
        ("the floor of the rank", lambda s, d_out, limit: floor(s, with_while(s, d_out, limit), d_out)),
        ("changes `sigmas` in place", in_place),
        ("expected is 1", lambda sigmas, d_out, limit: len(sigmas)),
        ("`return` missing", lambda sigmas, d_out, limit: print(end="")),
    ],
    "alpha_for": [
        ("keeps the scaling s", same_scaling),
        ("upside down", lambda n, o, a, rule: a / by_cases(n, o, 1.0, rule)),
        ("SGD's rule", lambda n, o, a, rule: by_cases(n, o, a, rule) * (n / o) ** 0.5),
        ("rounds", lambda n, o, a, rule: a if rule == "alpha/r" else a * (o // n) ** (0.5 if "/" in rule else 1)),
        ("scaling s; α is wanted", lambda n, o, a, rule: by_cases(n, o, a, rule) / divided(n, rule)),
        ("KeyError", lambda n, o, a, rule: a * {"alpha/r": 1}[rule]),
    ],
}
