"""Fine-tune the base of page 08 in every way the page compares: python -m lora_lab.subjects.transformer.make_record [part ...]

Parts, all of them unless named (about 20 CPU minutes on one core, --device cuda uses a GPU):
    adapters   the LoRA adapters that page 08 loads  -> lora_lab/subjects/transformer/adapters/NAME/ (PEFT's format)
    table      full, head, biases, last block and LoRA at six ranks, with the learning rate of each tuned, three seeds
    matrices   the paper's Table 5 in miniature: one budget, which matrices
    forgetting the same LoRA and full runs at other learning rates: what is learned against what is forgotten
The last three write their part of lora_lab/data/gpt_tuning.json. tests/test_transformer_records.py repeats a few runs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from datetime import date
from typing import NamedTuple

import torch

from lora_lab import add_lora, count_parameters, save_adapter
from lora_lab.subjects.mini_language import language
from lora_lab.training import train

from .gpt import ADAPTERS, DATA, GPT, LINEARS, RANKS, above_floor, generate, load_base, record_of, text_loss

OUT = DATA / "record.json"
TASKS = ("bard", "swap 8")
SEEDS = (0, 1, 2)
HOW = {"steps": 120, "batch_size": 32, "schedule": "cosine"}
ALPHA = 16
LINES = 4000  # of the task, to train on
TUNE_ON = {"n": 400, "seed": 3_000}
TEST_ON = {"n": 800, "seed": 4_000}
VOICES = tuple(t for t in language.TELLERS if t != "anon")
RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2, 0.128, 0.256)
GUESS = {"full": 1e-3, "head": 1.6e-2, "biases": 3.2e-2, "last block": 2e-3}  # where the search starts; LoRA: 1.6e-2
WAYS = [*GUESS, *(f"{where} r={r}" for where in ("q,v", "all linears") for r in RANKS)]
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
    model: GPT
    tuned_on: float  # all three: nats per token above the floor
    task: float
    voices: float
    cpu_seconds: float


def prepare(way: str, seed: int = 0, device: str = "cpu") -> GPT:
    """A copy of the base in which only what `way` trains is trainable: "full", "head", ..., "q,v r=8"."""
    model = load_base().to(device)
    if " r=" in way:
        where, r = way.split(" r=")
        targets = LINEARS if where == "all linears" else [f"{m}_proj" for m in where.split(",")]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            add_lora(model, int(r), ALPHA, target_modules=targets)
        return model
    last = f"layers.{len(model.layers) - 1}."
    chosen = {
        "full": lambda name: True,
        "head": lambda name: name.startswith("head."),
        "biases": lambda name: name.endswith("bias"),
        "last block": lambda name: name.startswith(last),
    }[way]
    for name, p in model.named_parameters():
        p.requires_grad_(chosen(name))
    return model


def run(task: str, way: str, lr: float, seed: int, device: str = "cpu") -> Result:
    model = prepare(way, seed, device)
    X, y = (t.to(device) for t in language.tensors(language.dialect(task, LINES, seed=10 + seed)))
    start = time.process_time()
    train(model, X, y, loss=text_loss, lr=lr, seed=seed, progress=None, **HOW)
    seconds = time.process_time() - start
    on = (
        language.dialect(task, **TUNE_ON),
        language.dialect(task, **TEST_ON),
        language.corpus(**TEST_ON, tellers=VOICES),
    )
    return Result(model, *(above_floor(model, lines) for lines in on), seconds)


def tune(task: str, way: str, device: str) -> tuple[float, dict[float, Result]]:
    """Climb along RATES, seed 0, from the guess to a rate whose two neighbours are worse on the tuning lines."""
    tried: dict[float, Result] = {}

    def score(i: int) -> float:
        rate = RATES[i]
        if rate not in tried:
            tried[rate] = run(task, way, rate, SEEDS[0], device)
        loss = tried[rate].tuned_on
        return loss if loss == loss else float("inf")  # a run that diverged

    best = RATES.index(GUESS.get(way, 1.6e-2))
    while True:
        around = [i for i in (best - 1, best, best + 1) if 0 <= i < len(RATES)]
        winner = min(around, key=score)
        if winner == best:
            return RATES[best], tried
        best = winner


def measure(task: str, way: str, device: str) -> dict:
    """Tuned, then the remaining seeds at the best rate."""
    lr, tried = tune(task, way, device)
    runs = [tried[lr], *(run(task, way, lr, seed, device) for seed in SEEDS[1:])]
    return {
        "trained": count_parameters(runs[0].model)[0],
        "tried": {f"{rate:g}": round(tried[rate].tuned_on, 4) for rate in sorted(tried)},
        "lr": lr,
        "task": [round(r.task, 4) for r in runs],
        "voices": [round(r.voices, 4) for r in runs],
        "cpu_seconds": [round(r.cpu_seconds, 1) for r in runs],
    } | said(task, runs[0].model, way)


def said(task: str, model: GPT, way: str) -> dict:
    """What the first seed's model says, for the ways whose text the page shows."""
    if way not in ("full", "q,v r=1", "q,v r=8"):
        return {}
    lines = language.dialect(task, 100, seed=5_000)
    records = [line.record for line in lines]
    texts = generate(model, records)
    return {"text": [" ".join(t) for t in texts[:4]], **language.shares(records, texts, task)._asdict()}


def _save(part: str, values: object, device: str) -> None:
    record = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
    record |= {
        "command": "python -m lora_lab.subjects.transformer.make_record",
        "base": record_of()["sha256"],
        "settings": {
            **HOW,
            "optimizer": "adam",
            "alpha": ALPHA,
            "lines": LINES,
            "seeds": SEEDS,
            "rates": RATES,
            "tune_on": TUNE_ON,
            "test_on": TEST_ON,
        },
        "torch": torch.__version__.split("+")[0],
        "date": date.today().isoformat(),
        "device": device,
        part: values,
    }
    OUT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _best_rate(task: str, way: str) -> float:
    known = _recorded("table").get(task, {}).get(way)
    return known["lr"] if known else GUESS.get(way, 1.6e-2)


def adapters(device: str) -> None:
    about = {}
    shutil.rmtree(ADAPTERS, ignore_errors=True)
    for name, (task, way, seed) in SHIPPED.items():
        lr = _best_rate(task, way)
        result = run(task, way, lr, seed, device)
        save_adapter(result.model.cpu(), ADAPTERS / name)
        about[name] = {"task": task, "way": way, "seed": seed, "lr": lr, "above_floor": round(result.task, 4)}
        print(name, about[name], flush=True)
        _save("adapters", about, device)


def _recorded(part: str) -> dict:
    return json.loads(OUT.read_text(encoding="utf-8")).get(part, {}) if OUT.exists() else {}


def table(device: str, part: str = "table", ways: list[str] = WAYS) -> None:
    base = load_base().to(device)
    values = _recorded(part)
    for task in TASKS:
        lines = language.dialect(task, **TEST_ON)
        values[task] = values.get(task, {}) | {
            "before": {
                "task": round(above_floor(base, lines), 4),
                "voices": round(above_floor(base, language.corpus(**TEST_ON, tellers=VOICES)), 4),
                "floor": round(language.floor(lines), 4),
                **said(task, base, "full"),
            }
        }
        for way in ways:
            values[task][way] = measure(task, way, device)
            print(part, task, way, values[task][way], flush=True)
            _save(part, values, device)


def forgetting(device: str) -> None:
    """Each of three ways at its best rate and at a quarter of it, three seeds: [task, voices] above the floor."""
    values: dict = {}
    for task in TASKS:
        values[task] = {}
        for way in ("full", "q,v r=8", "all linears r=8"):
            best = _best_rate(task, way)
            values[task][way] = {
                f"{rate:g}": [
                    [round(r.task, 4), round(r.voices, 4)] for r in (run(task, way, rate, s, device) for s in SEEDS)
                ]
                for rate in (best / 4, best / 2, best)
            }
            print("forgetting", task, way, values[task][way], flush=True)
            _save("forgetting", values, device)


PARTS = {
    "table": table,
    "adapters": adapters,
    "matrices": lambda device: table(device, "matrices", BUDGET),
    "forgetting": forgetting,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[], metavar="part")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--ways", nargs="*", help="only these rows of the table, for example --ways full biases")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.ways:
        table(args.device, ways=args.ways)
    else:
        for part in args.parts or PARTS:
            PARTS[part](args.device)
