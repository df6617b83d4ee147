"""A small language model, Embedding -> LSTM -> Linear, and the ways to adapt it.

LoRA's update goes into the embedding and both LSTM matrices as a parametrization (torch's LSTM reads its weights by
name, there is no layer to wrap) and into the head as `LoRALinear`: one call of `add_lora`.
"""

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

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS), 32)
        self.lstm = nn.LSTM(32, 64, batch_first=True)  # weight_ih_l0 (256, 32), weight_hh_l0 (256, 64)
        self.head = nn.Linear(64, len(WORDS))

    def forward(self, ids: Tensor) -> Tensor:
        h, _ = self.lstm(self.embedding(ids))  # (n, T, 64)
        return self.head(h)  # (n, T, 100)


def word_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Nats per word: cross-entropy over all positions that hold a word. (n, T, 100), (n, T) -> ()."""
    return F.cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=PAD)


def fit(model: WordLM, data: Sentences, **how) -> History:
    """Adam with a falling rate (cosine), in batches of 128 sentences: the one way of training here."""
    return train(model, data.inputs, data.targets, schedule="cosine", loss=word_loss, progress=None, **how)


def word_base(source: Source, n: int = 20_000, *, epochs: int = 4, lr: float = 1e-2, seed: int = 0) -> Pretrained:
    """Pretrain a `WordLM` on n sentences of the source."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = WordLM()
    data = source.sample(n, seed=1000 + seed)
    return Pretrained(model, fit(model, data, epochs=epochs, lr=lr, seed=seed))


class Way(NamedTuple):
    """A way to adapt: which parts (a key of PARTS), by LoRA of rank r, or with r = 0 their own weights in full."""

    part: str
    r: int

    @property
    def layers(self) -> tuple[str, ...]:
        return PARTS[self.part]

    def __str__(self) -> str:
        if self.r == 0:
            return "full fine-tuning" if self.part == "all" else f"{self.part} only, in full"
        return f"LoRA r = {self.r}" + ("" if self.part == "all" else f", {self.part} only")


def prepare(base: WordLM, way: Way, seed: int = 0) -> WordLM:
    """A copy of the base in which only what `way` trains is trainable."""
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
    base: WordLM, data: Sentences, way: Way, *, lr: float, steps: int = 200, seed: int = 0
) -> tuple[WordLM, History]:
    """Adapt a copy of the base to the sentences."""
    model = prepare(base, way, seed)
    return model, fit(model, data, steps=steps, lr=lr, seed=seed)


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
    device = next(model.parameters(), torch.empty(0)).device
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(n, 2 * LONGEST, generator=generator, dtype=torch.float64, device="cpu").to(device)
    ids = torch.full((n, 1), INDEX["."], device=device)
    for t in range(2 * LONGEST):
        p = model(ids)[:, -1].double().softmax(-1).cumsum(-1)  # (n, 100)
        chosen = torch.searchsorted(p, u[:, t : t + 1].contiguous()).clamp(max=len(WORDS) - 1)
        ids = torch.cat([ids, chosen], 1)
    texts = []
    for row in ids[:, 1:].tolist():
        words = [WORDS[i] for i in row]
        texts.append(" ".join(words[: words.index(".") + 1] if "." in words else words))
    return texts
