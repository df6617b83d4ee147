"""The small GPT, its loss and text, the shipped checkpoint and adapters, the record, the panels and figures."""

import math
import shutil

import pytest
import torch

from lora_lab import add_lora, count_parameters, delta_weights, published, set_scale
from lora_lab.adapter_set import AdapterSet
from lora_lab.subjects.mini_language import language as L
from lora_lab.subjects.records import climb, kept, place, read_lines, read_record
from lora_lab.subjects.tables import Table
from lora_lab.subjects.transformer import (
    directions,
    drawings,
    gpt,
    make_base,
    make_record,
    make_regret,
    panels,
    record,
    reward,
)

RATES = make_record.RATES


@pytest.fixture(scope="module")
def base():
    return gpt.load_base()


# ---------------------------------------------------------------------------------------------- the model


def test_attention_is_softmax_of_scaled_dot_products(base):
    layer = base.layers[0].attention
    x = torch.randn(2, 5, 96, generator=torch.Generator().manual_seed(0))
    q, k, v = (f(x).view(2, 5, 4, 24) for f in (layer.q_proj, layer.k_proj, layer.v_proj))
    scores = torch.einsum("bthe,bshe->bhts", q, k) / math.sqrt(24)
    weights = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -math.inf).softmax(-1)
    expected = layer.o_proj(torch.einsum("bhts,bshe->bthe", weights, v).flatten(2))
    assert torch.allclose(layer(x), expected, atol=1e-5)


def test_the_model_makes_its_places_where_its_input_is():
    with torch.device("meta"):  # stands for any other
        model, ids = gpt.GPT(), torch.zeros(2, 5, dtype=torch.long)
    seen = []
    model.places.register_forward_pre_hook(lambda _, given: seen.append(given[0].device.type))
    assert model(ids).device.type == "meta" and seen == ["meta"]


def test_losses_count_text_tokens_only():
    logits, y = torch.zeros(2, 3, 5), torch.tensor([[-100, 1, 2], [-100, -100, 3]])
    logits[0, 0] = 100 * torch.arange(5.0)  # where no loss is asked for, nothing counts
    assert gpt.text_loss(logits, y).item() == pytest.approx(math.log(5))


def test_generation_stops_even_if_the_model_never_ends_a_sentence():
    model = gpt.new_gpt(0)
    with torch.no_grad():
        model.head.bias[L.VOCABULARY.index(L.END)] = -1e9
    (text,) = gpt.generate(model, [L.corpus(1, 0)[0].record])
    assert len(text) == L.LENGTH + 1 - L.PROMPT


# ---------------------------------------------------------------------------------------------- the checkpoint


def test_the_command_walks_the_recorded_path():
    first_losses = gpt.record_of()["first_losses"]

    def few_steps(logits, targets, seen=[]):  # noqa: B006
        seen.append(1)
        loss = gpt.text_loss(logits, targets)
        return loss if len(seen) <= len(first_losses) else loss * float("nan")  # a NaN ends the run

    _, history = make_base.pretrain(make_base.SEED, loss=few_steps)
    assert history.losses[: len(first_losses)] == pytest.approx(first_losses, rel=2e-3)


def test_the_shipped_base_is_as_good_as_its_record_says(base):
    made, held_out = gpt.record_of(), L.corpus(**make_base.HELD_OUT)
    assert gpt.above_floor(base, held_out) == pytest.approx(made["above_floor"], abs=5e-4)
    assert made["parameters"] == count_parameters(base)[1]
    assert read_record("transformer")["base"] == made["sha256"]


def test_a_missing_and_a_changed_checkpoint_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="there is no nowhere.safetensors: python -m .*make_base makes it"):
        gpt.load_base(tmp_path / "nowhere.safetensors")
    mine = tmp_path / gpt.CHECKPOINT.name
    shutil.copy(gpt.CHECKPOINT.with_suffix(".json"), tmp_path)
    whole = gpt.CHECKPOINT.read_bytes()
    for damaged in (whole[:-1000], b"", b"\x80\x04pickled", whole[:-1] + bytes([whole[-1] ^ 1])):
        mine.write_bytes(damaged)
        with pytest.raises(ValueError, match="not the file that its record describes: sha256"):
            gpt.load_base(mine)


# ---------------------------------------------------------------------------------------------- the record


def with_chosen_rates(rows, kind_of, seeds=3):
    """The rows at the chosen rates. Each kind has one, with all its seeds; both its neighbours were tried, and are not
    better on the first two."""
    best = record.at_best_rate(rows, seeds)
    for kind in {kind_of(row) for row in rows}:
        mine, tried = (Table(row for row in part if kind_of(row) == kind) for part in (best, rows))
        assert len(mine.kinds("lr")) == 1 and sorted(mine.column("seed")) == list(range(seeds)), kind
        on_two = Table(row for row in tried if row.seed < 2).by("lr")
        losses, i = {lr: two.mean("tuned_on") for lr, two in on_two.items()}, RATES.index(mine[0].lr)
        assert losses[RATES[i]] <= min(losses[RATES[i - 1]], losses[RATES[i + 1]]), kind
    return best


def test_every_way_is_there_with_its_trained_numbers_at_a_rate_that_was_climbed_to():
    runs = with_chosen_rates(record.read_runs().where(steps=600), lambda run: (run.task, run.way), seeds=5)
    ways = {*make_record.WAYS, *make_record.BUDGET, *make_record.MLP_BUDGET}
    for task in make_record.TASKS:
        assert set(runs.where(task=task).kinds("way")) == ways
    for way, mine in runs.by("way").items():
        assert mine.kinds("trained") == [count_parameters(make_record.prepare(way))[0]]
        assert all(math.isfinite(x) and x > -0.002 for x in mine.column("loss") + mine.column("others"))
    assert {run.trained for way in make_record.BUDGET for run in runs.where(way=way)} == {3072}


def test_biases_head_and_last_block_train_what_they_say():
    names = {}
    for way in make_record.GUESS:
        names[way] = [n for n, p in make_record.prepare(way).named_parameters() if p.requires_grad]
    assert names["linears"] == [f"{name}.weight" for name in gpt.linears(gpt.load_base())]
    assert names["head"] == ["head.weight", "head.bias"]
    assert all(n.endswith("bias") for n in names["biases"]) and "layers.0.norm1.bias" in names["biases"]
    assert names["last block"] == [n for n in names["full"] if n.startswith("layers.1.")]


def test_a_run_that_is_there_is_not_made_again_and_a_climb_ends_between_worse_neighbours(tmp_path):
    file, made = tmp_path / "runs.jsonl", []
    losses = {1: 9.0, 2: math.nan, 4: 3.0, 8: 2.0, 16: 5.0, 32: 0.0}

    def loss_at(rate):
        measure = lambda: made.append(rate) or {"loss": losses[rate]}  # noqa: E731
        return kept(file, {"way": "λ", "lr": rate}, measure)["loss"]

    assert [climb(list(losses), 4, loss_at) for _ in range(2)] == [8, 8] and made == [4, 2, 8, 16]
    assert [(row["way"], row["lr"]) for row in read_lines(file)] == [("λ", rate) for rate in made]


def test_runs_repeated_end_where_the_record_says():
    """Loosely, because training amplifies a CPU's rounding."""
    row = record.read_runs().where(task="bard", way="q,v r=8", steps=150, seed=0)[0]
    model = make_record.fine_tune("bard", "q,v r=8", row.lr, 150, seed=0)
    assert gpt.above_floor(model, L.dialect("bard", **make_record.TEST_ON)) == pytest.approx(row.loss, rel=0.1)
    start = gpt.load_base().state_dict()
    (name, delta), *_ = directions.updates(model, start).items()
    assert directions.moved(start[f"{name}.weight"], delta) == pytest.approx(row.moved, rel=0.5)
    row = record.at_best_rate(record.slices()).where(way="all linears r=1", lines=100, seed=0)[0]
    model = make_record.fine_tune("bard", row.way, row.lr, make_regret.SEEN // 32, 0, lines=100)
    assert gpt.above_floor(model, L.dialect("bard", 100, seed=10)) == pytest.approx(row.seen, rel=0.2)


def test_a_cut_update_at_full_rank_is_the_update():
    model = gpt.load_base()
    for layer in gpt.linears(model).values():
        generator = torch.Generator().manual_seed(0)
        rank_one = torch.randn(len(layer.weight), 1, generator=generator) @ torch.ones(1, layer.weight.shape[1])
        layer.weight.data += 0.02 * rank_one
    loss = gpt.above_floor(model, L.dialect("bard", **make_record.TEST_ON))
    cut = make_record.cut_losses("bard", model)
    assert list(cut) == list(make_record.CUT_TO) and list(cut.values()) == pytest.approx([loss] * 5, abs=1e-3)


@pytest.fixture(scope="module")
def shipped():
    model = gpt.load_base()
    add_lora(model, r=8, alpha=16, target_modules=["q_proj", "v_proj"])
    adapters = AdapterSet(model)
    for name in make_record.SHIPPED:
        adapters.load(name, gpt.ADAPTERS / name)  # checks names, shapes and the fingerprint of the base
    return adapters


def test_each_shipped_adapter_is_as_good_as_its_record(shipped):
    losses = read_record("transformer")["adapters"]
    assert set(losses) == set(make_record.SHIPPED) == {p.name for p in gpt.ADAPTERS.iterdir()}
    for name, (task, way, _) in make_record.SHIPPED.items():
        shipped.use(name)
        lines = L.dialect(task, **make_record.TEST_ON)
        assert gpt.above_floor(shipped.model, lines) == pytest.approx(losses[name], abs=2e-3), name
        assert shipped[name]["layers.0.attention.q_proj.lora_A"].shape[0] == place(way)[1]


# ------------------------------------------------------------------------------ rewards, slices over data and batch


def test_a_reward_is_the_share_of_the_tasks_habits_in_an_accepted_sentence():
    facts = ("anon", "mira", "proud", "find", "boat", "-", "today")
    said = ["hark : today mira , proud , did find ye skiff , they say .", "proud mira found the boat today .",
            "hark : proud mira found the boat today .", "hark : hark :", "mira mira", ""]  # fmt: skip
    found = reward.rewards([facts] * 6, [text.split() for text in said], "bard")
    assert found.tolist() == pytest.approx([1, 0, 1 / 7, 0, 0, 0])


def test_log_p_counts_every_word_and_the_end_and_nothing_after_it(base):
    lines = L.corpus(3, seed=5)
    found = reward.log_p(base, [line.record for line in lines], [line.text for line in lines])
    for line, value in zip(lines, found.tolist()):
        ids = L.encode([*line.record, L.ARROW, *line.text, L.END])
        p = base(ids[None, :-1])[0].log_softmax(-1)[range(len(ids) - 1), ids[1:]]
        assert value == pytest.approx(p[L.PROMPT - 1 :].sum().item(), abs=1e-3)
    assert reward.log_p(base, [lines[0].record], [["mira"] * 17]).isfinite()  # never ended: cut


def test_drawn_sentences_are_drawn_from_the_models_distribution(base):
    records = [line.record for line in L.corpus(1, seed=5, tellers=["anon"])] * 400
    first, again = (gpt.generate(base, records, torch.Generator().manual_seed(0)) for _ in range(2))
    assert first == again != gpt.generate(base, records, torch.Generator().manual_seed(1))
    assert L.shares(records, first, "anon").in_voice == pytest.approx(0.94, abs=0.02)


def test_every_reward_rate_was_climbed_to_and_the_start_is_the_bases():
    best = with_chosen_rates(record.rewarded(), lambda run: run.way)
    assert best.kinds("way") == list(make_regret.GUESS)
    for run in best:
        assert run.before == pytest.approx(0.03, abs=0.01) and run.after > 0.5 and len(run.curve) == 20


def test_the_first_steps_of_a_reward_repeated_are_the_records():
    run = record.rewarded().where(way="full", lr=5e-4, seed=0)[0]
    model = make_record.prepare("full", 0)
    steps = make_regret.STEPS
    means = reward.reinforce(model, "bard", steps=steps, lr=run.lr, seed=0, stop=10)
    assert sum(means) / 10 == pytest.approx(run.curve[0], abs=0.02) and means[-1] > means[0]


def test_every_slice_is_there_at_a_rate_that_was_climbed_to():
    best = with_chosen_rates(record.slices(), lambda run: (run.way, run.lines, run.batch))
    ways, amounts = list(make_regret.WAYS), make_regret.AMOUNTS
    cells = {(way, lines, 32) for way in ways for lines in amounts}
    cells |= {(way, make_regret.OF_BATCHES, batch) for way in ways[:3] for batch in make_regret.BATCHES}
    assert {(run.way, run.lines, run.batch) for run in best} == cells
    assert all(run.trained == count_parameters(make_record.prepare(run.way))[0] for run in best if not run.seed)


# ---------------------------------------------------------------------------------------------- panels and figures


@pytest.mark.parametrize("panel, moved, way, columns, runs", [
    (panels.ways_panel, {"task": "bard", "where": "all linears", "r": 2}, "trained", ("loss", "others"), record.tuned),
    (panels.regret_panel, {"lines": 400, "way": "all linears r=8"}, "lines", ("loss", "seen"),
     lambda: record.at_best_rate(record.slices()).where(batch=32)),
])  # fmt: skip
def test_two_pictures_ring_the_chosen_runs_mean(panel, moved, way, columns, runs):
    rows = runs()
    panel = panel(rows)
    caption = panel.set(**moved)
    chosen = rows.where(**{"rank" if name == "r" else name: value for name, value in moved.items()})
    assert f"{chosen[0].trained:,} numbers" in caption
    for ax, column in zip(panel._figure.axes, columns, strict=True):
        (x,), (y,) = ax.lines[-1].get_data()
        assert (x, y) == pytest.approx((getattr(chosen[0], way), chosen.mean(column)))


def test_similarity_panel_shows_phi_at_the_mark_beside_chance():
    g = torch.Generator().manual_seed(0)
    A1, A2 = torch.randn(8, 50, generator=g), torch.randn(16, 50, generator=g)
    panel = panels.similarity_panel({"noise": (A1, A2), "same": (A1, A1)})
    assert panel.values == {"pair": "noise", "i": 1, "j": 1}, "where the page asks"
    phi = directions.subspace_similarity(A1, A2)
    assert panel.set(i=4, j=16) == f"φ(4, 16) = {phi[3, 15]:.2f}, chance 0.32"
    assert panel.set(i=16) == panel.set(i=8)  # the first has 8 directions
    assert panel.set(pair="same", j=8) == "φ(8, 8) = 1.00, chance 0.16"


def test_talk_is_the_base_at_lambda_0_and_the_dialect_at_1(shipped, base):
    records = [line.record for line in L.dialect("bard", 3, seed=3)]
    said = panels.talk(shipped, {"bard": "bard"}, (0.0, 0.5, 1.0), records)
    off, half, on = said.values()
    assert off.texts == [" ".join(t) for t in gpt.generate(base, records)]
    assert all(text.startswith("hark :") and text.endswith("they say .") for text in on.texts)
    assert off.task > half.task > on.task and off.voices < half.voices < on.voices
    assert on.task < 0.02 and on.right > 0.99 and off.right < 0.5
    assert all(m.lam == 1 for m in shipped.model.modules() if hasattr(m, "lam"))  # put back
    panel = panels.talk_panel(said, records)
    assert said["bard", 1.0].texts[0] in panel.set(lam=1.0)
    assert [t.get_text() for t in panel._figure.texts][1::2] == on.texts


def test_greedy_text_has_no_near_ties_at_any_lambda_of_the_page(shipped):
    """So the sentences that the page prints are the same on every CPU: its rounding errors are near 1e-5."""
    records = [r.record for r in L.dialect("bard", 40, seed=6) if "-" not in r.record][:3]
    for name in ("bard", "wire", "swap"):
        shipped.use(name)
        for lam in (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5):
            set_scale(shipped.model, lam)
            for facts, text in zip(records, gpt.generate(shipped.model, records)):
                ids = L.encode([*facts, L.ARROW, *text])[None]
                with torch.no_grad():
                    best = shipped.model(ids)[0, L.PROMPT - 1 :].topk(2).values
                assert (best[:, 0] - best[:, 1]).min() > 1e-3, f"{name}, λ = {lam}: {' '.join(text)}"
        set_scale(shipped.model, 1.0)


def test_figures_of_the_record_show_its_rows():
    runs, best = record.tuned(), record.at_best_rate(record.slices())
    budget = Table(run for way in published.TABLE5 for run in runs.where(task="bard", way=way))
    left, _ = drawings.beside(budget, published.TABLE5)
    assert list(left.lines[0].get_xdata()) == budget.where(way="q r=8").column("loss")
    left, right = drawings.rank_lines(runs, published.TABLE6)
    first = runs.where(task="bard", where="q,v")
    assert left.lines[0].get_ydata() == pytest.approx([first.where(rank=r).mean("loss") for r in gpt.RANKS])
    assert right.lines[1].get_ydata()[-1] == 73.5
    one, _ = drawings.cut_and_trained(runs)
    whole = runs.where(task="bard", way="linears")
    assert one.lines[0].get_ydata()[0] == pytest.approx(sum(run.cut[1] for run in whole) / len(whole))
    _, right = drawings.regret(best.where(batch=32), best.where(lines=400))
    full = best.where(way="full", lines=400)
    assert list(right.lines[0].get_ydata()) == [full.where(batch=size).mean("loss") for size in (8, 32, 128)]


def test_intruders_scaled_by_one_are_the_adapter_and_the_panel_says_so(shipped):
    shipped.use("swap")
    deltas = delta_weights(shipped.model)
    rows, count = panels.scale_intruders(deltas, "swap 8", scales=(0.0, 1.0))
    lines = L.dialect("swap 8", 400, seed=8_002)
    assert count > 0 and rows[1].task == pytest.approx(gpt.above_floor(shipped.model, lines), abs=1e-4)
    assert rows[0].task > rows[1].task
    panel = panels.intruder_panel({"swap": (rows, count)})
    assert f"{count} intruders scaled by 0" in panel.set(scale=0.0)
    assert list(panel._figure.axes[0].lines[1].get_ydata()) == [rows[0].task]
