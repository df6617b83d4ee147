"""`claim` prints what holds, stops at what does not, and refuses what is not a truth."""

from __future__ import annotations

import pytest
import torch

from lora_lab import claim
from lora_lab.classroom.claims import ClaimError

np = pytest.importorskip("numpy")

TRUE = [True, torch.tensor(True), torch.tensor([True]), np.bool_(True), np.array(True), np.array([[True]])]
FALSE = [False, torch.tensor(False), torch.tensor([False]), np.bool_(False), np.array(False), np.array([[False]])]
NO_TRUTH = [
    *(1, 0, 0.0, "yes", "", None, [], [True]),
    *(torch.tensor(0.3), torch.tensor(1), torch.tensor([True, True]), torch.tensor([], dtype=torch.bool)),
    *(np.float64(0.3), np.int64(1), np.array([True, False]), np.array([], dtype=bool), object()),
]


@pytest.mark.parametrize("truth", TRUE, ids=repr)
def test_what_holds_is_printed(truth, capsys):
    claim("the mean is 1 to 1e-3", truth)
    assert capsys.readouterr().out == "✓ the mean is 1 to 1e-3\n"


@pytest.mark.parametrize("truth", FALSE, ids=repr)
def test_what_does_not_hold_stops(truth, capsys):
    with pytest.raises(ClaimError, match="✗ the mean is 1"):
        claim("the mean is 1", truth)
    assert capsys.readouterr().out == ""
    assert issubclass(ClaimError, AssertionError)


@pytest.mark.parametrize("truth", NO_TRUTH, ids=repr)
def test_what_is_no_truth_is_refused(truth, capsys):
    """`claim("the loss is small", loss)` would otherwise hold for every loss but 0."""
    with pytest.raises(TypeError, match="claim needs True or False"):
        claim("the loss is small", truth)
    assert capsys.readouterr().out == ""


def test_a_large_value_is_named_by_its_type():
    with pytest.raises(TypeError, match="got Tensor: write a comparison"):
        claim("all are small", torch.zeros(100, 100) < 1)


@pytest.mark.parametrize("text", ["", "  ", None, True])
def test_a_claim_is_a_sentence(text):
    with pytest.raises(TypeError, match="claim needs a sentence"):
        claim(text, True)
