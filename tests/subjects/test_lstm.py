"""The sentence source, whose entropy is exact, the LSTM model on it, the ways to adapt it, and the record of both."""

from __future__ import annotations

import copy

import pytest
import torch
from matplotlib.colors import to_hex

from lora_lab import adapters_disabled, count_parameters, delta_weights, figures
from lora_lab.subjects.language_model import drawings, lstm, sentences
from lora_lab.subjects.language_model.lstm import Way, WordLM, adapt, prepare, write
from lora_lab.subjects.language_model.record import Run, find_run, recorded_runs
from lora_lab.subjects.language_model.sentences import INDEX, KINDS, LONGEST, PAD, SWAPS, WORDS, Source, dialects
from lora_lab.subjects.tables import Table

SOURCES = {"source": Source(), **dialects()}
every_source = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)


@pytest.fixture(scope="module")
def base() -> WordLM:
    return lstm.word_base(Source(), n=4000, epochs=3, lr=3e-2).model


# ---------------------------------------------------------------------------------------------------------- the source


@every_source
def test_the_entropy_is_what_sampling_finds(source):
    """Monte Carlo: the mean of -log p over 60 000 sentences, within four standard errors."""
    data = source.sample(60_000, seed=5)
    error = float(data.log_p.std()) / len(data.log_p) ** 0.5
    assert abs(-float(data.log_p.mean()) - source.entropy * sentences.WORDS_PER_SENTENCE) < 4 * error
    assert data.words / 60_000 == pytest.approx(sentences.WORDS_PER_SENTENCE, rel=0.01)
    assert data.source_loss == pytest.approx(source.entropy, rel=0.01)
    assert source.entropy == Source().entropy  # a dialect has the entropy of the source


@every_source
def test_sentences_carry_their_own_probability(source):
    """The product of the choices that can be read off its words, and the tense is the opener's."""
    data = source.sample(300, seed=3)
    table = {name: choice.p for name, choice in source.choices.items()}
    for i in range(300):
        text = data.text(i)
        assert source.allows(text) and text.endswith(" .") and len(text.split()) <= LONGEST, text
        roles = [WORDS[source.meaning[INDEX[word]]] for word in text.split()]
        at = {kind: words.index(role) for role in roles for kind, words in KINDS.items() if role in words}
        verb = at.get("verb", at.get("past verb"))
        assert ("past verb" in at) == (at["opener"] >= sentences.PAST)
        p = table["opener"][0, at["opener"]] * table["subject"][0, at["subject"]] * table["verb"][at["subject"], verb]
        p = p * table["thing"][verb, at["thing"]] * 0.5 * (0.6 if "place" in at else 0.4)
        if "adjective" in at:
            p = p * table["adjective"][0, at["adjective"]]
        if "place" in at:
            follows = at[source.choices["place"].given]
            p = p * table["preposition"][0, at["preposition"]] * table["place"][follows, at["place"]]
        assert float(p.log()) == pytest.approx(float(data.log_p[i]), rel=1e-9), text


def test_inputs_are_the_targets_one_word_late():
    data = Source().sample(50, seed=1)
    for inputs, targets in zip(data.inputs.tolist(), data.targets.tolist()):
        n = sum(t != PAD for t in targets)
        assert targets[n:] == [PAD] * (LONGEST - n) and WORDS[targets[n - 1]] == "."
        assert inputs[0] == INDEX["."] and inputs[1:n] == targets[: n - 1]
    assert torch.equal(Source().sample(50, seed=1).inputs, data.inputs)


def test_the_dialects_change_what_they_say_and_nothing_else():
    plain, swapped, rule = (SOURCES[name].sample(400, 1) for name in ("source", "swapped words", "a new rule"))
    partner = dict(SWAPS) | {b: a for a, b in SWAPS}
    assert set(Source(SWAPS).changed_words) == set(partner)
    for i in range(400):
        assert swapped.text(i) == " ".join(partner.get(w, w) for w in plain.text(i).split())
        a, b = plain.text(i).split(), rule.text(i).split()
        assert len(a) == len(b) and all(x == y or x in KINDS["place"] for x, y in zip(a, b))


GOOD = "yesterday the old fox hid the kettle behind the mill ."


@pytest.mark.parametrize(
    "bad",
    ["", "fox", GOOD[:-2], GOOD.replace("hid", "hides"), GOOD.replace("the kettle", "kettle"), GOOD + " .",
     GOOD.replace("fox", "unicorn"), GOOD.replace("old fox", "fox old"), GOOD.replace(" the mill", "")],
)  # fmt: skip
def test_what_the_source_never_writes_is_not_allowed(bad):
    assert Source().allows(GOOD) and not Source().allows(bad)


# ----------------------------------------------------------------------------------------------------------- the model


@pytest.mark.parametrize("part", lstm.PARTS)
@pytest.mark.parametrize("r", [0, 3])
def test_each_way_starts_at_the_base_trains_its_parts_and_nothing_else(base, part, r):
    data, way = dialects()["both"].sample(256, seed=2), Way(part, r)
    before = {n: p.clone() for n, p in base.named_parameters()}
    frozen = copy.deepcopy(base).requires_grad_(False)  # not every torch gives one that may train the same last bit
    with torch.no_grad():
        assert torch.equal(prepare(base, way)(data.inputs), frozen(data.inputs)) or r == 0
    model, _ = adapt(base, data, way, lr=1e-2, steps=3, seed=1)
    assert all(torch.equal(p, before[n]) for n, p in base.named_parameters())
    moved = set()
    for n, p in model.named_parameters():
        plain = n.replace("parametrizations.", "").replace(".original", "").replace("head.base", "head")
        if "lora_" not in n and not torch.equal(p, before[plain]):
            moved.add(n.split(".")[0])
    assert moved == (set() if r else set(way.layers))
    if r:
        assert {n.split(".")[0] for n in delta_weights(model)} == set(way.layers)
        with adapters_disabled(model), torch.no_grad():
            assert torch.equal(model(data.inputs), frozen(data.inputs))


def test_a_way_depends_on_its_seed_alone(base):
    data = dialects()["both"].sample(256, seed=2)
    state = torch.random.get_rng_state()
    runs = [adapt(base, data, Way("all", 4), lr=1e-2, steps=3, seed=s)[1].losses for s in (3, 3, 4)]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert runs[0] == runs[1] != runs[2]


def test_writing_is_drawing_from_the_model(base):
    texts = write(base, 40, seed=1)
    assert texts == write(base, 40, seed=1) != write(base, 40, seed=2)
    assert sum(Source().allows(text) for text in texts) > 10


# ---------------------------------------------------------------------------------------------- the record, the figures


def test_the_record_is_whole():
    runs = recorded_runs()
    assert len(runs.where(dialect="both").kinds("way")) == 14 and len(runs) == 3 * 14
    for run in runs:
        assert len(run.excess) == 5 and min(run.excess) > 0
        assert len(run.allowed) == (5 if run.way in ("before", "LoRA r = 8") else 0)
    for way in (Way("all", 0), Way("all", 4), Way("head", 0), Way("embedding and head", 8)):
        assert find_run("both", way).trainable == count_parameters(prepare(WordLM(), way))[0]
    with pytest.raises(ValueError, match="no row has dialect='both', way='LoRA r = 3'"):
        find_run("both", Way("all", 3))


def test_below_means_on_every_seed():
    low, high, crossing = (Run(excess=excess) for excess in ([1, 2, 3], [2, 3, 4], [0, 3, 2]))
    assert low.below(high) and not high.below(low) and not low.below(crossing)


def test_the_figures_draw_what_they_are_given():
    rows = {"before": [5, 6], "LoRA r = 1": [1, 2], "head only": [3, 4]}
    axes = drawings.ways_compared(Table(Run(dialect="a", way=way, excess=excess) for way, excess in rows.items()))
    assert [t.get_text() for t in axes[0].get_yticklabels()] == ["LoRA r = 1", "head only"]
    assert list(axes[0].lines[1].get_xdata()) == [1, 2]
    delta = torch.tensor([[0.0], [-1], [0], [2], [0]])
    ax = drawings.words_that_moved(delta, list("abcde"), ["b"])
    assert [bar.get_height() for bar in ax.patches[:2]] == [2, 1]
    assert to_hex(ax.patches[1].get_facecolor()) == figures.COLOURS["marked"].lower()
    axes = drawings.written_sentences({"before": ["the fox ."], "after": ["bad", "ok"]}, lambda text: text != "bad")
    assert [t.get_text() for ax in axes for t in ax.texts] == ["  the fox .", "× bad", "  ok"]
