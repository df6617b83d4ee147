"""What an adapter did to a matrix, by directions: the paper's sections 7.2 and 7.3. Computed in float64 on the CPU."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lora_lab.adapters import delta_weights
from lora_lab.published import Amplification


def _right_directions(A: Tensor, name: str) -> Tensor:
    """(rank, d): an orthonormal basis of the row space of A (r, d), strongest direction first."""
    if A.ndim != 2:
        raise ValueError(f"{name} must be an (r, d) matrix, got {tuple(A.shape)}.")
    M = A.detach().cpu().double()
    S, Vh = torch.linalg.svd(M, full_matrices=False)[1:]
    if not S[0]:
        raise ValueError(f"{name} is all zero and spans no direction.")
    return Vh[S > S[0] * max(M.shape) * torch.finfo(torch.float32).eps]


def subspace_similarity(A1: Tensor, A2: Tensor) -> Tensor:
    """phi(A1, A2, i, j) for all i and j at once (paper, section 7.2, eq. 4): entry [i-1, j-1] of a (r1, r2) matrix.

    A1 (r1, d), A2 (r2, d). With U the right singular vectors of each, phi = ||U1[:i] U2[:j]^T||_F^2 / min(i, j): 1 if
    the smaller of the two subspaces lies in the larger one, 0 if they are orthogonal, `random_similarity` by chance.
    Where a matrix has a rank below its r, there are as many rows (or columns) as directions.
    """
    one, two = _right_directions(A1, "A1"), _right_directions(A2, "A2")
    if one.shape[1] != two.shape[1]:
        raise ValueError(f"A1 has {one.shape[1]} columns and A2 has {two.shape[1]}: both act on the same d inputs.")
    shared = (one @ two.T).square().cumsum(0).cumsum(1)  # (r1, r2): sums over the first i and j
    i, j = (torch.arange(1, len(basis) + 1, device=shared.device) for basis in (one, two))
    return shared / torch.minimum(i[:, None], j[None, :])


def random_similarity(i: int, j: int, d: int) -> float:
    """The expected phi of two random subspaces of dimensions i and j in d dimensions: max(i, j) / d, which is not 0.

    Each of the i j squared cosines is 1/d on average, and phi divides their sum by min(i, j).
    """
    if not 1 <= min(i, j) <= max(i, j) <= d:
        raise ValueError(f"i={i!r} and j={j!r}: a subspace of d = {d} dimensions has 1 to {d} of them.")
    return max(i, j) / d


def amplification(W: Tensor, delta: Tensor, r: int) -> Amplification:
    """Does delta strengthen what W emphasises already? (Paper, section 7.3.) W, delta (d_out, d_in); r directions."""
    if W.shape != delta.shape or W.ndim != 2:
        raise ValueError(f"W is {tuple(W.shape)} and delta is {tuple(delta.shape)}: they belong to one matrix.")
    if not 1 <= r <= min(W.shape):
        raise ValueError(f"r={r!r}: a {W.shape[0]} x {W.shape[1]} matrix has 1 to {min(W.shape)} directions.")
    W, D = W.detach().cpu().double(), delta.detach().cpu().double()
    U, _, Vh = torch.linalg.svd(D, full_matrices=False)
    own = torch.linalg.svdvals(W)
    return Amplification(
        on_delta=float((U[:, :r].T @ W @ Vh[:r].T).norm()),
        on_own=float(own[:r].square().sum().sqrt()),
        on_random=float(W.norm()) * r / math.sqrt(W.numel()),
        norm=float(W.norm()),
        delta_norm=float(D.norm()),
    )


def updates(model: nn.Module, start: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """{matrix: ΔW} of the linear layers that a training changed. start: the base's parameters by name."""
    now = {name: p.detach() for name, p in model.named_parameters()}
    if any(name.endswith("lora_B") for name in now):
        return delta_weights(model)
    deltas = {name.removesuffix(".weight"): now[name] - start[name] for name in now if name.endswith("_proj.weight")}
    return {name: delta for name, delta in deltas.items() if delta.any()}


def moved(W: Tensor, delta: Tensor) -> float:
    """‖ΔW‖ / ‖W‖, Frobenius norms."""
    return float(delta.detach().norm() / W.detach().norm())


def rank_of_energy(delta: Tensor, share: float = 0.9) -> int:
    """How many singular directions hold this share of ‖ΔW‖²."""
    energy = torch.linalg.svdvals(delta.detach().cpu().double()).square().cumsum(0)
    return int((energy < share * energy[-1]).sum()) + 1


def intruders(W: Tensor, delta: Tensor, k: int = 10) -> tuple[int, Tensor]:
    """How many intruder dimensions W + ΔW has, and what it does along them, shaped like W.

    An intruder (Shuttleworth et al., arXiv 2410.21228): one of the k strongest left singular vectors of W + ΔW whose
    cosine with every left singular vector of W is below one half.
    """
    before, now = W.detach().cpu().double(), (W + delta).detach().cpu().double()
    known = torch.linalg.svd(before, full_matrices=False)[0]
    U, S, Vh = torch.linalg.svd(now, full_matrices=False)
    strange = (U[:, :k].T @ known).abs().amax(1) < 0.5  # (k,)
    part = (U[:, :k][:, strange] * S[:k][strange]) @ Vh[:k][strange]
    return int(strange.sum()), part.to(W)


def _random_directions(n: int, d: int, r: int, seed: int) -> Tensor:
    """n random subspaces: (n, d, r), orthonormal columns."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(n, d, r, generator=generator, dtype=torch.float64, device="cpu")
    return torch.linalg.qr(drawn)[0]


def chance_similarity(i: int, j: int, d: int, n: int = 2000) -> Tensor:
    """phi of n pairs of random subspaces, (n,): the distribution whose mean is `random_similarity`."""
    one, two = _random_directions(n, d, i, seed=0), _random_directions(n, d, j, seed=1)
    return (one.mT @ two).square().sum((1, 2)) / min(i, j)


def chance_projection(W: Tensor, r: int, n: int = 2000) -> Tensor:
    """‖UᵀWV‖ of n random updates of rank r over what it is on average, (n,): `on_delta` of chance."""
    W = W.detach().cpu().double()
    U, V = _random_directions(n, W.shape[0], r, seed=0), _random_directions(n, W.shape[1], r, seed=1)
    return (U.mT @ W @ V).square().sum((1, 2)).sqrt() / (W.norm() * r / math.sqrt(W.numel()))
