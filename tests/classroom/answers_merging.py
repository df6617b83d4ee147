"""Right answers to the exercises of merging, and wrong ones with a piece of what they are told."""

import numpy as np
import torch


def in_place(W0, A, B, scaling, lam):
    W0 += lam * scaling * B @ A
    return W0


def a_copy(W0, A, B, scaling, lam):
    W = W0.clone().double()
    W.addmm_(B.double(), A.double(), alpha=scaling * lam)
    return W


def of_svd(A1, B1, A2, B2):
    U, sigmas, Vh = torch.linalg.svd(B1 @ A1 + B2 @ A2)
    r = len(A1) + len(A2)
    return Vh[:r], U[:, :r] * sigmas[:r]


def in_numpy(A1, B1, A2, B2):
    return np.vstack([A1.numpy(), A2.numpy()]), np.hstack([B1.numpy(), B2.numpy()])


def identity(A1, B1, A2, B2):
    return torch.eye(A1.shape[1]), B1 @ A1 + B2 @ A2


def with_zeros(A1, B1, A2, B2):
    A, B = torch.cat((A1, A2, A2)), torch.cat((B1, B2, B2), 1)
    return A, B * torch.cat((torch.ones(len(A1) + len(A2)), torch.zeros(len(A2))))


def appended(A1, B1, A2, B2):
    A1.data = torch.cat((A1, A2))
    return A1, torch.cat((B1, B2), 1)


RIGHT = {
    "merged": [
        lambda W0, A, B, scaling, lam: torch.addmm(W0, B, A, alpha=lam * scaling),
        lambda W0, A, B, s, lam: W0 + torch.einsum("or,ri->oi", lam * B, s * A),
        lambda W0, A, B, s, lam: (1 - lam) * W0 + lam * (W0 + s * B @ A),
        lambda W0, A, B, s, lam: W0.numpy() + s * lam * B.numpy() @ A.numpy(),
        a_copy,
    ],
    "add": [
        lambda A1, B1, A2, B2: [torch.vstack((A1, A2)), torch.hstack((B1, B2))],
        lambda A1, B1, A2, B2: (torch.cat((A2, A1)), torch.cat((B2, B1), dim=-1)),
        lambda A1, B1, A2, B2: (-torch.cat((A1, 2 * A2)).double(), -torch.cat((B1, B2 / 2), 1).double()),
        of_svd,
        in_numpy,
    ],
    "double_merge": [1001, 1001.0, 1005, 1029, torch.tensor(1001), 1000 * 1001 / 1000, 1005.3],
}

WRONG = {
    "merged": [
        ("changes `W0` in place", in_place),
        ("expected is [[3, 2, 4], [6, 1, 15]]", lambda W0, A, B, scaling, lam: W0 + lam**2 * scaling * B @ A),
    ],
    "add": [
        ("the same r", lambda A1, B1, A2, B2: (torch.cat((A1, A2)), B1)),
        ("A has 4 rows", identity),
        ("A has 3 rows", with_zeros),
        ("A has the shape (), B (); (r, 4) and (4, r)", lambda A1, B1, A2, B2: (1.0, 2.0)),
        ("in its first row", lambda A1, B1, A2, B2: (torch.cat((A1, -A2)), torch.cat((B1, B2), dim=1))),
        ("changes `A1` in place", appended),
    ],
    "double_merge": [("1002 is not right", 1002)],
}
