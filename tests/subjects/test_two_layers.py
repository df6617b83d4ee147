"""S2's two layers: the floors of one layer against brute force, the base, the record against a re-run, the figures."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lora_lab import LoRALinear, add_lora, evaluate, merge, published, rank_floor, remove_lora, theory, train
from lora_lab.subjects.linear_task import tasks
from lora_lab.subjects.linear_task.bases import TwoLayer, two_layer_base
from lora_lab.subjects.two_layers import drawings
from lora_lab.subjects.two_layers.experiment import Experiment, find_run, recorded_runs, recorded_s2
from lora_lab.subjects.two_layers.floors import layer_floor

# --------------------------------------------------------------------------------------------- floors of one layer


def best_of_turns(delta, r, X, above, below, turns=300):
    """The lowest mean(((delta - above B A below) x)²) that fitting B and A in turn finds, from random starts."""
    inputs, wanted = (below @ X.T).double(), (delta @ X.T).double()  # (m, n), (d_out, n)
    above, found = above.double(), []
    for seed in range(3):
        A = tasks.normal(r, len(inputs), seed=seed).double()
        for _ in range(turns):
            B = torch.linalg.pinv(above) @ wanted @ torch.linalg.pinv(A @ inputs)  # (k, r)
            A = torch.linalg.pinv(above @ B) @ wanted @ torch.linalg.pinv(inputs)
        found.append(float((wanted - above @ B @ A @ inputs).square().mean()))
    return min(found)


@pytest.mark.parametrize("r", [1, 3])
@pytest.mark.parametrize("where", ["above", "below", "between"])
def test_the_floor_of_a_layer_is_what_fitting_finds(r, where):
    delta, X = tasks.normal(6, 9, seed=1), tasks.normal(40, 9, seed=2)
    above = torch.eye(6) if where == "below" else tasks.normal(6, 4, seed=3)
    below = torch.eye(9) if where == "above" else tasks.normal(5, 9, seed=4)
    floor = layer_floor(delta, r, X, above=above, below=below)
    assert floor == pytest.approx(best_of_turns(delta, r, X, above, below), rel=1e-4)
    assert floor > rank_floor(delta, r, X)


def test_without_neighbours_it_is_the_rank_floor_and_a_thin_neighbour_counts_by_its_rank():
    delta, X = tasks.normal(6, 9, seed=1), tasks.normal(40, 9, seed=2)
    square = tasks.normal(6, 6, seed=3)  # invertible: nothing is lost
    for r in range(7):
        assert layer_floor(delta, r) == pytest.approx(rank_floor(delta, r), abs=1e-9)
        assert layer_floor(delta, r, X) == pytest.approx(rank_floor(delta, r, X), abs=1e-9)
        assert layer_floor(delta, r, X, above=square) == pytest.approx(rank_floor(delta, r, X), abs=1e-9)
    thin = tasks.normal(6, 2, seed=3)
    repeated = torch.cat([thin, thin @ tasks.normal(2, 3, seed=4)], 1)  # five columns, rank 2
    assert layer_floor(delta, 2, above=repeated) == pytest.approx(layer_floor(delta, 2, above=thin))


def test_what_layer_2_misses_is_the_direction_it_cannot_read():
    W1 = tasks.normal(100, 101, seed=5)
    blind = torch.linalg.svd(W1.double()).Vh[-1]
    assert layer_floor(torch.ones(100, 101), 1, below=W1) == pytest.approx(float(blind.sum() ** 2), rel=1e-4)
    W1 = tasks.normal(60, 101, seed=1)  # the page's first lab: a change whose input W1 lets through
    D = tasks.normal(40, 1, seed=3) @ (W1.T @ tasks.normal(60, 1, seed=2)).T
    assert layer_floor(D, 1, below=W1) < 1e-6 * theory.expected_shift_loss(D)
    assert layer_floor(torch.ones(40, 101), 1, below=W1) > 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"r": 7}, "r=7 does not fit the change, 6 x 9"),
        ({"above": torch.ones(5, 4)}, "above has 5 rows; delta has 6"),
        ({"below": torch.ones(5, 8)}, "below has 8 columns; delta has 9"),
        ({"above": torch.ones(6)}, "above must be a"),
    ],
)
def test_wrong_shapes_get_a_sentence(given, words):
    with pytest.raises(ValueError, match=words):
        layer_floor(tasks.normal(6, 9, seed=1), **{"r": 1, **given})


# -------------------------------------------------------------------------------------------------------- the base


def test_two_layers_learn():
    task = tasks.linear_task(tasks.normal(12, 14, seed=1), n=1280, seed=0)
    state = torch.random.get_rng_state()
    model, history = two_layer_base(task, hidden=13, epochs=20, progress=None)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert evaluate(model, task.X, task.y) < 0.2 * history.losses[0]


def test_merging_two_layers_counts_each_update_once():
    model = TwoLayer(9, 8, 7)
    add_lora(model, r=2)
    for layer in (model.first, model.second):
        nn.init.normal_(layer.lora_B)
    x = tasks.normal(5, 9, seed=1)
    wanted = model(x).detach()
    torch.testing.assert_close(x @ model.end_to_end().T, wanted, rtol=1e-4, atol=1e-4)
    merge(model)
    merge(model)
    torch.testing.assert_close(model(x), wanted, rtol=1e-4, atol=1e-5)
    W1, W2 = (layer.base.weight + 2 * layer.delta_weight() for layer in (model.first, model.second))
    assert not torch.allclose(x @ (W2 @ W1).T, wanted, rtol=0.1, atol=0.1)  # S2's double count is something else
    remove_lora(model, keep_delta=True)
    assert type(model.first) is nn.Linear
    torch.testing.assert_close(model(x), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(2))
def test_lora_stops_where_its_base_stopped(seed):
    old = tasks.linear_task(tasks.normal(100, 101, seed=1000 + seed), n=2000, seed=seed)
    new = tasks.linear_task(old.theta + 1, n=2000, seed=seed + 1)
    model, _ = two_layer_base(old, hidden=100, epochs=10, seed=seed, progress=None)
    residual = evaluate(model, new.X, new.X @ old.theta.T)
    before = model.end_to_end()
    floor = rank_floor(new.theta - before, 2, new.X)
    torch.manual_seed(seed)
    add_lora(model, r=1, alpha=1)
    train(model, new.X, new.y, epochs=20, lr=0.1, schedule="cosine", progress=None)
    loss = evaluate(model, new.X, new.y)
    assert floor < loss and 0.7 < loss / residual < 1.3
    s = theory.spectrum(model.end_to_end() - before)
    assert s[2] < 1e-3 * s[1] and s[0] > 20 * s[1]


# ------------------------------------------------------------------------------------- the experiment, its record


def test_an_experiment_is_the_same_twice_and_knows_its_floors():
    a, b = Experiment("narrowing", "ones", 3), Experiment("narrowing", "ones", 3)
    assert a.train("layer 2", 1) == b.train("layer 2", 1)
    assert not isinstance(a.base.first, LoRALinear)  # the base is left alone


def test_the_record_is_whole_and_obeys_the_floors():
    runs = recorded_runs()
    assert len(runs) == 3 * 2 * 4 * 3  # models, changes, ranks, choices
    for run in runs:
        assert find_run(run.model, run.layers, run.change, run.r) is run
        assert len(run.loss) == len(run.floor) == len(run.before) == 5 and len(run.curve) == 20
        for loss, floor in zip(run.loss, run.floor):
            assert loss >= 0.999 * floor or loss == 1e-8, run


RERUN = [("narrowing", "layer 2", "rank-4", 2), ("widening", "layer 1", "ones", 1)]


@pytest.mark.parametrize(("model", "layers", "change", "r"), RERUN)
def test_a_recorded_run_comes_out_again(model, layers, change, r):
    run, experiment = find_run(model, layers, change, r), Experiment(model, change, seed=2)
    assert experiment.before == pytest.approx(run.before[2], rel=0.01)
    assert experiment.floor(layers, r) == pytest.approx(run.floor[2], rel=0.01)
    assert experiment.train(layers, r).loss == pytest.approx(run.loss[2], rel=0.05)


def test_the_full_recipe_is_near_the_published_figures_and_begins_as_recorded():
    s2 = recorded_s2()
    assert len(s2.base) == len(s2.lora) == 100
    for told, ours in ((published.S2_BASE, s2.base), (published.S2_LORA, s2.lora)):
        for epoch, loss in zip(published.S2_EPOCHS, told):
            assert 0.7 < ours[epoch - 1] / loss < 1.4, epoch
    assert s2.base_on_new_task == pytest.approx(published.S2_SHIFTED, rel=0.05)
    assert s2.original_model_after_the_merge == pytest.approx(s2.lora[-1], rel=1e-3)
    assert s2.adapted_model_after_the_merge > 5 * s2.base_on_new_task
    task = tasks.s1_task(0)  # one epoch of the hundred, at S2's own size
    torch.manual_seed(0)
    model = TwoLayer(1001, 1000, 1000)
    history = train(model, task.X, task.y, epochs=1, lr=1e-3, seed=0, measure_every=1, progress=None)
    assert history.measured[1] == pytest.approx(s2.base[0], rel=1e-3)


def test_the_figures_draw_what_they_are_given():
    s2 = recorded_s2()
    left, right = drawings.two_phases(s2)
    assert list(left.lines[0].get_ydata()) == s2.base and list(right.lines[1].get_ydata()) == list(published.S2_LORA)
    assert right.lines[2].get_linestyle() == "--" and right.lines[2].get_ydata()[0] == s2.floor_of_both
    ax = drawings.stops_at_the_base([1, 10], [1.1, 9], [0.5, 8])
    assert list(ax.lines[2].get_ydata()) == [1.1, 9]
    axes = drawings.layer_choices(recorded_runs().where(model="widening", change="ones", r=1))
    assert len(axes) == 1
    dots, floors = (line.get_ydata() for line in axes[0].lines[3:5])  # of layer 2, whose losses are below 0.001
    assert list(dots) == list(floors) == [1e-3] * 5
