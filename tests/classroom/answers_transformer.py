"""Right answers to the exercises of transformer, and wrong ones with a piece of what they are told."""

import numpy as np
import torch


def by_projection(U1, U2, i, j):
    U1, U2 = U1.double(), U2.double()
    P1, P2 = U1[:i].T @ U1[:i], U2[:j].T @ U2[:j]
    return torch.trace(P1 @ P2) / min(i, j)


def in_numpy(U1, U2, i, j):
    return np.linalg.norm(U1.numpy()[:i] @ U2.numpy()[:j].T) ** 2 / np.minimum(i, j)


def in_place(U1, U2, i, j):
    U1.neg_()
    return (U1[:i] @ U2[:j].T).square().sum() / min(i, j)


RIGHT = {
    "learn_and_keep": [("q,v", 8, 0.01), ["o, v", torch.tensor(8), 0.006], ("all linears", 2.0, np.float32(0.003))],
    "trained": [
        lambda layers, d, matrices, r: layers * matrices * (r * d + d * r),
        lambda n, d, m, r: 2.0 * n * d * r * m,
        lambda n, d, m, r: np.prod([2, n, d, m, r]),
        lambda n, d, m, r: torch.tensor([2, n, d, m, r]).prod(),
    ],
    "phi": [
        lambda U1, U2, i, j: torch.linalg.svdvals(U1[:i] @ U2[:j].T).square().sum() / min(i, j),
        lambda U1, U2, i, j: torch.einsum("id,jd->ij", U1[:i], U2[:j]).pow(2).sum().item() / min(i, j),
        lambda U1, U2, i, j: (U2[:j] @ U1[:i].T).norm() ** 2 / min(i, j),
        by_projection,
        in_numpy,
    ],
    "by_chance": [
        lambda i, j, d: i * j / d / min(i, j),
        lambda i, j, d: np.float32(max(i, j)) / np.float32(d),
        lambda i, j, d: torch.tensor([i, j]).max() / d,
        lambda i, j, d: i / d if i > j else j / d,
    ],
}

WRONG = {
    "learn_and_keep": [
        ("at most 0.06 are wanted", ("q,k", 8, 0.006)),
        ("at most 0.06 are wanted", ("q,v", 8, 0.001)),  # learns little
        ("at most 0.65", ("all linears", 2, 0.024)),  # forgets
        ("trains 49,152 numbers; the budget is 7,000", ("q,v", 64, 0.01)),
        ("trains 10,368 numbers", ("q,k,v,o,up,down", 3, 0.01)),
        ("'w' is no matrix here", ("q,w", 8, 0.01)),
        ("whole number from 1 on", ("v", 0, 0.01)),
        ("whole number from 1 on", ("v", 8, float("inf"))),
        ("one rank and one rate", ("v", [4, 8], 0.01)),
        ("in place 1 the answer is ['q', 'v']; a text in quotes is wanted", (["q", "v"], 8, 0.01)),
        ("3 values are wanted", ("q,v", 8)),
    ],
    "trained": [
        ("expected is 240", lambda layers, d, matrices, r: 2 * layers * d * r**2 * matrices),
    ],
    "phi": [
        ("raised RuntimeError", lambda U1, U2, i, j: (U1[:i] @ U2[:j]).square().sum() / min(i, j)),
        ("expected is 1.", lambda U1, U2, i, j: 1 - (U1[:i] @ U2[:j].T).square().sum() / min(i, j)),
        ("changes `U1` in place", in_place),
    ],
    "by_chance": [
        ("raised TypeError", lambda i, j, d: torch.max(i, j) / d),
        ("expected is 0.25", lambda i, j, d: 1 - max(i, j) / d),
    ],
}
