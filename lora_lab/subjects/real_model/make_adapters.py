"""What else page 13 shows of the real model: python -m lora_lab.subjects.real_model.make_adapters

The untouched model, full fine-tuning's update, the three shipped adapters and what they say, merging into 4 bits, plain
questions, memory. About 40 minutes on one core; each part is written to adapters.json as soon as it is done. Needs
the learning rates of make_record.
"""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch

from lora_lab import add_lora, load_adapter, lora_parameters, remove_lora, save_adapter, set_scale, train
from lora_lab.subjects.records import place, record_file, significant, write_record
from lora_lab.subjects.transformer import directions

from . import checkpoint, four_bits, task
from .make_record import ALPHA, EXAMPLES, SEEDS, Bench, arithmetic
from .record import ADAPTERS, FULL, LORA, PLACES, QUESTIONS, best_rate

SHIPPED = {"all, r = 3": ("all r=3", EXAMPLES), "all, r = 1": ("all r=1", EXAMPLES), "16 examples": ("all r=3", 16)}
LAMS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
CUT_TO = (1, 2, 8, 32)
LAYERS = (0, 9, 19, 29)  # where directions are compared: a singular value decomposition of W takes its time
SHOWN = [example for group in task.test_examples(2).values() for example in group]


def plain_answers(bench: Bench) -> list[str]:
    asked = [[{"role": "user", "content": question}] for question in QUESTIONS]
    with arithmetic():
        return [answer.strip() for answer in task.answers(bench.chat, asked, longest=24)]


def before(bench: Bench) -> dict:
    """The untouched model: asked directly, and after three answered examples."""
    shots = task.examples(3, seed=10)
    few = bench.measured(shots)["scores"]
    with arithmetic():
        said = task.answers(bench.chat, [task.messages(e.sentence) for e in SHOWN])
    return bench.measured() | {"few-shot": few, "said": said, "plain": plain_answers(bench)}


def tokens(bench: Bench) -> list:
    """One batch of three as the model sees it: rows of (token, is it counted in the loss)."""
    tokenizer = bench.chat.tokenizer
    ids, labels = task.as_labels(*task.task_tensors(tokenizer, SHOWN[:3]), tokenizer.eos_token_id)
    counted = labels != -100
    return [[[tokenizer.decode(i), bool(c)] for i, c in zip(*rows)] for rows in zip(ids.tolist(), counted.tolist())]


def updates(bench: Bench, way: str, seed: int) -> dict:
    """How ΔW lies in its matrices, and what is left of full fine-tuning's when each is cut to rank r."""
    with bench.trained(way, best_rate(way), seed=seed):
        deltas, found, cut = bench.updates(), {}, {}
        W = {name: bench.start[f"{name}.weight"] for name in deltas}
        for name, delta in deltas.items():
            _, _, layer, _, matrix = name.split(".")
            strange = directions.intruders(W[name], delta)[0] if int(layer) in LAYERS else None
            moved = significant(directions.moved(W[name], delta), 3)
            found.setdefault(matrix, []).append([moved, directions.rank_of_energy(delta), strange])
        made = {"matrices": found, "plain": plain_answers(bench)}
        if way == FULL:
            layers = dict(bench.chat.model.named_modules())
            pieces = {name: torch.linalg.svd(delta, full_matrices=False) for name, delta in deltas.items()}
            for r in CUT_TO:
                for name, (U, S, Vh) in pieces.items():
                    layers[name].weight.data.copy_(W[name] + U[:, :r] * S[:r] @ Vh[:r])
                with arithmetic():
                    cut[r] = round(task.loss_on(bench.chat.model, *bench.test_on), 4)
            made |= {"cut": cut, "four bits": four_bits.merged(bench, deltas)}
    return made


def gently(bench: Bench) -> dict:
    """Plain questions after full fine-tuning at a quarter of its best rate: the loss on the task is nearly the same."""
    with bench.trained(FULL, best_rate(FULL) / 4):
        return {"plain": plain_answers(bench)}


def ship(bench: Bench, name: str) -> dict:
    """Train one adapter and save it in bfloat16; what it says of the shown sentences at every λ, and its losses."""
    model, (way, examples) = bench.chat.model, SHIPPED[name]
    folder = ADAPTERS / name.replace(", ", "-").replace(" = ", "").replace(" ", "-")
    shutil.rmtree(folder, ignore_errors=True)
    with bench.trained(way, best_rate(LORA), examples=examples) as (_, losses):
        for p in lora_parameters(model):
            p.data = p.data.bfloat16()
        save_adapter(model, folder)
    load_adapter(model, folder, check_base=False)
    said = {}
    with arithmetic():
        for lam in LAMS:
            set_scale(model, lam)
            said[lam] = task.answers(bench.chat, [task.messages(e.sentence) for e in SHOWN])
    set_scale(model, 1.0)
    deltas = bench.updates()
    remove_lora(model)
    bits = four_bits.merged(bench, deltas)
    return {"folder": folder.name, "losses": [significant(x, 3) for x in losses], "said": said, "four bits": bits}


def cost(way: str) -> None:
    """In a process of its own, on Linux: gigabytes that three steps need at their peak, the model's own among them, and
    seconds a step; float32, 8 sentences.
    """
    torch.set_num_threads(1)
    chat = checkpoint.load()
    X, y = task.task_tensors(chat.tokenizer, task.examples(8, seed=10))
    where, rank = place(way)
    if rank:
        add_lora(chat.model, rank, ALPHA, target_modules=PLACES[where])
    Path("/proc/self/clear_refs").write_text("5")  # what loading took at its peak is forgotten
    before, begun = memory("VmRSS"), time.perf_counter()
    train(chat.model, X, y, loss=task.answer_loss, lr=1e-5, steps=3, batch_size=8, progress=None)
    step = (time.perf_counter() - begun) / 3
    needed = memory("VmHWM") - before + sum(p.numel() * 4 for p in chat.model.parameters()) / 1e9
    print(json.dumps({"peak": round(needed, 2), "step": round(step, 1), "tokens": X.numel()}))


def memory(kind: str) -> float:
    """This process's "VmRSS" (now) or "VmHWM" (at its peak), in GB."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{kind}:\s+(\d+) kB", status)[1]) / 1e6


def costs() -> dict:
    command = [sys.executable, "-m", "lora_lab.subjects.real_model.make_adapters"]
    return {
        way: json.loads(subprocess.run([*command, way], check=True, capture_output=True, text=True).stdout)
        for way in (FULL, LORA, "q,v r=8")
    }


def main() -> None:
    if sys.argv[1:]:
        return cost(sys.argv[1])
    torch.set_num_threads(1)
    file = record_file("real_model", "adapters")
    made = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    bench = Bench()
    parts = {"before": lambda: before(bench), "tokens": lambda: tokens(bench)}
    parts |= {name: lambda name=name: ship(bench, name) for name in SHIPPED}
    for way, seed in ((FULL, 0), (LORA, 0), *((FULL, seed) for seed in SEEDS[1:])):
        parts[f"{way}, seed {seed}"] = lambda way=way, seed=seed: updates(bench, way, seed)
    parts["full, a quarter of the rate"] = lambda: gently(bench)
    parts["costs"] = costs
    for name, part in parts.items():
        if name not in made:
            made[name] = part()
            write_record({key: made[key] for key in parts if key in made}, "real_model", "adapters")


if __name__ == "__main__":
    main()
