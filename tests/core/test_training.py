"""The training loop: it is the ordinary one, and what it adds (seeds, Interrupt, NaN, cache, snapshots) holds."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
import zoo
from torch import nn

from lora_lab import History, LoRALinear, adapters_disabled, add_lora, evaluate, lora_parameters, merge, train
from lora_lab.subjects.linear_task.tasks import linear_task, normal

D_OUT, D_IN, N = 5, 7, 50
TASK = linear_task(normal(D_OUT, D_IN, seed=3), N, seed=4)
QUIET = {"progress": None, "batch_size": 16}


def lora(seed: int = 0, **options) -> LoRALinear:
    """A LoRALinear on a base that knows nothing of TASK."""
    return zoo.seeded(seed, lambda: LoRALinear(nn.Linear(D_IN, D_OUT), 2, 4.0, **options))


def linear(seed: int = 0) -> nn.Linear:
    return zoo.seeded(seed, lambda: nn.Linear(D_IN, D_OUT))


def fit(model: nn.Module, **options) -> History:
    """train on TASK; however it ends, the caller's random numbers stay as they were."""
    before = torch.get_rng_state()
    history = train(model, TASK.X, TASK.y, **{**QUIET, **options})
    assert torch.equal(torch.get_rng_state(), before)
    return history


def state(model: nn.Module) -> list[torch.Tensor]:
    return [t.clone() for t in model.state_dict().values()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(map(torch.equal, a, b))


def losing(end: BaseException | float, at: int) -> mock.Mock:
    """The mean squared error; call number `at` (from 0) raises `end`, or is `end` times as large."""

    def loss(prediction: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        last = counted.call_count == at + 1
        if last and isinstance(end, BaseException):
            raise end
        return F.mse_loss(prediction, y) * (end if last else 1.0)

    counted = mock.Mock(side_effect=loss)
    return counted


# ---- the ordinary loop


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_it_is_the_loop_one_would_write(optimizer, schedule):
    model, twin, steps, lr = linear(), linear(), 10, 0.05
    history = fit(model, steps=steps, lr=lr, optimizer=optimizer, schedule=schedule, seed=5)

    opt = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer](twin.parameters(), lr=lr)
    generator, losses = torch.Generator().manual_seed(5), []
    while len(losses) < steps:
        for rows in torch.randperm(N, generator=generator).split(16):
            if len(losses) == steps:
                break
            if schedule == "cosine":
                opt.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * len(losses) / steps)) / 2
            loss = F.mse_loss(twin(TASK.X[rows]), TASK.y[rows])
            opt.zero_grad()
            loss.backward()
            opt.step()
            losses.append(loss.item())
    assert history.losses == pytest.approx(losses, rel=1e-5)
    torch.testing.assert_close(model.weight, twin.weight)


def test_history_says_what_happened():
    model = lora()
    start = evaluate(model, TASK.X, TASK.y)
    history = fit(model, epochs=6, lr=0.05, measure_every=2)
    assert history.steps == len(history.losses) == 24 and history.steps_per_epoch == 4
    assert history.epoch_losses == pytest.approx([sum(history.losses[i : i + 4]) / 4 for i in range(0, 24, 4)])
    assert history.epoch_losses[-1] < history.epoch_losses[0]
    assert list(history.measured) == [2, 4, 6] and history.measured[2] < start
    assert history.measured[6] == pytest.approx(evaluate(model, TASK.X, TASK.y))
    assert not history.interrupted and history.diverged_at is None and history.snapshots == {}
    assert repr(history) == f"History(24 steps, last loss {history.losses[-1]:.2g})"
    short = fit(lora(), steps=2)
    assert short.epoch_losses == [] and repr(History()) == "History(0 steps)"


# ---- seeds


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_one_seed_gives_one_run(dropout):
    def run(seed: int, callers: int) -> list[float]:
        return zoo.seeded(callers, lambda: fit(lora(dropout=dropout), epochs=2, seed=seed).losses)

    runs = run(0, callers=0), run(0, callers=1), run(1, callers=0)
    assert runs[0] == runs[1] != runs[2], "whatever the caller's random state is"


# ---- cached base


def test_cache_base_gives_the_same_run_and_calls_the_base_once():
    plain, cached = lora(), lora()
    calls = []
    cached.base.register_forward_hook(lambda *_: calls.append(1))
    slow = fit(plain, epochs=4, lr=0.02, measure_every=2)
    quick = fit(cached, epochs=4, lr=0.02, measure_every=2, cache_base=True)
    assert len(calls) == 1
    assert quick.losses == pytest.approx(slow.losses, rel=1e-4)
    assert quick.measured == pytest.approx(slow.measured, rel=1e-4)
    torch.testing.assert_close(cached.lora_B, plain.lora_B, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(cached.lora_A, plain.lora_A, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "model, options",
    [
        (lambda: lora(dropout=0.1), {}),
        (linear, {}),
        (lambda: nn.Sequential(lora()), {}),
        (lora, {"loss": F.l1_loss}),
        (lambda: lora().requires_grad_(True), {}),
    ],
    ids=["dropout", "no LoRALinear", "inside a model", "another loss", "base not frozen"],
)
def test_cache_base_refuses_where_it_would_be_wrong(model, options):
    with pytest.raises(ValueError, match="cache_base needs a bare LoRALinear on a frozen base"):
        fit(model(), epochs=1, cache_base=True, **options)


# ---- Interrupt, NaN, errors


def mixed_modes() -> nn.Module:
    """Nested, adapted, with one block in eval mode: what must come back after any kind of end."""
    model = zoo.ZOO["nested"].model().train()
    model.blocks[0].eval()
    add_lora(model, 2, 2.0, dropout=0.1)
    for p in lora_parameters(model):
        nn.init.normal_(p)
    return model


@pytest.mark.parametrize("end", [None, KeyboardInterrupt(), RuntimeError("a bug in the loss")], ids=repr)
def test_modes_come_back_after_any_end(end):
    model, during = mixed_modes(), []
    modes = [m.training for m in model.modules()]
    assert True in modes and False in modes
    model.register_forward_pre_hook(lambda m, args: during.append(all(x.training for x in m.modules())))
    loss = losing(end, at=1) if end else F.mse_loss
    with pytest.raises(RuntimeError, match="a bug") if isinstance(end, RuntimeError) else nullcontext():
        train(model, torch.randn(20, 4, 6), torch.randn(20, 4, 5), epochs=1, loss=loss, **QUIET)
    assert all(during) and [m.training for m in model.modules()] == modes


@pytest.mark.parametrize("k", [0, 1, 6])
@pytest.mark.parametrize("end", [KeyboardInterrupt(), math.nan, math.inf], ids=repr)
def test_an_interrupt_or_a_loss_that_is_not_finite_leaves_what_there_was_before(end, k, capsys):
    model, twin, loss = lora(), lora(), losing(end, at=k)
    history = fit(model, epochs=5, lr=0.05, loss=loss)
    by_hand = isinstance(end, KeyboardInterrupt)
    assert history.steps == k == loss.call_count - 1 and len(history.epoch_losses) == k // 4
    assert history.interrupted == by_hand and history.diverged_at == (None if by_hand else k)
    assert (f"interrupted after {k} of 20 steps" in capsys.readouterr().out) == by_hand
    assert repr(history).endswith(", interrupted)" if by_hand else f", diverged at step {k})")
    assert history.losses == (fit(twin, steps=k, lr=0.05).losses if k else [])
    assert same(state(model), state(twin)), "the last step must not reach the weights"


# ---- BatchNorm


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("adapt", [True, False])
def test_a_batch_norm_keeps_its_statistics_when_it_is_frozen(affine, adapt):
    model = nn.Sequential(nn.Linear(D_IN, 6), nn.BatchNorm1d(6, affine=affine), nn.Linear(6, D_OUT))
    before = state(model[1])
    if adapt:
        add_lora(model, 2, 2.0)
    fit(model, epochs=3)
    assert same(state(model[1]), before) == adapt and model[1].training


# ---- snapshots


def test_snapshots_are_a_film_of_the_trained_tensors():
    model = lora()
    history = fit(model, steps=10, lr=0.05, snapshot_every=4)
    assert list(history.snapshots) == [0, 4, 8, 10]
    for step, film in history.snapshots.items():
        twin = lora()
        if step:
            fit(twin, steps=step, lr=0.05)
        assert film.keys() == {"lora_A", "lora_B"}
        assert torch.equal(film["lora_A"], twin.lora_A) and torch.equal(film["lora_B"], twin.lora_B)


# ---- progress bar


def test_a_run_over_a_second_shows_a_bar_and_a_short_one_none(capsys, monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    fit(lora(), epochs=2, progress="fitting")
    assert capsys.readouterr().out.strip() == ""
    fit(lora(), steps=4, loss=lambda *pair: time.sleep(0.4) or F.mse_loss(*pair), progress="fitting")
    assert "fitting" in capsys.readouterr().out


# ---- devices


def test_another_default_device_changes_nothing():
    expected = fit(lora(), epochs=2, lr=0.05, optimizer="sgd", measure_every=1)
    model = lora()
    with torch.device("meta"):  # holds no numbers: whatever is made there by mistake fails
        found = fit(model, epochs=2, lr=0.05, optimizer="sgd", measure_every=1)
    assert found.losses == expected.losses and found.measured == expected.measured


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize("cache_base", [False, True])
def test_a_model_trains_on_the_device_where_it_and_its_data_are(cache_base):
    how = {"epochs": 2, "lr": 0.05, "measure_every": 1, "cache_base": cache_base, **QUIET}
    expected = train(lora(), TASK.X, TASK.y, **how)
    model = lora().cuda()
    found = train(model, TASK.X.cuda(), TASK.y.cuda(), **how)
    assert found.losses == pytest.approx(expected.losses, rel=1e-3) and model.lora_A.is_cuda
    assert found.measured == pytest.approx(expected.measured, rel=1e-3)


# ---- evaluate


def test_evaluate_is_the_loss_on_everything_in_eval_mode():
    model = mixed_modes()
    modes = [m.training for m in model.modules()]
    X, y = torch.randn(20, 4, 6), torch.randn(20, 4, 5)
    found = evaluate(model, X, y)
    assert [m.training for m in model.modules()] == modes
    assert found == F.mse_loss(model.eval()(X), y).item(), "no dropout"
    assert evaluate(model, X, y, F.l1_loss) == F.l1_loss(model(X), y).item()


# ---- refusals


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"y": TASK.y[:-1], "epochs": 1}, r"X has 50 rows and y has 49"),
        ({}, r"epochs=None and steps=None: give exactly one"),
        ({"epochs": 0}, r"epochs=0 is not a whole number of at least 1"),
        ({"epochs": 1, "snapshot_every": -1}, r"snapshot_every=-1 is not a whole number"),
        ({"epochs": 1, "lr": 0}, r"lr=0 is not a positive number"),
        ({"epochs": 1, "optimizer": "adamw"}, r"optimizer='adamw' is not known here; choose one of 'adam', 'sgd'"),
        ({"epochs": 1, "schedule": "linear"}, r"schedule='linear' is not known here.*'constant', 'cosine'"),
    ],
)
def test_bad_arguments_are_refused_in_words(options, sentence):
    model = lora()
    before = state(model)
    with pytest.raises(ValueError, match=sentence):
        train(model, **{"X": TASK.X, "y": TASK.y, **QUIET, **options})
    assert same(state(model), before)


def test_a_model_that_cannot_learn_is_refused():
    with pytest.raises(ValueError, match="no parameter of the model is trainable: add_lora first"):
        fit(linear().requires_grad_(False), epochs=1)
    model = lora()
    with adapters_disabled(model), pytest.raises(ValueError, match="weight is disabled"):
        fit(model, epochs=1)
    merge(model)
    with pytest.raises(ValueError, match=r"weight is merged: .* Call unmerge\(model\)"):
        fit(model, epochs=1)
