"""Fine-tune SmolLM2-135M in every way that page 13 compares: python -m lora_lab.subjects.real_model.make_record

Some fifty runs of 40 steps, two minutes each on one core with bfloat16 arithmetic, so about two hours. A run is a line
of runs.jsonl as soon as it ends, and one that is there is not made again: stop it when you like, and start it again.
The learning rate of LoRA and of full fine-tuning is climbed to on two seeds; then one factor at a time is changed.

What is kept was made on 28 November 2026 with torch 2.13.0 on one thread of an AMD EPYC with AVX512_BF16, beside other
work: `step` and `seconds` are of that. make_adapters measured its memory and seconds on the idle machine.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pydoc_data.topics import topics

import torch
from torch import Tensor

from lora_lab import add_lora, count_parameters, remove_lora, train
from lora_lab.subjects.records import climb, kept, place, read_lines, significant
from lora_lab.subjects.transformer import directions

from . import checkpoint, task
from .record import FULL, LORA, PLACES, RUNS

STEPS, BATCH, EXAMPLES, ALPHA = 40, 8, 480, 16
SEEDS = (0, 1, 2)
RATES = tuple(1.25e-5 * 2**i for i in range(11))  # to 0.0128
GUESS = {FULL: 5e-5, LORA: 1.6e-3}
RANKS = ("all r=1", "all r=32", "all r=2")
WHERE = ("q,v r=16", "attention r=8", "MLP r=5", "all r=3")  # 0.92 to 0.95 million numbers each


def arithmetic() -> torch.autocast:
    """bfloat16 matrix products over float32 weights, as fine-tuning is usually run. No cache of cast weights: it would
    outlive an optimizer step.
    """
    return torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False)


def plain_text(tokenizer) -> tuple[Tensor, Tensor]:
    """Text that nobody here wrote, the help topics that this Python brings along: inputs and targets, (16, 128)."""
    text = "\n".join(topics[name] for name in sorted(topics))[:12_000]
    ids = torch.tensor(tokenizer(text).input_ids[: 16 * 129]).view(16, 129)
    return ids[:, :-1], ids[:, 1:]


class Bench:
    """The model, read once, and what every run is measured on."""

    def __init__(self) -> None:
        self.chat = checkpoint.load()
        tokenizer = self.chat.tokenizer
        self.tune_on = task.task_tensors(tokenizer, [e for g in task.test_examples(8, 3_000).values() for e in g])
        self.groups = task.test_examples()
        self.test_on = task.task_tensors(tokenizer, [e for group in self.groups.values() for e in group])
        self.text = plain_text(tokenizer)
        self.start = {name: p.detach().clone() for name, p in self.chat.model.named_parameters()}

    @contextmanager
    def trained(
        self, way: str, lr: float, steps=STEPS, seed=0, examples=EXAMPLES, mistake: str | None = None
    ) -> Iterator[tuple[dict, list[float]]]:
        """The model after this run, what it cost and its losses; afterwards it is the base again, bit for bit."""
        model, (where, rank) = self.chat.model, place(way)
        torch.manual_seed(seed)
        if rank:
            add_lora(model, rank, ALPHA, target_modules=PLACES[where])
        else:
            model.requires_grad_(True)
        given = task.examples(examples, seed=10 + seed)
        X, y = task.task_tensors(self.chat.tokenizer, given, mistake)
        how = {"lr": lr, "steps": steps, "batch_size": BATCH, "seed": seed, "schedule": "cosine", "progress": None}
        begun = time.perf_counter()
        with arithmetic():
            losses = train(model, X, y, loss=task.answer_loss, **how).losses
        step = round((time.perf_counter() - begun) / steps, 2)
        try:
            yield {"trained": count_parameters(model)[0], "step": step}, losses
        finally:
            if rank:
                remove_lora(model)
            with torch.no_grad():
                for name, p in model.named_parameters():
                    p.copy_(self.start[name])

    def updates(self) -> dict[str, Tensor]:
        return directions.updates(self.chat.model, self.start)

    def measured(self, shots: Sequence[task.Example] = ()) -> dict:
        """Losses in nats per token, and {kind: counts} of the graded answers."""
        with arithmetic():
            return {
                "tuned_on": round(task.loss_on(self.chat.model, *self.tune_on), 4),
                "loss": round(task.loss_on(self.chat.model, *self.test_on), 4),
                "text": round(task.loss_on(self.chat.model, *self.text), 4),
                "scores": task.test(self.chat, self.groups, shots),
            }


def run(bench: Bench, way: str, lr: float, steps=STEPS, seed=0, examples=EXAMPLES, mistake: str | None = None) -> dict:
    """Train once and measure, or read the line of a run that was made before."""
    key = {"way": way, "lr": lr, "steps": steps, "seed": seed, "examples": examples, "mistake": mistake}

    def measure() -> dict:
        with bench.trained(**key) as (cost, _):
            share = [directions.moved(bench.start[f"{n}.weight"], delta) for n, delta in bench.updates().items()]
            return cost | bench.measured() | {"moved": significant(sum(share) / len(share), 3)}

    return kept(RUNS, key, measure)


def tune(bench: Bench, way: str) -> float:
    """The best rate on the tuning sentences, two seeds each."""
    return climb(RATES, GUESS[way], lambda lr: sum(run(bench, way, lr, seed=seed)["tuned_on"] for seed in SEEDS[:2]))


def main() -> None:
    torch.set_num_threads(1)
    done = read_lines(RUNS)
    minutes = sum(row["seconds"] for row in done) / 60
    print(f"{len(done)} of about 60 runs are there, {minutes:.0f} minutes of about 150", flush=True)
    bench = Bench()
    best = {way: tune(bench, way) for way in (LORA, FULL)}
    for seed in SEEDS:
        for way in best:
            run(bench, way, best[way], seed=seed)
    rate = best[LORA]
    for way in RANKS[:2]:
        for seed in SEEDS:
            run(bench, way, rate, seed=seed)
    for mistake in task.MISTAKES:
        run(bench, LORA, rate, mistake=mistake)
    for seed in SEEDS:
        for way in best:
            run(bench, way, best[way], seed=seed, examples=16)
    for way in WHERE:
        for seed in SEEDS:
            run(bench, way, rate, seed=seed)
    for seed in SEEDS[:2]:
        for way in best:
            run(bench, way, best[way], 2 * STEPS, seed)
    for seed in SEEDS:
        run(bench, RANKS[2], rate, seed=seed)
        for way in best:
            run(bench, way, best[way], seed=seed, examples=64)


if __name__ == "__main__":
    main()
