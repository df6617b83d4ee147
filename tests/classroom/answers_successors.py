"""Right answers to the exercises of successors, and wrong ones with a piece of what they are told."""

from fractions import Fraction

import numpy as np
import torch

RIGHT = {
    "choice": [(2, 4.0, 0.016), [2, 16, 0.016], np.array([2, 32, 0.008])],
    "wrong_rule": [0.25, 16**-0.5, Fraction(1, 4), np.float32(0.25), torch.tensor(16.0).rsqrt(), (16 / 16) / 4],
}

WRONG = {
    "choice": [
        ("✗ it trains 3,880 numbers", (4, 4, 0.016)),
        ("✗ it learns", (2, 4, 0.001)),
        ("✗ it is tuned", (1, 4, 0.032)),
        ("3 values are wanted", (2, 4)),
        ("cannot be built: r=2.5", (2.5, 4, 0.016)),
        ("✗ it is tuned", (2, -1, 0.016)),
        ("lr=0", (2, 4, 0)),
    ],
    "wrong_rule": [
        ("not a half", torch.tensor(0.5)),
        ("is not right", 0.2),
        ("a number is wanted", "1/4"),
    ],
}
