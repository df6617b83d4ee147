"""What can be known before training: predicted losses, floors, spectra.

Computed in float64 on the CPU, wherever the matrices are: some devices have no float64.
"""

import math

import torch
from torch import Tensor

from .layers import check_rank

RULES = ("alpha/r", "alpha/sqrt(r)", "alpha")


def as_matrix(delta: Tensor, name: str = "delta") -> Tensor:
    if not isinstance(delta, Tensor) or delta.ndim != 2 or not delta.numel():
        given = tuple(delta.shape) if isinstance(delta, Tensor) else type(delta).__name__
        raise ValueError(f"{name} must be a (d_out, d_in) matrix with entries, got {given}.")
    return delta.detach().cpu().double()


def spectrum(delta: Tensor) -> Tensor:
    """Singular values of a (d_out, d_in) matrix, largest first, float64."""
    return torch.linalg.svdvals(as_matrix(delta))


def best_rank_r(delta: Tensor, r: int) -> Tensor:
    """The nearest matrix of rank at most r in the Frobenius norm (Eckart and Young, 1936): the SVD cut after r terms.

    delta (d_out, d_in) -> (d_out, d_in), in delta's dtype. r = 0 gives zeros.
    """
    D = as_matrix(delta)
    check_rank(r, D.shape, "the change", 0)
    U, S, Vh = torch.linalg.svd(D, full_matrices=False)
    return ((U[:, :r] * S[:r]) @ Vh[:r]).to(delta)


def rank_floor(delta: Tensor, r: int, X: Tensor | None = None) -> float:
    """The best possible extra mean squared error when a change `delta` must be made with rank r.

    delta (d_out, d_in): the change that is needed. X (n, d_in): the inputs it is judged on; None means inputs of
    covariance 1. With XᵀX/n = L Lᵀ the floor is sum_{i>r} sigma_i(delta L)^2 / d_out (Eckart-Young in the metric
    of the data); without X it is sum_{i>r} sigma_i(delta)^2 / d_out. r = 0 is the loss of doing nothing.
    """
    D = as_matrix(delta)
    check_rank(r, D.shape, "the change", 0)
    if X is not None:
        D = D @ metric(X, D).T
    tail = torch.linalg.svdvals(D)[r:]
    return float(tail.square().sum() / delta.shape[0])


def metric(X: Tensor, delta: Tensor) -> Tensor:
    """R (k, d_in) with RᵀR = XᵀX/n: ||delta Rᵀ||² is the loss of `delta` on X."""
    d_in = delta.shape[1]
    if X.ndim != 2 or X.shape[1] != d_in:
        raise ValueError(f"X has shape {tuple(X.shape)}; delta has d_in = {d_in} columns, so X is (n, {d_in}).")
    # R of X = QR has RᵀR = XᵀX, also when X has fewer rows than columns, where a Cholesky factor does not exist.
    return torch.linalg.qr(X.detach().cpu().double(), mode="r").R / len(X) ** 0.5  # (min(n, d_in), d_in)


def expected_shift_loss(delta: Tensor) -> float:
    """E mse(Theta0 x, (Theta0 + delta) x) = ||delta||_F^2 / d_out for inputs x ~ N(0, 1)."""
    D = as_matrix(delta)
    return float(D.square().sum() / D.shape[0])


def shift_loss(delta: Tensor, X: Tensor) -> float:
    """The same loss on given inputs, exactly: mean((delta x)^2) over examples and outputs. X (n, d_in)."""
    return float((X.cpu().double() @ as_matrix(delta).T).square().mean())


def energy_rank(delta: Tensor, share: float = 0.9) -> int:
    """How many singular directions hold `share` of the energy sum sigma_i^2."""
    if not 0 < share <= 1:
        raise ValueError(f"share={share!r} must lie in (0, 1].")
    energy = spectrum(delta).square().cumsum(0)
    return int((energy < share * energy[-1]).sum()) + 1


def break_even_rank(d_out: int, d_in: int) -> float:
    """r at which the factors hold as many numbers as the matrix: (d_out + d_in) r = d_out d_in."""
    return d_out * d_in / (d_out + d_in)


def scaling_of(alpha: float, r: int, rule: str = "alpha/r") -> float:
    """The factor s in front of BA: alpha/r (paper, section 4.1), alpha/sqrt(r) (rsLoRA), or alpha alone (no rule)."""
    if rule not in RULES:
        raise ValueError(f"rule={rule!r} is not a scaling rule; choose one of {', '.join(map(repr, RULES))}.")
    return alpha / {"alpha/r": r, "alpha/sqrt(r)": math.sqrt(r), "alpha": 1}[rule]
