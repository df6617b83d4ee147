"""S1's own 100 epochs of LoRA, as recorded by `python -m lora_lab.subjects.torch_layer.make_record`."""

from safetensors.torch import load_file

from lora_lab.subjects.records import SUBJECTS, read_record
from lora_lab.training import History

TENSORS = SUBJECTS / "torch_layer" / "record.safetensors"


def s1_run() -> History:
    """The losses of all 7900 steps, measured on all data after every tenth epoch, and A and B after every fifth."""
    record, tensors = read_record("torch_layer"), load_file(TENSORS)
    measured = {int(epoch): loss for epoch, loss in record["loss_after_epoch"].items()}
    steps, A, B = (tensors[name] for name in ("steps", "lora_A", "lora_B"))  # (21,), (21, 1, 1001), (21, 1000, 1)
    snapshots = {step: {"lora_A": a, "lora_B": b} for step, a, b in zip(steps.tolist(), A.float(), B.float())}
    return History(tensors["losses"].tolist(), measured=measured, snapshots=snapshots, steps_per_epoch=79)
