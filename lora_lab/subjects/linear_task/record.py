"""S1's own recipe at full size, as `python -m lora_lab.subjects.linear_task.make_s1_record` has run it."""

from safetensors.torch import load_file

from lora_lab.subjects.records import SUBJECTS, read_record
from lora_lab.training import History

TENSORS = SUBJECTS / "linear_task" / "s1_record.safetensors"


def s1_losses(part: str) -> dict[int, float]:
    """{epoch: the loss on all data after it}, every tenth epoch. part: "base", its pretraining, or "lora"."""
    return {int(epoch): loss for epoch, loss in read_record("linear_task", "s1_record")[part].items()}


def s1_run() -> History:
    """S1's LoRA: the losses of all 7900 steps, `s1_losses`, and A and B after every fifth epoch."""
    tensors = load_file(TENSORS)
    steps, A, B = (tensors[name] for name in ("steps", "lora_A", "lora_B"))  # (21,), (21, 1, 1001), (21, 1000, 1)
    snapshots = {step: {"lora_A": a, "lora_B": b} for step, a, b in zip(steps.tolist(), A.float(), B.float())}
    return History(tensors["losses"].tolist(), measured=s1_losses("lora"), snapshots=snapshots, steps_per_epoch=79)
