"""Repair the weak digit in many ways over five seeds: python -m lora_lab.subjects.digits.make_record

About a minute of one core; a line of record.jsonl for each way, and one that is there is not made again (those kept:
torch 2.13.0). A seed decides the split of scikit-learn's digits, the base's start and batches, the adapter's start and
batches, and which images are replayed.
"""

from functools import cache, partial

import torch

from lora_lab.subjects.records import kept

from . import repair
from .record import RECORD, Variant

SEEDS = [0, 1, 2, 3, 4]
REPLAY = (0.1, 0.25, 0.5, 0.75, 0.9)
LAMS = [i / 20 for i in range(1, 21)]
CONSTANTS = [i / 2 for i in range(61)]  # what a bonus may be
S3, FULL, SLOW = Variant(), Variant("full"), Variant("full", lr=1e-4)


def variants() -> list[Variant]:
    found = [Variant("base"), S3, FULL, SLOW, SLOW._replace(replay=0.75, kept=1)]
    found += [Variant(method) for method in ("bonus", "oracle", "from scratch")]
    found += [S3._replace(steps=steps) for steps in (5, 10, 20, 50)]
    found += [FULL._replace(steps=steps) for steps in (1, 2, 5, 10, 20, 50)]
    found += [S3._replace(alpha=alpha) for alpha in (0.05, 0.1, 0.25, 0.5, 2.0, 4.0)]
    found += [S3._replace(r=r) for r in (2, 4, 8)]
    found += [S3._replace(replay=0.75, layers=layer) for layer in repair.LAYERS]
    found += [S3._replace(replay=0.25, lam="chosen"), S3._replace(replay=0.9, r=8)]
    for v in (S3, FULL):
        found += [v._replace(lam=lam) for lam in [*LAMS[1:-1:2], "chosen"]]
        found += [v._replace(replay=share) for share in REPLAY]
        found += [v._replace(replay=share, nines="seen") for share in (0.0, *REPLAY)]
        found += [v._replace(replay=0.75, kept=kept) for kept in (1, 2, 5, 10, 20)]
    return found


@cache
def digits_and_base(seed: int) -> tuple[repair.Digits, torch.nn.Module]:
    digits = repair.load(seed)
    return digits, repair.pretrain(digits, seed)


@cache
def trained(v: Variant, seed: int) -> repair.Update:
    """The update of a variant "LoRA" or "full" with λ = 1."""
    digits, base = digits_and_base(seed)
    data = repair.mixture(digits, v.replay, only_seen=v.nines == "seen", kept=v.kept, seed=seed)
    how = {"steps": v.steps, "lr": v.lr, "seed": seed}
    if v.method == "full":
        return repair.full_update(repair.fine_tune(base, data, **how), base)
    layers = repair.LAYERS if v.layers == "all" else [v.layers]
    return repair.lora_update(repair.adapt(base, data, v.r, v.alpha, layers=layers, **how))


def judged(v: Variant, seed: int) -> tuple[torch.Tensor, float | None]:
    """(test scores (n, 10), the λ or constant that was chosen on the training half, or None)."""
    digits, base = digits_and_base(seed)
    before = repair.logits(base, digits.test_X)
    if v.method == "base":
        return before, None
    if v.method == "bonus":
        known = repair.logits(base, digits.X)
        by = repair.fewest_errors(lambda by: repair.raised(known, by), CONSTANTS, digits.y)
        return repair.raised(before, by), by
    if v.method == "from scratch":
        model = repair.mlp(seed)
        repair.fit(model, digits.X, digits.y, steps=repair.PRETRAIN_STEPS + repair.STEPS, lr=v.lr, seed=seed)
        return repair.logits(model, digits.test_X), None
    update = trained(v._replace(lam=1.0, method="full" if v.method == "full" else "LoRA"), seed)
    if v.lam == "chosen":
        lam = repair.fewest_errors(lambda lam: repair.logits(base, digits.X, update, lam), LAMS, digits.y)
        return repair.logits(base, digits.test_X, update, lam), lam
    after = repair.logits(base, digits.test_X, update, v.lam)
    if v.method == "oracle":
        return torch.where((digits.test_y == repair.WEAK)[:, None], after, before), None
    return after, None


def run(v: Variant, seeds: list[int]) -> dict[str, list]:
    """What the record says of a variant: errors and what was chosen, one per seed."""
    errors, chosen = [], []
    for seed in seeds:
        scores, choice = judged(v, seed)
        errors.append(repair.errors(scores, digits_and_base(seed)[0].test_y))
        if choice is not None:
            chosen.append(choice)
    return {"errors": errors, "chosen": chosen}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for variant in variants():
        kept(RECORD, variant._asdict(), partial(run, variant, SEEDS))
