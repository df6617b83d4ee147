"""Run S2's own recipe at full size and record it: python -m lora_lab.subjects.two_layers.make_s2_record

Adam 1e-3, batch 128, 100 epochs of pretraining and 100 of rank-1 LoRA on both layers (A ~ N(0, 1), as S2 starts it),
10 000 examples, 1001 -> 1000 -> 1000; about ten minutes on one core. Writes s2_record.json beside this file.
"""

import torch

from lora_lab import add_lora, delta_weights, evaluate, remove_lora, train
from lora_lab.subjects.linear_task.bases import PUBLISHED, two_layer_base
from lora_lab.subjects.linear_task.tasks import linear_task, s1_task
from lora_lab.subjects.records import significant, write_record
from lora_lab.theory import rank_floor, spectrum

if __name__ == "__main__":
    torch.set_num_threads(1)
    task = s1_task(0)
    new = linear_task(task.theta + 1, n=10_000, seed=1)
    model, pretraining = two_layer_base(task, 1000, seed=0, measure_every=1, progress=None, **PUBLISHED)
    W1, W2, before = model.first.weight.clone(), model.second.weight.clone(), model.end_to_end()
    record = {
        "recipe": "Adam, lr 1e-3, batch 128, 100 epochs, 10000 examples, 1001 -> 1000 -> 1000, float32, one thread; "
        "LoRA r = 1, alpha = 1, A ~ N(0, 1)",
        "losses": "mean squared error on all data after epochs 1, 2, 3, …",
        "seed": 0,
        "base": [significant(loss, 5) for loss in pretraining.measured.values()],
        "base_residual_on_new_inputs": significant(evaluate(model, new.X, new.X @ task.theta.T)),
        "base_on_new_task": significant(evaluate(model, new.X, new.y)),
        "floor_of_both": significant(rank_floor(new.theta - before, 2, new.X)),
    }

    add_lora(model, r=1, alpha=1)
    for seed, layer in enumerate((model.first, model.second)):
        layer.reset_lora(1.0, generator=torch.Generator().manual_seed(seed))
    history = train(model, new.X, new.y, epochs=100, measure_every=1, lr=1e-3, seed=1, progress=None)
    record["lora"] = [significant(loss, 5) for loss in history.measured.values()]
    update, deltas = model.end_to_end() - before, delta_weights(model)
    record["update_singular_values"] = [significant(s) for s in spectrum(update)[:4].tolist()]
    with torch.no_grad():  # what the adapted model computes once S2 has added each delta to the layer below it
        twice = (W2 + 2 * deltas["second"]) @ (W1 + 2 * deltas["first"])
        record["adapted_model_after_the_merge"] = significant(float((new.X @ twice.T - new.y).square().mean()))
    remove_lora(model, keep_delta=True)
    record["original_model_after_the_merge"] = significant(evaluate(model, new.X, new.y))
    write_record(record, "two_layers", "s2_record")
