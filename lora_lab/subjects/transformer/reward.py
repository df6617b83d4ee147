"""Learning from a reward instead of from examples: REINFORCE (Williams, 1992) on the small GPT.

The model draws a sentence for a record. The reward is the share of the target's habits in it, as the grammar's own
parser finds them; a sentence that the grammar refuses gets 0. Nobody shows the model a right sentence.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lora_lab.subjects.mini_language import language
from lora_lab.subjects.mini_language.language import LENGTH, PROMPT

from .gpt import GPT, generate

SAMPLES = 64  # sentences in a step
Records, Texts = Sequence[Sequence[str]], Sequence[Sequence[str]]


def rewards(records: Records, texts: Texts, task: str) -> Tensor:
    """The reward of each sentence, 0 to 1: (n,)."""
    return torch.tensor([language.shares([r], [t], task).in_voice for r, t in zip(records, texts)])


def log_p(model: GPT, records: Records, texts: Texts) -> Tensor:
    """log p(sentence | record) of each, (n,). One that has not ended where the longest ends is taken to end there."""
    lines = [language.Line(r, t[: LENGTH - PROMPT], 0.0) for r, t in zip(records, texts)]
    X, y = language.tensors(lines)
    return -F.cross_entropy(model(X).transpose(1, 2), y, ignore_index=-100, reduction="none").sum(1)


def reinforce(model: GPT, task: str, *, steps: int, lr: float, seed: int, stop: int | None = None) -> list[float]:
    """Train whatever is trainable in `model` on the reward alone, `stop` of the steps; each step's mean reward.

    A step draws, judges, and goes along (R - mean R) · grad log p, with Adam and a rate that falls to zero (cosine).
    """
    draws = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    records = [line.record for line in language.dialect(task, SAMPLES * steps, seed=100 + seed)]
    means = []
    for step in range(stop or steps):
        asked = records[step * SAMPLES : (step + 1) * SAMPLES]
        texts = generate(model, asked, draws)
        reward = rewards(asked, texts, task)
        loss = -((reward - reward.mean()) * log_p(model, asked, texts)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        means.append(float(reward.mean()))
    return means
