"""S2's two layers: the floors of one layer against brute force, the record against a re-run."""

from __future__ import annotations

import pytest
import torch

from lora_lab import published, rank_floor, train
from lora_lab.subjects.linear_task import tasks
from lora_lab.subjects.linear_task.bases import TwoLayer
from lora_lab.subjects.two_layers.experiment import Experiment, find_run, layer_floor, recorded_runs, recorded_s2

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


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"r": 7}, "r=7 does not fit the change, 6 x 9"),
        ({"above": torch.ones(5, 4)}, r"above is \(5, 4\), below \(9, 9\), delta \(6, 9\): above has as many rows"),
        ({"below": torch.ones(5, 8)}, r"above is \(6, 6\), below \(5, 8\), delta \(6, 9\)"),
        ({"above": torch.ones(6)}, "above must be a"),
    ],
)
def test_wrong_shapes_get_a_sentence(given, words):
    with pytest.raises(ValueError, match=words):
        layer_floor(tasks.normal(6, 9, seed=1), **{"r": 1, **given})


# ------------------------------------------------------------------------------------- the experiment, its record


def test_the_record_is_whole_and_obeys_the_floors():
    runs = recorded_runs()
    assert len(runs) == 3 * 2 * 4 * 3  # models, changes, ranks, choices
    for run in runs:
        assert find_run(run.model, run.layers, run.change, run.r) is run
        assert len(run.loss) == len(run.floor) == len(run.before) == 5
        for loss, floor in zip(run.loss, run.floor):
            assert loss >= 0.999 * floor or loss == 1e-8, run


RERUN = [("narrowing", "layer 2", "rank-4", 2), ("widening", "layer 1", "ones", 1)]


@pytest.mark.parametrize(("model", "layers", "change", "r"), RERUN)
def test_a_recorded_run_comes_out_again(model, layers, change, r):
    run, experiment = find_run(model, layers, change, r), Experiment(model, change, seed=2)
    assert experiment.before == pytest.approx(run.before[2], rel=0.01)
    assert experiment.floor(layers, r) == pytest.approx(run.floor[2], rel=0.01)
    assert experiment.train(layers, r) == pytest.approx(run.loss[2], rel=0.05)


def test_the_full_recipe_is_near_the_published_figures_and_begins_as_recorded():
    s2 = recorded_s2()
    assert len(s2.base) == len(s2.lora) == 100
    for told, ours in ((published.S2_BASE, s2.base), (published.S2_LORA, s2.lora)):
        for epoch, loss in zip(published.S2_EPOCHS, told):
            assert 0.7 < ours[epoch - 1] / loss < 1.4, epoch
    task = tasks.s1_task(0)  # one epoch of the hundred, at S2's own size
    torch.manual_seed(0)
    model = TwoLayer(1001, 1000, 1000)
    history = train(model, task.X, task.y, epochs=1, lr=1e-3, seed=0, measure_every=1, progress=None)
    assert history.measured[1] == pytest.approx(s2.base[0], rel=1e-3)
