"""`claim` prints what holds, stops at what does not, and refuses what is not a truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lora_lab import claim
from lora_lab.classroom.claims import ClaimError

ONE_TRUTH = [bool, torch.tensor, lambda x: torch.tensor([x]), np.bool_, np.array, lambda x: np.array([[x]])]
NO_TRUTH = [
    1, 0, 0.0, "yes", "", None, [], [True], object(), np.float64(0.3), np.int64(1),
    torch.tensor(0.3), torch.tensor(1), torch.tensor([True, True]), torch.tensor([], dtype=torch.bool),
    np.array([True, False]), np.array([], dtype=bool),
]  # fmt: skip


@pytest.mark.parametrize("kind", ONE_TRUTH)
def test_what_holds_is_printed_and_what_does_not_stops(kind, capsys):
    claim("the mean is 1 to 1e-3", kind(True))
    assert capsys.readouterr().out == "✓ the mean is 1 to 1e-3\n"
    with pytest.raises(ClaimError, match="✗ the mean is 1"):
        claim("the mean is 1", kind(False))
    assert capsys.readouterr().out == ""
    assert issubclass(ClaimError, AssertionError)


@pytest.mark.parametrize("truth", NO_TRUTH, ids=lambda truth: type(truth).__name__)
def test_what_is_no_truth_is_refused(truth, capsys):
    """`claim("the loss is small", loss)` would otherwise hold for every loss but 0."""
    with pytest.raises(TypeError, match="claim needs True or False"):
        claim("the loss is small", truth)
    assert capsys.readouterr().out == ""


def test_a_large_value_is_named_by_its_type_and_a_claim_is_a_sentence():
    with pytest.raises(TypeError, match="got Tensor: write a comparison"):
        claim("all are small", torch.zeros(100, 100) < 1)
    for text in ("", "  ", None, True):
        with pytest.raises(TypeError, match="claim needs a sentence"):
            claim(text, True)
