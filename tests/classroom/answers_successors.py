"""Right answers to the exercise of successors, and wrong ones with a piece of what they are told."""

from fractions import Fraction

import numpy as np
import torch

RIGHT = {
    "wrong_rule": [0.25, 16**-0.5, Fraction(1, 4), np.float32(0.25), torch.tensor(16.0).rsqrt(), (16 / 16) / 4],
}

WRONG = {
    "wrong_rule": [
        ("r = 1 only", 1.0),
        ("not a half", torch.tensor(0.5)),
        ("is not right", 0.2),
        ("a number is wanted", "1/4"),
        ("a value is wanted", lambda: 0.25),
    ],
}
