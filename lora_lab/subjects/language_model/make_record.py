"""Adapt the LSTM language model to three dialects in thirteen ways, five seeds each:
python -m lora_lab.subjects.language_model.make_record

About ten minutes on one core. A way on a dialect is a line of record.jsonl, and one that is there is not made again
(those kept: torch 2.13.0). First a sweep over the learning rate, with a seed of its own, not among the five; then the
five seeds at the best rate: each has its own base model, its own sentences and its own starts.
"""

from collections.abc import Sequence
from functools import cache, partial

import torch

from lora_lab import count_parameters, delta_weights
from lora_lab.subjects.records import kept, significant

from .lstm import Way, WordLM, adapt, loss_on, word_base, write
from .record import RECORD
from .sentences import WORDS, Source, dialects

BEFORE = "before"  # the base itself
OUTSIDE, WRITES = Way("embedding and head", 8), Way("all", 8)  # a swap of words takes rank 6 in each
WAYS = [Way(part, 0) for part in ("all", "embedding", "LSTM", "head")]
WAYS += [Way("all", r) for r in (1, 2, 4, 8, 16)]
WAYS += [Way(part, 4) for part in ("embedding", "LSTM", "head")]
WAYS += [OUTSIDE]
RATES = (3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
SEEDS, SWEEP_SEED = (0, 1, 2, 3, 4), 9
TRAIN, TEST = 5000, 4000


@cache
def base_of(seed: int) -> WordLM:
    return word_base(Source(), seed=seed).model


def adapted(dialect: Source, way: Way, rate: float, seed: int) -> WordLM:
    return adapt(base_of(seed), dialect.sample(TRAIN, seed=2000 + seed), way, lr=rate, seed=seed)[0]


def excess(model: WordLM, dialect: Source, seed: int) -> float:
    """Nats per word above what the dialect itself loses on the test sentences."""
    test = dialect.sample(TEST, seed=3000 + seed)
    return significant(loss_on(model, test) - test.source_loss)


def allowed(model: WordLM, dialect: Source, seed: int) -> float:
    """The share of 200 sentences written by the model that the dialect could have written."""
    return sum(dialect.allows(text) for text in write(model, 200, seed)) / 200


def longest_rows(models: Sequence[WordLM], layer: str, words: Sequence[str]) -> list[int]:
    """For each model: how many of these words are among as many longest rows of the layer's update."""
    longest = [delta_weights(model)[layer].norm(dim=1).topk(len(words)).indices for model in models]
    return [sum(WORDS[i] in words for i in rows) for rows in longest]


def measure(name: str, way: Way | str) -> dict:
    """What five models that were adapted in this way lose, and, if it writes, how much of it is allowed."""
    dialect = dialects()[name]
    if way == BEFORE:
        rate, models = 0, [base_of(seed) for seed in SEEDS]
    else:
        lost = {rate: excess(adapted(dialect, way, rate, SWEEP_SEED), dialect, SWEEP_SEED) for rate in RATES}
        rate = min(lost, key=lost.get)
        models = [adapted(dialect, way, rate, seed) for seed in SEEDS]
    row = {
        "rate": rate,
        "trainable": 0 if way == BEFORE else count_parameters(models[0])[0],
        "excess": [excess(model, dialect, seed) for seed, model in enumerate(models)],
        "allowed": [allowed(model, dialect, seed) for seed, model in enumerate(models) if way in (BEFORE, WRITES)],
    }
    if name == "swapped words" and way == OUTSIDE:
        row["longest_rows"] = {layer: longest_rows(models, layer, dialect.changed_words) for layer in way.layers}
    return row


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in dialects():
        for way in (BEFORE, *WAYS):
            kept(RECORD, {"dialect": name, "way": str(way)}, partial(measure, name, way))
