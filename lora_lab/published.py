"""Numbers that others published and the course repeats or compares with, each with its source.

The paper   Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021, https://arxiv.org/abs/2106.09685
S1          "Understanding LoRA with a minimal example", Posit AI blog, 2023: one linear layer, in R torch
S2          Rajan Ghimire, "LORA (Low Rank Adaptation): A Deeper Dive", 2023: two linear layers, in PyTorch
S3          "LoRA explained visually + PyTorch code from scratch", Umar Jamil's code: MNIST's nines
            https://github.com/hkproj/pytorch-lora
"""

import math
from typing import NamedTuple

# S1: loss every 10 epochs of 100, Adam 1e-3, batch 128, 10 000 examples, 1001 -> 1000.
S1_SHAPE = {"d_in": 1001, "d_out": 1000, "n": 10_000}
S1_EPOCHS = tuple(range(10, 101, 10))
S1_BASE = (577.1, 312.2, 155.1, 68.5, 25.7, 7.62, 1.61, 0.208, 0.0139, 0.000479)
S1_SHIFTED = 992.7
S1_LORA = (798.6, 485.9, 257.4, 118.5, 46.3, 14.5, 3.19, 0.426, 0.0273, 0.00130)

# S2: the loss at epochs 0, 10, ..., 90, that is after 1, 11, ..., 91 passes over the data.
S2_EPOCHS = tuple(range(1, 92, 10))
S2_BASE = (868.4, 19.0, 1.28, 0.156, 0.0285, 0.00622, 0.00169, 0.794, 0.228, 0.233)
S2_SHIFTED = 1013.2
S2_LORA = (1007.5, 679.2, 317.9, 124.8, 39.6, 9.40, 1.65, 0.420, 0.322, 0.312)
S2_MERGED = 0.305

# S3: errors on MNIST's test set per digit, before and after. The counts are MNIST's own.
S3_SIZES = (784, 1000, 2000, 10)
S3_COUNTS = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
S3_BEFORE = (33, 28, 42, 95, 19, 10, 61, 52, 19, 107)
S3_AFTER = (53, 32, 60, 201, 186, 85, 69, 677, 193, 11)


class Accuracy(NamedTuple):
    """GPT-3's, in %."""

    wikisql: float
    mnli: float


# The paper, Table 1: milliseconds of one forward of GPT-2 medium. {batch x length: (merged LoRA, adapters in series)}.
TABLE1 = {
    "32 × 512": (1449.4, (1482.0, 1492.2)),
    "16 × 256": (338.0, (354.8, 366.3)),
    "1 × 128": (19.8, (23.9, 25.8)),
}
THROUGHPUT = {"LoRA": 43.1, "full": 32.5}  # section 4.2: tokens per second and V100 while training GPT-3

# The paper, Table 5: one budget of 18 million numbers, spent on different matrices.
TABLE5 = {
    "q r=8": Accuracy(70.4, 91.0),
    "k r=8": Accuracy(70.0, 90.8),
    "v r=8": Accuracy(73.0, 91.0),
    "o r=8": Accuracy(73.2, 91.3),
    "q,k r=4": Accuracy(71.4, 91.3),
    "q,v r=4": Accuracy(73.7, 91.3),
    "q,k,v,o r=2": Accuracy(73.7, 91.7),
}

# The paper, Table 6: {matrices: {rank: WikiSQL accuracy in %}}.
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


# The paper, Table 7, Wq of layer 48: {rank: norms of W projected on directions of ΔW, of W itself, and random ones}.
TABLE7 = {
    4: Amplification(on_delta=0.32, on_own=21.67, on_random=0.02, norm=61.95, delta_norm=6.91),
    64: Amplification(on_delta=1.90, on_own=37.71, on_random=0.33, norm=61.95, delta_norm=3.57),
}


class Count(NamedTuple):
    """Trained numbers that the paper prints for LoRA on q and v (its tables 2, 3 and 4), in millions."""

    model: str
    r: int
    printed: str


PAPER_COUNTS = (
    Count("RoBERTa base", 8, "0.3"),
    Count("RoBERTa large", 8, "0.8"),
    Count("DeBERTa XXL", 16, "4.7"),
    Count("GPT-2 medium", 4, "0.35"),
    Count("GPT-2 large", 4, "0.77"),
    Count("GPT-3 175B", 1, "4.7"),
    Count("GPT-3 175B", 8, "37.7"),
)
PAPER_FULL_GPT3 = 175_255.8e6  # its table 4, "FT"
