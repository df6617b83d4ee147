"""Data with a known answer: the linear task y = Theta x and its shifts with a chosen spectrum.

Everything is drawn in float64 and cast, because torch's float32 normal numbers differ in the last digit between
CPU generations, and the pages compare their printed numbers.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lora_lab import published

SHIFTS = ("ones", "rank-1", "rank-4", "rank-5", "decaying", "full rank")


class LinearTask(NamedTuple):
    """X (n, d_in), y = X theta^T (n, d_out), theta (d_out, d_in): stored as torch stores a weight.

    S1's own text writes y = X Theta with Theta (d_in, d_out): its Theta is our theta transposed.
    """

    X: Tensor
    y: Tensor
    theta: Tensor


def normal(*shape: int, seed: int, std: float = 1.0) -> Tensor:
    """N(0, std^2) numbers of the given shape in float32, the same on every machine, on torch's default device."""
    generator = torch.Generator().manual_seed(seed)
    numbers = std * torch.randn(*shape, generator=generator, dtype=torch.float64, device="cpu")
    return numbers.float().to(torch.empty(0).device)


def linear_task(theta: Tensor, n: int, seed: int = 0, noise: float = 0.0) -> LinearTask:
    """n fresh examples x ~ N(0, 1) with y = theta x (+ N(0, noise^2)). theta (d_out, d_in)."""
    if theta.ndim != 2:
        raise ValueError(f"theta has shape {tuple(theta.shape)}; it is a (d_out, d_in) matrix.")
    if n < 1 or noise < 0:
        raise ValueError(f"n={n}, noise={noise}: n is at least 1 and noise is a standard deviation, at least 0.")
    X = normal(n, theta.shape[1], seed=2 * seed + 1)  # (n, d_in)
    y = X @ theta.T  # (n, d_out)
    if noise:
        y = y + normal(*y.shape, seed=2 * seed + 2_000_001, std=noise)
    return LinearTask(X, y, theta)


def s1_theta(seed: int = 0) -> Tensor:
    """What S1's old task knows: N(0, 1) numbers, (1000, 1001)."""
    return normal(published.S1_SHAPE["d_out"], published.S1_SHAPE["d_in"], seed=1000 + seed)


def s1_task(seed: int = 0) -> LinearTask:
    """S1's data at full size: 10 000 examples, 1001 inputs, 1000 outputs."""
    return linear_task(s1_theta(seed), published.S1_SHAPE["n"], seed)


def shift(kind: str, d_out: int, d_in: int, seed: int = 0) -> Tensor:
    """A change delta of theta with a chosen spectrum, (d_out, d_in).

    "ones": all ones, S1's shift (rank 1). "rank-1", "rank-4", "rank-5": random directions, equal singular values.
    "decaying": singular values 1/i. "full rank": N(0, 1) entries.
    All are scaled to S1's size: the mean squared entry is 1, so the expected loss after the shift is d_in.
    """
    if kind not in SHIFTS:
        raise ValueError(f"kind={kind!r} is not a shift; choose one of {', '.join(map(repr, SHIFTS))}.")
    if kind == "ones":
        return torch.ones(d_out, d_in)
    noise = normal(d_out, d_in, seed=5000 + seed).double()
    if kind != "full rank":
        U, S, Vh = torch.linalg.svd(noise, full_matrices=False)
        i = torch.arange(1, len(S) + 1)
        wanted = 1.0 / i if kind == "decaying" else (i <= int(kind.split("-")[1])).double()
        noise = (U * wanted) @ Vh
    return (noise / noise.square().mean().sqrt()).float()


# Letters on a grid of 7 rows and 5 columns, one string per row.
_FONT = {
    "A": (".###.", "#...#", "#...#", "#####", "#...#", "#...#", "#...#"),
    "B": ("####.", "#...#", "#...#", "####.", "#...#", "#...#", "####."),
    "D": ("####.", "#...#", "#...#", "#...#", "#...#", "#...#", "####."),
    "E": ("#####", "#....", "#....", "####.", "#....", "#....", "#####"),
    "H": ("#...#", "#...#", "#...#", "#####", "#...#", "#...#", "#...#"),
    "I": ("#####", "..#..", "..#..", "..#..", "..#..", "..#..", "#####"),
    "K": ("#...#", "#..#.", "#.#..", "##...", "#.#..", "#..#.", "#...#"),
    "L": ("#....", "#....", "#....", "#....", "#....", "#....", "#####"),
    "N": ("#...#", "##..#", "#.#.#", "#..##", "#...#", "#...#", "#...#"),
    "O": (".###.", "#...#", "#...#", "#...#", "#...#", "#...#", ".###."),
    "P": ("####.", "#...#", "#...#", "####.", "#....", "#....", "#...."),
    "R": ("####.", "#...#", "#...#", "####.", "#.#..", "#..#.", "#...#"),
    "S": (".####", "#....", "#....", ".###.", "....#", "....#", "####."),
    "T": ("#####", "..#..", "..#..", "..#..", "..#..", "..#..", "..#.."),
    "W": ("#...#", "#...#", "#...#", "#.#.#", "#.#.#", "##.##", "#...#"),
    "a": (".....", ".....", ".###.", "....#", ".####", "#...#", ".####"),
    "o": (".....", ".....", ".###.", "#...#", "#...#", "#...#", ".###."),
}


def letters(word: str, scale: int = 8) -> Tensor:
    """A matrix of zeros and ones that spells `word`, (7 * scale, (6 * len(word) - 1) * scale): a rank one can read."""
    unknown = sorted(set(word) - set(_FONT))
    if not word or unknown:
        wrong = f", not {unknown}" if unknown else ""
        raise ValueError(f"word={word!r}: use one or more of the letters {''.join(_FONT)}{wrong}.")
    rows = [".".join(_FONT[c][i] for c in word) for i in range(7)]
    grid = torch.tensor([[float(dot == "#") for dot in row] for row in rows])
    return grid.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
