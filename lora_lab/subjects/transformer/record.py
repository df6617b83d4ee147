"""What the commands beside this file measured, as tables with a row per training run."""

from pathlib import Path
from statistics import mean
from types import SimpleNamespace

from lora_lab.subjects.records import place, read_lines, read_record
from lora_lab.subjects.tables import Table

RUNS, REWARDS, REGRET = (Path(__file__).with_name(f"{name}.jsonl") for name in ("runs", "rewards", "regret"))


def _read(file: Path) -> Table:
    """A row for each line; of LoRA, where: "q,v", and rank: 8 (None for the other ways)."""
    rows = read_lines(file)
    for row in rows:
        row["where"], row["rank"] = place(row["way"])
    return Table.of(rows)


def read_runs() -> Table:
    """Every run of `make_record`. loss: on the task; others: on the voices that no task trains; both nats above the
    floor.

    way: how the base was fine-tuned, "full" or "q,v r=8"; where and rank of LoRA. trained: how many numbers. lr: the
    learning rate. tuned_on: the loss on the lines that chose it. steps, seed, seconds.
    Means over the matrices that changed: moved ‖ΔW‖/‖W‖, intruders of the ten strongest directions (arXiv 2410.21228),
    r90, the number of directions with 90 % of ‖ΔW‖². cut: {r: the loss after ΔW was cut to rank r}, of full ΔWs.
    """
    runs = _read(RUNS)
    for run in runs:
        if run.way in ("full", "linears"):
            run.cut = {int(r): loss for r, loss in run.cut.items()}
    return runs


def at_best_rate(rows: Table, seeds: int = 3) -> Table:
    """The rows at the learning rates that were chosen: with so many seeds, and the lowest `tuned_on` on two."""
    found = {}
    for run in rows:
        kind = [getattr(run, name, None) for name in ("task", "way", "lines", "batch")]
        found.setdefault(tuple(kind), Table()).append(run)
    best = Table()
    for mine in found.values():
        complete = [runs for runs in mine.by("lr").values() if len(runs) == seeds]
        best += min(complete, key=lambda runs: sum(run.tuned_on for run in runs if run.seed < 2))
    return best


def tuned() -> Table:
    """Every way at the learning rate that was climbed to, 600 steps, a row for each of five seeds."""
    best = at_best_rate(read_runs().where(steps=600), seeds=5)
    return Table(sorted(best, key=lambda run: (run.task, run.where or run.way, run.rank or 0, run.seed)))


def doubled() -> Table:
    """Had a way stopped improving? once, twice: its mean loss after 600 and 1200 steps, over the seeds that ran both;
    falling: whether twice the steps lower it by more than 0.001 and by more than a tenth. A row for each way and task.
    """
    shorter, rows = tuned(), []
    for way, longer in read_runs().where(steps=1200).by("way").items():
        for task, twice in longer.by("task").items():
            seeds = twice.kinds("seed")
            once = Table(run for run in shorter.where(task=task, way=way) if run.seed in seeds).mean("loss")
            falling = once - twice.mean("loss") > max(0.001, 0.1 * once)
            rows.append({"task": task, "way": way, "once": once, "twice": twice.mean("loss"), "falling": falling})
    return Table.of(rows)


def best_rates() -> dict[tuple[str, str], float]:
    """{(task, way): its tuned learning rate}."""
    return {(run.task, run.way): run.lr for run in tuned()}


def said(task: str) -> SimpleNamespace:
    """What full fine-tuning said. text: its first sentences; grammatical: the share of 100 that the grammar accepts."""
    return SimpleNamespace(**read_record("transformer")["said"][task])


def around(task: str) -> Table:
    """The ways that are compared in detail, at several learning rates and numbers of steps, three seeds."""
    ways = ("full", "q,v r=8", "all linears r=8")
    rows = read_runs().where(task=task)
    return Table(run for run in rows if run.way in ways and run.steps <= 600 and run.seed < 3)


def kinship() -> Table:
    """An adapter for swap 8 on other bases. relative, distance: a base and its ‖W - W₀‖ / ‖W₀‖ from ours; without: its
    loss without the adapter; with_adapter: with it, a number per seed, and mean_with, their mean.
    """
    rows = read_record("transformer", "beyond")["kinship"]
    return Table.of(row | {"mean_with": mean(row["with_adapter"])} for row in rows)


def sequence() -> Table:
    """One task after another: way, seed, and the loss above the floor on the first, the second, and both in one
    sentence."""
    return Table.of(read_record("transformer", "beyond")["sequence"])


def rewarded() -> Table:
    """Every run on a reward alone, also those that chose the learning rates: way, where, rank, lr, seed.

    before, after: mean reward of 400 drawn sentences; curve: of every 640 on the way; text: three of the drawn
    sentences before, then three after, of the same records. tuned_on: minus the last mean reward, which chose the rate.
    """
    runs = _read(REWARDS)
    for run in runs:
        run.tuned_on = -run.curve[-1]
    return runs


def slices() -> Table:
    """Every run on bard over data and batch, also those that chose the learning rates: way, where, rank, lr, seed.

    lines: to learn from; batch: so many in a step. Nats above the floor: tuned_on, on the lines that chose the rate;
    loss, on others; seen, on the training lines themselves: below 0, their choices are learned by heart.
    """
    return _read(REGRET)
