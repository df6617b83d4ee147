"""Adapt the LSTM language model to three dialects in thirteen ways, five seeds each:
python -m lora_lab.subjects.language_model.make_record

First a sweep over the learning rate for every way and dialect (a seed of its own, not among the five), then the five
seeds at the best rate: each seed has its own base model, its own sentences and its own starts. About ten minutes on
one core; writes record.json beside this file.
"""

import torch

from lora_lab import count_parameters, delta_weights
from lora_lab.subjects.records import significant, write_record

from .lstm import Way, adapt, loss_on, word_base, write
from .sentences import WORDS, Source, dialects

OUTSIDE, WRITES = Way("embedding and head", 8), Way("all", 8)  # a swap of words takes rank 6 in each
WAYS = [Way(part, 0) for part in ("all", "embedding", "LSTM", "head")]
WAYS += [Way("all", r) for r in (1, 2, 4, 8, 16)]
WAYS += [Way(part, 4) for part in ("embedding", "LSTM", "head")]
WAYS += [OUTSIDE]
RATES = (3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
SEEDS, SWEEP_SEED = 5, 9
TRAIN, TEST = 5000, 4000


def excess(model, dialect: Source, seed: int) -> float:
    """Nats per word above what the dialect itself loses on the test sentences."""
    test = dialect.sample(TEST, seed=3000 + seed)
    return significant(loss_on(model, test) - test.source_loss)


def adapted(base, dialect: Source, way: Way, rate: float, seed: int):
    return adapt(base, dialect.sample(TRAIN, seed=2000 + seed), way, lr=rate, seed=seed)[0]


def allowed(model, dialect: Source, seed: int) -> float:
    """The share of 200 sentences written by the model that the dialect could have written."""
    return sum(dialect.allows(text) for text in write(model, 200, seed)) / 200


def run(name: str, way: object, rate: float, models: list, writes: bool) -> dict:
    """The row of one way: what its five models lose, and, if it writes, how much of it is allowed."""
    dialect = dialects()[name]
    trainable = 0 if way == "before" else count_parameters(models[0])[0]
    lost = [excess(model, dialect, seed) for seed, model in enumerate(models)]
    shares = [allowed(model, dialect, seed) for seed, model in enumerate(models)] if writes else []
    print(name, way, rate, lost, flush=True)
    row = {"dialect": name, "way": str(way), "rate": rate, "trainable": trainable}
    return row | {"excess": lost, "allowed": shares}


if __name__ == "__main__":
    torch.set_num_threads(1)
    bases = [word_base(Source(), seed=seed).model for seed in range(SEEDS)]
    sweep_base = word_base(Source(), seed=SWEEP_SEED).model
    runs, longest_rows = [], {}
    for name, dialect in dialects().items():
        runs.append(run(name, "before", 0, bases, True))
        for way in WAYS:
            lost = {}
            for rate in RATES:
                lost[rate] = excess(adapted(sweep_base, dialect, way, rate, SWEEP_SEED), dialect, SWEEP_SEED)
            rate = min(lost, key=lost.get)
            models = [adapted(base, dialect, way, rate, seed) for seed, base in enumerate(bases)]
            runs.append(run(name, way, rate, models, way == WRITES))
            if name == "swapped words" and way == OUTSIDE:
                words = dialect.changed_words
                for layer in way.layers:  # how many of these words are among as many longest rows of its update
                    longest = [delta_weights(model)[layer].norm(dim=1).topk(len(words)).indices for model in models]
                    longest_rows[layer] = [sum(WORDS[i] in words for i in rows) for rows in longest]
    record = {
        "recipe": f"WordLM(32, 64); base: 20000 sentences, 4 epochs, Adam 1e-2; adaptation: {TRAIN} sentences, "
        f"200 steps, Adam at the rate that was best in a sweep over {RATES} (seed {SWEEP_SEED}); "
        "cosine, batches of 128 sentences; LoRA with alpha = r",
        "numbers": f"excess: nats per word above the dialect's own loss on {TEST} test sentences, one per seed",
        "runs": runs,
        "longest_rows": longest_rows,
    }
    write_record(record, "language_model")
