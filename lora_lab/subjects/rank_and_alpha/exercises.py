"""Exercises about rank and alpha."""

from __future__ import annotations

import torch

from lora_lab.classroom.judging import exercise


@exercise(
    title="the same run at another α",
    hints=(
        "The scaling s = α/r grows by 4. What must stay the same is √s · lr and √s · A.",
        "√4 = 2: both become half of what they were.",
    ),
    right="half the learning rate and half the start: √s·lr and √s·A are as before.",
    mistakes={
        "that is SGD's rule (lr / 4); Adam does not see a gradient's size, so its rule has a square root.": (5e-5, 0.5),
        "lr / 4 alone is the popular rule: under Adam it is lr / 2, and the start changes, too.": (5e-5, 1.0),
        "lr × 4 goes the wrong way: a larger α needs smaller steps, by √4, and a smaller start.": (8e-4, 1.0),
        "lr × 4 goes the wrong way: a larger α needs smaller steps, by √4; so does the start.": (8e-4, 4.0),
        "the other way round: a larger α needs smaller steps.": (4e-4, 2.0),
        "the start is right; a larger α needs smaller steps as well.": (4e-4, 0.5),
        "the learning rate is right; the start becomes smaller as well.": (1e-4, 2.0),
        "A's start must change as well: otherwise its part of the update is twice as large.": (1e-4, 1.0),
        "the learning rate must change as well.": (2e-4, 0.5),
        "nothing changed: at α = 64 the update is four times as large.": (2e-4, 1.0),
        "the square root is missing in both.": (5e-5, 0.25),
        "the square root is missing in A's factor.": (1e-4, 0.25),
        "that is the learning rate's factor; the learning rate itself is wanted.": (0.5, 0.5),
        "the two are swapped: the learning rate comes first.": (0.5, 1e-4),
    },
)
def same_run():
    # Adam, learning rate 2e-4, r = 8, α = 16. The same run with α = 64 needs
    new_lr = 2e-4 / 2  # this learning rate
    factor = 1 / 2  # and A's start multiplied by this
    return new_lr, factor


def _first(floor, ranks=None):
    """The mistake of taking the first rank whose `floor(sigmas, r, d_out)` is low enough."""

    def mistake(sigmas, d_out, limit):
        for r in ranks(sigmas) if ranks else range(len(sigmas) + 1):
            if floor(sigmas, r, d_out) <= limit:
                return r

    return mistake


def _floor(sigmas, r, d_out):
    return sigmas[r:].square().sum() / d_out


@exercise(
    title="the smallest rank that will do",
    hints=(
        "The floor of rank r is `sigmas[r:].square().sum() / d_out`.",
        "Try r = 0, 1, 2, … and return the first whose floor is low enough. How large can r be?",
    ),
    right="the rank is read off the spectrum; no sweep is needed where ΔΘ is known.",
    cases=[
        (torch.tensor([3.0, 2, 1]), 5, 1),  # the floors are 14/5, 1, 1/5 and 0
        (torch.tensor([3.0, 2, 1]), 2, 0.75),
        (torch.tensor([4.0, 2, 1]), 8, 0.05),  # needs all three
        (torch.tensor([4.0, 2, 1, 1]), 4, 1e9),  # needs none
        (torch.tensor([6.0, 4, 2, 1]), 5, 3.5),
        (torch.tensor([6.0, 5, 4, 1, 1]), 3, 0.8),
    ],
    mistakes={
        "one too many.": lambda sigmas, d_out, limit: smallest_rank(sigmas, d_out, limit) + 1,
        "one too few: r = 0 takes away nothing, r = 1 the first.": (
            _first(lambda sigmas, r, d_out: _floor(sigmas, r + 1, d_out))
        ),
        "the loop ends too early: rank len(sigmas) takes everything away, and range(n) stops at n − 1.": (
            _first(_floor, lambda sigmas: range(len(sigmas)))
        ),
        "the loop begins too late: where the limit is high, rank 0 will do.": (
            _first(_floor, lambda sigmas: range(1, len(sigmas) + 1))
        ),
        "the loop begins too late and ends too early: r goes from 0 to len(sigmas).": (
            _first(_floor, lambda sigmas: range(1, len(sigmas)))
        ),
        "a floor equal to the limit is low enough (`<=`).": (
            lambda sigmas, d_out, limit: next(r for r in range(99) if _floor(sigmas, r, d_out) < limit)
        ),
        "`//` rounds the floor down to a whole number; divide with `/`.": (
            _first(lambda sigmas, r, d_out: sigmas[r:].square().sum() // d_out)
        ),
        "the singular values are not squared.": _first(lambda sigmas, r, d_out: sigmas[r:].sum() / d_out),
        "they are squared after they are added up; add up the squares.": (
            _first(lambda sigmas, r, d_out: sigmas[r:].sum() ** 2 / d_out)
        ),
        "the division by d_out is missing.": _first(lambda sigmas, r, d_out: sigmas[r:].square().sum()),
        "that is a mean over the singular values left over; divide their sum by d_out.": (
            _first(lambda sigmas, r, d_out: sigmas[r:].square().sum() / max(len(sigmas) - r, 1))
        ),
        "sigmas[:r] is what rank r explains; the floor is made of the rest.": (
            _first(lambda sigmas, r, d_out: sigmas[:r].square().sum() / d_out)
        ),
        "single singular values are compared with the limit; their sum is the floor.": (
            lambda sigmas, d_out, limit: int((sigmas.square() / d_out > limit).sum())
        ),
        "that is the floor of the rank; the rank is wanted.": (
            lambda sigmas, d_out, limit: _floor(sigmas, smallest_rank(sigmas, d_out, limit), d_out)
        ),
    },
)
def smallest_rank(sigmas, d_out, limit):  # singular values of ΔΘ; the floor should be at most `limit`
    for r in range(len(sigmas) + 1):
        if sigmas[r:].square().sum() / d_out <= limit:
            return r


@exercise(
    title="another rank, the same start",
    hints=(
        "s·r stays. Under α/r, s·r is α itself; under α/√r it is α·√r; under α alone it is α·r.",
        "Set α_new · √r_new = α_old · √r_old and solve for α_new.",
    ),
    right="under α/r, α stays: hold it fixed, tune the learning rate once, and change r freely. "
    "The other two rules make α follow r.",
    cases=[
        (4, 1, 6.0, "alpha/sqrt(r)"),
        (32, 8, 16.0, "alpha/r"),
        (6, 4, 9.0, "alpha"),
        (3, 2, 5.0, "alpha/sqrt(r)"),
        (2, 7, 4.0, "alpha/r"),
        (8, 32, 1.0, "alpha"),
    ],
    mistakes={
        "that keeps the scaling s (as in “double r, double α”), and at the same s more rank moves ΔW further: "
        "s·r must stay.": lambda n, o, a, rule: a * (n / o) ** {"alpha/r": 1, "alpha/sqrt(r)": 0.5, "alpha": 0}[rule],
        "“double r, double α” keeps the scaling under α/r, not s·r.": lambda n, o, a, rule: a * n / o,
        "that is right for alpha/r, where α stays; the other two rules need a change.": lambda n, o, a, rule: a,
        "that is right for alpha/sqrt(r) only.": lambda n, o, a, rule: a * (o / n) ** 0.5,
        "that is right for alpha only, the rule that does not divide.": lambda n, o, a, rule: a * o / n,
        "the ratio is upside down: more rank needs a smaller scaling.": (
            lambda n, o, a, rule: a * (n / o) ** {"alpha/r": 0, "alpha/sqrt(r)": 0.5, "alpha": 1}[rule]
        ),
        "the square root is missing under alpha/sqrt(r).": lambda n, o, a, rule: a if rule == "alpha/r" else a * o / n,
        "that keeps s²·r, which is SGD's rule; Adam's is s·r.": (
            lambda n, o, a, rule: a * (o / n) ** {"alpha/r": -0.5, "alpha/sqrt(r)": 0, "alpha": 0.5}[rule]
        ),
        "`//` rounds the ratio down to a whole number; divide with `/`.": (
            lambda n, o, a, rule: a * (o // n) ** {"alpha/r": 0, "alpha/sqrt(r)": 0.5, "alpha": 1}[rule]
        ),
        "that is the new scaling s; α is wanted.": (
            lambda n, o, a, rule: a * o ** {"alpha/r": 0, "alpha/sqrt(r)": 0.5, "alpha": 1}[rule] / n
        ),
    },
)
def alpha_for(r_new, r_old, alpha_old, rule):  # rule: "alpha/r", "alpha/sqrt(r)" or "alpha"
    # Adam: the α at which r_new starts as r_old did, with s·r as before
    power = {"alpha/r": 0, "alpha/sqrt(r)": 0.5, "alpha": 1}[rule]
    return alpha_old * (r_old / r_new) ** power
