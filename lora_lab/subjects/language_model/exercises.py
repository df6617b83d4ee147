"""The exercise about what a change of the language needs."""

import copy
from functools import cache

import torch
from torch import nn

from lora_lab.adapters import add_lora
from lora_lab.classroom.judging import exercise

from .lstm import WordLM, fit, loss_on
from .sentences import Source

SEED = 41
PARTS = {"embedding": 132, "lstm": 608, "head": 164}  # numbers in A and B at rank 1
BUDGET, LIMIT = 1800, 0.05
HOW = {"batch_size": 64}  # half of the page's: two seconds in all
OTHER_SWAPS = (("king", "drum"), ("bear", "river"), ("goose", "hat"), ("farmer", "mill"), ("doctor", "bell"),
               ("clerk", "forest"))  # fmt: skip


@cache
def _hidden():
    """A base, and a dialect that the page does not show: sentences to train on, and others."""
    dialect, base = Source(OTHER_SWAPS), WordLM()
    fit(base, Source().sample(6400, seed=SEED), epochs=3, lr=3e-2, **HOW)
    return base, dialect.sample(39 * 64, seed=SEED), dialect.sample(2000, seed=SEED + 1)


def _complaint_about_way(way) -> str:
    if any(number.numel() != 1 for number in way) or not all(r >= 0 and r == r.round() for r in way[:3]):
        return "the ranks are whole numbers, 0 for a part without an adapter, and the rate is one number."
    *ranks, rate = (float(number) for number in way)
    numbers = sum(int(r) * each for r, each in zip(ranks, PARTS.values()))
    if numbers > BUDGET or not any(ranks):
        return f"these ranks have {numbers:,} numbers in A and B; wanted are from 1 to {BUDGET:,}."
    if not 0 < rate < 10:
        return f"a learning rate of {rate:g} trains nothing, or breaks everything."
    torch.manual_seed(SEED)
    base, seen, unseen = _hidden()
    model = copy.deepcopy(base).requires_grad_(False)
    torch.manual_seed(SEED)
    for name, r in zip(PARTS, map(int, ranks)):
        if r:
            part = nn.ModuleDict({name: getattr(model, name)})
            add_lora(part, r=r, alpha=r)
            setattr(model, name, part[name])
    fit(model, seen, steps=117, lr=rate, **HOW)
    left = loss_on(model, unseen) - unseen.source_loss
    return "" if left < LIMIT else f"{numbers:,} numbers, and on unseen sentences {left:.3f} nats remain."


@exercise(
    title="six other words",
    hints=(
        "Which parts know a word by its name? Section 7.2 did a swap by hand, and 7.4 compares the parts.",
        "Six swaps are a change of rank 6 in each of two parts. For the rate look at what the record found best.",
    ),
    right="trained on a dialect that the page does not show, your choice comes within 0.05 nats of it.",
    accept=_complaint_about_way,
)
def other_words():
    # six other pairs of words swap their roles; at most 1,800 numbers in A and B, 117 steps, alpha = r
    r_embedding = 6  # 132 numbers for each rank; 0 for no adapter there
    r_lstm = 0  # 608 for each rank
    r_head = 6  # 164 for each rank
    first_rate = 0.1  # the learning rate at the start; it falls to 0
    return r_embedding, r_lstm, r_head, first_rate
