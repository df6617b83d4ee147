"""The batched sweep: every run of a grid is the run that `train` gives, and its runs are found by their values."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from lora_lab import LoRALinear, evaluate, theory, train
from lora_lab.subjects.linear_task.tasks import linear_task, normal, shift
from lora_lab.sweeps import Run, Sweep, sweep

D_OUT, D_IN, N = 6, 9, 70
TASK = linear_task(normal(D_OUT, D_IN, seed=3) + shift("full rank", D_OUT, D_IN) / 3, N, seed=4)
BASE = nn.Linear(D_IN, D_OUT)
BASE.weight.data.copy_(normal(D_OUT, D_IN, seed=3))
BASE.bias.data.copy_(normal(D_OUT, seed=5))
SMALL = {"base": BASE, "X": TASK.X, "y": TASK.y, "r": [1, 3], "alpha": [1, 8.0], "lr": 0.02}
SMALL |= {"steps": 25, "batch_size": 16, "progress": None}


def swept(**options) -> Sweep:
    return sweep(**{**SMALL, **options})


def alone(run: Run, base=BASE, X=TASK.X, y=TASK.y, **options):
    """The layer and the history of the run that stands for `run`, trained by itself."""
    layer = LoRALinear(base, run.r, run.alpha)
    layer.scaling = run.scaling
    layer.reset_lora(options.pop("std", None), generator=torch.Generator().manual_seed(run.seed))
    how = {"steps": 25, "batch_size": 16, "progress": None, **options}
    return layer, train(layer, X, y, lr=run.lr, seed=run.seed, **how)


def assert_same(result: Sweep, **options) -> None:
    for run in result.runs():
        layer, history = alone(run, **options)
        assert run.diverged_at == history.diverged_at, run
        assert run.diverged == (history.diverged_at is not None)
        losses = torch.tensor(history.losses)
        usual = losses < 1e6  # beyond, rounding is amplified step by step
        torch.testing.assert_close(run.losses[: history.steps][usual], losses[usual], rtol=2e-4, atol=1e-6)
        assert run.losses[history.steps :].isnan().all()
        if not run.diverged:
            torch.testing.assert_close(run.delta, layer.delta_weight().detach(), rtol=1e-3, atol=1e-5)
            assert run.loss == pytest.approx(evaluate(layer, TASK.X, TASK.y), rel=1e-3, abs=1e-6)


# ---- equal to single runs


@pytest.mark.parametrize("optimizer, lr", [("adam", 0.02), ("sgd", 0.3)])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_each_run_is_its_single_run(optimizer, lr, schedule):
    how = {"optimizer": optimizer, "schedule": schedule}
    assert_same(swept(r=[1, 2, 6], alpha=[0.5, 16], lr=[lr, lr / 4], **how), **how)


@pytest.mark.parametrize("batch_size", [1, 16, 70, 200])
def test_rules_seeds_std_and_batches_are_those_of_single_runs(batch_size):
    how = {"std": 0.7, "batch_size": batch_size, "steps": 10}
    result = swept(r=[4, 2], rule=list(theory.RULES), seed=[5, 0, 2], **how)
    assert len(result.runs()) == 2 * 2 * 3 * 3
    assert_same(result, **how)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_in_float64_the_losses_agree_to_1e_9(optimizer):
    base, X, y = nn.Linear(D_IN, D_OUT).double(), TASK.X.double(), TASK.y.double()
    result = swept(base=base, X=X, y=y, seed=[0, 1], optimizer=optimizer)
    for run in result.runs():
        _, history = alone(run, base, X, y, optimizer=optimizer)
        assert run.losses.dtype == torch.float64
        assert run.losses.tolist() == pytest.approx(history.losses, rel=1e-9)


def test_a_diverged_run_is_kept_and_marked_and_harms_nobody():
    how = {"optimizer": "sgd", "steps": 60}
    mixed = swept(lr=[0.02, 40.0], seed=[0, 1], **how)
    assert_same(mixed, **how)
    bad = [run for run in mixed.runs() if run.diverged]
    assert {run.lr for run in bad} == {40.0} and f"{len(bad)} diverged" in repr(mixed)
    for run in bad:
        assert run.loss == math.inf and run.losses[: run.diverged_at].isfinite().all()
    for calm in swept(lr=0.02, seed=[0, 1], **how).runs():
        beside = mixed.run(r=calm.r, alpha=calm.alpha, lr=0.02, seed=calm.seed)
        torch.testing.assert_close(calm.losses, beside.losses, rtol=1e-4, atol=1e-6)


# ---- devices


def test_another_default_device_changes_nothing_and_a_sweep_neither():
    state, weight, expected = torch.get_rng_state(), BASE.weight.clone(), swept(seed=[0, 1])
    with torch.device("meta"):  # holds no numbers: whatever is made there by mistake fails
        found = swept(seed=[0, 1])
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(BASE.weight, weight)
    for a, b in zip(expected.runs(), found.runs()):
        assert torch.equal(a.losses, b.losses) and torch.equal(a.delta, b.delta) and a.loss == b.loss


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_a_sweep_runs_where_its_data_is():
    cpu = swept(seed=[0, 1])
    gpu = swept(base=copy.deepcopy(BASE).cuda(), X=TASK.X.cuda(), y=TASK.y.cuda(), seed=[0, 1])
    for here, there in zip(cpu.runs(), gpu.runs()):
        assert there.losses.is_cuda and there.delta.is_cuda
        torch.testing.assert_close(there.losses.cpu(), here.losses, rtol=1e-3, atol=1e-5)


# ---- finding runs


def test_runs_are_found_by_their_values_in_the_order_of_the_grid():
    result = swept(seed=[0, 1])
    assert [(run.r, run.alpha, run.seed) for run in result.runs()] == [
        (r, alpha, seed) for r in (1, 3) for alpha in (1, 8.0) for seed in (0, 1)
    ]
    assert len(result.runs(r=1)) == 4 and {run.seed for run in result.runs(r=1, seed=1)} == {1}
    run = result.run(r=3, alpha=8.0, seed=1)
    assert run in result.runs() and (run.r, run.alpha, run.lr, run.rule, run.seed) == (3, 8.0, 0.02, "alpha/r", 1)
    assert run.scaling == pytest.approx(8 / 3) and run.losses.shape == (25,) and run.delta.shape == (D_OUT, D_IN)
    assert repr(result) == "Sweep(8 points, 25 steps, 0 diverged)"
    for values, words in (({"r": 2}, "no run has"), ({"r": 1}, "4 runs have"), ({"rank": 1}, "has no 'rank'")):
        with pytest.raises(ValueError, match=words):
            result.run(**values)


# ---- refusals


@pytest.mark.parametrize(
    "options, words",
    [
        ({"r": 7}, "r=7 does not fit this base"),
        ({"r": [1, 1]}, "different ones"),
        ({"alpha": math.nan}, "alpha=nan"),
        ({"lr": [0.1, math.inf]}, "lr=inf is not a positive number"),
        ({"rule": "alpha/r^2"}, "rule='alpha/r\\^2' is not a scaling rule; choose one of 'alpha/r', 'alpha/sqrt"),
        ({"steps": 0}, "steps=0"),
        ({"optimizer": "adamw"}, "optimizer='adamw' is not known to a sweep; choose one of 'adam', 'sgd'"),
        ({"base": nn.Conv1d(2, 2, 1)}, "base is a Conv1d"),
        ({"X": TASK.X[:, :3]}, r"X is \(70, 3\) torch.float32; this base needs \(n, 9\)"),
        ({"y": TASK.y.double()}, "torch.float64"),
        ({"X": TASK.X[:5]}, "X has 5 rows and y has 70"),
    ],
)
def test_bad_settings_and_data_get_a_sentence(options, words):
    with pytest.raises(ValueError, match=words):
        swept(**options)


# ---- the scaling rules


def test_scaling_of():
    assert [theory.scaling_of(8, 4, rule) for rule in theory.RULES] == [2, 4, 8]
    for rule, rslora in (("alpha/r", False), ("alpha/sqrt(r)", True)):
        assert LoRALinear(BASE, 3, 8.0, rslora=rslora).scaling == pytest.approx(theory.scaling_of(8.0, 3, rule))
