"""The floor line of one layer in a chain of linear layers."""

import torch
from torch import Tensor

from lora_lab.layers import check_rank
from lora_lab.theory import as_matrix, metric


def layer_floor(
    delta: Tensor, r: int, X: Tensor | None = None, *, below: Tensor | None = None, above: Tensor | None = None
) -> float:
    """The floor when `delta` must come from a rank-r update of one matrix inside a chain of linear layers.

    The chain is above . W . below, and W + BA changes it by (above B)(A below): such a change writes only into the
    column space of `above` and reads only the row space of `below`. What lies outside is lost, whatever the rank;
    what lies inside is cut to rank r. delta (d_out, d_in), above (d_out, k), below (m, d_in); None: the identity,
    that is, nothing above or below. In the metric of X as in `rank_floor`, and exact like it.
    """
    D = as_matrix(delta)
    check_rank(r, D.shape, "the change", 0)
    R = torch.eye(D.shape[1], dtype=D.dtype, device=D.device) if X is None else metric(X, D)
    inside = D = D @ R.T
    if above is not None:
        W = as_matrix(above, "above")
        if len(W) != len(D):
            raise ValueError(f"above has {len(W)} rows; delta has {len(D)}, and both are the model's outputs.")
        Q = _range(W)
        inside = Q @ (Q.T @ inside)
    if below is not None:
        W = as_matrix(below, "below")
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
