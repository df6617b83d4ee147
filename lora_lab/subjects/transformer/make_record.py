"""Fine-tune the small GPT in every way that is compared: python -m lora_lab.subjects.transformer.make_record

About 20 CPU minutes on one core. Writes the shipped adapters -> adapters/NAME/ (PEFT's format), and the record:
    table      full, head, biases, last block and LoRA at six ranks, the learning rate of each tuned, three seeds
    matrices   the paper's Table 5 in miniature: one budget, which matrices
    forgetting three ways at their tuned rate, half and a quarter of it: what is learned against what is forgotten
"""

from __future__ import annotations

import shutil
from typing import NamedTuple

import torch

from lora_lab import add_lora, count_parameters, save_adapter
from lora_lab.subjects.mini_language import language
from lora_lab.subjects.records import write_record
from lora_lab.training import train

from .gpt import ADAPTERS, GPT, LINEARS, RANKS, above_floor, generate, load_base, record_of, text_loss
from .record import place

TASKS = ("bard", "swap 8")
SEEDS = (0, 1, 2)
HOW = {"steps": 120, "batch_size": 32, "schedule": "cosine"}
ALPHA = 16
LINES = 4000  # of the task, to train on
TUNE_ON = {"n": 400, "seed": 3_000}
TEST_ON = {"n": 800, "seed": 4_000}
VOICES = tuple(teller for teller in language.TELLERS if teller != "anon")
RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2, 0.128, 0.256)
GUESS = {"full": 1e-3, "head": 1.6e-2, "biases": 3.2e-2, "last block": 2e-3}  # where the search starts
LORA_GUESS = 1.6e-2
WAYS = [*GUESS, *(f"q,v r={r}" for r in RANKS), *(f"all linears r={r}" for r in RANKS)]
BUDGET = ["q r=8", "k r=8", "v r=8", "o r=8", "q,k r=4", "q,v r=4", "q,k,v,o r=2"]  # Table 5's rows: 3072 numbers
SHIPPED = {  # name: (task, way, seed)
    "bard": ("bard", "q,v r=8", 0),
    "bard-again": ("bard", "q,v r=8", 1),
    "bard-r64": ("bard", "q,v r=64", 0),
    "bard-r64-again": ("bard", "q,v r=64", 1),
    "wire": ("wire", "q,v r=8", 0),
    "swap-r1": ("swap 8", "q,v r=1", 0),
    "swap": ("swap 8", "q,v r=8", 0),
    "swap-again": ("swap 8", "q,v r=8", 1),
    "swap-r64": ("swap 8", "q,v r=64", 0),
}


class Result(NamedTuple):
    """tuned_on, task, voices: nats per token above the floor."""

    model: GPT
    tuned_on: float
    task: float
    voices: float


def prepare(way: str, seed: int = 0) -> GPT:
    """A copy of the base in which only what `way` trains is trainable: "full", "head", ..., "q,v r=8"."""
    model = load_base()
    where, rank = place(way)
    if rank:
        targets = LINEARS if where == "all linears" else [f"{m}_proj" for m in where.split(",")]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            add_lora(model, rank, ALPHA, target_modules=targets)
        return model
    for name, p in model.named_parameters():
        trained = {
            "full": True,
            "head": name.startswith("head."),
            "biases": name.endswith("bias"),
            "last block": name.startswith("layers.1."),
        }
        p.requires_grad_(trained[way])
    return model


def run(task: str, way: str, lr: float, seed: int) -> Result:
    model = prepare(way, seed)
    X, y = language.tensors(language.dialect(task, LINES, seed=10 + seed))
    train(model, X, y, loss=text_loss, lr=lr, seed=seed, progress=None, **HOW)
    return Result(
        model,
        above_floor(model, language.dialect(task, **TUNE_ON)),
        above_floor(model, language.dialect(task, **TEST_ON)),
        above_floor(model, language.corpus(**TEST_ON, tellers=VOICES)),
    )


def tune(task: str, way: str) -> tuple[float, dict[float, Result]]:
    """Climb along RATES, seed 0, from the guess to a rate whose two neighbours are worse on the tuning lines."""
    tried: dict[float, Result] = {}

    def loss_at(i: int) -> float:
        rate = RATES[i]
        if rate not in tried:
            tried[rate] = run(task, way, rate, SEEDS[0])
        loss = tried[rate].tuned_on
        return loss if loss == loss else float("inf")  # a run that diverged

    best = RATES.index(GUESS.get(way, LORA_GUESS))
    while True:
        around = [i for i in (best - 1, best, best + 1) if 0 <= i < len(RATES)]
        winner = min(around, key=loss_at)
        if winner == best:
            return RATES[best], tried
        best = winner


def measure(task: str, way: str) -> dict:
    """Tuned, then the remaining seeds at the best rate."""
    lr, tried = tune(task, way)
    runs = [tried[lr], *(run(task, way, lr, seed) for seed in SEEDS[1:])]
    row = {
        "trained": count_parameters(runs[0].model)[0],
        "tried": {f"{rate:g}": round(tried[rate].tuned_on, 4) for rate in sorted(tried)},
        "lr": lr,
        "task": [round(r.task, 4) for r in runs],
        "voices": [round(r.voices, 4) for r in runs],
    }
    if way == "full":  # whose text is shown
        records = [line.record for line in language.dialect(task, 100, seed=5_000)]
        texts = generate(runs[0].model, records)
        row["text"] = [" ".join(t) for t in texts[:4]]
        row["grammatical"] = language.shares(records, texts, task).grammatical
    print(task, way, row, flush=True)
    return row


def table(ways: list[str]) -> dict:
    return {task: {way: measure(task, way) for way in ways} for task in TASKS}


def forgetting(tuned: dict) -> dict:
    """[task, voices] above the floor, a pair per seed."""
    values = {}
    for task in TASKS:
        values[task] = {}
        for way in ("full", "q,v r=8", "all linears r=8"):
            best = tuned[task][way]["lr"]
            values[task][way] = {}
            for rate in (best / 4, best / 2, best):
                runs = [run(task, way, rate, seed) for seed in SEEDS]
                values[task][way][f"{rate:g}"] = [[round(r.task, 4), round(r.voices, 4)] for r in runs]
    return values


def adapters(tuned: dict) -> dict[str, float]:
    """Train and ship each adapter; the loss of each, above the floor of its task."""
    shutil.rmtree(ADAPTERS, ignore_errors=True)
    losses = {}
    for name, (task, way, seed) in SHIPPED.items():
        lr = tuned[task][way]["lr"] if task in tuned else LORA_GUESS
        result = run(task, way, lr, seed)
        save_adapter(result.model, ADAPTERS / name)
        losses[name] = round(result.task, 4)
    return losses


def main() -> None:
    torch.set_num_threads(1)
    tuned = table(WAYS)
    record = {"base": record_of()["sha256"], "table": tuned, "adapters": adapters(tuned)}
    record |= {"matrices": table(BUDGET), "forgetting": forgetting(tuned)}
    write_record(record, "transformer")


if __name__ == "__main__":
    main()
