"""Floors and spectra against brute force and competitors."""

from __future__ import annotations

import math

import pytest
import torch

from lora_lab import rank_floor
from lora_lab.costs import lora_numbers
from lora_lab.subjects.linear_task.tasks import normal
from lora_lab.theory import best_rank_r, break_even_rank, energy_rank, expected_shift_loss, shift_loss, spectrum

D_OUT, D_IN = 6, 8
DELTA = normal(D_OUT, D_IN, seed=1)
MANY, FEW = normal(40, D_IN, seed=2), normal(3, D_IN, seed=3)  # more and fewer examples than inputs


def alternating_least_squares(r: int, X: torch.Tensor | None, starts: int = 4, rounds: int = 400) -> float:
    """The best loss of any B A found by solving for B and for A in turn, from several random starts."""
    X = math.sqrt(D_IN) * torch.eye(D_IN) if X is None else X
    X, D = X.double(), DELTA.double()
    best = math.inf
    for seed in range(starts):
        A = normal(r, D_IN, seed=100 + seed).double()
        for _ in range(rounds):
            B = (torch.linalg.pinv(X @ A.T) @ X @ D.T).T  # (d_out, r)
            A = torch.linalg.pinv(B) @ D @ torch.linalg.pinv(X) @ X  # (r, d_in)
        best = min(best, float((X @ (D - B @ A).T).square().mean()))
    return best


@pytest.mark.parametrize("X", [None, MANY, FEW], ids=["", "X", "few_X"])
@pytest.mark.parametrize("r", [1, 2, 4])
def test_rank_floor_is_what_brute_force_finds(r, X):
    found = alternating_least_squares(r, X)
    assert rank_floor(DELTA, r, X) == pytest.approx(found, rel=1e-3, abs=1e-12)


@pytest.mark.parametrize("X", [None, MANY, FEW], ids=["", "X", "few_X"])
def test_rank_floor_falls_with_r_from_doing_nothing_to_zero(X):
    floors = [rank_floor(DELTA, r, X) for r in range(D_OUT + 1)]
    nothing = expected_shift_loss(DELTA) if X is None else shift_loss(DELTA, X)
    inputs = math.sqrt(D_IN) * torch.eye(D_IN) if X is None else X
    assert nothing == pytest.approx(float((inputs.double() @ DELTA.double().T).square().mean()), rel=1e-6)
    assert floors[0] == pytest.approx(nothing, rel=1e-12)
    assert floors == sorted(floors, reverse=True)
    rank = D_OUT if X is None else min(D_OUT, len(X))
    assert floors[rank - 1] > 1e-3 and floors[rank] == pytest.approx(0, abs=1e-12), "r = number of examples is enough"


# ----------------------------------------------------------------------------------------- spectra, Eckart-Young


@pytest.mark.parametrize("r", range(D_OUT + 1))
def test_best_rank_r_leaves_the_tail_of_the_spectrum(r):
    best = best_rank_r(DELTA, r)
    assert best.shape == DELTA.shape and best.dtype == DELTA.dtype
    assert torch.linalg.matrix_rank(best) == r
    tail = spectrum(DELTA)[r:].square().sum()
    assert float((DELTA - best).double().square().sum()) == pytest.approx(float(tail), abs=1e-9, rel=1e-4)


@pytest.mark.parametrize(
    "diagonal, share, rank",
    [
        ((1, 0, 0), 1.0, 1),
        ((3, 1, 0), 0.9, 1),  # 9 of 10
        ((3, 1, 0), 0.91, 2),
        ((1, 1, 1), 0.5, 2),
        ((1, 1, 1), 1.0, 3),
        ((2, 1, 1), 2 / 3, 1),  # exactly 4 of 6
    ],
)
def test_energy_rank_counts_directions(diagonal, share, rank):
    delta = torch.zeros(3, 5)
    delta[:, :3] = torch.diag(torch.tensor(diagonal, dtype=torch.float32))
    assert energy_rank(delta, share) == rank


def test_break_even_rank_is_where_the_factors_are_as_big_as_the_matrix():
    assert break_even_rank(1000, 1001) == pytest.approx(500.25, abs=0.01)
    assert lora_numbers(1000, 1001, 500) < 1000 * 1001 < lora_numbers(1000, 1001, 501)


# ------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda: rank_floor(DELTA, 7), r"r=7 does not fit the change, 6 x 8: a rank is a whole number, 0 <= r <= 6"),
        (lambda: rank_floor(DELTA, -1), r"r=-1 does not fit the change"),
        (lambda: rank_floor(DELTA, 1.0), r"r=1.0 does not fit the change"),
        (lambda: best_rank_r(DELTA, True), r"r=True does not fit the change"),
        (lambda: rank_floor(DELTA, 1, MANY.T), r"X has shape \(8, 40\).*d_in = 8 columns, so X is \(n, 8\)"),
        (lambda: rank_floor(DELTA[0], 1), r"delta must be a \(d_out, d_in\) matrix with entries, got \(8,\)"),
        (lambda: spectrum([[1.0]]), r"delta must be .* got list"),
        (lambda: spectrum(torch.empty(0, 3)), r"delta must be .* with entries, got \(0, 3\)"),
        (lambda: energy_rank(DELTA, 0), r"share=0 must lie in \(0, 1\]"),
        (lambda: energy_rank(DELTA, 1.1), r"share=1.1 must lie"),
    ],
)
def test_bad_arguments_are_refused_in_words(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_theory_computes_in_float64_on_the_cpu_whatever_the_default_device_is():
    delta, X = torch.randn(5, 7), torch.randn(20, 7)

    def numbers() -> tuple:
        return rank_floor(delta, 2, X), shift_loss(delta, X), energy_rank(delta)

    wanted = numbers()
    with torch.device("meta"):
        assert numbers() == wanted
