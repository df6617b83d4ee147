"""The subspaces and projections of the paper's section 7, against cases that can be worked out by hand."""

from __future__ import annotations

import re

import pytest
import torch

from lora_lab.subjects.linear_task.tasks import normal
from lora_lab.subjects.transformer import directions
from lora_lab.subjects.transformer.directions import amplification, random_similarity, subspace_similarity


def test_similarity_is_1_inside_0_across_and_counts_shared_directions():
    eye = torch.eye(12)
    A = torch.diag(torch.tensor([5.0, 4.0, 3.0])) @ eye[:3]
    B = torch.diag(torch.tensor([9.0, 8.0, 7.0, 6.0])) @ eye[[0, 7, 2, 8]]
    expected = torch.tensor([[1, 1, 1, 1], [1, 1 / 2, 1 / 2, 1 / 2], [1, 1 / 2, 2 / 3, 2 / 3]], dtype=torch.float64)
    torch.testing.assert_close(subspace_similarity(A, B), expected)


def test_similarity_sees_the_space_that_the_rows_span_and_nothing_else():
    A, M = normal(4, 30, seed=1), normal(4, 4, seed=2)
    assert subspace_similarity(A, M @ A)[-1, -1] == pytest.approx(1)
    assert subspace_similarity(torch.cat((A, A)), normal(5, 30, seed=4)).shape == (4, 5)


def test_amplification_projects_on_three_kinds_of_directions():
    W, delta = torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0])), torch.zeros(4, 4)
    delta[2, 2], delta[3, 3] = 10.0, 5.0
    got = amplification(W, delta, 1)
    assert (got.on_delta, got.on_own, got.delta_norm) == pytest.approx((2, 4, 125**0.5))
    assert got.factor == pytest.approx(125**0.5 / 2) and got.on_random == pytest.approx(30**0.5 / 4)
    assert amplification(W, delta, 2).on_delta == pytest.approx(5**0.5)


def test_amplification_writes_to_outputs_and_reads_inputs():
    W, delta = torch.zeros(3, 5), torch.zeros(3, 5)
    W[0, 4], delta[0, 4] = 2.0, 6.0  # from input 4 to output 0
    assert amplification(W, delta, 1).factor == pytest.approx(3)
    W[0, 4], W[1, 1] = 0.0, 2.0
    assert amplification(W, delta, 1).factor == float("inf"), "W has nothing in this direction"


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: subspace_similarity(torch.ones(2, 3), torch.ones(2, 4)), "3 columns and A2 has 4"),
        (lambda: subspace_similarity(torch.zeros(2, 3), torch.ones(2, 3)), "A1 is all zero"),
        (lambda: subspace_similarity(torch.ones(3), torch.ones(2, 3)), "A1 must be an (r, d) matrix"),
        (lambda: random_similarity(0, 2, 4), "i=0"),
        (lambda: random_similarity(2, 5, 4), "j=5"),
        (lambda: amplification(torch.ones(2, 3), torch.ones(3, 2), 1), "belong to one matrix"),
        (lambda: amplification(torch.ones(2, 3), torch.ones(2, 3), 4), "r=4"),
    ],
)
def test_questions_that_have_no_answer_are_refused_in_words(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


def test_what_moved_and_where_its_energy_is():
    W, delta = torch.eye(4), torch.diag(torch.tensor([3.0, 1.0, 0.0, 0.0]))
    assert directions.moved(W, delta) == pytest.approx(10**0.5 / 2)
    assert directions.rank_of_energy(delta, 0.9) == 1 and directions.rank_of_energy(delta, 0.91) == 2


def test_an_intruder_is_a_strong_direction_that_w_did_not_have():
    W = torch.zeros(6, 4)
    W[:4, :4] = torch.diag(torch.tensor([3.0, 2.0, 1.0, 0.1]))  # its left directions: the first four axes
    outside = torch.zeros(6, 4)
    outside[5, 3] = 10.0  # along an axis that W does not reach
    count, part = directions.intruders(W, outside, k=2)
    assert count == 1 and torch.allclose(part, outside, atol=0.2)
    assert directions.intruders(W, 5 * W, k=3)[0] == 0, "more of the same is no intruder"


def test_chance_is_as_expected_on_average():
    phi = directions.chance_similarity(2, 3, 40)
    assert len(phi) == 2000 and float(phi.mean()) == pytest.approx(directions.random_similarity(2, 3, 40), rel=0.05)
    ratio = directions.chance_projection(torch.randn(30, 40, generator=torch.Generator().manual_seed(0)), 4, n=500)
    assert float(ratio.mean()) == pytest.approx(1, rel=0.05) and float(ratio.std()) > 0.02
