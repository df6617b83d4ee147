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
        ("twice", lambda A, B, s, shape: (s**2 * B @ A).view(shape)),
        ("column by column", lambda A, B, s, shape: (s * (B @ A).T).reshape(shape)),
        ("column by column", lambda A, B, s, shape: (s * A.T @ B.T).reshape(shape)),
        ("out and in are swapped", lambda A, B, s, shape: (s * B @ A).view(shape).transpose(0, 1)),
        ("last two axes", lambda A, B, s, shape: (s * B @ A).view(shape).mT),
        ("k, k, in;", lambda A, B, s, shape: (s * B @ A).view(*shape[:1], *shape[2:], shape[1]).movedim(3, 1)),
        ("(in, out, k, k)", lambda A, B, s, shape: (s * B @ A).view(shape[1], shape[0], *shape[2:]).transpose(0, 1)),
        ("changes `B` in place", in_place),
        ("expected is 80", lambda A, B, s, shape: (-s * B @ A).view(shape)),
    ],
}
