"""A source of sentences whose entropy is known exactly, and dialects of it.

    yesterday the old fox hid the kettle behind the mill .

A sentence is drawn slot by slot. The opener fixes the verb's tense, the subject has favourite verbs, the verb has
favourite things, and the place follows the subject: what a reader must remember from the start of a sentence to its
end. One hundred words, each belonging to one slot, so that a sentence tells every choice that was made for it; its
probability is the product of theirs, and the entropy of the source is the sum of the choices' entropies.

A dialect changes it: `swaps` exchanges pairs of words (fox means kettle, kettle means fox); `place_follows="opener"`
lets the place follow the sentence's first word.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

KINDS = {
    "opener": "today tonight now often yesterday once earlier formerly".split(),
    "adjective": "old young red small quiet brave sleepy tall kind proud lazy wet".split(),
    "subject": (
        "fox baker owl sailor cat teacher king child bear painter goose farmer mouse doctor dog singer hunter nurse "
        "monk clerk"
    ).split(),
    "verb": "sees finds paints carries sells breaks hides likes wants buys draws cleans".split(),
    "past verb": "saw found painted carried sold broke hid liked wanted bought drew cleaned".split(),
    "thing": (
        "kettle boat mirror drum ladder hat clock coat rope basket lamp stone bell map spoon letter wheel ribbon"
    ).split(),
    "preposition": "near under behind beside".split(),
    "place": "bridge garden tower river harbour mill forest market church gate well barn".split(),
    "the": ["the"],
    ".": ["."],
}
WORDS = tuple(word for words in KINDS.values() for word in words)
INDEX = {word: i for i, word in enumerate(WORDS)}
KIND = {word: kind for kind, words in KINDS.items() for word in words}
PAST_OPENERS = frozenset("yesterday once earlier formerly".split())
SWAPS = (
    ("fox", "kettle"), ("baker", "boat"), ("owl", "mirror"),
    ("sailor", "bridge"), ("cat", "garden"), ("teacher", "tower"),
)  # fmt: skip
FOLLOWS = ("subject", "opener")
PAD = -100  # cross_entropy's ignore_index: positions after the full stop
LONGEST = 11  # words in the longest sentence, full stop included
ADJECTIVE, PLACE = 0.5, 0.6  # how often a sentence has one


def _fading(n: int) -> Tensor:
    """n probabilities that fall like 1/(i + 2), float64."""
    p = 1.0 / torch.arange(2, n + 2, dtype=torch.float64)
    return p / p.sum()


def _favourites(rows: int, cols: int, shares: Sequence[float], stride: int) -> Tensor:
    """(rows, cols) conditional probabilities: in each row a few favourites get `shares`, the others the rest."""
    table = torch.full((rows, cols), (1 - sum(shares)) / (cols - len(shares)), dtype=torch.float64)
    for row in range(rows):
        for k, share in enumerate(shares):
            table[row, (stride * row + 5 * k + k * k) % cols] = share
    return table


def _entropy(p: Tensor) -> Tensor:
    """In nats, of each row."""
    return -(p * p.clamp(min=1e-300).log()).sum(-1)


class Sentences(NamedTuple):
    """n sentences: inputs (n, 11) begin with a full stop, targets (n, 11) are the next words, PAD after the end.

    log_p (n,): the log-probability of each under the source, in nats. words: how many words there are in all.
    """

    inputs: Tensor
    targets: Tensor
    log_p: Tensor

    @property
    def words(self) -> int:
        return int((self.targets != PAD).sum())

    @property
    def source_loss(self) -> float:
        """Nats per word that the source itself would lose on exactly these sentences."""
        return float(-self.log_p.sum() / self.words)

    def text(self, i: int) -> str:
        return " ".join(WORDS[t] for t in self.targets[i].tolist() if t != PAD)


class Source:
    """The source, or a dialect of it.

    swaps: pairs of words that exchange their roles. place_follows: "subject", or "opener" in the dialect.
    Raises ValueError for a word that is not one of the hundred or stands in two pairs, or another place_follows.
    """

    def __init__(self, swaps: Sequence[tuple[str, str]] = (), place_follows: str = "subject") -> None:
        named = [word for pair in swaps for word in pair]
        if unknown := [w for w in named if w not in INDEX]:
            raise ValueError(f"{unknown[0]!r} is not a word of the source; see sentences.WORDS.")
        if len(set(named)) < len(named) or any(len(pair) != 2 for pair in swaps):
            raise ValueError(f"swaps={swaps!r}: give pairs of words, each word in one pair only.")
        if place_follows not in FOLLOWS:
            raise ValueError(f"place_follows={place_follows!r}: choose 'subject' or 'opener'.")
        self.swaps, self.place_follows = tuple(swaps), place_follows
        self.meaning = torch.arange(len(WORDS))  # word written -> word whose role it plays; its own inverse
        for a, b in swaps:
            self.meaning[INDEX[a]], self.meaning[INDEX[b]] = INDEX[b], INDEX[a]
        sizes = {kind: len(words) for kind, words in KINDS.items()}
        self.opener, self.subject = _fading(sizes["opener"]), _fading(sizes["subject"])
        self.adjective, self.preposition = _fading(sizes["adjective"]), _fading(sizes["preposition"])
        self.verb = _favourites(sizes["subject"], sizes["verb"], (0.7, 0.2), 7)  # given the subject
        self.thing = _favourites(sizes["verb"], sizes["thing"], (0.5, 0.25, 0.15), 5)  # given the verb
        self.place = _favourites(sizes[place_follows], sizes["place"], (0.75, 0.15), 5)

    @property
    def changed_words(self) -> list[str]:
        """The words whose role is another than in the plain source."""
        return [word for pair in self.swaps for word in pair]

    @property
    def words_per_sentence(self) -> float:
        return 7 + ADJECTIVE + 3 * PLACE

    @property
    def entropy(self) -> float:
        """Nats per word: the lowest loss any model can have, exactly (entropy of a sentence over its mean length).

        Sentences are drawn independently, so this is the entropy rate of the text they make.
        """
        verbs = self.subject @ self.verb
        about = self.subject if self.place_follows == "subject" else self.opener
        sentence = (
            _entropy(self.opener)
            + _entropy(torch.tensor([ADJECTIVE, 1 - ADJECTIVE], dtype=torch.float64))
            + ADJECTIVE * _entropy(self.adjective)
            + _entropy(self.subject)
            + self.subject @ _entropy(self.verb)
            + verbs @ _entropy(self.thing)
            + _entropy(torch.tensor([PLACE, 1 - PLACE], dtype=torch.float64))
            + PLACE * (_entropy(self.preposition) + about @ _entropy(self.place))
        )
        return float(sentence) / self.words_per_sentence

    def sample(self, n: int, seed: int = 0) -> Sentences:
        """n sentences, the same on every CPU."""
        if n < 1:
            raise ValueError(f"n={n}: give a number of sentences of at least 1.")
        u = torch.rand(n, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

        def draw(p: Tensor, column: int) -> tuple[Tensor, Tensor]:
            """One choice per sentence, and its log-probability. p (choices,) or (n, choices)."""
            p = p.expand(n, p.shape[-1])
            choice = torch.searchsorted(p.cumsum(1), u[:, column : column + 1].contiguous())[:, 0]
            choice = choice.clamp(max=p.shape[1] - 1)
            return choice, p.gather(1, choice[:, None])[:, 0].log()

        def yes(p: float, column: int) -> tuple[Tensor, Tensor]:
            return draw(torch.tensor([p, 1 - p], dtype=torch.float64), column)

        opener, l0 = draw(self.opener, 0)
        (no_adjective, l1), (adjective, l2) = yes(ADJECTIVE, 1), draw(self.adjective, 2)
        subject, l3 = draw(self.subject, 3)
        verb, l4 = draw(self.verb[subject], 4)
        thing, l5 = draw(self.thing[verb], 5)
        (no_place, l6), (preposition, l7) = yes(PLACE, 6), draw(self.preposition, 7)
        place, l8 = draw(self.place[subject if self.place_follows == "subject" else opener], 8)
        log_p = l0 + l1 + l2 * (1 - no_adjective) + l3 + l4 + l5 + l6 + (l7 + l8) * (1 - no_place)

        first = {kind: INDEX[words[0]] for kind, words in KINDS.items()}
        past = torch.tensor([w in PAST_OPENERS for w in KINDS["opener"]])[opener]
        the, stop, gap = (torch.full((n,), number) for number in (INDEX["the"], INDEX["."], -1))
        slots = [
            first["opener"] + opener,
            the,
            torch.where(no_adjective == 0, first["adjective"] + adjective, gap),
            first["subject"] + subject,
            torch.where(past, first["past verb"], first["verb"]) + verb,
            the,
            first["thing"] + thing,
            torch.where(no_place == 0, first["preposition"] + preposition, gap),
            torch.where(no_place == 0, the, gap),
            torch.where(no_place == 0, first["place"] + place, gap),
            stop,
        ]
        slots = torch.stack(slots, 1)  # (n, 11)
        order = (slots < 0).long().argsort(dim=1, stable=True)  # words first, gaps last
        words = slots.gather(1, order)
        targets = torch.where(words >= 0, self.meaning[words.clamp(min=0)], PAD)
        inputs = torch.cat([stop[:, None], targets[:, :-1].clamp(min=0)], 1)
        return Sentences(inputs, targets, log_p)

    def log_prob(self, text: str) -> float:
        """The log-probability of one sentence, ending in " .", in nats; -inf if the source never writes it."""
        if any(word not in INDEX for word in text.split()):
            return -math.inf
        roles = [WORDS[self.meaning[INDEX[word]]] for word in text.split()]
        said = {KIND[role]: KINDS[KIND[role]].index(role) for role in roles}  # kind: which of its words
        tense = "past verb" if roles and roles[0] in PAST_OPENERS else "verb"
        wanted = ["opener", "the", "adjective", "subject", tense, "the", "thing", "preposition", "the", "place", "."]
        if "adjective" not in said:
            wanted.remove("adjective")
        if "place" not in said:
            wanted[-4:-1] = []
        if [KIND[role] for role in roles] != wanted:
            return -math.inf
        subject, verb = said["subject"], said[tense]
        p = self.opener[said["opener"]] * self.subject[subject] * self.verb[subject, verb]
        p = p * self.thing[verb, said["thing"]]
        p = p * (ADJECTIVE * self.adjective[said["adjective"]] if "adjective" in said else 1 - ADJECTIVE)
        if "place" not in said:
            return float((p * (1 - PLACE)).log())
        place = self.place[said[self.place_follows], said["place"]]
        return float((p * PLACE * self.preposition[said["preposition"]] * place).log())

    def allows(self, text: str) -> bool:
        """Whether the source could have written this sentence."""
        return self.log_prob(text) > -math.inf


def dialects() -> dict[str, Source]:
    """Three changes to adapt to: six pairs of words swapped, another rule for the place, and both."""
    return {
        "swapped words": Source(SWAPS),
        "a new rule": Source(place_follows="opener"),
        "both": Source(SWAPS, "opener"),
    }
