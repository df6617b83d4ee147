"""An adapter folder written by PEFT: python -m lora_lab.subjects.files_and_costs.make_peft_folder

PEFT trains a rank-3 adapter on both layers of neighbours.small_net() and saves it; beside it we keep what PEFT
computes with it. So a reader without PEFT still reads a folder of PEFT's and compares with PEFT's numbers.
"""

import json

import peft
import torch

from lora_lab import train
from lora_lab.subjects.linear_task.tasks import normal

from .neighbours import PEFT_FOLDER, small_net

if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=["0", "2"])
    model = peft.get_peft_model(small_net(), config)
    X = normal(400, 12, seed=911)
    y = torch.sin(2 * X[:, :7] + X[:, 5:])  # (400, 7): something to learn
    train(model, X, y, steps=200, lr=2e-2, batch_size=40, progress=None)
    model.save_pretrained(PEFT_FOLDER)
    (PEFT_FOLDER / "README.md").unlink(missing_ok=True)
    with torch.no_grad():
        output = model.eval()(normal(5, 12, seed=910))
    note = {"peft": peft.__version__, "output": [[round(v, 7) for v in row] for row in output.tolist()]}
    (PEFT_FOLDER / "output.json").write_text(json.dumps(note) + "\n")
    print(sorted(p.name for p in PEFT_FOLDER.iterdir()))
