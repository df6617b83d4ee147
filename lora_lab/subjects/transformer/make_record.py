"""Fine-tune the small GPT in every way that is compared: python -m lora_lab.subjects.transformer.make_record [TASK …]

Two and a half CPU hours on idle cores, a task on a core. Each run is a line of runs.jsonl as soon as it ends, and a run
that is there already is not made again: stop it when you like, and start it again. Of every way the learning rate is
climbed to on two seeds with 600 steps; at the best, five seeds, and two with 1200 steps: has it stopped improving?
Four ways run at other rates, with 150 steps, too: what is learned, how far the weights move, what is forgotten.
Then, when both tasks are there, `make_record adapters` trains the shipped adapters (PEFT's format).
"""

import shutil
import sys

import torch

from lora_lab import add_lora, count_parameters, save_adapter
from lora_lab.subjects.mini_language import language
from lora_lab.subjects.records import climb, kept, place, read_lines, significant, write_record
from lora_lab.training import train

from . import directions
from .gpt import ADAPTERS, GPT, LINEARS, RANKS, above_floor, generate, linears, load_base, record_of, text_loss
from .record import RUNS, best_rates

TASKS = ("bard", "swap 8")
SEEDS = (0, 1, 2, 3, 4)
STEPS = 600
HOW = {"batch_size": 32, "schedule": "cosine"}
ALPHA = 16
LINES = 4000  # of the task, to train on
TUNE_ON = {"n": 400, "seed": 3_000}
TEST_ON = {"n": 800, "seed": 4_000}
VOICES = tuple(teller for teller in language.TELLERS if teller != "anon")
RATES = tuple(3.125e-5 * 2**i for i in range(14))  # to 0.256
GUESS = {"full": 2.5e-4, "linears": 5e-4, "head": 8e-3, "biases": 1.6e-2, "last block": 1e-3}  # the search starts here
LORA_GUESS = 4e-3
COMPARED = ("full", "q,v r=8", "all linears r=8", "q,v r=1")  # in more detail
WAYS = [*GUESS, *(f"q,v r={r}" for r in RANKS), *(f"all linears r={r}" for r in RANKS)]
BUDGET = ["q r=8", "k r=8", "v r=8", "o r=8", "q,k r=4", "q,v r=4", "q,k,v,o r=2"]  # Table 5's rows: 3072 numbers
MLP_BUDGET = ["up r=3", "down r=3"]  # 2880
CUT_TO = (1, 2, 4, 8, 16)
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


def prepare(way: str, seed: int = 0, model: GPT | None = None) -> GPT:
    """The base, or another model, in which only what `way` trains is trainable: "full", "head", ..., "q,v r=8"."""
    model = model or load_base()
    where, rank = place(way)
    if rank:
        targets = LINEARS if where == "all linears" else [f"{m}_proj" for m in where.split(",")]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            add_lora(model, rank, ALPHA, target_modules=targets)
        return model
    matrices = {f"{name}.weight" for name in linears(model)}
    for name, p in model.named_parameters():
        trained = {
            "full": True,
            "linears": name in matrices,
            "head": name.startswith("head."),
            "biases": name.endswith("bias"),
            "last block": name.startswith("layers.1."),
        }
        p.requires_grad_(trained[way])
    return model


def fine_tune(
    task: str, way: str, lr: float, steps: int, seed: int, *, lines: int = LINES, model: GPT | None = None, **how: int
) -> GPT:
    """Train the base, or another model, which then changes in place."""
    model = prepare(way, seed, model)
    X, y = language.tensors(language.dialect(task, lines, seed=10 + seed))
    train(model, X, y, loss=text_loss, lr=lr, seed=seed, steps=steps, progress=None, **HOW | how)
    return model


def cut_losses(task: str, model: GPT) -> dict[int, float]:
    """Loss on the task after each matrix's ΔW is cut to its best rank-r approximation; what else trained is kept."""
    start, tuned, found = load_base().state_dict(), linears(model), {}
    deltas = directions.updates(model, start)
    pieces = {name: torch.linalg.svd(delta, full_matrices=False) for name, delta in deltas.items()}
    for r in CUT_TO:
        for name, (U, S, Vh) in pieces.items():
            tuned[name].weight.data = start[f"{name}.weight"] + U[:, :r] * S[:r] @ Vh[:r]
        found[r] = round(above_floor(model, language.dialect(task, **TEST_ON)), 4)
    return found


def run(task: str, way: str, lr: float, steps: int, seed: int) -> dict:
    """Train once and measure, or read the line of a run that was made before."""

    def measure() -> dict:
        model = fine_tune(task, way, lr, steps, seed)
        start = load_base().state_dict()
        deltas = directions.updates(model, start)
        share = [directions.moved(start[f"{name}.weight"], delta) for name, delta in deltas.items()]
        strange = [directions.intruders(start[f"{name}.weight"], delta)[0] for name, delta in deltas.items()]
        r90 = [directions.rank_of_energy(delta, 0.9) for delta in deltas.values()]
        found = {
            "trained": count_parameters(model)[0],
            "tuned_on": round(above_floor(model, language.dialect(task, **TUNE_ON)), 4),
            "loss": round(above_floor(model, language.dialect(task, **TEST_ON)), 4),
            "others": round(above_floor(model, language.corpus(**TEST_ON, tellers=VOICES)), 4),
            "moved": significant(sum(share) / len(share), 3) if share else 0.0,
            "intruders": round(sum(strange) / len(strange), 2) if share else 0.0,
            "r90": round(sum(r90) / len(r90), 1) if share else 0.0,
        }
        return found | ({"cut": cut_losses(task, model)} if way in ("full", "linears") else {})

    return kept(RUNS, {"task": task, "way": way, "lr": lr, "steps": steps, "seed": seed}, measure)


def tune(task: str, way: str, guess: float) -> float:
    """The best rate on the tuning lines, two seeds each."""
    return climb(RATES, guess, lambda lr: sum(run(task, way, lr, STEPS, seed)["tuned_on"] for seed in SEEDS[:2]))


def measure(task: str) -> None:
    guess = LORA_GUESS
    for way in dict.fromkeys([*COMPARED, *WAYS, *BUDGET, *MLP_BUDGET]):
        best = tune(task, way, GUESS.get(way, guess))
        guess = guess if way in GUESS else best  # the next rank's rate is likely near
        for seed in SEEDS:
            run(task, way, best, STEPS, seed)
        for seed in SEEDS[:2]:
            run(task, way, best, 2 * STEPS, seed)
        if way in COMPARED:
            for steps in (STEPS, STEPS // 4):
                for factor in (0.25, 0.5, 1, 2, 4):
                    for seed in SEEDS[:3]:
                        run(task, way, best * factor, steps, seed)


def ship() -> None:
    """Train and save each adapter; write its loss above the floor of its task, and what full fine-tuning says."""
    best = best_rates()
    shutil.rmtree(ADAPTERS, ignore_errors=True)
    losses, said = {}, {}
    for name, (task, way, seed) in SHIPPED.items():
        model = fine_tune(task, way, best.get((task, way), best["bard", way]), STEPS, seed)
        save_adapter(model, ADAPTERS / name)
        losses[name] = round(above_floor(model, language.dialect(task, **TEST_ON)), 4)
        print(name, losses[name], flush=True)
    for task in TASKS:
        model = fine_tune(task, "full", best[task, "full"], STEPS, 0)
        records = [line.record for line in language.dialect(task, 100, seed=5_000)]
        texts = generate(model, records)
        grammatical = language.shares(records, texts, task).grammatical
        said[task] = {"text": [" ".join(t) for t in texts[:4]], "grammatical": grammatical}
    write_record({"base": record_of()["sha256"], "adapters": losses, "said": said}, "transformer")


def main() -> None:
    torch.set_num_threads(1)
    parts = sys.argv[1:] or [*TASKS, "adapters"]
    done = read_lines(RUNS)
    minutes = sum(row["seconds"] for row in done) / 60
    print(f"{len(done)} of about 840 runs are there, {minutes:.0f} CPU minutes of 150 (idle cores) to 300", flush=True)
    for part in parts:
        if part == "adapters":
            ship()
        else:
            measure(part)


if __name__ == "__main__":
    main()
