"""alpha as a learning rate: which settings with scaling 1 give the same run."""

from __future__ import annotations

import math
from typing import NamedTuple


class Equivalent(NamedTuple):
    """Settings with scaling 1 that give the same run: learning rate, and standard deviation of A at the start."""

    scaling: float
    lr: float
    std: float


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise ValueError(f"{name}={value!r} is not a positive number.")


def adam_equivalent(s: float, lr: float, std: float) -> Equivalent:
    """Under Adam, (s, lr, std of A) trains exactly as (1, sqrt(s) lr, sqrt(s) std), if B starts at zero.

    Put A' = sqrt(s) A and B' = sqrt(s) B: then s B A = B' A', and the gradient of A' is that of A over sqrt(s).
    Adam's step does not see the size of a gradient: A moves by lr as before, hence A' by sqrt(s) lr. (Its eps, 1e-8,
    does see it: equal up to eps over the gradient's size.)
    """
    _check_positive(s=s, lr=lr, std=std)
    return Equivalent(1.0, math.sqrt(s) * lr, math.sqrt(s) * std)


def sgd_equivalent(s: float, lr: float, std: float) -> Equivalent:
    """Under SGD, also with momentum, (s, lr, std of A) trains exactly as (1, s lr, sqrt(s) std), if B starts at zero.

    With A' = sqrt(s) A and B' = sqrt(s) B as in `adam_equivalent`, A moves by lr grad A = lr sqrt(s) grad A',
    hence A' = sqrt(s) A moves by s lr grad A'.
    """
    _check_positive(s=s, lr=lr, std=std)
    return Equivalent(1.0, s * lr, math.sqrt(s) * std)
