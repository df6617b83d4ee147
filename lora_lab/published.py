"""Numbers that others published and the course repeats or compares with, each with its source.

S1, S2, S3: three articles with code on small LoRA experiments (a linear layer, two linear layers, MNIST's nines).
The paper: Hu et al., LoRA, 2021, arXiv 2106.09685; its figures are for GPT-3.
"""

# S1's published figures: loss every 10 epochs of 100, Adam 1e-3, batch 128, 10 000 examples, 1001 -> 1000.
S1_SHAPE = {"d_in": 1001, "d_out": 1000, "n": 10_000}
S1_EPOCHS = tuple(range(10, 101, 10))
S1_BASE = (577.1, 312.2, 155.1, 68.5, 25.7, 7.62, 1.61, 0.208, 0.0139, 0.000479)
S1_SHIFTED = 992.7
S1_LORA = (798.6, 485.9, 257.4, 118.5, 46.3, 14.5, 3.19, 0.426, 0.0273, 0.00130)

# S2's published figures: the loss at epochs 0, 10, ..., 90, that is after 1, 11, ..., 91 passes over the data.
S2_EPOCHS = tuple(range(1, 92, 10))
S2_BASE = (868.4, 19.0, 1.28, 0.156, 0.0285, 0.00622, 0.00169, 0.794, 0.228, 0.233)
S2_SHIFTED = 1013.2
S2_LORA = (1007.5, 679.2, 317.9, 124.8, 39.6, 9.40, 1.65, 0.420, 0.322, 0.312)
S2_MERGED = 0.305

# S3's published table: errors on MNIST's test set per digit, before and after. The counts are MNIST's own.
S3_SIZES = (784, 1000, 2000, 10)
S3_COUNTS = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
S3_BEFORE = (33, 28, 42, 95, 19, 10, 61, 52, 19, 107)
S3_AFTER = (53, 32, 60, 201, 186, 85, 69, 677, 193, 11)

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
