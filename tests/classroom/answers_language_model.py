"""Right answers to the exercises of language_model, and wrong ones with a piece of what they are told."""

import numpy as np
import torch


def in_place(A, B, scaling, shape):
    B *= scaling
    return (B @ A).view(shape)


def channel_by_channel(A, B, scaling, shape):
    kernel = torch.zeros(shape)
    for channel in range(shape[0]):
        kernel[channel] = scaling * (B[channel] @ A).reshape(shape[1:])
    return kernel


RIGHT = {
    "conv_update": [
        lambda A, B, s, shape: torch.einsum("or,rikl->oikl", s * B, A.view(-1, *shape[1:])),
        lambda A, B, s, shape: (A.T @ B.T).T.reshape(*shape) * s,
        lambda A, B, s, shape: (s * B.numpy().astype(np.float64) @ A.numpy()).reshape(shape),
        lambda A, B, s, shape: torch.unflatten(s * B.double() @ A.double(), 1, shape[1:]),
        channel_by_channel,
    ],
}

WRONG = {
    "conv_update": [
        ("changes `B` in place", in_place),
        ("expected is 80", lambda A, B, s, shape: (-s * B @ A).view(shape)),
    ],
}
