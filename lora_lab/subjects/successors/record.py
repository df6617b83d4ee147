"""What `python -m lora_lab.subjects.successors.make_record` measured, as tables with a row per training run."""

from lora_lab.subjects.records import read_record
from lora_lab.subjects.tables import Table


def steps() -> list[int]:
    """The steps at which the curves were measured."""
    return read_record("successors")["steps"]


def runs() -> Table:
    """Every method on the ten bases, at its tuned learning rate: method, lr, trained, seed, curve, loss.

    curve: test loss at `steps()`; loss: its last.
    """
    record = read_record("successors")
    return Table.of(
        {"method": method, "lr": row["lr"], "trained": row["trained"], "seed": seed, "curve": curve, "loss": loss}
        for method, row in record["methods"].items()
        for seed, curve, loss in zip(record["settings"]["seeds"], row["curves"], row["loss"])
    )


def tuning() -> Table:
    """The search for each method's learning rate, on three other bases: method, lr, seed, loss at the end."""
    record = read_record("successors")
    return Table.of(
        {"method": method, "lr": float(lr), "seed": seed, "loss": loss}
        for method, row in record["methods"].items()
        for lr, losses in row["tuning"].items()
        for seed, loss in zip(record["settings"]["tuning_seeds"], losses)
    )


def ranks() -> Table:
    """LoRA and rsLoRA with the learning rate that was tuned at r = 4: method, rank, seed, loss at the end."""
    record = read_record("successors")
    return Table.of(
        {"method": method, "rank": int(rank), "seed": seed, "loss": loss}
        for method, by_rank in record["ranks"].items()
        for rank, losses in by_rank.items()
        for seed, loss in zip(record["settings"]["seeds"], losses)
    )
