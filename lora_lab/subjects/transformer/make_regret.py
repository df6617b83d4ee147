"""What "LoRA Without Regret" says, on the small GPT: python -m lora_lab.subjects.transformer.make_regret

About 40 CPU minutes. Each run is a line of rewards.jsonl or regret.jsonl as soon as it ends, and a run that is there is
not made again. Every learning rate is climbed to on two seeds; a third one runs at the best. First the habits of bard
from a reward alone, 200 steps of 64 sentences; then bard from 100, 400 and 1600 lines, 4800 of them seen in steps of
32; then from 400 lines in steps of 8 and of 128.
"""

from collections.abc import Callable

import torch

from lora_lab import count_parameters
from lora_lab.subjects.mini_language import language
from lora_lab.subjects.records import climb, kept, read_lines

from .gpt import above_floor, generate
from .make_record import RATES, TEST_ON, TUNE_ON, fine_tune, prepare
from .record import REGRET, REWARDS
from .reward import reinforce, rewards

TASK = "bard"
SEEDS = (0, 1, 2)
STEPS, EVERY = 200, 10  # of reinforcement; a recorded reward is the mean of ten steps
SEEN = 4800  # lines in a training run: 150 steps of 32
AMOUNTS, BATCHES, OF_BATCHES = (100, 400, 1600), (8, 128), 400  # lines; lines in a step, and to learn from then
GUESS = {"q,v r=1": 8e-3, "q,v r=8": 8e-3, "q,v r=64": 4e-3, "full": 5e-4}  # where the search for a rate starts
WAYS = {"full": 2.5e-4, "all linears r=1": 4e-3, "all linears r=8": 2e-3, "all linears r=64": 1e-3}


def from_reward(way: str, lr: float, seed: int) -> float:
    """Minus the last mean reward, which chooses the learning rate."""

    def measure() -> dict:
        model, draws = prepare(way, seed), torch.Generator().manual_seed(1_000 + seed)
        records = [line.record for line in language.dialect(TASK, 400, seed=6_000)]
        before = generate(model, records, draws)
        means = reinforce(model, TASK, steps=STEPS, lr=lr, seed=seed)
        after = generate(model, records, draws)
        return {
            "before": round(float(rewards(records, before, TASK).mean()), 3),
            "after": round(float(rewards(records, after, TASK).mean()), 3),
            "curve": [round(sum(means[i : i + EVERY]) / EVERY, 3) for i in range(0, STEPS, EVERY)],
            "text": [" ".join(text) for text in [*before[:3], *after[:3]]],
        }

    return -kept(REWARDS, {"way": way, "lr": lr, "seed": seed}, measure)["curve"][-1]


def from_lines(way: str, lines: int, batch: int, lr: float, seed: int) -> float:
    """The loss that chooses the learning rate."""

    def measure() -> dict:
        model = fine_tune(TASK, way, lr, SEEN // batch, seed, lines=lines, batch_size=batch)
        on = {"tuned_on": language.dialect(TASK, **TUNE_ON), "loss": language.dialect(TASK, **TEST_ON)}
        on["seen"] = language.dialect(TASK, lines, seed=10 + seed)
        return {"trained": count_parameters(model)[0]} | {k: round(above_floor(model, v), 4) for k, v in on.items()}

    return kept(REGRET, {"way": way, "lines": lines, "batch": batch, "lr": lr, "seed": seed}, measure)["tuned_on"]


def tune(guess: float, score: Callable[..., float], *what: object) -> float:
    """The learning rate with the lowest score(*what, lr, seed) on two seeds; then the third seed at that rate."""
    best = climb(RATES, guess, lambda lr: score(*what, lr, SEEDS[0]) + score(*what, lr, SEEDS[1]))
    score(*what, best, SEEDS[2])
    return best


def main() -> None:
    torch.set_num_threads(1)
    print("about 32 runs of 40 s with rewards, 170 others of 5 s; there are:", flush=True)
    print(len(read_lines(REWARDS)), "with rewards,", len(read_lines(REGRET)), "others", flush=True)
    for way, guess in GUESS.items():
        tune(guess, from_reward, way)
    for way, guess in WAYS.items():
        for lines in AMOUNTS:  # the next one's rate is likely near
            guess = tune(guess, from_lines, way, lines, 32)
    for way in ("full", "all linears r=1", "all linears r=8"):
        guess = WAYS[way]
        for batch in BATCHES:
            guess = tune(guess, from_lines, way, OF_BATCHES, batch)


if __name__ == "__main__":
    main()
