"""Exercises of page 04, rank and alpha."""

from __future__ import annotations

from lora_lab.classroom.first_edition import Exercise, function_judge, value_judge
from lora_lab.subjects.linear_task.tasks import normal

E41 = Exercise(
    number="4.1",
    title="the same run at another α",
    objective="translate α into a learning rate",
    stub='''\
# Adam, learning rate 2e-4, r = 8, α = 16. The same run with α = 64 needs
lr = ...      # this learning rate
factor = ...  # and A's start multiplied by this

check("4.1", (lr, factor))''',
    solution='''\
# Adam, learning rate 2e-4, r = 8, α = 16. The same run with α = 64 needs
lr = 2e-4 / 2
factor = 1 / 2

check("4.1", (lr, factor))''',
    hints=(
        "The scaling s = α/r grows by 4. What must stay the same is √s · lr and √s · A.",
        "√4 = 2: both become half of what they were.",
    ),
    judge=value_judge(
        (1e-4, 0.5),
        {
            "that is SGD's rule (lr / 4); Adam does not see the size of a gradient, so its rule has a square root.": (
                (5e-5, 0.5)
            ),
            "A's start must change as well: otherwise its part of the update is twice as large.": (1e-4, 1.0),
            "the learning rate must change as well.": (2e-4, 0.5),
            "nothing changed: at α = 64 the update is four times as large.": (2e-4, 1.0),
            "the other way round: a larger α needs smaller steps.": (4e-4, 2.0),
            "the square root is missing in both.": (5e-5, 0.25),
            "the square root is missing in A's factor.": (1e-4, 0.25),
        },
        tolerance=1e-6,
    ),
    right="half the learning rate and half the start: √s·lr and √s·A are as before.",
)


def smallest_rank(sigmas, d_out, limit):
    for r in range(len(sigmas) + 1):
        if sigmas[r:].square().sum() / d_out <= limit:
            return r


def _shifted(by):
    def wrong(sigmas, d_out, limit):
        return smallest_rank(sigmas, d_out, limit) + by

    return wrong


def _unsquared(sigmas, d_out, limit):
    return next(r for r in range(len(sigmas) + 1) if sigmas[r:].sum() / d_out <= limit)


def _no_mean(sigmas, d_out, limit):
    return smallest_rank(sigmas, 1, limit)


def _single(sigmas, d_out, limit):
    return int((sigmas.square() / d_out > limit).sum())


def _spectrum(seed):
    return normal(10, seed=seed).abs().sort(descending=True).values * 3


E42 = Exercise(
    number="4.2",
    title="the smallest rank that will do",
    objective="choose a rank from a floor",
    stub='''\
def smallest_rank(sigmas, d_out, limit):  # singular values of ΔΘ; the floor should be at most `limit`
    return ...

check("4.2", smallest_rank)''',
    solution='''\
def smallest_rank(sigmas, d_out, limit):  # singular values of ΔΘ; the floor should be at most `limit`
    for r in range(len(sigmas) + 1):
        if sigmas[r:].square().sum() / d_out <= limit:
            return r

check("4.2", smallest_rank)''',
    hints=(
        "The floor of rank r is `sigmas[r:].square().sum() / d_out`.",
        "Try r = 0, 1, 2, … and return the first whose floor is low enough.",
    ),
    judge=function_judge(
        smallest_rank,
        [(_spectrum(1), 8, 0.5), (_spectrum(2), 5, 2.0), (_spectrum(3), 12, 0.05), (_spectrum(4), 4, 1e9)],
        {
            "one too many.": _shifted(1),
            "one too few: does r = 0 take away nothing, and r = 1 the first?": _shifted(-1),
            "the singular values are not squared.": _unsquared,
            "the division by d_out is missing.": _no_mean,
            "single singular values are compared with the limit; their sum is the floor.": _single,
        },
        tolerance=1e-9,
        describe=lambda s, d, limit: f"σ = {[round(float(v), 1) for v in s[:4]]}…, d_out = {d}, limit {limit:g}",
    ),
    right="the rank is read off the spectrum; no sweep is needed where ΔΘ is known.",
)


def alpha_for(r_new, r_old, alpha_old, rule):
    return alpha_old * (r_new / r_old) ** (1 if rule == "alpha/r" else 0.5)


E43 = Exercise(
    number="4.3",
    title="another rank, the same scaling",
    objective="know what the three scaling rules do",
    stub='''\
def alpha_for(r_new, r_old, alpha_old, rule):  # rule: "alpha/r" or "alpha/sqrt(r)"
    return ...                                 # the α at which r_new has the scaling that r_old had

check("4.3", alpha_for)''',
    solution='''\
def alpha_for(r_new, r_old, alpha_old, rule):  # rule: "alpha/r" or "alpha/sqrt(r)"
    power = 1 if rule == "alpha/r" else 0.5
    return alpha_old * (r_new / r_old) ** power

check("4.3", alpha_for)''',
    hints=(
        "Set α_new / r_new = α_old / r_old and solve for α_new.",
        "With the square root: α_new / √r_new = α_old / √r_old.",
    ),
    judge=function_judge(
        alpha_for,
        [(32, 8, 16.0, "alpha/r"), (32, 8, 16.0, "alpha/sqrt(r)"), (2, 8, 4.0, "alpha/r")],
        {
            "that is right for alpha/r only; alpha/sqrt(r) needs the square root of the ratio.": (
                lambda n, o, a, rule: a * n / o
            ),
            "that is right for alpha/sqrt(r) only.": lambda n, o, a, rule: a * (n / o) ** 0.5,
            "α is unchanged: the scaling would fall as r grows.": lambda n, o, a, rule: a,
            "the ratio is upside down: a larger r needs a larger α.": (
                lambda n, o, a, rule: a * (o / n) ** (1 if rule == "alpha/r" else 0.5)
            ),
            "that is the scaling, not α.": lambda n, o, a, rule: a / (o if rule == "alpha/r" else o**0.5),
        },
        describe=lambda n, o, a, rule: f"r {o} → {n}, α = {a:g}, rule {rule}",
    ),
    right="α in proportion to r, or to its square root: under a rule with r in it, α and r move together.",
)

EXERCISES = (E41, E42, E43)
