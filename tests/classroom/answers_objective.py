"""Right answers to the exercises of objective, and wrong ones with a piece of what they are told."""

import numpy as np
import torch
import torch.nn.functional as F


def in_numpy(theta0, delta, X, y):
    theta0, delta, X, y = (tensor.numpy().astype(np.float64) for tensor in (theta0, delta, X, y))
    return np.mean((X @ (theta0 + delta).T - y) ** 2)


def one_example_at_a_time(theta0, delta, X, y):
    errors = [((theta0 + delta) @ x - target).square().mean() for x, target in zip(X, y)]
    return sum(errors) / len(errors)


def in_place(theta0, delta, X, y):
    theta0 += delta
    return F.mse_loss(X @ theta0.T, y)


RIGHT = {
    "objective": [
        lambda theta0, delta, X, y: F.mse_loss(F.linear(X, theta0 + delta), y),
        lambda W, D, X, y: torch.einsum("oi,ni->no", W + D, X).sub(y).pow(2).mean(),
        lambda W, D, X, y: (X.double() @ W.double().T + X.double() @ D.double().T - y).square().mean().item(),
        lambda W, D, X, y: (y.T - (W + D) @ X.T).norm() ** 2 / y.numel(),
        in_numpy,
        one_example_at_a_time,
    ],
    "expected_loss": [
        lambda delta: torch.linalg.norm(delta) ** 2 / delta.shape[0],
        lambda delta: (delta**2).sum(dim=1).mean(),
        lambda delta: np.square(delta.numpy()).mean() * delta.shape[1],
        lambda delta: torch.einsum("oi,oi->", delta.double(), delta.double()).item() / len(delta),
        lambda delta: torch.trace(delta @ delta.T) / len(delta),
    ],
    "training_bytes": [
        lambda trained, frozen: 4 * (trained + frozen) + 4 * trained + 8 * trained,
        lambda trained, frozen: trained * 16.0 + frozen * 4.0,
        lambda t, f: torch.tensor([16, 4]) @ torch.tensor([t, f]),
        lambda t, f: np.dot([16.0, 4.0], [t, f]),
    ],
}

WRONG = {
    "objective": [
        ("changes `theta0` in place", in_place),
        ("AttributeError", lambda W, D, X, y: X.dot_product(W)),
        ("expected is 8.5", lambda W, D, X, y: ((X @ (W + D).T + y) ** 2).mean()),
    ],
    "expected_loss": [
        ("changes `delta` in place", lambda delta: delta.pow_(2).sum() / len(delta)),
    ],
    "training_bytes": [
        ("expected is 16", lambda trained, frozen: 20 * trained + 4 * frozen),
    ],
}
