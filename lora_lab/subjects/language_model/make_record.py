"""Adapt the LSTM language model to three dialects in thirteen ways, five seeds each, for page 06:
python -m lora_lab.subjects.language_model.make_record

First a sweep over the learning rate for every way and dialect (a seed of its own, not among the five), then the five
seeds at the best rate: each seed has its own base model, its own sentences and its own starts. About ten minutes on
one core. Writes lora_lab/data/lstm_adaptation.json.
"""

from datetime import date

import torch

from lora_lab import count_parameters, delta_weights
from lora_lab.subjects.records import significant, write_record

from .lstm import Way, adapt, loss_on, memoryless_loss, prepare, word_base, write
from .sentences import WORDS, Source, dialects

WAYS = [Way("all", 0), *(Way(part, 0) for part in ("embedding", "LSTM", "head"))]
WAYS += [Way("all", r) for r in (1, 2, 4, 8, 16)] + [Way(part, 4) for part in ("embedding", "LSTM", "head")]
OUTSIDE = Way("embedding and head", 8)  # where a swap of words can be done exactly, with rank 6 in each
WAYS += [OUTSIDE]
RATES = (3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
SEEDS, SWEEP_SEED = (0, 1, 2, 3, 4), 9
TRAIN, TEST, STEPS = 5000, 4000, 200


class Bench:
    """One seed's base model and its sentences of every dialect."""

    def __init__(self, seed: int) -> None:
        self.seed, self.base = seed, word_base(Source(), epochs=4, seed=seed, progress=None).model
        self.train = {name: d.sample(TRAIN, seed=2000 + seed) for name, d in dialects().items()}
        self.test = {name: d.sample(TEST, seed=3000 + seed) for name, d in dialects().items()}

    def excess(self, model, dialect: str) -> float:
        """Nats per word above what the dialect itself loses on the test sentences."""
        return significant(loss_on(model, self.test[dialect]) - self.test[dialect].source_loss)

    def run(self, dialect: str, way: Way, lr: float):
        model, _ = adapt(self.base, self.train[dialect], way, lr=lr, steps=STEPS, seed=self.seed)
        return model, self.excess(model, dialect)


def words_found(model, dialect) -> dict[str, int]:
    """How many of the swapped words are among the equally many longest rows of the updates of embedding and head."""
    found = {}
    for name, delta in delta_weights(model).items():
        longest = delta.norm(dim=1).argsort(descending=True)[: len(dialect.changed_words)].tolist()
        found[name] = len({WORDS[i] for i in longest} & set(dialect.changed_words))
    return found


def allowed(model, dialect, seed: int) -> float:
    """The share of 200 sentences written by the model that the dialect could have written."""
    return significant(sum(dialect.log_prob(text) > float("-inf") for text in write(model, 200, seed)) / 200)


if __name__ == "__main__":
    torch.set_num_threads(1)
    bench = Bench(SWEEP_SEED)
    rates, sweep = {}, {}
    for name in dialects():
        for way in WAYS:
            found = {lr: bench.run(name, way, lr)[1] for lr in RATES}
            sweep.setdefault(name, {})[str(way)] = {str(lr): e for lr, e in found.items()}
            rates[name, way] = min(found, key=found.get)
            print(name, way, found, flush=True)

    excess = {name: {"before": []} | {str(way): [] for way in WAYS} for name in dialects()}
    found = {"embedding": [], "head": []}
    share = {name: {"before": [], "LoRA r = 8": []} for name in dialects()}
    base, memoryless = [], []
    for seed in SEEDS:
        bench = Bench(seed)
        own = Source().sample(TEST, seed=4000 + seed)
        base.append(significant(loss_on(bench.base, own) - own.source_loss))
        memoryless.append(significant(memoryless_loss(bench.base, own) - own.source_loss))
        for name, dialect in dialects().items():
            excess[name]["before"].append(bench.excess(bench.base, name))
            share[name]["before"].append(allowed(bench.base, dialect, seed))
            for way in WAYS:
                model, e = bench.run(name, way, rates[name, way])
                excess[name][str(way)].append(e)
                if way == OUTSIDE and name == "swapped words":
                    for layer, count in words_found(model, dialect).items():
                        found[layer].append(count)
                if way == Way("all", 8):
                    share[name][str(way)].append(allowed(model, dialect, seed))
        print(seed, {name: {w: v[-1] for w, v in e.items()} for name, e in excess.items()}, flush=True)

    record = {
        "command": "python -m lora_lab.subjects.language_model.make_record",
        "recipe": f"WordLM(32, 64); base: 20000 sentences, 4 epochs, Adam 1e-2; adaptation: {TRAIN} sentences, "
        f"{STEPS} steps, Adam at the rate that was best in a sweep over {RATES} (seed {SWEEP_SEED}); "
        "cosine, batches of 128 sentences; LoRA with alpha = r",
        "numbers": "nats per word above the dialect's own loss on 4000 test sentences, one per seed",
        "seeds": list(SEEDS),
        "entropy": {name: d.entropy for name, d in {"source": Source(), **dialects()}.items()},
        "base_on_its_own_source": base,
        "base_reset_at_every_word": memoryless,
        "trainable": {str(way): count_parameters(prepare(bench.base, way))[0] for way in WAYS},
        "rates": {name: {str(way): rates[name, way] for way in WAYS} for name in dialects()},
        "sweep": sweep,
        "excess": excess,
        "swapped_words_among_the_12_longest_rows": {"way": str(OUTSIDE), **found},
        "sentences_allowed": share,
        "torch": torch.__version__.split("+")[0],
        "date": date.today().isoformat(),
    }
    write_record(record, "language_model")
