"""Right answers to the exercises of start_here, and wrong ones with a piece of what they are told."""

import math
from fractions import Fraction

import numpy as np
import torch


def in_a_loop(d_out, d_in, r):
    total = 0
    for _ in range(r):
        total += d_out + d_in
    return total


RIGHT = {
    "stored_numbers": [
        lambda d_out, d_in, r: r * d_out + r * d_in,
        lambda rows, columns, rank: np.float64(rank) * (rows + columns),
        lambda d_out, d_in, r: torch.empty(d_out, r).numel() + torch.empty(r, d_in).numel(),
        lambda d_out, d_in, r: torch.tensor([float(d_out), float(d_in)]).sum() * r,
        in_a_loop,
    ],
    "word_of_rank_2": ["LLL", "OOO", "TTTT", "DDD", "ooo"],
    "one_percent": [5, 5.0, np.int64(5), torch.tensor(5), torch.tensor([5.0]), math.floor(10010 / 2001), Fraction(5)],
}

WRONG = {
    "stored_numbers": [
        ("returns 6 for d_out = 2, d_in = 3, r = 1; expected is 5", lambda d_out, d_in, r: (d_out + d_in) * r + 1),
        ("TypeError: ", lambda d_out, d_in: d_out + d_in),
        ("in place 1|a single number", lambda d_out, d_in, r: (d_out * r, d_in * r)),
    ],
    "word_of_rank_2": [
        ("has rank 4", "LoL"),
        ("has rank 3", "LIL"),
        ("'X', which has no picture", "XLL"),
        ("0 letters", ""),
        ("text in quotes", 7),
        ("text in quotes", ["L", "L", "L"]),
    ],
    "one_percent": [
        ("100 is not right", 100),
        ("a number is wanted", []),
        ("something empty", torch.empty(0)),
    ],
}
