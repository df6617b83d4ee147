"""A sweep is its single runs, only faster: same curves, same updates, for every setting, and whatever diverges."""

from __future__ import annotations

import csv
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from lora_lab import LoRALinear, evaluate, sweeps, theory, train
from lora_lab.subjects.linear_task.tasks import linear_task, normal, shift
from lora_lab.sweeps import Point, sweep

D_OUT, D_IN, N = 6, 9, 70
TASK = linear_task(normal(D_OUT, D_IN, seed=3) + shift("full rank", D_OUT, D_IN) / 3, N, seed=4)
BASE = nn.Linear(D_IN, D_OUT)
BASE.weight.data.copy_(normal(D_OUT, D_IN, seed=3))
BASE.bias.data.copy_(normal(D_OUT, seed=5))
SMALL = {"r": [1, 3], "alpha": [1, 8.0], "lr": 0.02, "steps": 25, "batch_size": 16, "progress": None}


def run(**options) -> sweeps.Sweep:
    return sweep(BASE, TASK.X, TASK.y, **{**SMALL, **options})


def single(point: Point, **options) -> tuple[LoRALinear, list[float]]:
    """The run that `point` stands for, written out without the help of Sweep."""
    layer = LoRALinear(BASE, point.r, 1.0)
    layer.scaling = point.scaling
    layer.reset_lora(options.pop("std", None), generator=torch.Generator().manual_seed(point.seed))
    how = {"steps": 25, "batch_size": 16, "progress": None, **options}
    history = train(layer, TASK.X, TASK.y, lr=point.lr, seed=point.seed, **how)
    return layer, history


def assert_same(result: sweeps.Sweep, **options) -> None:
    for i, point in enumerate(result.points):
        layer, history = single(point, **options)
        assert result.diverged_at[i] == history.diverged_at, point
        losses = result.losses[i, : history.steps]
        usual = torch.tensor(history.losses) < 1e6  # beyond, rounding is amplified step by step
        torch.testing.assert_close(losses[usual], torch.tensor(history.losses)[usual], rtol=2e-4, atol=1e-6)
        assert losses[history.steps :].isnan().all()
        if history.diverged_at is None:
            torch.testing.assert_close(result.delta(i), layer.delta_weight().detach(), rtol=1e-3, atol=1e-5)
            assert result.final[i].item() == pytest.approx(evaluate(layer, TASK.X, TASK.y), rel=1e-3, abs=1e-6)


# ---------------------------------------------------------------------------------------------- equal to single runs


@pytest.mark.parametrize("optimizer, lr", [("adam", 0.02), ("sgd", 0.3)])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_each_point_is_its_single_run(optimizer, lr, schedule):
    how = {"optimizer": optimizer, "schedule": schedule}
    assert_same(run(r=[1, 2, 6], alpha=[0.5, 16], lr=[lr, lr / 4], **how), **how)


def test_rules_seeds_and_std_are_those_of_single_runs():
    result = run(r=[4, 2], rule=list(theory.RULES), seed=[5, 0, 2], std=0.7)
    assert len(result.points) == len(set(result.points)) == 2 * 2 * 3 * 3
    assert_same(result, std=0.7)


@pytest.mark.parametrize("batch_size", [1, 70, 200])
def test_any_batch_size(batch_size):
    assert_same(run(batch_size=batch_size, seed=[0, 1]), batch_size=batch_size)


def test_float64_and_a_grid_of_one_point():
    base = nn.Linear(D_IN, D_OUT).double()
    result = sweep(base, TASK.X.double(), TASK.y.double(), r=2, alpha=2, lr=0.02, steps=5, progress=None)
    layer, history = result.train_alone(0)
    assert result.losses.dtype == torch.float64 and result.losses.shape == (1, 5)
    torch.testing.assert_close(result.losses[0], torch.tensor(history.losses, dtype=torch.float64), rtol=1e-9, atol=0)


@pytest.mark.parametrize("rule", theory.RULES)
def test_train_alone_is_the_same_run(rule):
    result = run(rule=rule, seed=3, optimizer="sgd", lr=0.03, schedule="cosine")
    state = torch.get_rng_state()
    layer, history = result.train_alone(3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(result.losses[3], torch.tensor(history.losses), rtol=2e-4, atol=1e-6)
    other = result.train_alone(3, seed=4)[1]
    assert other.losses[0] != history.losses[0]


def test_the_callers_random_state_and_the_base_stay():
    state, weight = torch.get_rng_state(), BASE.weight.clone()
    run()
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(BASE.weight, weight)


# -------------------------------------------------------------------------------------------------------- divergence


def test_a_diverged_point_is_kept_and_marked_and_harms_nobody():
    how = {"optimizer": "sgd", "steps": 60, "seed": [0, 1]}
    mixed = run(lr=[0.02, 40.0], **how)
    assert_same(mixed, optimizer="sgd", steps=60)
    bad = [i for i, end in enumerate(mixed.diverged_at) if end is not None]
    assert bad and len(bad) < len(mixed.points)
    calm = run(lr=0.02, **how)
    for i, point in enumerate(calm.points):
        torch.testing.assert_close(calm.losses[i], mixed.losses[mixed.points.index(point)], rtol=1e-4, atol=1e-6)
    i = bad[0]
    end = mixed.diverged_at[i]
    assert mixed.losses[i, :end].isfinite().all() and mixed.losses[i, end:].isnan().all()
    assert mixed.final[i] == math.inf
    kept = mixed.train_alone(i)[0].delta_weight().norm()
    assert mixed.delta(i).norm() > 10 and kept > 10  # as it was before the step that was not finite
    assert sum(row["lr"] == 40 for row in mixed.rows()) < 4 * 2 * 60


# ------------------------------------------------------------------------------------------------- tables and look-up


def test_rows_and_csv(tmp_path):
    result = run()
    rows = list(result.rows())
    assert len(rows) == 4 * 25
    assert rows[26] == {**result.points[1]._asdict(), "step": 1, "loss": result.losses[1, 1].item()}
    result.to_csv(tmp_path / "sweep.csv")
    with open(tmp_path / "sweep.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["r", "alpha", "lr", "rule", "seed", "step", "loss"]
    assert [float(row["loss"]) for row in table] == [row["loss"] for row in rows]
    assert [p.name for p in tmp_path.iterdir()] == ["sweep.csv"]


def test_look_up():
    result = run(seed=[0, 1])
    assert result.points[result.index(r=3, alpha=8.0, seed=1)] == Point(3, 8.0, 0.02, "alpha/r", 1)
    assert len(result.where(r=1)) == 4
    for values, words in (({"r": 2}, "no point has"), ({"r": 1}, "4 points have"), ({"rank": 1}, "has no 'rank'")):
        with pytest.raises(ValueError, match=words):
            result.index(**values)


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    "options, words",
    [
        ({"r": 7}, "r=7 does not fit this base"),
        ({"r": [1, 0]}, "1 <= r <= 6"),
        ({"r": 1.5}, "not a whole number"),
        ({"r": []}, "give one value, or a list of different ones"),
        ({"r": [1, 1]}, "different ones"),
        ({"alpha": math.nan}, "alpha=nan"),
        ({"lr": -1}, "lr=-1 is not a positive number"),
        ({"lr": [0.1, math.inf]}, "lr=inf"),
        ({"rule": "alpha/r^2"}, "rule='alpha/r\\^2' is not a scaling rule; choose one of 'alpha/r', 'alpha/sqrt"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": True}, "seed=True"),
        ({"steps": 0}, "steps=0"),
        ({"batch_size": 2.0}, "batch_size=2.0"),
        ({"optimizer": "adamw"}, "optimizer='adamw' is not known here; choose one of 'adam', 'sgd'"),
        ({"schedule": "linear"}, "schedule='linear'"),
        ({"std": 0}, "std=0"),
    ],
)
def test_bad_settings_get_a_sentence(options, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        run(cache=tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_bad_data_gets_a_sentence():
    for base, X, y, words in (
        (nn.Conv1d(2, 2, 1), TASK.X, TASK.y, "base is a Conv1d"),
        (BASE, TASK.X[:, :3], TASK.y, r"X is \(70, 3\) and torch.float32; this base needs \(n, 9\)"),
        (BASE, TASK.X, TASK.y.double(), "torch.float64"),
        (BASE, TASK.X[:5], TASK.y, "X has 5 rows and y has 70"),
    ):
        with pytest.raises(ValueError, match=words):
            sweep(base, X, y, r=1, alpha=1, lr=0.1, progress=None)


# --------------------------------------------------------------------------------------------------------------- cache


def equal(a: sweeps.Sweep, b: sweeps.Sweep) -> bool:
    pairs = [(getattr(x, name).nan_to_num(7) for x in (a, b)) for name in ("losses", "final", "A", "B")]
    return all(torch.equal(*pair) for pair in pairs) and a.diverged_at == b.diverged_at and a.points == b.points


def test_cache_gives_the_same_sweep_without_training(tmp_path, monkeypatch):
    how = {"cache": tmp_path / "new" / "folder", "optimizer": "sgd", "lr": [0.1, 40.0], "steps": 60}
    first = run(**how)
    assert not first.cached and any(end is not None for end in first.diverged_at)
    monkeypatch.setattr(sweeps, "_run", None)
    again = run(**how)
    assert again.cached and equal(first, again)
    assert torch.equal(again.delta(2), first.delta(2)) and list(again.rows()) == list(first.rows())
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 1


def test_whatever_changes_the_numbers_changes_the_file(tmp_path, monkeypatch):
    def files() -> int:
        return len(list(tmp_path.iterdir()))

    run(cache=tmp_path)
    changes = [{"r": [1, 2]}, {"alpha": [1, 9.0]}, {"lr": 0.03}, {"rule": "alpha"}, {"seed": 1}, {"steps": 24}]
    changes += [{"batch_size": 17}, {"optimizer": "sgd"}, {"schedule": "cosine"}, {"std": 0.5}]
    for count, change in enumerate(changes, 2):
        assert not run(cache=tmp_path, **change).cached
        assert files() == count, change
    for i in range(4):  # one bit of each tensor
        tensors = [BASE.weight.detach().clone(), BASE.bias.detach().clone(), TASK.X.clone(), TASK.y.clone()]
        tensors[i].view(-1)[3] += 1e-3
        base = nn.Linear(D_IN, D_OUT)
        base.weight.data, base.bias.data = tensors[:2]
        before = files()
        assert not sweep(base, *tensors[2:], **SMALL, cache=tmp_path).cached
        assert files() == before + 1
    monkeypatch.setattr(sweeps, "VERSION", sweeps.VERSION + 1)
    assert not run(cache=tmp_path).cached


class Trap:
    """Unpickling it would raise; np.load must not even try."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


def damages(file):
    content = file.read_bytes()
    half = len(content) // 2
    flipped = bytearray(content)
    flipped[half] ^= 255
    yield "empty", b""
    yield "truncated", content[:half]
    yield "one byte short", content[:-1]
    yield "one byte changed", bytes(flipped)
    yield "text", b"hello"
    yield "pickle", pickle.dumps(Trap())
    with np.load(file) as stored:
        arrays = dict(stored)
    for name, change in (
        ("another key", {"key": "x"}),
        ("another shape", {"losses": arrays["losses"][:, :3]}),
        ("another type", {"A": arrays["A"].astype(float)}),
        ("objects", {"ends": np.array([Trap()] * 4, dtype=object)}),
    ):
        np.savez(file.with_name("foreign.npz"), **{**arrays, **change})
        yield name, file.with_name("foreign.npz").read_bytes()
        file.with_name("foreign.npz").unlink()


def test_a_damaged_or_foreign_file_is_computed_again_and_replaced(tmp_path, capsys):
    first = run(cache=tmp_path)
    [file] = tmp_path.iterdir()
    good = file.read_bytes()
    for name, content in damages(file):
        file.write_bytes(content)
        again = run(cache=tmp_path)
        assert not again.cached and equal(first, again), name
        assert file.read_bytes() == good and run(cache=tmp_path).cached, name
    file.unlink()
    file.mkdir()  # not even a file: it cannot be replaced, and says so instead of returning something else
    with pytest.raises(OSError):
        run(cache=tmp_path)
    assert capsys.readouterr() == ("", "")


# ----------------------------------------------------------------------------------------------------------- interrupt


def test_interrupt_keeps_what_is_there_and_is_not_cached(tmp_path, monkeypatch, capsys):
    calls = 0
    real = torch.randperm

    def randperm(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == 3:  # five batches an epoch: the third epoch starts with step 10
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    full = run()
    monkeypatch.setattr(torch, "randperm", randperm)
    part = run(cache=tmp_path)
    assert part.interrupted and part.losses.shape == (4, 10) and torch.equal(part.losses, full.losses[:, :10])
    assert part.final.isfinite().all() and not list(tmp_path.iterdir())
    assert "interrupted after 10 of 25 steps" in capsys.readouterr().out


def test_a_progress_bar_shows_when_asked_for_only(capsys, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    run(progress="sweep")
    assert capsys.readouterr() == ("", "")


# ------------------------------------------------------------------------------------------- alpha is a learning rate


@pytest.mark.parametrize("s", [0.25, 4.0])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_alpha_is_a_learning_rate_once_the_start_moves_too(s, optimizer):
    equivalent = {"adam": theory.adam_equivalent, "sgd": theory.sgd_equivalent}[optimizer]
    lr, std, how = {"adam": 0.01, "sgd": 0.03}[optimizer], 0.3, {"r": 2, "optimizer": optimizer, "steps": 100}
    scaled = run(alpha=2 * s, lr=lr, std=std, **how)
    same = equivalent(s, lr, std)
    plain = run(alpha=2.0, lr=same.lr, std=same.std, **how)
    assert same.scaling == plain.points[0].scaling == 1.0
    torch.testing.assert_close(scaled.losses, plain.losses, rtol=2e-3, atol=1e-6)
    torch.testing.assert_close(scaled.delta(0), plain.delta(0), rtol=1e-2, atol=1e-4)
    folk = run(alpha=2.0, lr=s * lr, std=std, **how)
    assert (scaled.losses / folk.losses - 1).abs().max() > 0.02


def test_sgd_equivalence_holds_with_momentum_too():
    def losses(s: float, lr: float, std: float) -> list[float]:
        A, B = (std * normal(2, D_IN, seed=1)).requires_grad_(), torch.zeros(D_OUT, 2, requires_grad=True)
        optimizer, out = torch.optim.SGD([A, B], lr=lr, momentum=0.9), []
        for _ in range(30):
            loss = (TASK.X @ (s * B @ A).T - TASK.y).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            out.append(loss.item())
        return out

    assert losses(4.0, 0.02, 0.3) == pytest.approx(losses(*theory.sgd_equivalent(4.0, 0.02, 0.3)), rel=1e-4)


def test_scaling_of():
    assert [theory.scaling_of(8, 4, rule) for rule in theory.RULES] == [2, 4, 8]
    for rule, rslora in (("alpha/r", False), ("alpha/sqrt(r)", True)):
        assert LoRALinear(BASE, 3, 8.0, rslora=rslora).scaling == pytest.approx(theory.scaling_of(8.0, 3, rule))
    for values in ((0, 1, 1), (1, -1, 1), (1, 1, math.inf), (True, 1, 1), ("4", 1, 1)):
        for equivalent in (theory.adam_equivalent, theory.sgd_equivalent):
            with pytest.raises(ValueError, match="is not a positive number"):
                equivalent(*values)
