"""What the paper counts and times: Hu et al., LoRA, 2021, https://arxiv.org/abs/2106.09685."""

from __future__ import annotations

from typing import NamedTuple

# Table 1: milliseconds of one forward of GPT-2 medium. {batch x length: (merged LoRA, adapters in series)}.
TABLE1 = {
    "32 × 512": (1449.4, (1482.0, 1492.2)),
    "16 × 256": (338.0, (354.8, 366.3)),
    "1 × 128": (19.8, (23.9, 25.8)),
}
THROUGHPUT = {"LoRA": 43.1, "full": 32.5}  # section 4.2: tokens per second and V100 while training GPT-3


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
