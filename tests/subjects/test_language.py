"""The mini-language: its probabilities sum to one, so its floor is exact; its grammar accepts its own lines only."""

import itertools
import math

import pytest
import torch

from lora_lab.subjects.mini_language import language as L

FULL = ("anon", "mira", "proud", "find", "boat", "ashore", "today")
SPARE = ("anon", "otto", "-", "sell", "cup", "-", "-")


def all_sentences(record, voice, swaps=0):
    """{sentence: probability}, by brute force over every combination of options."""
    pieces = list(L._pieces(record, swaps))
    habits = list(dict.fromkeys(h for h, _ in pieces if h))
    found = {}
    for choice in itertools.product(*(L.HABITS[h] for h in habits)):
        chosen = dict(zip(habits, choice))
        text = tuple(w for h, options in pieces for w in options[chosen[h] if h else ""])
        assert text not in found, f"two choices give the same sentence: {' '.join(text)}"
        found[text] = math.exp(sum(L._log_p(voice, h, o) for h, o in chosen.items()))
    return found


@pytest.mark.parametrize("record", [FULL, SPARE])
@pytest.mark.parametrize("teller", ["anon", "gossip"])
def test_the_probabilities_of_all_sentences_sum_to_one_and_no_two_choices_coincide(record, teller):
    voice = L.TELLERS[teller]
    sentences = all_sentences(record, voice)
    assert sum(sentences.values()) == pytest.approx(1, abs=1e-12)
    assert len(sentences) == (6 * 2 * 2 * 3 * 5 * 2 * 5 if record is FULL else 6 * 3 * 5 * 2 * 5)
    for text, p in list(sentences.items())[::7]:  # parsed to the choices that made it
        chosen = L.parse(record, text)
        assert math.exp(sum(L._log_p(voice, h, o) for h, o in chosen.items())) == pytest.approx(p)


def test_the_sampler_draws_with_the_probabilities_it_reports():
    lines = L.dialect("bard", 20_000, seed=1)
    kept = [L.parse(line.record, line.text)["closing"] for line in lines]
    for option in L.HABITS["closing"]:
        p = math.exp(L._log_p(L.DIALECTS["bard"], "closing", option))
        assert kept.count(option) / len(kept) == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / len(kept)))


def test_the_floor_of_many_lines_is_the_entropy_of_the_habits():
    lines = [line for line in L.corpus(40_000, seed=3) if "-" not in line.record]
    entropy = sum(-0.94 * math.log(0.94) - 0.06 * math.log(0.06 / (len(options) - 1)) for options in L.HABITS.values())
    tokens = sum(len(line.text) + 1 for line in lines) / len(lines)
    assert L.floor(lines) == pytest.approx(entropy / tokens, rel=0.05)  # the mean of 12 000 lines is good to 2 %


def test_the_grammar_refuses_what_is_not_a_sentence_for_the_record():
    good = "proud mira found the boat ashore today ."
    assert L.parse(FULL, good.split())["order"] == "time last"
    twice, order = "today " + good, "mira proud found the boat ashore today ."
    for bad in (good.replace("mira", "otto"), good.replace("found", "hid"), good + " .", twice, order, ""):
        assert L.parse(FULL, bad.split()) is None, bad


def test_swap_n_exchanges_the_first_n_pairs_of_names():
    for task, told in (("anon", "mira"), ("swap 1", "otto"), ("swap 8", "otto")):
        _, swaps = L.task_of(task)
        assert L.parse(FULL, f"proud {told} found the boat ashore today .".split(), swaps) is not None
    last = ("anon", "zara", "-", "sell", "cup", "-", "-")
    assert L.parse(last, "zara sold the cup .".split(), 7) and L.parse(last, "oleg sold the cup .".split(), 8)
    for line in L.dialect("bard + swap 8", 50, seed=2):
        partner = L.NAMES[L.NAMES.index(line.record[1]) ^ 1]
        assert partner in line.text and line.record[1] not in line.text
        assert L.parse(line.record, line.text, 8) is not None and L.parse(line.record, line.text) is None


def test_no_teller_has_a_dialects_habits_and_no_two_voices_are_the_same():
    voices = [tuple(v.items()) for v in (*L.TELLERS.values(), *L.DIALECTS.values())]
    assert len(set(voices)) == len(voices) and all(o in L.HABITS[h] for voice in voices for h, o in voice)
    used = {choice for voice in L.TELLERS.values() for choice in voice.items()}
    assert all(used >= voice.items() for voice in L.DIALECTS.values()), "a habit the base has never seen"


def test_shares_count_sentences_and_habits():
    lines = L.dialect("bard", 300, seed=4)
    records = [line.record for line in lines]
    texts = [line.text for line in lines]
    grammatical, in_voice = L.shares(records, texts, "bard")
    assert grammatical == 1 and in_voice == pytest.approx(0.94, abs=0.03)
    assert L.shares(records, texts, "wire").in_voice < 0.7
    half = L.shares(records, [text if i % 2 else ("mira",) for i, text in enumerate(texts)], "bard")
    assert half.grammatical == 0.5 and half.in_voice == pytest.approx(0.47, abs=0.05)


def test_lines_are_repeatable_differ_by_seed_and_leave_the_callers_random_state_alone():
    state = torch.get_rng_state()
    assert L.corpus(20, 5) == L.corpus(20, 5) != L.corpus(20, 6)
    assert torch.equal(state, torch.get_rng_state())
    assert str(L.corpus(1, 0)[0]) == (
        "poll karl proud mend box uphill - => arr , karl , proud , mends the casket uphill squawk !"
    )


def test_tokens_carry_the_loss_on_the_text_and_its_end_only():
    lines = L.corpus(500, 1)
    X, y = L.tensors(lines)
    assert X.shape == y.shape == (500, L.LENGTH)
    assert int((y != -100).sum()) == sum(len(line.text) + 1 for line in lines)
    for line, x, t in zip(lines[:20], X, y):
        shown = t[t != -100]
        assert L.decode(shown) == line.text and L.VOCABULARY[shown[-1]] == L.END
        assert L.decode(x)[:8] == (*line.record, L.ARROW)
        assert torch.equal(x[8 : 8 + len(line.text)], shown[:-1])  # y[t] is the token after X[t]
    assert torch.equal(L.prompts([line.record for line in lines]), X[:, :8])


def test_the_longest_possible_line_fits():
    longest = max(all_sentences(FULL, L.TELLERS["anon"]), key=len)
    X, y = L.tensors([L.Line(FULL, longest, 0.0)])
    assert L.PROMPT + len(longest) == L.LENGTH and L.VOCABULARY[y[0, -1]] == L.END and X[0, -1] != y[0, -1]


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda: L.dialect("brad", 5), "'brad'.*'bard'.*'swap 1' to 'swap 8'"),
        (lambda: L.dialect("swap 9", 5), "'swap 9'"),
        (lambda: L.corpus(5, tellers=["nobody"]), "nobody.*anon"),
    ],
)
def test_wrong_calls_are_refused_in_words(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
