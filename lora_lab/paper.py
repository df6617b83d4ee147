"""Figures published in the LoRA paper (Hu et al., 2021, arXiv 2106.09685) that page 08 repeats in miniature. GPT-3."""

# Table 5: one budget of 18 million numbers; which matrices. {matrices and rank: (WikiSQL, MNLI)}, accuracy in %.
TABLE5 = {
    "q r=8": (70.4, 91.0),
    "k r=8": (70.0, 90.8),
    "v r=8": (73.0, 91.0),
    "o r=8": (73.2, 91.3),
    "q,k r=4": (71.4, 91.3),
    "q,v r=4": (73.7, 91.3),
    "q,k,v,o r=2": (73.7, 91.7),
}

# Table 6: {matrices: {rank: WikiSQL accuracy in %}}.
RANKS6 = (1, 2, 4, 8, 64)
TABLE6 = {
    "q": dict(zip(RANKS6, (68.8, 69.6, 70.5, 70.4, 70.0))),
    "q,v": dict(zip(RANKS6, (73.4, 73.3, 73.7, 73.8, 73.5))),
    "q,k,v,o": dict(zip(RANKS6, (74.1, 73.7, 74.0, 74.0, 73.9))),
}

# Table 7, Wq of layer 48: norms of W projected on r directions of the update, of W itself, and random ones.
TABLE7 = {
    4: {"on_delta": 0.32, "on_own": 21.67, "on_random": 0.02, "norm": 61.95, "delta_norm": 6.91},
    64: {"on_delta": 1.90, "on_own": 37.71, "on_random": 0.33, "norm": 61.95, "delta_norm": 3.57},
}
