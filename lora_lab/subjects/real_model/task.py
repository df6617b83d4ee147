"""From a sentence of the course's own language to a JSON record of its facts, asked in a chat, graded exactly.

    proud mira found the boat ashore today .
    {"who": "mira", "mood": "proud", "deed": "find", "what": "boat", "where": "ashore", "when": "today"}

What is copied and what is understood is told apart by four kinds of test sentences: sentences as in training, with
words never trained on, in shapes never trained on (the passive, the cleft), and both.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lora_lab.subjects.mini_language.language import DEEDS, NAMES, NOTHING, THINGS, VERBS, corpus, parse

from .checkpoint import Chat

KEYS = ("who", "mood", "deed", "what", "where", "when")
ASK = "Turn the sentence into JSON with who, mood, deed, what, where, when."
NEW_WORDS = {*NAMES[10:], *VERBS[5:7], *list(THINGS)[8:]}  # 6 names, "break" and "sell", 4 things: never trained on
KINDS = ("as trained", "new words", "new shapes", "both new")
MISTAKES = ("prompt counts", "padding counts", "no end")
_PARTICIPLE = dict(zip(VERBS, "found painted hidden stolen carried broken sold mended".split()))


class Example(NamedTuple):
    """A sentence and its facts, {key: word, or None where the sentence does not say}."""

    sentence: str
    facts: dict[str, str | None]

    @property
    def answer(self) -> str:
        return json.dumps(self.facts)


def _passive(facts: dict, deed: str) -> list[str]:
    return ["the", facts["what"], "was", _PARTICIPLE[deed], "by", facts["mood"], facts["who"], facts["where"]]


def _cleft(facts: dict, deed: str) -> list[str]:
    return ["it", "was", facts["mood"], facts["who"], "who", DEEDS[deed][0], "the", facts["what"], facts["where"]]


def examples(n: int, kind: str = "as trained", seed: int = 0) -> list[Example]:
    """n different examples of one of KINDS."""
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: choose one of {', '.join(map(repr, KINDS))}.")
    new_words, new_shapes = kind in KINDS[1::2], kind in KINDS[2:]
    found: dict[str, Example] = {}
    for line in corpus((60 if new_words else 6) * n + 200, seed):
        _, name, mood, deed, thing, place, time = (word if word != NOTHING else None for word in line.record)
        if {len(NEW_WORDS & {word}) for word in (name, deed, thing)} != {int(new_words)}:
            continue  # all three are new, or none is
        odd = parse(line.record, line.text)["word"] == "odd"
        facts = dict(zip(KEYS, (name, mood, deed, THINGS[thing] if odd else thing, place, time)))
        words = list(line.text)
        if new_shapes:
            words = [word for word in [*(_passive, _cleft)[len(found) % 2](facts, deed), time, "."] if word]
        found.setdefault(" ".join(words), Example(" ".join(words), facts))
        if len(found) == n:
            break
    return list(found.values())


def test_examples(n: int = 16, seed: int = 4_000) -> dict[str, list[Example]]:
    """n examples of each kind, of seeds that no training uses."""
    return {kind: examples(n, kind, seed) for kind in KINDS}


def messages(sentence: str, shots: Sequence[Example] = ()) -> list[dict[str, str]]:
    """The conversation up to the answer; shots: answered examples before it (few-shot prompting)."""
    turns = [{"role": "system", "content": ASK}]
    for shot in shots:
        turns += [{"role": "user", "content": shot.sentence}, {"role": "assistant", "content": shot.answer}]
    return [*turns, {"role": "user", "content": sentence}]


def prompt_ids(tokenizer, turns: list[dict[str, str]]) -> list[int]:
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False).input_ids


def tensors(
    tokenizer, pairs: Sequence[tuple[list[dict[str, str]], str]], mistake: str | None = None
) -> tuple[Tensor, Tensor]:
    """Inputs and targets of (conversation, answer) pairs, both (n, T): y[t] is the token after X[t], and -100 (no loss)
    on the prompt and the padding; the token that ends the turn counts. mistake: one of MISTAKES, to see what it costs.
    """
    end = tokenizer.eos_token_id
    rows = []
    for turns, answer in pairs:
        before, after = prompt_ids(tokenizer, turns), tokenizer(answer, add_special_tokens=False).input_ids
        rows.append((before, [*after, end]))
    T = max(len(before) + len(after) for before, after in rows) - 1
    X, y = torch.full((len(rows), T), end), torch.full((len(rows), T), -100)
    for i, (before, after) in enumerate(rows):
        ids = torch.tensor(before + after)
        X[i, : len(ids) - 1] = ids[:-1]
        start = 0 if mistake == "prompt counts" else len(before) - 1
        y[i, start : len(ids) - 1] = ids[start + 1 :]
        if mistake == "padding counts":
            y[i, len(ids) - 1 :] = end
        if mistake == "no end":  # what masking by `token == padding` does where the padding is the end token
            y[i, len(ids) - 2] = -100
    return X, y


def task_tensors(tokenizer, given: Sequence[Example], mistake: str | None = None) -> tuple[Tensor, Tensor]:
    return tensors(tokenizer, [(messages(e.sentence), e.answer) for e in given], mistake)


def as_labels(X: Tensor, y: Tensor, end: int) -> tuple[Tensor, Tensor]:
    """(input_ids, labels), both (n, T + 1), as transformers wants: a label at its own token, which it moves.

    What follows an input is the end token, of the answer or as padding.
    """
    ids = torch.cat([X, torch.full_like(X[:, :1], end)], 1)
    return ids, torch.cat([torch.full_like(y[:, :1], -100), y], 1)


def answer_loss(output: object, y: Tensor) -> Tensor:
    """Mean cross-entropy in nats per answer token. output.logits (B, T, vocabulary), y (B, T) -> ()."""
    return F.cross_entropy(output.logits.flatten(0, 1).float(), y.flatten(), ignore_index=-100)


@torch.no_grad()
def loss_on(model: nn.Module, X: Tensor, y: Tensor, batch: int = 16) -> float:
    """Nats per counted token on all of (X, y)."""
    counted = [(y[i : i + batch] != -100).sum().item() for i in range(0, len(X), batch)]
    each = [answer_loss(model(X[i : i + batch]), y[i : i + batch]).item() for i in range(0, len(X), batch)]
    return sum(n * value for n, value in zip(counted, each)) / sum(counted)


@torch.no_grad()
def answers(chat: Chat, conversations: Sequence[list[dict[str, str]]], longest: int = 64) -> list[str]:
    """What the model answers, always the likeliest token, up to the end of its turn or `longest` tokens."""
    model, tokenizer = chat
    device, end = next(model.parameters()).device, tokenizer.eos_token_id
    ids = [prompt_ids(tokenizer, turns) for turns in conversations]
    T = max(map(len, ids))
    X = torch.tensor([[end] * (T - len(row)) + row for row in ids], device=device)  # padded on the left: the answer
    mask = torch.tensor([[0] * (T - len(row)) + [1] * len(row) for row in ids], device=device)  # follows directly
    out = model.generate(X, attention_mask=mask, max_new_tokens=longest, do_sample=False, pad_token_id=end)
    return tokenizer.batch_decode(out[:, T:], skip_special_tokens=True)


class Grade(NamedTuple):
    """One answer: is there a JSON object in it, how many of the six facts are right, and is it right in everything."""

    valid: bool
    right: int
    exact: bool


def facts_in(answer: str) -> dict | None:
    """The JSON object in an answer, from its first { to its last }; None if that is none."""
    try:
        return json.loads(answer[answer.find("{") : answer.rfind("}") + 1])
    except json.JSONDecodeError:
        return None


def grade(answer: str, facts: dict[str, str | None]) -> Grade:
    found = facts_in(answer)
    if found is None:
        return Grade(False, 0, False)
    right = sum(key in found and found[key] == value for key, value in facts.items())
    return Grade(True, right, found == facts)


class Score(NamedTuple):
    """Counts over n test sentences: valid JSON, right in everything; and right facts, of 6 n."""

    n: int
    valid: int
    right: int
    exact: int


def score(said: Sequence[str], wanted: Sequence[Example]) -> Score:
    grades = [grade(answer, example.facts) for answer, example in zip(said, wanted, strict=True)]
    return Score(len(grades), *(sum(column) for column in zip(*grades)))


def test(chat: Chat, groups: dict[str, list[Example]], shots: Sequence[Example] = ()) -> dict[str, Score]:
    """{kind: its Score}, all sentences asked at once."""
    everything = [example for group in groups.values() for example in group]
    said = iter(answers(chat, [messages(example.sentence, shots) for example in everything]))
    return {kind: score([next(said) for _ in group], group) for kind, group in groups.items()}
