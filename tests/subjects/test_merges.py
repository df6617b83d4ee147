"""Merging into few bits, TIES and DARE, on cases small enough to see."""

import pytest
import torch

from lora_lab.subjects.linear_task import tasks
from lora_lab.subjects.merging import merges


def test_a_large_update_arrives_and_a_small_one_is_rounded_away():
    W, delta = tasks.normal(128, 64, seed=1), tasks.normal(128, 64, seed=2)
    for stored_in, rounded in merges.ROUNDED.items():
        assert torch.equal(rounded(rounded(W)), rounded(W)), "rounded already"
        large = merges.merged_into(W, delta, 1.0, stored_in)
        assert large.share == pytest.approx(1, abs=0.05) and large.error < 0.2
    assert merges.merged_into(W, delta, 1.0, "float32").error < 1e-6
    tiny = merges.merged_into(W, delta, 0.005, "NF4")
    assert tiny.share < 0.05 and tiny.error > 0.9
    left = {stored_in: merges.merged_into(W, delta, 1e-3, stored_in).unchanged for stored_in in merges.ROUNDED}
    assert left["bfloat16"] > 0.6 > 0.4 > left["float16"] > left["float32"]


def test_ties_trims_votes_and_averages_what_agrees():
    one, two = torch.tensor([[4.0, -3.0, 0.1, 2.0]]), torch.tensor([[2.0, 5.0, 0.2, -0.1]])
    assert torch.equal(merges.ties([one, two], keep=0.75), torch.tensor([[3.0, 5.0, 0.2, 2.0]]))
    assert torch.equal(merges.ties([one], keep=0.5), torch.tensor([[4.0, -3.0, 0.0, 0.0]]))


def test_dare_drops_most_entries_and_keeps_the_sum_on_average():
    delta = torch.ones(200, 200)
    merged = merges.dare([delta, delta], drop=0.9)
    assert set(merged.unique().round().tolist()) == {0, 10, 20}
    assert float(merged.mean()) == pytest.approx(2, rel=0.05)
    lam, error = merges.nearest(delta, 3 * delta)
    assert lam == pytest.approx(3) and error < 1e-6
