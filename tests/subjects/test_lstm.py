"""The sentence source, whose entropy is exact, the LSTM model on it, the ways to adapt it, and the record of both."""

from __future__ import annotations

import copy
import math

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn

from lora_lab import adapters_disabled, add_lora, count_parameters, delta_weights
from lora_lab.subjects.language_model import drawings, lstm
from lora_lab.subjects.language_model.lstm import (
    Way,
    WordLM,
    adapt,
    loss_on,
    memoryless_loss,
    prepare,
    word_base,
    word_loss,
    write,
)
from lora_lab.subjects.language_model.sentences import (
    INDEX,
    KINDS,
    LONGEST,
    PAD,
    PAST_OPENERS,
    SWAPS,
    WORDS,
    Source,
    dialects,
)
from lora_lab.subjects.linear_task.bases import record

SOURCES = {"source": Source(), **dialects()}


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def base() -> WordLM:
    return word_base(Source(), n=4000, epochs=6, width=16, hidden=32, lr=3e-2, progress=None).model


# ---------------------------------------------------------------------------------------------------------- the source


def test_a_hundred_words_each_in_one_slot():
    assert len(WORDS) == len(set(WORDS)) == 100 and all(WORDS[INDEX[w]] == w for w in WORDS)
    assert PAST_OPENERS < set(KINDS["opener"]) and len(KINDS["verb"]) == len(KINDS["past verb"])


@pytest.mark.parametrize("name", SOURCES)
def test_the_entropy_is_what_sampling_finds(name):
    """Monte Carlo: the mean of -log p over 60 000 sentences, within four standard errors."""
    source = SOURCES[name]
    data = source.sample(60_000, seed=5)
    per_sentence = source.entropy * source.words_per_sentence
    error = float(data.log_p.std()) / math.sqrt(len(data.log_p))
    assert abs(-float(data.log_p.mean()) - per_sentence) < 4 * error
    assert data.words / 60_000 == pytest.approx(source.words_per_sentence, rel=0.01)
    assert data.source_loss == pytest.approx(source.entropy, rel=0.01)


def test_the_probabilities_of_all_continuations_add_up():
    """Summing over the last choices of one sentence gives the probability of its beginning, twice over."""
    source = Source(SWAPS, "opener")
    start = "yesterday the kettle "
    things = [WORDS[source.meaning[INDEX[t]]] for t in KINDS["thing"]]  # the words that play a thing's role
    ends = [f"{v} the {t} ." for v in KINDS["past verb"] for t in things]
    total = sum(math.exp(source.log_prob(start + end)) for end in ends)
    opener, fox = source.opener[KINDS["opener"].index("yesterday")], source.subject[KINDS["subject"].index("fox")]
    assert total == pytest.approx(float(opener * fox) * 0.5 * 0.4, rel=1e-9)  # no adjective, no place


@pytest.mark.parametrize("name", SOURCES)
def test_samples_carry_their_own_probability(name):
    source = SOURCES[name]
    data = source.sample(300, seed=3)
    for i in range(300):
        text = data.text(i)
        assert source.log_prob(text) == pytest.approx(float(data.log_p[i]), rel=1e-9), text
        assert text.endswith(" .") and len(text.split()) <= LONGEST
        past = data.text(i).split()[0] in PAST_OPENERS
        roles = {WORDS[source.meaning[INDEX[w]]] for w in text.split()}
        assert bool(roles & set(KINDS["past verb"])) == past


def test_inputs_are_the_targets_one_word_late():
    data = Source().sample(50, seed=1)
    for inputs, targets in zip(data.inputs.tolist(), data.targets.tolist()):
        n = sum(t != PAD for t in targets)
        assert targets[n:] == [PAD] * (LONGEST - n) and WORDS[targets[n - 1]] == "."
        assert inputs[0] == INDEX["."] and inputs[1:n] == targets[: n - 1]
    again = Source().sample(50, seed=1)
    assert torch.equal(again.inputs, data.inputs) and not torch.equal(Source().sample(50, seed=2).inputs, data.inputs)


def test_the_dialects_change_what_they_say_and_nothing_else():
    plain, swapped, rule = (SOURCES[name].sample(400, 1) for name in ("source", "swapped words", "a new rule"))
    partner = dict(SWAPS) | {b: a for a, b in SWAPS}
    for i in range(400):
        assert swapped.text(i) == " ".join(partner.get(w, w) for w in plain.text(i).split())
        a, b = plain.text(i).split(), rule.text(i).split()
        assert len(a) == len(b) and all(x == y or x in KINDS["place"] for x, y in zip(a, b))
    assert len({s.entropy for s in SOURCES.values()}) == 1
    assert Source(SWAPS).changed_words == [w for pair in SWAPS for w in pair] and len(Source(SWAPS).changed_words) == 12


def test_what_the_source_never_writes_has_probability_zero():
    source = Source()
    good = "yesterday the old fox hid the kettle behind the mill ."
    assert source.log_prob(good) > -40
    for bad in ("", "fox", good[:-2], good.replace("hid", "hides"), good.replace("the kettle", "kettle"), good + " .",
                good.replace("fox", "unicorn"), good.replace("old fox", "fox old")):  # fmt: skip
        assert source.log_prob(bad) == -math.inf, bad


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"swaps": [("fox", "unicorn")]}, "'unicorn' is not a word"),
        ({"swaps": [("fox", "boat"), ("boat", "owl")]}, "each word in one pair only"),
        ({"place_follows": "verb"}, "place_follows='verb'"),
    ],
)
def test_wrong_sources_get_a_sentence(given, words):
    with pytest.raises(ValueError, match=words):
        Source(**given)
    with pytest.raises(ValueError, match="n=0"):
        Source().sample(0)


# ----------------------------------------------------------------------------------------------------------- the model


def test_the_articles_shape_has_the_articles_count():
    article = nn.ModuleList([nn.Embedding(100, 256), nn.LSTM(256, 256), nn.Linear(256, 10)])
    assert count_parameters(article) == (554_506, 554_506)


def test_the_loss_is_the_mean_over_words_not_over_sentences():
    data = Source().sample(20, seed=1)
    scores = torch.randn(20, LONGEST, 100)
    by_hand = [
        -scores[i, t].log_softmax(-1)[data.targets[i, t]]
        for i in range(20)
        for t in range(LONGEST)
        if data.targets[i, t] != PAD
    ]
    assert len(by_hand) == data.words
    assert word_loss(scores, data.targets).item() == pytest.approx(float(torch.stack(by_hand).mean()), rel=1e-5)


def test_no_model_loses_less_than_the_source(base):
    test = Source().sample(3000, seed=8)
    assert 0 < loss_on(base, test) - test.source_loss < 0.4
    assert memoryless_loss(base, test) > loss_on(base, test) + 0.5


def test_the_future_is_hidden_from_the_model(base):
    ids = Source().sample(4, seed=1).inputs
    other = ids.clone()
    other[:, 6:] = INDEX["barn"]
    with torch.no_grad():
        assert torch.equal(base(ids)[:, :6], base(other)[:, :6])


def test_memoryless_means_one_word_at_a_time(base):
    data = Source().sample(30, seed=4)
    with torch.no_grad():
        scores = torch.stack([base(data.inputs[:, t : t + 1])[:, 0] for t in range(LONGEST)], 1)
    assert memoryless_loss(base, data) == pytest.approx(word_loss(scores, data.targets).item(), rel=1e-4)


def frozen(model):
    """Not every build of torch computes an LSTM that may train and one that may not to the same last bit."""
    return copy.deepcopy(model).requires_grad_(False)


@pytest.mark.parametrize("part", lstm.PARTS)
@pytest.mark.parametrize("r", [0, 3])
def test_each_way_trains_its_parts_and_nothing_else(base, part, r):
    data = dialects()["both"].sample(256, seed=2)
    before = {n: p.clone() for n, p in base.named_parameters()}
    model, history = adapt(base, data, Way(part, r), lr=1e-2, steps=3, seed=1)
    assert history.steps == 3
    assert all(torch.equal(p, before[n]) for n, p in base.named_parameters())
    plain = {n.replace("parametrizations.", "").replace(".original", "").replace("head.base", "head"): p
             for n, p in model.named_parameters() if "lora_" not in n}  # fmt: skip
    moved = {n.split(".")[0] for n, p in plain.items() if not torch.equal(p, before[n])}
    assert moved == (set() if r else set(lstm.PARTS[part]))
    if r:
        assert {n.split(".")[0] for n in delta_weights(model)} == set(lstm.PARTS[part])
        with adapters_disabled(model), torch.no_grad():
            assert torch.equal(model(data.inputs), frozen(base)(data.inputs))


def test_a_way_starts_at_the_base_and_depends_on_its_seed(base):
    data = dialects()["both"].sample(256, seed=2)
    state = torch.random.get_rng_state()
    model = prepare(base, Way("all", 4), seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    with torch.no_grad():
        assert torch.equal(model(data.inputs), frozen(base)(data.inputs))
    runs = [adapt(base, data, Way("all", 4), lr=1e-2, steps=3, seed=s)[1].losses for s in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]
    with pytest.raises(ValueError, match="part='lstm' is none of"):
        prepare(base, Way("lstm", 4))


def test_swapping_rows_by_hand_learns_the_swapped_dialect_exactly(base):
    source, dialect = Source(), Source(SWAPS)
    by_hand = prepare(base, Way("all", 0)).requires_grad_(False)
    for p in (by_hand.embedding.weight, by_hand.head.weight, by_hand.head.bias):
        p.copy_(p[dialect.meaning].clone())
    plain, swapped = source.sample(500, 3), dialect.sample(500, 3)
    assert loss_on(by_hand, swapped) == pytest.approx(loss_on(base, plain), rel=1e-5)
    assert torch.linalg.matrix_rank(by_hand.embedding.weight - base.embedding.weight, atol=1e-4) == len(SWAPS)


def test_writing_is_drawing_from_the_model(base):
    class Fixed(nn.Module):
        """Writes "the fox ." whatever came before."""

        def forward(self, ids):
            chain = {".": "the", "the": "fox", "fox": "."}
            scores = torch.full((*ids.shape, 100), -50.0)
            for i, row in enumerate(ids.tolist()):
                for t, word in enumerate(row):
                    scores[i, t, INDEX[chain[WORDS[word]]]] = 50.0
            return scores

    assert write(Fixed(), 3) == ["the fox ."] * 3
    texts = write(base, 40, seed=1)
    assert texts == write(base, 40, seed=1) != write(base, 40, seed=2)
    assert sum(Source().log_prob(t) > -math.inf for t in texts) > 10


# ------------------------------------------------------------------------------------------------ the record, exercises


def test_what_the_page_says_of_the_record_holds_on_all_seeds():
    found = record("lstm_adaptation")
    assert found["seeds"] == [0, 1, 2, 3, 4]
    for name, ways in found["excess"].items():
        assert {len(v) for v in ways.values()} == {5}
        assert found["entropy"][name] == pytest.approx(dialects()[name].entropy)
        assert set(ways) == {"before", *found["rates"][name]} and set(found["trainable"]) == set(found["rates"][name])
        for way, rate in found["rates"][name].items():
            tried = found["sweep"][name][way]
            assert tried[str(rate)] == min(tried.values())
        assert all(e > 0 for losses in ways.values() for e in losses)


def test_a_recorded_run_begins_as_recorded():
    """Trainable numbers and rates are those of the ways; one short adaptation goes where the record's went."""
    found, model = record("lstm_adaptation"), WordLM()
    for way in (Way("all", 0), Way("all", 4), Way("head", 0), Way("embedding and head", 8)):
        assert found["trainable"][str(way)] == count_parameters(prepare(model, way))[0]


def test_torch_s_lstm_reads_the_adapted_weights():
    model = WordLM(8, 12)
    ids = Source().sample(3, seed=1).inputs
    before = model(ids)
    add_lora(model, r=2, target_modules="lstm.weight_hh_l0")
    with torch.no_grad():
        model.lstm.parametrizations.weight_hh_l0[0].lora_B.normal_()
    assert not torch.allclose(model(ids), before, atol=1e-3)
    assert torch.allclose(model(ids)[:, 0], before[:, 0], atol=1e-6)  # the first word: no memory yet, no change


# ------------------------------------------------------------------------------------------------------------- figures


def test_the_figures_draw_what_they_are_given():
    axes = drawings.ways_compared({"a": {"LoRA r = 1": [1, 2], "head only": [3, 4]}}, before={"a": [5, 6]})
    assert [t.get_text() for t in axes[0].get_yticklabels()] == ["LoRA r = 1", "head only"]
    assert list(axes[0].lines[1].get_xdata()) == [1, 2]
    delta = torch.zeros(5, 3)
    delta[3], delta[1] = 2.0, -1.0
    left, right = drawings.words_that_moved(delta, list("abcde"), ["b"], rows=2)
    assert [t.get_text() for t in left.get_yticklabels()] == ["d", "b"]
    assert [t.get_fontweight() for t in left.get_yticklabels()] == ["normal", "bold"]
    assert right.patches[0].get_height() == pytest.approx(2 * 3**0.5)
    columns = {"before": ["the fox ."], "after": ["bad", "the cat ."]}
    axes = drawings.written_sentences(columns, ["fox"], lambda text: text != "bad")
    assert [t.get_text() for t in axes[0].texts] == ["the", "fox", "."]
    assert [t.get_text() for t in axes[1].texts] == ["×", "bad", "the", "cat", "."]
