"""Run S1's own recipe at full size and record it: python -m lora_lab.subjects.linear_task.make_s1_record

Adam 1e-3, batch 128, 100 epochs over 10 000 examples, 1001 -> 1000: pretraining, three minutes on one core, and ten
seconds of LoRA, r = 1, alpha = 1, A ~ N(0, 1), B = 0, on the old task's own theta. Writes s1_record.json, and to
s1_record.safetensors the loss of each step of LoRA, and A and B as they moved (in float16).
"""

import torch
from safetensors.torch import save

from lora_lab import LoRALinear, train
from lora_lab.subjects.records import significant, write_record

from .bases import PUBLISHED, exact_base, linear_base
from .record import TENSORS
from .tasks import linear_task, s1_task

if __name__ == "__main__":
    torch.set_num_threads(1)
    old = s1_task(0)
    histories = {"base": linear_base(old, seed=0, measure_every=10, **PUBLISHED).history}
    new = linear_task(old.theta + 1, n=10_000, seed=1)
    layer = LoRALinear(exact_base(old.theta), r=1, alpha=1)
    layer.reset_lora(std=1.0, generator=torch.Generator().manual_seed(0))
    often = {"measure_every": 10, "snapshot_every": 5 * 79}
    lora = histories["lora"] = train(layer, new.X, new.y, **PUBLISHED, cache_base=True, progress=None, **often)
    tensors = {"losses": torch.tensor(lora.losses), "steps": torch.tensor(list(lora.snapshots))}
    for name in ("lora_A", "lora_B"):
        tensors[name] = torch.stack([state[name] for state in lora.snapshots.values()]).half()
    TENSORS.write_bytes(save(tensors))
    recipe = "Adam 1e-3, batch 128, 100 epochs, 10000 examples, 1001 -> 1000, seed 0; LoRA r = 1, alpha 1, A ~ N(0, 1)"
    record = {"recipe": recipe, "numbers": "mean squared error on all data after the epoch"}
    for part, history in histories.items():
        record[part] = {str(epoch): significant(loss) for epoch, loss in history.measured.items()}
    write_record(record, "linear_task", "s1_record")
