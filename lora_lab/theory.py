"""What can be known before training: predicted losses, floors, spectra.

Computed in float64 on the CPU, wherever the matrices are: some devices have no float64.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

RULES = ("alpha/r", "alpha/sqrt(r)", "alpha")


def _matrix(delta: Tensor, name: str = "delta") -> Tensor:
    if not isinstance(delta, Tensor) or delta.ndim != 2 or not delta.numel():
        given = tuple(delta.shape) if isinstance(delta, Tensor) else type(delta).__name__
        raise ValueError(f"{name} must be a (d_out, d_in) matrix with entries, got {given}.")
    return delta.detach().cpu().double()


def _check_rank(r: int, delta: Tensor) -> None:
    (d_out, d_in), limit = delta.shape, min(delta.shape)
    if isinstance(r, bool) or not isinstance(r, int) or not 0 <= r <= limit:
        raise ValueError(f"r={r!r} is not a possible rank of a {d_out} x {d_in} matrix: choose 0 to {limit}.")


def spectrum(delta: Tensor) -> Tensor:
    """Singular values of a (d_out, d_in) matrix, largest first, float64."""
    return torch.linalg.svdvals(_matrix(delta))


def best_rank_r(delta: Tensor, r: int) -> Tensor:
    """The nearest matrix of rank at most r in the Frobenius norm (Eckart and Young, 1936): the SVD cut after r terms.

    delta (d_out, d_in) -> (d_out, d_in), in delta's dtype. r = 0 gives zeros.
    """
    D = _matrix(delta)
    _check_rank(r, D)
    U, S, Vh = torch.linalg.svd(D, full_matrices=False)
    return ((U[:, :r] * S[:r]) @ Vh[:r]).to(delta)


def rank_floor(delta: Tensor, r: int, X: Tensor | None = None) -> float:
    """The best possible extra mean squared error when a change `delta` must be made with rank r.

    delta (d_out, d_in): the change that is needed. X (n, d_in): the inputs it is judged on; None means inputs of
    covariance 1. With XᵀX/n = L Lᵀ the floor is sum_{i>r} sigma_i(delta L)^2 / d_out (Eckart-Young in the metric
    of the data); without X it is sum_{i>r} sigma_i(delta)^2 / d_out. r = 0 is the loss of doing nothing.
    """
    D = _matrix(delta)
    _check_rank(r, D)
    if X is not None:
        D = D @ _metric(X, D).T
    tail = torch.linalg.svdvals(D)[r:]
    return float(tail.square().sum() / delta.shape[0])


def _metric(X: Tensor, delta: Tensor) -> Tensor:
    """R (k, d_in) with RᵀR = XᵀX/n: ||delta Rᵀ||² is the loss of `delta` on X."""
    d_in = delta.shape[1]
    if X.ndim != 2 or X.shape[1] != d_in:
        raise ValueError(f"X has shape {tuple(X.shape)}; delta has d_in = {d_in} columns, so X is (n, {d_in}).")
    # R of X = QR has RᵀR = XᵀX, also when X has fewer rows than columns, where a Cholesky factor does not exist.
    return torch.linalg.qr(X.detach().cpu().double(), mode="r").R / len(X) ** 0.5  # (min(n, d_in), d_in)


def layer_floor(
    delta: Tensor, r: int, X: Tensor | None = None, *, below: Tensor | None = None, above: Tensor | None = None
) -> float:
    """The floor when `delta` must come from a rank-r update of one matrix inside a chain of linear layers.

    The chain is above . W . below, and W + BA changes it by (above B)(A below): such a change writes only into the
    column space of `above` and reads only the row space of `below`. What lies outside is lost, whatever the rank;
    what lies inside is cut to rank r. delta (d_out, d_in), above (d_out, k), below (m, d_in); None: the identity,
    that is, nothing above or below. In the metric of X as in `rank_floor`, and exact like it.
    """
    D = _matrix(delta)
    _check_rank(r, D)
    R = torch.eye(D.shape[1], dtype=D.dtype, device=D.device) if X is None else _metric(X, D)
    D = D @ R.T
    inside = D
    if above is not None:
        W = _matrix(above, "above")
        if len(W) != len(D):
            raise ValueError(f"above has {len(W)} rows; delta has {len(D)}, and both are the model's outputs.")
        Q = _range(W)
        inside = Q @ (Q.T @ inside)
    if below is not None:
        W = _matrix(below, "below")
        if W.shape[1] != delta.shape[1]:
            raise ValueError(f"below has {W.shape[1]} columns; delta has {delta.shape[1]}: both are the inputs.")
        Q = _range(R @ W.T)
        inside = (inside @ Q) @ Q.T
    lost = (D - inside).square().sum() + torch.linalg.svdvals(inside)[r:].square().sum()
    return float(lost / len(D))


def _range(M: Tensor) -> Tensor:
    """An orthonormal basis of the column space of M; what is below float32's rounding of M counts as zero."""
    U, S, _ = torch.linalg.svd(M, full_matrices=False)
    return U[:, S > 1e-6 * S[0]]


def expected_shift_loss(delta: Tensor) -> float:
    """E mse(Theta0 x, (Theta0 + delta) x) = ||delta||_F^2 / d_out for inputs x ~ N(0, 1)."""
    D = _matrix(delta)
    return float(D.square().sum() / D.shape[0])


def shift_loss(delta: Tensor, X: Tensor) -> float:
    """The same loss on given inputs, exactly: mean((delta x)^2) over examples and outputs. X (n, d_in)."""
    return float((X.cpu().double() @ _matrix(delta).T).square().mean())


def energy_rank(delta: Tensor, share: float = 0.9) -> int:
    """How many singular directions hold `share` of the energy sum sigma_i^2."""
    if not 0 < share <= 1:
        raise ValueError(f"share={share!r} must lie in (0, 1].")
    energy = spectrum(delta).square().cumsum(0)
    return int((energy < share * energy[-1]).sum()) + 1


def break_even_rank(d_out: int, d_in: int) -> float:
    """r at which the factors hold as many numbers as the matrix: (d_out + d_in) r = d_out d_in."""
    return d_out * d_in / (d_out + d_in)


def sgd_rate(d_in: int, d_out: int, batch_size: int) -> float:
    """The fastest constant SGD rate for y = Theta x with x ~ N(0, 1), no noise, loss averaged over outputs.

    With step eta * (2 / d_out) on the batch mean, the expected squared error shrinks each step by
    1 - 2 e + e^2 (1 + (d_in + 1) / batch), e = 2 eta / d_out; the minimum over e is at e = batch / (batch + d_in + 1).
    """
    return d_out / 2 * batch_size / (batch_size + d_in + 1)


def scaling_of(alpha: float, r: int, rule: str = "alpha/r") -> float:
    """The factor s in front of BA: alpha/r (paper, section 4.1), alpha/sqrt(r) (rsLoRA), or alpha alone (no rule)."""
    if rule not in RULES:
        raise ValueError(f"rule={rule!r} is not a scaling rule; choose one of {', '.join(map(repr, RULES))}.")
    return alpha / {"alpha/r": r, "alpha/sqrt(r)": math.sqrt(r), "alpha": 1}[rule]


class Equivalent(NamedTuple):
    """Settings with scaling 1 that give the same run: learning rate, and standard deviation of A at the start."""

    scaling: float
    lr: float
    std: float


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise ValueError(f"{name}={value!r} is not a positive number.")


def adam_equivalent(s: float, lr: float, std: float) -> Equivalent:
    """Under Adam, (s, lr, std of A) trains exactly as (1, sqrt(s) lr, sqrt(s) std), if B starts at zero.

    Put A' = sqrt(s) A and B' = sqrt(s) B: then s B A = B' A', and the gradient of A' is that of A over sqrt(s).
    Adam's step does not see the size of a gradient: A moves by lr as before, hence A' by sqrt(s) lr. (Its eps, 1e-8,
    does see it: equal up to eps over the gradient's size.)
    """
    _check_positive(s=s, lr=lr, std=std)
    return Equivalent(1.0, math.sqrt(s) * lr, math.sqrt(s) * std)


def sgd_equivalent(s: float, lr: float, std: float) -> Equivalent:
    """Under SGD, also with momentum, (s, lr, std of A) trains exactly as (1, s lr, sqrt(s) std), if B starts at zero.

    With A' = sqrt(s) A and B' = sqrt(s) B as in `adam_equivalent`, A moves by lr grad A = lr sqrt(s) grad A',
    hence A' = sqrt(s) A moves by s lr grad A'.
    """
    _check_positive(s=s, lr=lr, std=std)
    return Equivalent(1.0, s * lr, math.sqrt(s) * std)
