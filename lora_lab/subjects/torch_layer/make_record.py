"""Run S1's LoRA at full size and record it: python -m lora_lab.subjects.torch_layer.make_record

r = 1, alpha = 1, A ~ N(0, 1), B = 0, Adam 1e-3, batch 128, 100 epochs over 10 000 examples; about ten seconds on one
core. Writes the losses to record.json and record.safetensors, and A and B as they moved (in float16) to the latter.
"""

import torch
from safetensors.torch import save

from lora_lab import LoRALinear, train
from lora_lab.subjects.linear_task import bases, tasks
from lora_lab.subjects.records import significant, write_record

from .record import TENSORS

if __name__ == "__main__":
    torch.set_num_threads(1)
    theta = tasks.s1_theta(seed=0)
    new = tasks.linear_task(theta + 1, n=10_000, seed=1)
    layer = LoRALinear(bases.exact_base(theta), r=1, alpha=1)
    layer.reset_lora(std=1.0, generator=torch.Generator().manual_seed(0))
    often = {"measure_every": 10, "snapshot_every": 5 * 79}
    history = train(layer, new.X, new.y, epochs=100, lr=1e-3, cache_base=True, progress=None, **often)
    tensors = {"losses": torch.tensor(history.losses), "steps": torch.tensor(list(history.snapshots))}
    for name in ("lora_A", "lora_B"):
        tensors[name] = torch.stack([state[name] for state in history.snapshots.values()]).half()
    TENSORS.write_bytes(save(tensors))
    recipe = "LoRA r = 1, alpha 1, A ~ N(0, 1), Adam 1e-3, batch 128, 100 epochs, 10000 examples, 1001 -> 1000, seed 0"
    losses = {str(epoch): significant(loss) for epoch, loss in history.measured.items()}
    write_record({"recipe": recipe, "loss_after_epoch": losses}, "torch_layer")
