"""The record of S1's LoRA, and the base that is given its answer."""

import torch

from lora_lab import published
from lora_lab.subjects.linear_task.bases import exact_base
from lora_lab.subjects.linear_task.record import s1_run
from lora_lab.subjects.linear_task.tasks import linear_task, normal


def test_the_record_of_s1_is_whole():
    run = s1_run()
    assert run.steps == 100 * run.steps_per_epoch == 7900 and tuple(run.measured) == published.S1_EPOCHS
    assert list(run.snapshots) == [5 * 79 * i for i in range(21)]
    for step, state in run.snapshots.items():
        A, B = state["lora_A"], state["lora_B"]
        assert A.shape == (1, 1001) and B.shape == (1000, 1) and A.dtype == B.dtype == torch.float32
        off = float((B @ A - 1).square().mean()) * 1001  # what these factors lose on fresh examples
        if (epoch := step // 79) in run.measured:
            assert off / 2 < run.measured[epoch] < off, "on the examples that it was trained on it loses less"


def test_an_exact_base_knows_its_task_and_is_frozen():
    task = linear_task(normal(5, 7, seed=0), n=20)
    state = torch.get_rng_state()
    base = exact_base(task.theta)
    assert torch.equal(torch.get_rng_state(), state) and not base.weight.requires_grad and base.bias is None
    torch.testing.assert_close(base(task.X), task.y)
    base.weight.zero_()
    assert task.theta.any(), "a copy: what becomes of the base leaves the task as it is"
