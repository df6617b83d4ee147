"""Tables of the paper: Hu et al., LoRA, 2021, https://arxiv.org/abs/2106.09685."""

from __future__ import annotations

import math
from typing import NamedTuple


class Accuracy(NamedTuple):
    """GPT-3's, in %."""

    wikisql: float
    mnli: float


# Table 5: one budget of 18 million numbers, spent on different matrices.
TABLE5 = {
    "q r=8": Accuracy(70.4, 91.0),
    "k r=8": Accuracy(70.0, 90.8),
    "v r=8": Accuracy(73.0, 91.0),
    "o r=8": Accuracy(73.2, 91.3),
    "q,k r=4": Accuracy(71.4, 91.3),
    "q,v r=4": Accuracy(73.7, 91.3),
    "q,k,v,o r=2": Accuracy(73.7, 91.7),
}

# Table 6: {matrices: {rank: WikiSQL accuracy in %}}.
TABLE6 = {
    "q": {1: 68.8, 2: 69.6, 4: 70.5, 8: 70.4, 64: 70.0},
    "q,v": {1: 73.4, 2: 73.3, 4: 73.7, 8: 73.8, 64: 73.5},
    "q,k,v,o": {1: 74.1, 2: 73.7, 4: 74.0, 8: 74.0, 64: 73.9},
}


class Amplification(NamedTuple):
    """Norms of W projected on r directions of three kinds, as the paper's Table 7 has them.

    on_delta: ||U^T W V|| with the top directions of delta; on_own: with W's own; on_random: expected for random ones,
    ||W|| r / sqrt(d_out d_in). norm: ||W||; delta_norm: ||delta||. factor = delta_norm / on_delta.
    """

    on_delta: float
    on_own: float
    on_random: float
    norm: float
    delta_norm: float

    @property
    def factor(self) -> float:
        """How much delta amplifies the directions it acts in, compared with what W had there."""
        return self.delta_norm / self.on_delta if self.on_delta else math.inf


# Table 7, Wq of layer 48: {rank: norms of W projected on directions of ΔW, of W itself, and random ones}.
TABLE7 = {
    4: Amplification(on_delta=0.32, on_own=21.67, on_random=0.02, norm=61.95, delta_norm=6.91),
    64: Amplification(on_delta=1.90, on_own=37.71, on_random=0.33, norm=61.95, delta_norm=3.57),
}
