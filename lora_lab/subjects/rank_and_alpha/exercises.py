"""Exercises about rank and alpha."""

import torch

from lora_lab.classroom.judging import exercise


@exercise(
    title="the same run at another α",
    hints=("s = α/r grows by 4; √s · lr and √s · A must stay.", "√4 = 2: both become half of what they were."),
    right="half the learning rate and half the start: √s·lr and √s·A are as before.",
    mistakes={
        "that is SGD's rule (lr / 4); Adam does not see a gradient's size, so its rule has a square root.": (5e-5, 0.5),
        "the popular rule, lr / 4 alone: Adam's has a square root, and the start changes, too.": (5e-5, 1.0),
        "lr × 4 goes the wrong way: a larger α needs smaller steps; and the start changes, too.": (8e-4, 1.0),
        "the learning rate is right; √s·A must stay as it was, and s has grown.": (1e-4, 2.0),
        "the other way round: a larger α needs smaller steps.": (4e-4, 2.0),
        "A's start must change as well: otherwise its part of the update is twice as large.": (1e-4, 1.0),
        "the square root is missing in both.": (5e-5, 0.25),
    },
)
def same_run():
    # Adam, learning rate 2e-4, r = 8, α = 16. The same run with α = 64 needs
    new_lr = 2e-4 / 2  # this learning rate
    factor = 1 / 2  # and A's start multiplied by this
    return new_lr, factor


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
        (torch.tensor([5.0, 4, 3, 1]), 6, 2),  # over 6 is low enough at r = 2, over len(sigmas) is not
    ],
    mistakes={
        "one too many.": "smallest_rank(sigmas, d_out, limit) + 1",
        "one too few: r = 0 takes away nothing, r = 1 the first.": "max(smallest_rank(sigmas, d_out, limit) - 1, 0)",
        "the loop ends too early: rank len(sigmas) takes everything away, and range(n) stops at n − 1.": (
            "[*range(len(sigmas)), None][smallest_rank(sigmas, d_out, limit)]"
        ),
        "begun too late: where the limit is high, rank 0 will do.": "max(smallest_rank(sigmas, d_out, limit), 1)",
        "a floor equal to the limit is low enough (`<=`).": "smallest_rank(sigmas, d_out, 0.9999 * limit)",
        "the singular values are not squared.": "smallest_rank(sigmas.sqrt(), d_out, limit)",
        "the division by d_out is missing.": "smallest_rank(sigmas, 1, limit)",
        "divided by how many sigmas there are; the loss is a mean over d_out outputs.": (
            "smallest_rank(sigmas, len(sigmas), limit)"
        ),
        "rank 0 will not always do: sigmas[:r] is what rank r explains; the floor is made of the rest.": "0",
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
        (2, 7, 4.0, "alpha/sqrt(r)"),
    ],
    mistakes={
        "that keeps the scaling s, and at the same s more rank moves ΔW further: s·r must stay.": (
            "alpha_for(r_new, r_old, alpha_old, rule) * r_new / r_old"
        ),
        "“double r, double α” keeps the scaling under α/r, not s·r.": "alpha_old * r_new / r_old",
        "that is right for alpha/r, where α stays; the other two rules need a change.": "alpha_old",
        "that is right for alpha/sqrt(r) only.": "alpha_old * (r_old / r_new) ** 0.5",
        "that is right for alpha only, the rule that does not divide.": "alpha_old * r_old / r_new",
        "the ratio is upside down: more rank needs a smaller scaling.": "alpha_for(r_old, r_new, alpha_old, rule)",
        "SGD's rule, s²·r; Adam's is s·r.": "alpha_for(r_new, r_old, alpha_old, rule) * (r_new / r_old) ** 0.5",
    },
)
def alpha_for(r_new, r_old, alpha_old, rule):  # rule: "alpha/r", "alpha/sqrt(r)" or "alpha"
    # Adam: the α at which r_new starts as r_old did, with s·r as before
    power = {"alpha/r": 0, "alpha/sqrt(r)": 0.5, "alpha": 1}[rule]
    return alpha_old * (r_old / r_new) ** power
