"""Fine-tune the small GPT in every way that is compared: python -m lora_lab.subjects.transformer.make_record [part ...]

Parts, all of them unless named (about 20 CPU minutes on one core, --device cuda uses a GPU):
    table      full, head, biases, last block and LoRA at six ranks, the learning rate of each tuned, three seeds
    adapters   the LoRA adapters that are shipped  -> adapters/NAME/ (PEFT's format)
    matrices   the paper's Table 5 in miniature: one budget, which matrices
    forgetting three ways at their tuned rate, half and a quarter of it: what is learned against what is forgotten
"""

from __future__ import annotations

import argparse
import shutil
import time
from datetime import date
from typing import NamedTuple

import torch

from lora_lab import add_lora, count_parameters, save_adapter
from lora_lab.subjects.mini_language import language
from lora_lab.subjects.records import read_record, record_file, write_record
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
    cpu_seconds: float


def prepare(way: str, seed: int = 0, device: str = "cpu") -> GPT:
    """A copy of the base in which only what `way` trains is trainable: "full", "head", ..., "q,v r=8"."""
    model = load_base().to(device)
    where, rank = place(way)
    if rank:
        targets = LINEARS if where == "all linears" else [f"{m}_proj" for m in where.split(",")]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            add_lora(model, rank, ALPHA, target_modules=targets)
        return model
    last = f"layers.{len(model.layers) - 1}."
    for name, p in model.named_parameters():
        trained = {"full": True, "head": name.startswith("head."), "biases": name.endswith("bias"),
                   "last block": name.startswith(last)}  # fmt: skip
        p.requires_grad_(trained[way])
    return model


def run(task: str, way: str, lr: float, seed: int, device: str = "cpu") -> Result:
    model = prepare(way, seed, device)
    X, y = language.tensors(language.dialect(task, LINES, seed=10 + seed))
    start = time.process_time()
    train(model, X.to(device), y.to(device), loss=text_loss, lr=lr, seed=seed, progress=None, **HOW)
    seconds = time.process_time() - start
    return Result(
        model,
        above_floor(model, language.dialect(task, **TUNE_ON)),
        above_floor(model, language.dialect(task, **TEST_ON)),
        above_floor(model, language.corpus(**TEST_ON, tellers=VOICES)),
        seconds,
    )


def tune(task: str, way: str, device: str) -> tuple[float, dict[float, Result]]:
    """Climb along RATES, seed 0, from the guess to a rate whose two neighbours are worse on the tuning lines."""
    tried: dict[float, Result] = {}

    def loss_at(i: int) -> float:
        rate = RATES[i]
        if rate not in tried:
            tried[rate] = run(task, way, rate, SEEDS[0], device)
        loss = tried[rate].tuned_on
        return loss if loss == loss else float("inf")  # a run that diverged

    best = RATES.index(GUESS.get(way, LORA_GUESS))
    while True:
        around = [i for i in (best - 1, best, best + 1) if 0 <= i < len(RATES)]
        winner = min(around, key=loss_at)
        if winner == best:
            return RATES[best], tried
        best = winner


def measure(task: str, way: str, device: str) -> dict:
    """Tuned, then the remaining seeds at the best rate."""
    lr, tried = tune(task, way, device)
    runs = [tried[lr], *(run(task, way, lr, seed, device) for seed in SEEDS[1:])]
    row = {
        "trained": count_parameters(runs[0].model)[0],
        "tried": {f"{rate:g}": round(tried[rate].tuned_on, 4) for rate in sorted(tried)},
        "lr": lr,
        "task": [round(r.task, 4) for r in runs],
        "voices": [round(r.voices, 4) for r in runs],
        "cpu_seconds": [round(r.cpu_seconds, 1) for r in runs],
    }
    if way in ("full", "q,v r=1", "q,v r=8"):  # whose text is shown
        row |= said(task, runs[0].model)
    return row


def said(task: str, model: GPT) -> dict:
    """The first of 100 sentences, and the share of them that the task's grammar accepts."""
    records = [line.record for line in language.dialect(task, 100, seed=5_000)]
    texts = generate(model, records)
    return {"text": [" ".join(t) for t in texts[:4]], **language.shares(records, texts, task)._asdict()}


def before(task: str, device: str) -> dict:
    """What the base does before it is fine-tuned."""
    base, lines = load_base().to(device), language.dialect(task, **TEST_ON)
    voices = language.corpus(**TEST_ON, tellers=VOICES)
    return {
        "task": round(above_floor(base, lines), 4),
        "voices": round(above_floor(base, voices), 4),
        "floor": round(language.floor(lines), 4),
        **said(task, base),
    }


def table(record: dict, device: str, part: str = "table", ways: list[str] = WAYS) -> None:
    values = record.setdefault(part, {})
    for task in TASKS:
        values.setdefault(task, {})["before"] = before(task, device)
        for way in ways:
            values[task][way] = measure(task, way, device)
            print(part, task, way, values[task][way], flush=True)


def matrices(record: dict, device: str) -> None:
    table(record, device, "matrices", BUDGET)


def best_rate(record: dict, task: str, way: str) -> float:
    known = record.get("table", {}).get(task, {}).get(way)
    return known["lr"] if known else GUESS.get(way, LORA_GUESS)


def adapters(record: dict, device: str) -> None:
    shutil.rmtree(ADAPTERS, ignore_errors=True)
    record["adapters"] = {}
    for name, (task, way, seed) in SHIPPED.items():
        lr = best_rate(record, task, way)
        result = run(task, way, lr, seed, device)
        save_adapter(result.model.cpu(), ADAPTERS / name)
        about = {"task": task, "way": way, "seed": seed, "lr": lr, "above_floor": round(result.task, 4)}
        record["adapters"][name] = about
        print(name, about, flush=True)


def forgetting(record: dict, device: str) -> None:
    """[task, voices] above the floor, a pair per seed."""
    values = record["forgetting"] = {}
    for task in TASKS:
        values[task] = {}
        for way in ("full", "q,v r=8", "all linears r=8"):
            best = best_rate(record, task, way)
            values[task][way] = {}
            for rate in (best / 4, best / 2, best):
                runs = [run(task, way, rate, seed, device) for seed in SEEDS]
                values[task][way][f"{rate:g}"] = [[round(r.task, 4), round(r.voices, 4)] for r in runs]
            print("forgetting", task, way, values[task][way], flush=True)


PARTS = {"table": table, "adapters": adapters, "matrices": matrices, "forgetting": forgetting}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all unless named")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    torch.set_num_threads(1)
    record = read_record("transformer") if record_file("transformer").exists() else {}
    record |= {
        "command": "python -m lora_lab.subjects.transformer.make_record",
        "base": record_of()["sha256"],
        "settings": {**HOW, "optimizer": "adam", "alpha": ALPHA, "lines": LINES, "seeds": SEEDS, "rates": RATES,
                     "tune_on": TUNE_ON, "test_on": TEST_ON},
        "torch": torch.__version__.split("+")[0],
        "date": date.today().isoformat(),
        "device": args.device,
    }  # fmt: skip
    for part in args.parts or PARTS:
        PARTS[part](record, args.device)
        write_record(record, "transformer")


if __name__ == "__main__":
    main()
