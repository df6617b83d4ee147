"""Run S1's own recipe at full size and record its losses: python -m lora_lab.subjects.linear_task.make_s1_record

Adam 1e-3, batch 128, 100 epochs over 10 000 examples, 1001 -> 1000; three minutes on one core. Page 01 draws this
record beside its own two-second schedule.
"""

import torch

from lora_lab.subjects.linear_task.bases import PUBLISHED, linear_base
from lora_lab.subjects.linear_task.tasks import s1_task
from lora_lab.subjects.records import write_record

if __name__ == "__main__":
    torch.set_num_threads(1)
    history = linear_base(s1_task(0), seed=0, measure_every=10, **PUBLISHED).history
    record = {
        "recipe": "Adam, lr 1e-3, batch 128, 100 epochs, 10000 examples, 1001 -> 1000, float32, one thread, seed 0",
        "loss_after_epoch": {str(epoch): round(loss, 7) for epoch, loss in history.measured.items()},
    }
    write_record(record, "linear_task", "s1_record")
