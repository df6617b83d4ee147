"""A source of sentences whose entropy is known exactly, and dialects of it.

    yesterday the old fox hid the kettle behind the mill .

A sentence is drawn choice by choice. The opener fixes the verb's tense, the subject has favourite verbs, the verb has
favourite things, and the place follows the subject: what a reader must remember from the start of a sentence to its
end. One hundred words, each belonging to one slot, so that a sentence tells every choice that was made for it; its
probability is the product of theirs, and the entropy of the source is the sum of the choices' entropies.

A dialect changes it: `swaps` exchanges pairs of words (fox means kettle, kettle means fox); `place_follows="opener"`
lets the place follow the sentence's first word.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

KINDS = {
    "opener": "today tonight now often yesterday once earlier formerly".split(),
    "adjective": "old young red small quiet brave sleepy tall kind proud lazy wet".split(),
    "subject": "fox baker owl sailor cat teacher king child bear painter goose farmer mouse doctor dog singer".split()
    + "hunter nurse monk clerk".split(),
    "verb": "sees finds paints carries sells breaks hides likes wants buys draws cleans".split(),
    "past verb": "saw found painted carried sold broke hid liked wanted bought drew cleaned".split(),
    "thing": "kettle boat mirror drum ladder hat clock coat rope basket lamp stone bell map".split()
    + "spoon letter wheel ribbon".split(),
    "preposition": "near under behind beside".split(),
    "place": "bridge garden tower river harbour mill forest market church gate well barn".split(),
    "the": ["the"],
    ".": ["."],
}
WORDS = tuple(word for words in KINDS.values() for word in words)
INDEX = {word: i for i, word in enumerate(WORDS)}
KIND = {word: kind for kind, words in KINDS.items() for word in words}
PAST = 4  # after the first four, an opener asks for a past verb
SWAPS = (
    ("fox", "kettle"), ("baker", "boat"), ("owl", "mirror"),
    ("sailor", "bridge"), ("cat", "garden"), ("teacher", "tower"),
)  # fmt: skip
FRAME = (  # the slots of a sentence, and the choice that decides whether they are filled
    ("opener", None), ("the", None), ("adjective", "an adjective?"), ("subject", None), ("verb", None), ("the", None),
    ("thing", None), ("preposition", "a place?"), ("the", "a place?"), ("place", "a place?"), (".", None),
)  # fmt: skip
PAD = -100  # cross_entropy's ignore_index: positions after the full stop
LONGEST = len(FRAME)  # words in the longest sentence, full stop included
ADJECTIVE, PLACE = 0.5, 0.6  # how often a sentence has one
WORDS_PER_SENTENCE = 7 + ADJECTIVE + 3 * PLACE  # in the mean


def _fading(n: int) -> Tensor:
    """(1, n) probabilities that fall like 1/(i + 2), float64."""
    p = 1.0 / torch.arange(2, n + 2, dtype=torch.float64)
    return p[None] / p.sum()


def _yes(p: float) -> Tensor:
    return torch.tensor([[p, 1 - p]], dtype=torch.float64)


def _favourites(rows: int, cols: int, shares: Sequence[float], stride: int) -> Tensor:
    """(rows, cols) conditional probabilities: in each row a few favourites get `shares`, the others the rest."""
    table = torch.full((rows, cols), (1 - sum(shares)) / (cols - len(shares)), dtype=torch.float64)
    for row in range(rows):
        for k, share in enumerate(shares):
            table[row, (stride * row + 5 * k + k * k) % cols] = share
    return table


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


class Choice(NamedTuple):
    """A choice made for a sentence. p (rows, options): the row follows the choice `given`, or there is only one.

    only_if: the yes or no (option 0 is yes) that decides whether it counts.
    """

    p: Tensor
    given: str | None = None
    only_if: str | None = None


class Source:
    """The source, or a dialect of it.

    swaps: pairs of words that exchange their roles. place_follows: "subject", or "opener" in the dialect.
    """

    def __init__(self, swaps: Sequence[tuple[str, str]] = (), place_follows: str = "subject") -> None:
        self.changed_words = [word for pair in swaps for word in pair]  # whose role is another than in the source
        self.meaning = torch.arange(len(WORDS))  # word written -> word whose role it plays; its own inverse
        for a, b in swaps:
            self.meaning[INDEX[a]], self.meaning[INDEX[b]] = INDEX[b], INDEX[a]
        n = {kind: len(words) for kind, words in KINDS.items()}
        self.choices = {  # in the order in which they are made
            "opener": Choice(_fading(n["opener"])),
            "an adjective?": Choice(_yes(ADJECTIVE)),
            "adjective": Choice(_fading(n["adjective"]), only_if="an adjective?"),
            "subject": Choice(_fading(n["subject"])),
            "verb": Choice(_favourites(n["subject"], n["verb"], (0.7, 0.2), 7), "subject"),
            "thing": Choice(_favourites(n["verb"], n["thing"], (0.5, 0.25, 0.15), 5), "verb"),
            "a place?": Choice(_yes(PLACE)),
            "preposition": Choice(_fading(n["preposition"]), only_if="a place?"),
            "place": Choice(_favourites(n[place_follows], n["place"], (0.75, 0.15), 5), place_follows, "a place?"),
        }

    @property
    def entropy(self) -> float:
        """Nats per word: the lowest loss any model can have, exactly (entropy of a sentence over its mean length).

        Sentences are drawn independently, so this is the entropy rate of the text they make.
        """
        shares, sentence = {None: torch.ones(1, dtype=torch.float64)}, 0.0  # how often each option is chosen
        for name, choice in self.choices.items():
            shares[name] = shares[choice.given] @ choice.p
            of_row = -torch.xlogy(choice.p, choice.p).sum(1)
            sentence += float(shares[choice.only_if][0] * (shares[choice.given] @ of_row))
        return sentence / WORDS_PER_SENTENCE

    def sample(self, n: int, seed: int = 0) -> Sentences:
        """n sentences, the same on every CPU."""
        generator = torch.Generator().manual_seed(seed)
        u = torch.rand(n, len(self.choices), generator=generator, dtype=torch.float64, device="cpu")
        u = u.to(torch.empty(0).device)
        made, log_p = {None: torch.zeros(n, dtype=torch.long)}, torch.zeros(n, dtype=torch.float64)
        for column, (name, choice) in enumerate(self.choices.items()):
            p = choice.p[made[choice.given]]  # (n, options)
            option = torch.searchsorted(p.cumsum(1), u[:, column : column + 1].contiguous())
            option = option.clamp(max=p.shape[1] - 1)
            log_p += p.gather(1, option)[:, 0].log() * (made[choice.only_if] == 0)
            made[name] = option[:, 0]
        slots = []
        for kind, only_if in FRAME:
            words = INDEX[KINDS[kind][0]] + made.get(kind, made[None])
            if kind == "verb":
                words = words + len(KINDS["verb"]) * (made["opener"] >= PAST)  # the past verbs come next
            slots.append(torch.where(made[only_if] == 0, words, -1))
        slots = torch.stack(slots, 1)  # (n, 11), -1 where there is no word
        order = (slots < 0).long().argsort(dim=1, stable=True)  # words first, gaps last
        words = slots.gather(1, order)
        targets = torch.where(words >= 0, self.meaning[words.clamp(min=0)], PAD)
        inputs = torch.cat([torch.full((n, 1), INDEX["."]), targets[:, :-1].clamp(min=0)], 1)
        return Sentences(inputs, targets, log_p)

    def allows(self, text: str) -> bool:
        """Whether the source could have written this sentence: every slot in its place, the tense the opener's."""
        words = text.split()
        if any(word not in INDEX for word in words):
            return False
        roles = [WORDS[self.meaning[INDEX[word]]] for word in words]
        kinds = [KIND[role] for role in roles]
        there = {None: True, "an adjective?": "adjective" in kinds, "a place?": "place" in kinds}
        wanted = [kind for kind, only_if in FRAME if there[only_if]]
        if roles and roles[0] in KINDS["opener"][PAST:]:
            wanted[wanted.index("verb")] = "past verb"
        return kinds == wanted


def dialects() -> dict[str, Source]:
    """Three changes to adapt to: six pairs of words swapped, another rule for the place, and both."""
    return {
        "swapped words": Source(SWAPS),
        "a new rule": Source(place_follows="opener"),
        "both": Source(SWAPS, "opener"),
    }
