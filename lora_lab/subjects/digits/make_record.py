"""Repair the weak digit in many ways over five seeds: python -m lora_lab.subjects.digits.make_record   (about 1 CPU minute)

Writes lora_lab/subjects/digits/record.json, which page 07 reads. A seed decides the split of the digits, the base's start and
batches, the adapter's start and batches, and which images are replayed. tests/test_digits.py runs a part of it again.
"""

import json
import time
from dataclasses import asdict, replace
from datetime import date

import torch

from lora_lab import theory
from lora_lab.subjects.digits import repair as dg

from .record import FILE, Variant

SEEDS = (0, 1, 2, 3, 4)
REPLAY = (0.1, 0.25, 0.5, 0.75, 0.9)
LAMS = tuple(i / 20 for i in range(1, 21))
HANDICAPS = tuple(i / 2 for i in range(61))
S3, FULL = Variant(), Variant("full")

VARIANTS = [
    Variant("base"),
    S3,
    FULL,
    replace(FULL, lr=1e-4),
    *(Variant(method) for method in ("gate", "handicap", "bonus", "oracle", "from scratch")),
    *(replace(v, lam=lam) for v in (S3, FULL) for lam in (*LAMS[1:-1:2], "chosen")),
    replace(FULL, lr=1e-4, lam="chosen"),
    *(replace(S3, steps=steps) for steps in (5, 10, 20, 50)),
    *(replace(FULL, steps=steps) for steps in (1, 2, 5, 10, 20, 50)),
    *(replace(S3, alpha=alpha) for alpha in (0.05, 0.1, 0.25, 0.5, 2.0, 4.0)),
    *(replace(S3, r=r) for r in (2, 4, 8)),
    *(replace(S3, layers=layer) for layer in dg.LAYERS),
    *(replace(v, replay=share) for v in (S3, FULL) for share in REPLAY),
    *(replace(v, replay=share, nines="seen") for v in (S3, FULL) for share in (0.0, *REPLAY)),
    *(replace(S3, replay=share, r=r) for r in (2, 4, 8) for share in REPLAY),
    *(replace(S3, replay=share, lam="chosen") for share in REPLAY),
    *(replace(S3, replay=0.75, layers=layer) for layer in dg.LAYERS),
    *(replace(v, replay=0.75, kept=kept) for v in (S3, FULL) for kept in (1, 2, 5, 10, 20)),
    *(replace(FULL, lr=1e-4, replay=0.75, kept=kept) for kept in (1, 5, None)),
]


def update_of(v: Variant, digits: dg.Digits, base: torch.nn.Module, seed: int) -> dg.Update:
    """Train the variant's LoRA or full update, without its lam."""
    data = dg.mixture(digits, v.replay, only_seen=v.nines == "seen", kept=v.kept, seed=seed)
    if v.method == "full":
        return dg.full_update(dg.fine_tune(base, data, steps=v.steps, lr=v.lr, seed=seed), base)
    layers = dg.LAYERS if v.layers == "all" else [v.layers]
    return dg.lora_update(dg.adapt(base, data, v.r, v.alpha, layers=layers, steps=v.steps, lr=v.lr, seed=seed))


def scores_of(v: Variant, digits: dg.Digits, base: torch.nn.Module, updates: dict, seed: int):
    """(test scores (n, 10), what was chosen or None). `updates` keeps what is trained: lam and gate reuse it."""
    if v.method == "from scratch":
        model = dg.mlp(seed)
        steps = dg.PRETRAIN_STEPS + dg.STEPS
        dg.fit(model, digits.X, digits.y, steps=steps, lr=v.lr, seed=seed)
        return dg.logits(model, digits.test_X), None
    before = dg.logits(base, digits.test_X)
    if v.method == "base":
        return before, None
    if v.method == "bonus":
        by = dg.best_handicap(dg.logits(base, digits.X), digits.y, [-h for h in HANDICAPS])
        return dg.handicapped(before, by), by
    key = replace(v, lam=1.0, method=v.method if v.method == "full" else "LoRA")
    if key not in updates:
        updates[key] = update_of(key, digits, base, seed)
    update = updates[key]
    lam = dg.best_lambda(base, digits, update, LAMS) if v.lam == "chosen" else v.lam
    after = dg.logits(base, digits.test_X, update, lam)
    if v.method == "gate":
        return dg.gated(before, after), None
    if v.method == "oracle":
        return torch.where((digits.test_y == dg.WEAK)[:, None], after, before), None
    if v.method == "handicap":
        by = dg.best_handicap(dg.logits(base, digits.X, update), digits.y, HANDICAPS)
        return dg.handicapped(after, by), by
    return after, lam if v.lam == "chosen" else None


def run(variants=VARIANTS, seeds=SEEDS) -> dict[Variant, list[tuple[list[int], float | None]]]:
    """{variant: [(errors per digit, what was chosen), a pair per seed]}"""
    found = {v: [] for v in variants}
    for seed in seeds:
        digits = dg.load(seed)
        base, updates = dg.pretrain(digits, seed), {}
        for v in variants:
            scores, chosen = scores_of(v, digits, base, updates, seed)
            found[v].append((dg.errors(scores, digits.test_y), chosen))
    return found


INSIDE = [replace(v, replay=share) for share in (0.0, 0.75) for v in (S3, FULL)]


def look_inside(variants=INSIDE, seeds=SEEDS) -> dict[Variant, list[dict]]:
    """What the updates look like, per seed: see digits_record.Inside."""
    found = {v: [] for v in variants}
    for seed in seeds:
        digits = dg.load(seed)
        base = dg.pretrain(digits, seed)
        weights = {layer: getattr(base, layer).weight.detach() for layer in dg.LAYERS}
        other = digits.test_X[digits.test_y != dg.WEAK]
        for v in variants:
            update = update_of(v, digits, base, seed)
            deltas = {layer: update[f"{layer}.weight"] for layer in dg.LAYERS}
            constant = dg.constant_share(dg.logits(base, other), dg.logits(base, other, update))
            found[v].append({
                "r90": [theory.energy_rank(delta) for delta in deltas.values()],
                "intruders": [theory.intruder_dimensions(W, W + deltas[layer]) for layer, W in weights.items()],
                "constant": round(constant, 3),
            })
    return found


def settings_of(v: Variant) -> dict:
    return {k: x for k, x in asdict(v).items() if k == "method" or x != getattr(Variant(), k)}


def write(found: dict, inside: dict, seconds: float) -> None:
    import sklearn

    rows = []
    for v, seeds in found.items():
        row = {"variant": settings_of(v), "errors": [errors for errors, _ in seeds]}
        if seeds[0][1] is not None:
            row["chosen"] = [chosen for _, chosen in seeds]
        rows.append(json.dumps(row))
    head = {
        "command": "python -m lora_lab.subjects.digits.make_record",
        "settings": {
            "data": "scikit-learn's digits, each digit halved by the seed; pretraining sees 10 % of the nines",
            "network": f"MLP {'-'.join(map(str, dg.SIZES))}, ReLU",
            "pretraining": f"{dg.PRETRAIN_STEPS} batches of {dg.BATCH}, Adam 1e-3",
            "adapting": f"{dg.STEPS} batches of {dg.BATCH}, Adam 1e-3, alpha/r scaling, A ~ N(0, 1/d_in), one thread",
        },
        "seeds": SEEDS,
        "counts": dg.load(0).counts,
        "torch": torch.__version__.split("+")[0],
        "scikit-learn": sklearn.__version__,
        "seconds": round(seconds),
        "date": date.today().isoformat(),
    }
    insides = [json.dumps({"variant": settings_of(v), "seeds": seeds}) for v, seeds in inside.items()]
    lists = {"results": rows, "inside": insides}
    body = [f' "{name}": [\n  ' + ",\n  ".join(lines) + "\n ]" for name, lines in lists.items()]
    text = json.dumps(head, indent=1)[:-2] + ",\n" + ",\n".join(body) + "\n}\n"
    json.loads(text)
    FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    start = time.process_time()
    results = run()
    write(results, look_inside(), time.process_time() - start)
    print(f"{len(results)} variants, {len(SEEDS)} seeds, {time.process_time() - start:.0f} CPU seconds: {FILE.name}")
