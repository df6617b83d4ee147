"""Your own prompts and answers, with PEFT and transformers' Trainer: the whole program.

python -m lora_lab.subjects.real_model.own_data answers.jsonl my_adapter
"""

import json
import sys
from pathlib import Path

import torch

from lora_lab import diagnose
from lora_lab.subjects.real_model import checkpoint, task


def read_pairs(file):
    """A line for each example, {"prompt": "…", "answer": "…"} -> [(conversation, answer), …]."""
    pairs = []
    for number, line in enumerate(Path(file).read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            pairs.append(([{"role": "user", "content": row["prompt"].strip()}], row["answer"].strip()))
        except (ValueError, TypeError, KeyError, AttributeError):
            wanted = '{"prompt": "…", "answer": "…"}'
            raise ValueError(f"{file}, line {number}: not {wanted} but {line[:60]!r}.") from None
    if not pairs:
        raise ValueError(f"{file} has no line; a hundred examples are a start.")
    return pairs


def adapt(chat, file, folder, steps=100, lr=1e-3):
    """Train r = 8 on all linear layers on the pairs in `file`, save PEFT's folder, return PEFT's model."""
    import peft
    from transformers import Trainer, TrainingArguments

    X, y = task.tensors(chat.tokenizer, read_pairs(file))
    ids, labels = task.as_labels(X, y, chat.tokenizer.eos_token_id)
    rows = [{"input_ids": i, "labels": label} for i, label in zip(ids, labels)]
    how = peft.LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    model = peft.get_peft_model(chat.model, how)
    print("before:", diagnose(model))
    settings = TrainingArguments(
        folder, max_steps=steps, learning_rate=lr, lr_scheduler_type="cosine", per_device_train_batch_size=8,
        logging_steps=max(1, steps // 10), save_strategy="no", report_to=[], use_cpu=not torch.cuda.is_available(),
    )  # fmt: skip
    Trainer(model, settings, train_dataset=rows).train()
    print("after:", diagnose(model))
    model.save_pretrained(folder)
    return model


if __name__ == "__main__":
    adapt(checkpoint.load(), *sys.argv[1:3])
