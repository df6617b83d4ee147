"""Right answers to the exercises of transformer, and wrong ones with a piece of what they are told."""


import numpy as np
import torch


def layer_by_layer(layers, d, matrices, r):
    total = 0
    for _ in range(layers):
        for _ in range(matrices):
            total += torch.empty(r, d, device="meta").numel() + torch.empty(d, r, device="meta").numel()
    return total


def by_projection(U1, U2, i, j):
    U1, U2 = U1.double(), U2.double()
    P1, P2 = U1[:i].T @ U1[:i], U2[:j].T @ U2[:j]
    return torch.trace(P1 @ P2) / min(i, j)


def pair_by_pair(U1, U2, i, j):
    return sum(float(u @ v) ** 2 for u in U1[:i] for v in U2[:j]) / min(i, j)


def in_numpy(U1, U2, i, j):
    return np.linalg.norm(U1.numpy()[:i] @ U2.numpy()[:j].T) ** 2 / np.minimum(i, j)


def in_place(U1, U2, i, j):
    U1.neg_()
    return (U1[:i] @ U2[:j].T).square().sum() / min(i, j)


RIGHT = {
    "trained": [
        lambda layers, d, matrices, r: layers * matrices * (r * d + d * r),
        lambda n, d, m, r: 2.0 * n * d * r * m,
        lambda n, d, m, r: np.prod([2, n, d, m, r]),
        lambda n, d, m, r: torch.tensor([2, n, d, m, r]).prod(),
        layer_by_layer,
    ],
    "phi": [
        lambda U1, U2, i, j: torch.linalg.svdvals(U1[:i] @ U2[:j].T).square().sum() / min(i, j),
        lambda U1, U2, i, j: torch.einsum("id,jd->ij", U1[:i], U2[:j]).pow(2).sum().item() / min(i, j),
        lambda U1, U2, i, j: (U2[:j] @ U1[:i].T).norm() ** 2 / min(i, j),
        by_projection,
        pair_by_pair,
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
    "trained": [
        ("expected is 240", lambda layers, d, matrices, r: 2 * layers * d * r**2 * matrices),
        ("raised NameError", lambda layers, d, matrices, r: 2 * L * d * r * matrices),  # noqa: F821
    ],
    "phi": [
        ("swaps i and j", lambda U1, U2, i, j: np.sum((U2.numpy()[:i] @ U1.numpy()[:j].T) ** 2) / min(i, j)),
        ("raised RuntimeError", lambda U1, U2, i, j: (U1[:i] @ U2[:j]).square().sum() / min(i, j)),
        ("expected is 1.", lambda U1, U2, i, j: 1 - (U1[:i] @ U2[:j].T).square().sum() / min(i, j)),
        ("changes `U1` in place", in_place),
    ],
    "by_chance": [
        ("raised TypeError", lambda i, j, d: torch.max(i, j) / d),
        ("expected is 0.25", lambda i, j, d: 1 - max(i, j) / d),
    ],
}
