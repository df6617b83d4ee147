"""What `python -m lora_lab.subjects.real_model.make_record` measured, as a table with a row per training run."""

from pathlib import Path
from types import SimpleNamespace

from lora_lab.subjects.records import read_lines, read_record
from lora_lab.subjects.tables import Table

from .task import Score

RUNS = Path(__file__).with_name("runs.jsonl")
ADAPTERS = Path(__file__).with_name("adapters")
FULL, LORA = "full", "all r=8"
ATTENTION, MLP = ["q_proj", "k_proj", "v_proj", "o_proj"], ["gate_proj", "up_proj", "down_proj"]
PLACES = {"q,v": ["q_proj", "v_proj"], "attention": ATTENTION, "MLP": MLP, "all": ATTENTION + MLP}

QUESTIONS = (
    "What is the capital of France?",
    "How many days are in a week?",
    "What color is the sky on a clear day?",
    "Name three fruits.",
    "What is 2 + 3?",
    "Who wrote Romeo and Juliet?",
    "What do bees make?",
    "What is the opposite of hot?",
    "Translate 'good morning' to French.",
    "What language is spoken in Brazil?",
    "What is water made of?",
    "Write one sentence about the sea.",
)


def read_runs() -> Table:
    """Every run on record. way: "full" or "all r=8"; lr, steps, seed, examples; mistake: None, or one of task.MISTAKES.

    trained: how many numbers. step: seconds a step; seconds: in all. In nats per token: tuned_on, the answers that
    chose the learning rate; loss, the answers to the test sentences; text, plain English text. scores: {kind: counts
    over its test sentences}. moved: ‖ΔW‖/‖W‖, mean over the matrices.
    """
    runs = Table.of(read_lines(RUNS))
    for run in runs:
        run.scores = {kind: Score(*counts) for kind, counts in run.scores.items()}
    return runs


def tuning(way: str) -> Table:
    """The runs that chose a way's learning rate: 40 steps on 480 sentences, two seeds at each rate."""
    return Table(run for run in read_runs().where(way=way, steps=40, examples=480, mistake=None) if run.seed < 2)


def best_rate(way: str) -> float:
    """The learning rate with the lowest loss on the tuning sentences, mean of two seeds."""
    losses = {lr: runs.mean("tuned_on") for lr, runs in tuning(way).by("lr").items()}
    return min(losses, key=losses.get)


def adapters() -> dict:
    """What `make_adapters` wrote: the untouched model, the shipped adapters, full fine-tuning's update, costs."""
    return read_record("real_model", "adapters")


def exact(run: SimpleNamespace) -> int:
    """Test sentences of all kinds with every fact right."""
    return sum(score.exact for score in run.scores.values())


def pooled(runs: Table) -> dict[str, Score]:
    """{kind: counts over all of these runs}."""
    return {kind: Score(*map(sum, zip(*(run.scores[kind] for run in runs)))) for kind in runs[0].scores}


def right(measured: dict) -> int:
    """`exact` of what `make_adapters` measured."""
    return sum(Score(*counts).exact for counts in measured["scores"].values())
