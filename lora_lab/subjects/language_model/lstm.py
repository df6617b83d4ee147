"""A small language model, Embedding -> LSTM -> Linear, and the ways to adapt it.

LoRA's update goes into the embedding and both LSTM matrices as a parametrization (torch's LSTM reads its weights by
name, there is no layer to wrap) and into the head as `LoRALinear`: one call of `add_lora`.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lora_lab.adapters import add_lora
from lora_lab.subjects.linear_task.bases import Pretrained
from lora_lab.training import History, evaluate, train

from .sentences import INDEX, LONGEST, PAD, WORDS, Sentences, Source

PARTS = {
    "all": ("embedding", "lstm", "head"),
    "embedding": ("embedding",),
    "LSTM": ("lstm",),
    "head": ("head",),
    "embedding and head": ("embedding", "head"),
}


class WordLM(nn.Module):
    """Next-word model. (n, T) word numbers -> (n, T, 100) scores of the next word; its memory starts empty."""

    def __init__(self, width: int = 32, hidden: int = 64, words: int = len(WORDS)) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)  # (100, width)
        self.lstm = nn.LSTM(width, hidden, batch_first=True)  # weight_ih_l0 (4 hidden, width), weight_hh_l0
        self.head = nn.Linear(hidden, words)  # (100, hidden)

    def forward(self, ids: Tensor) -> Tensor:
        h, _ = self.lstm(self.embedding(ids))  # (n, T, hidden)
        return self.head(h)  # (n, T, 100)


def word_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Nats per word: cross-entropy over all positions that hold a word. (n, T, 100), (n, T) -> ()."""
    return F.cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=PAD)


def word_base(
    source: Source, n: int = 20_000, *, epochs: int = 8, lr: float = 1e-2, width: int = 32, hidden: int = 64,
    seed: int = 0, progress: str | None = "pretraining",
) -> Pretrained:  # fmt: skip
    """Pretrain a `WordLM` on n sentences of the source: Adam, falling rate (cosine), batches of 128 sentences."""
    data = source.sample(n, seed=1000 + seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = WordLM(width, hidden)
    how = {"epochs": epochs, "lr": lr, "schedule": "cosine", "loss": word_loss, "seed": seed}
    return Pretrained(model, train(model, data.inputs, data.targets, progress=progress, **how))


class Way(NamedTuple):
    """A way to adapt: which parts (a key of PARTS), by LoRA of rank r, or with r = 0 their own weights in full."""

    part: str
    r: int

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of its parts in the model. Raises ValueError for a part that is none."""
        if self.part not in PARTS:
            raise ValueError(f"part={self.part!r} is none of {', '.join(map(repr, PARTS))}.")
        return PARTS[self.part]

    def __str__(self) -> str:
        if self.r == 0:
            return "full fine-tuning" if self.part == "all" else f"{self.part} only, in full"
        return f"LoRA r = {self.r}" + ("" if self.part == "all" else f", {self.part} only")


def prepare(base: WordLM, way: Way, seed: int = 0) -> WordLM:
    """A copy of the base with what `way` trains made trainable, and everything else frozen. The base is not touched."""
    model = copy.deepcopy(base).requires_grad_(False)
    if way.r:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # the start of A
            add_lora(model, r=way.r, alpha=way.r, target_modules=way.layers)
    else:
        for name in way.layers:
            getattr(model, name).requires_grad_(True)
    return model


def adapt(
    base: WordLM, data: Sentences, way: Way, *, lr: float, steps: int = 200, seed: int = 0, progress: str | None = None
) -> tuple[WordLM, History]:
    """Adapt a copy of the base to the sentences: Adam, falling rate (cosine), batches of 128 sentences."""
    model = prepare(base, way, seed)
    how = {"steps": steps, "lr": lr, "schedule": "cosine", "loss": word_loss, "seed": seed, "progress": progress}
    return model, train(model, data.inputs, data.targets, **how)


def loss_on(model: nn.Module, data: Sentences) -> float:
    """Nats per word on these sentences. Compare with `data.source_loss`, what the source itself loses on them."""
    return evaluate(model, data.inputs, data.targets, word_loss)


def memoryless_loss(model: WordLM, data: Sentences) -> float:
    """The same with the LSTM's state reset at every word, as the article's training loop does it."""
    alone = data.inputs.reshape(-1, 1)  # every word a sequence of its own
    return evaluate(model, alone, data.targets.reshape(-1, 1), word_loss)


@torch.no_grad()
def write(model: WordLM, n: int, seed: int = 0) -> list[str]:
    """n sentences drawn from the model word by word; one that finds no end is cut at twice the longest length."""
    u = torch.rand(n, 2 * LONGEST, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ids = torch.full((n, 1), INDEX["."])
    for t in range(2 * LONGEST):
        p = model(ids)[:, -1].double().softmax(-1).cumsum(-1)  # (n, 100)
        chosen = torch.searchsorted(p, u[:, t : t + 1].contiguous()).clamp(max=len(WORDS) - 1)
        ids = torch.cat([ids, chosen], 1)
    texts = []
    for row in ids[:, 1:].tolist():
        words = [WORDS[i] for i in row]
        texts.append(" ".join(words[: words.index(".") + 1] if "." in words else words))
    return texts
