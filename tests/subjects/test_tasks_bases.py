"""The data is what it says, on every CPU; the base models reach the losses they promise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
import zoo

from lora_lab import evaluate, published
from lora_lab.subjects.linear_task.bases import PUBLISHED, linear_base, sgd_rate, two_layer_base
from lora_lab.subjects.linear_task.tasks import SHIFTS, letters, linear_task, normal, shift
from lora_lab.subjects.mini_language import language
from lora_lab.theory import expected_shift_loss, spectrum

# ---- data


def test_normal_numbers_are_drawn_in_float64_from_their_seed():
    x = normal(300, 500, seed=7, std=2.0)
    drawn = torch.randn(300, 500, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    assert x.dtype == torch.float32 and torch.equal(x, (2 * drawn).float())
    assert torch.equal(x, normal(300, 500, seed=7, std=2.0)) and not torch.equal(x, normal(300, 500, seed=8, std=2.0))


def test_linear_task_is_y_equals_theta_x():
    theta = normal(5, 7, seed=0)
    task = linear_task(theta, 20, seed=3)
    assert task.X.shape == (20, 7) and task.y.shape == (20, 5) and task.theta is theta
    for x, y in zip(task.X, task.y):
        torch.testing.assert_close(theta @ x, y)
    assert not torch.equal(linear_task(theta, 20, seed=4).X, task.X), "fresh examples"
    clean, noisy = linear_task(theta, 4000, seed=3), linear_task(theta, 4000, seed=3, noise=0.5)
    assert torch.equal(clean.X, noisy.X) and (noisy.y - clean.y).std().item() == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize("kind", SHIFTS)
def test_every_shift_has_the_promised_spectrum_and_size(kind):
    d_out, d_in = (41, 30) if kind == "decaying" else (30, 41)
    delta = shift(kind, d_out, d_in)
    assert torch.equal(delta, shift(kind, d_out, d_in, seed=1)) == (kind == "ones")
    s = spectrum(delta)
    s = s / s[0]
    assert delta.shape == (d_out, d_in) and delta.dtype == torch.float32
    assert expected_shift_loss(delta) == pytest.approx(d_in, rel=1e-5)
    i = torch.arange(1, 31)
    if kind == "full rank":
        assert s[-1] > 0.01 and s[5] < 0.95
    else:
        rank = {"ones": 1, "rank-1": 1, "rank-4": 4, "rank-5": 5}.get(kind)
        wanted = (i <= rank).float() if rank else 1 / i
        torch.testing.assert_close(s, wanted, atol=1e-5, rtol=0, check_dtype=False)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: linear_task(torch.ones(3), 5), r"theta has shape \(3,\); it is a \(d_out, d_in\) matrix"),
        (lambda: linear_task(torch.ones(3, 4), 0), "n=0"),
        (lambda: shift("rank-2", 5, 7), "kind='rank-2' is not a shift; choose one of 'ones', 'rank-1'"),
        (lambda: letters("Lx"), r"word='Lx'.*not \['x'\]"),
    ],
)
def test_an_impossible_task_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_letters_spell_a_word():
    word = letters("LoRA", scale=3)
    assert word.shape == (7 * 3, (6 * 4 - 1) * 3) and set(word.unique().tolist()) == {0.0, 1.0}
    rows = ["".join(" #"[int(dot)] for dot in row) for row in letters("LT", scale=1)]
    assert rows == ["#     #####", *["#       #  "] * 5, "#####   #  "]


HASHES = """
import hashlib, torch
from lora_lab.layers import LoRALinear
from lora_lab.subjects.linear_task.tasks import SHIFTS, letters, linear_task, normal, shift
tensors = [normal(5, 7, seed=1), normal(301, 503, seed=2, std=0.3), letters("LoRA")]
tensors += linear_task(normal(30, 41, seed=1), 50, seed=2, noise=0.1)
tensors += [shift(kind, d_out, d_in, seed=3) for kind in SHIFTS for d_out, d_in in ((31, 23), (100, 101))]
layer = LoRALinear(torch.nn.Linear(101, 100), 3)
layer.reset_lora(generator=torch.Generator().manual_seed(5))
tensors.append(layer.lora_A.detach())
digest = hashlib.sha256(b"".join(t.contiguous().numpy().tobytes() for t in tensors)).hexdigest()
print(torch.backends.cpu.get_cpu_capability(), digest)
"""


def test_the_numbers_are_the_same_on_old_and_new_processors():
    said = []
    for capability in ("default", "avx2"):
        env = {**os.environ, "ATEN_CPU_CAPABILITY": capability, "OMP_NUM_THREADS": "1"}
        run = subprocess.run([sys.executable, "-c", HASHES], capture_output=True, text=True, env=env, timeout=120)
        said.append(run.stdout.rsplit(None, 1))
    (old, old_hash), (new, new_hash) = said
    if old == new:
        pytest.skip("this processor has no AVX2 to compare with")
    assert old_hash == new_hash


# ---- bases

TWIN = linear_task(normal(100, 101, seed=1000), 2000, seed=0)


def test_the_short_recipe_falls_at_the_predicted_rate_below_the_published_loss():
    before = torch.get_rng_state()
    model, history = linear_base(TWIN, progress=None)
    assert torch.equal(torch.get_rng_state(), before) and model.bias is None
    assert (history.losses[10] / history.losses[0]) ** (1 / 10) == pytest.approx(1 - 128 / (128 + 102), rel=0.1)
    assert evaluate(model, TWIN.X, TWIN.y) < published.S1_BASE[-1]
    torch.testing.assert_close(model.weight.detach(), TWIN.theta, atol=1e-2, rtol=0)


def test_the_published_recipe_is_s1s():
    model, history = linear_base(linear_task(TWIN.theta, 256, seed=0), **PUBLISHED, measure_every=50, progress=None)
    assert history.steps == 100 * 2 and list(history.measured) == [50, 100]
    largest_move = (model.weight - zoo.seeded(0, lambda: torch.nn.Linear(101, 100, bias=False)).weight).abs().max()
    assert 0.1 < largest_move <= 0.201, "Adam at 1e-3 moves a weight by about 1e-3 a step, 200 steps"


@pytest.mark.parametrize("pretrain", [linear_base, lambda task, **how: two_layer_base(task, 5, epochs=1, **how)])
def test_bases_depend_on_their_seed(pretrain):
    a, b, c = (pretrain(TWIN, seed=seed, progress=None).history.losses for seed in (0, 0, 1))
    assert a == b != c


def test_data_are_drawn_on_the_cpu_and_lie_on_the_default_device():
    wanted = language.corpus(5, seed=3)
    with torch.device("meta"):
        assert normal(2, 3, seed=0).is_meta and linear_task(torch.ones(4, 3), 6).y.is_meta
        assert language.corpus(5, seed=3) == wanted


@pytest.mark.parametrize("d_in, d_out, batch", [(10, 3, 4), (5, 6, 20)])
def test_sgd_rate_contracts_as_predicted_and_no_other_rate_does_better(d_in, d_out, batch):
    D = torch.ones(4000, d_out, d_in, dtype=torch.float64)  # what is left to learn, in 4000 independent runs
    x = torch.randn(4000, batch, d_in, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gradient = 2 / (batch * d_out) * (x @ D.mT).mT @ x  # of the mean over batch and outputs
    best, predicted = sgd_rate(d_in, d_out, batch), 1 - batch / (batch + d_in + 1)
    left = {c: float((D - c * best * gradient).square().mean()) for c in (0.5, 0.7, 1, 1.3, 1.6)}
    assert left.pop(1) == pytest.approx(predicted, rel=0.02)
    assert min(left.values()) > predicted * 1.02
