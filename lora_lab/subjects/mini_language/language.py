"""A mini-language whose entropy is known exactly, so that every loss of the small GPT is read against its floor.

A line is a record of facts and one sentence that tells it:

    anon mira proud find boat ashore today => proud mira found the boat ashore today .

Ten tellers tell the same facts in their own voice. A voice is seven habits (how to open, where the time goes, which
article, ...). For each one the teller takes its favourite with probability 0.94 and else one of the others. The sampler
knows the probability of every choice it makes, and no two choices give the same sentence, so log p(text | record) is
exact, and no model whatever can have a lower loss on average than -log p. That is the floor.

Downstream tasks change what the teller "anon" does: a dialect ("wire", "bard") gives it habits in a
combination that no teller has; "swap n" exchanges n pairs of names between record and sentence.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

FAVOURITE = 0.94
NOTHING, ARROW, END = "-", "=>", "<end>"

NAMES = "mira otto vera pico lena hugo tess ivan nora emil runa karl dora finn zara oleg".split()
MOODS = "proud tired happy angry shy bold".split()
VERBS = "find paint hide steal carry break sell mend".split()
PAST = "found painted hid stole carried broke sold mended".split()
PRESENT = "finds paints hides steals carries breaks sells mends".split()
DEEDS = dict(zip(VERBS, zip(PAST, PRESENT)))
PLAIN = "boat hat bag coat horse cup knife box coin rope lamp book".split()
ODD = "skiff bonnet satchel mantle steed goblet dagger casket ducat hawser lantern tome".split()
THINGS = dict(zip(PLAIN, ODD))
PLACES = "ashore upstairs indoors abroad uphill downtown".split()
TIMES = "today yesterday tonight once twice again".split()

HABITS = {  # habit: its options, which for opener, article and closing are the words themselves
    "opener": ("", "well ,", "hark :", "arr ,", "squawk !", "news :"),
    "order": ("time first", "time last"),
    "mood": ("mood first", "mood after"),
    "verb": ("past", "present", "did"),
    "article": ("the", "a", "ye", "that", ""),
    "word": ("plain", "odd"),
    "closing": (".", "!", "stop", ", they say .", "squawk !"),
}
Voice = Mapping[str, str]  # habit -> the favourite option


def _voice(*favourites: str) -> dict[str, str]:
    return dict(zip(HABITS, favourites, strict=True))


TELLERS: dict[str, Voice] = {  # a further one needs another base, adapters and record: the names are words
    "anon": _voice("", "time last", "mood first", "past", "the", "plain", "."),
    "pirate": _voice("arr ,", "time first", "mood first", "present", "that", "odd", "!"),
    "clerk": _voice("news :", "time first", "mood after", "past", "the", "plain", "."),
    "granny": _voice("well ,", "time last", "mood first", "past", "that", "plain", ", they say ."),
    "knight": _voice("hark :", "time last", "mood after", "past", "ye", "odd", "!"),
    "child": _voice("", "time first", "mood first", "did", "a", "plain", "!"),
    "gossip": _voice("well ,", "time first", "mood after", "present", "a", "odd", ", they say ."),
    "cable": _voice("", "time last", "mood after", "past", "", "plain", "stop"),
    "jester": _voice("squawk !", "time last", "mood first", "did", "ye", "plain", "."),
    "poll": _voice("arr ,", "time last", "mood after", "present", "the", "odd", "squawk !"),
}
DIALECTS: dict[str, Voice] = {  # what "anon" learns downstream; no teller has any of these combinations
    "wire": _voice("news :", "time first", "mood first", "present", "", "plain", "stop"),
    "bard": _voice("hark :", "time first", "mood after", "did", "ye", "odd", ", they say ."),
}


class Line(NamedTuple):
    """One example. record: teller, name, mood, deed, thing, place, time ("-" for none). log_p: log p(text | record)."""

    record: tuple[str, ...]
    text: tuple[str, ...]
    log_p: float

    def __str__(self) -> str:
        return f"{' '.join(self.record)} {ARROW} {' '.join(self.text)}"


_VERBATIM = {habit: {o: tuple(o.split()) for o in HABITS[habit]} for habit in ("opener", "article", "closing")}


def _pieces(record: Sequence[str], swaps: int = 0) -> Iterator[tuple[str | None, Mapping[str, Sequence[str]]]]:
    """The sentence from left to right: (habit, {option: words}); habit None where there is nothing to choose."""
    _, name, mood, deed, thing, place, time = record
    number = NAMES.index(name)
    who = NAMES[number ^ 1] if number < 2 * swaps else name  # pairs (0, 1), (2, 3), ... are exchanged
    yield "opener", _VERBATIM["opener"]
    if time != NOTHING:
        yield "order", {"time first": (time,), "time last": ()}
    both = {"mood first": (mood, who), "mood after": (who, ",", mood, ",")}
    yield ("mood", both) if mood != NOTHING else (None, {"": (who,)})
    yield "verb", {"past": DEEDS[deed][:1], "present": DEEDS[deed][1:], "did": ("did", deed)}
    yield "article", _VERBATIM["article"]
    yield "word", {"plain": (thing,), "odd": (THINGS[thing],)}
    yield None, {"": () if place == NOTHING else (place,)}
    if time != NOTHING:
        yield "order", {"time first": (), "time last": (time,)}
    yield "closing", _VERBATIM["closing"]


def _log_p(voice: Voice, habit: str, option: str) -> float:
    """Of one choice: 0.94 for the favourite, the rest shared evenly."""
    return math.log(FAVOURITE if voice[habit] == option else (1 - FAVOURITE) / (len(HABITS[habit]) - 1))


def _tell(record: Sequence[str], voice: Voice, swaps: int, draws: Sequence[float]) -> Line:
    """draws: one uniform number in [0, 1) per habit."""
    chosen: dict[str, str] = {}
    text: list[str] = []
    for habit, options in _pieces(record, swaps):
        if habit and habit not in chosen:
            u, others = draws[len(chosen)], [o for o in HABITS[habit] if o != voice[habit]]
            other = others[int(max(u - FAVOURITE, 0) / (1 - FAVOURITE) * len(others))]
            chosen[habit] = voice[habit] if u < FAVOURITE else other
        text += options[chosen[habit] if habit else ""]
    return Line(tuple(record), tuple(text), sum(_log_p(voice, h, o) for h, o in chosen.items()))


def parse(record: Sequence[str], text: Sequence[str], swaps: int = 0) -> dict[str, str] | None:
    """The choices {habit: option} that make `text` out of `record`, or None: the grammar does not accept it."""
    pieces = list(_pieces(record, swaps))

    def rest(at: int, words: tuple[str, ...], chosen: dict[str, str]) -> dict[str, str] | None:
        if at == len(pieces):
            return None if words else chosen
        habit, options = pieces[at]
        for option, said in options.items():
            if words[: len(said)] == tuple(said) and chosen.get(habit, option) == option:
                found = rest(at + 1, words[len(said) :], chosen | ({habit: option} if habit else {}))
                if found is not None:
                    return found
        return None

    return rest(0, tuple(text), {})


class Shares(NamedTuple):
    """Of some sentences: the share that the grammar accepts; of all their habits: the share that is the favourite."""

    grammatical: float
    in_voice: float


def shares(records: Sequence[Sequence[str]], texts: Sequence[Sequence[str]], task: str) -> Shares:
    """What part of these sentences is right for the task, judged by the grammar. A refused one has no habits right."""
    voice, swaps = task_of(task)
    kept = visible = accepted = 0
    for record, text in zip(records, texts, strict=True):
        chosen = parse(record, text, swaps)
        visible += len({h for h, _ in _pieces(record) if h})
        accepted += chosen is not None
        kept += sum(voice[h] == o for h, o in (chosen or {}).items())
    return Shares(accepted / len(records), kept / visible)


def task_of(task: str) -> tuple[Voice, int]:
    """The voice of anon and the pairs of names exchanged in "bard", "swap 8", "bard + swap 8", "anon"."""
    voice, swaps = TELLERS["anon"], 0
    for part in task.split(" + "):
        swap = re.fullmatch(r"swap ([1-9])", part)
        if part in DIALECTS:
            voice = DIALECTS[part]
        elif swap and int(swap[1]) <= len(NAMES) // 2:
            swaps = int(swap[1])
        elif part != "anon":
            known = ", ".join(map(repr, DIALECTS))
            raise ValueError(f"task={task!r}: choose {known}, 'swap 1' to 'swap 8', 'anon', or two of them with ' + '.")
    return voice, swaps


def _lines(n: int, seed: int, pick: list[tuple[float, str, Voice, int]]) -> list[Line]:
    """n lines; pick: (cumulated probability, teller, voice, swaps)."""
    kinds = (NAMES, [NOTHING] * 4 + MOODS, list(DEEDS), list(THINGS), [NOTHING] * 3 + PLACES, [NOTHING] * 2 + TIMES)
    generator = torch.Generator().manual_seed(seed)
    lines = []
    shape = (n, 1 + len(kinds) + len(HABITS))
    for draws in torch.rand(shape, generator=generator, dtype=torch.float64, device="cpu").tolist():
        _, teller, voice, swaps = next(p for p in pick if draws[0] < p[0])
        facts = [words[int(u * len(words))] for words, u in zip(kinds, draws[1:])]
        lines.append(_tell((teller, *facts), voice, swaps, draws[1 + len(kinds) :]))
    return lines


def corpus(n: int, seed: int = 0, tellers: Iterable[str] | None = None) -> list[Line]:
    """Lines of the base language: 40 % anon, the nine other voices alike; or of the given tellers alone, alike."""
    chosen = list(TELLERS if tellers is None else tellers)
    if set(chosen) - set(TELLERS):
        raise ValueError(f"tellers={chosen!r}: choose from {', '.join(TELLERS)}.")
    first = 0.4 if tellers is None else 1 / len(chosen)  # anon is the first of all tellers
    up_to = [first + (1 - first) * i / max(len(chosen) - 1, 1) for i in range(len(chosen))]
    up_to[-1] = 1.0
    return _lines(n, seed, [(p, t, TELLERS[t], 0) for p, t in zip(up_to, chosen)])


def dialect(task: str, n: int, seed: int = 0) -> list[Line]:
    """Lines of a downstream task, all told by "anon": "wire", "bard", "swap n", or two with " + "."""
    return _lines(n, seed, [(1.0, "anon", *task_of(task))])


def floor(lines: Sequence[Line]) -> float:
    """Nats per token of text that even the true distribution loses on these very lines (END counts as a token)."""
    return -sum(line.log_p for line in lines) / sum(len(line.text) + 1 for line in lines)


_words = [w for options in _VERBATIM.values() for said in options.values() for w in said]
_words += ["did", *NAMES, *MOODS, *DEEDS, *(w for forms in DEEDS.values() for w in forms), *PLACES, *TIMES]
VOCABULARY = tuple(dict.fromkeys([END, NOTHING, ARROW, *TELLERS, *_words, *THINGS, *THINGS.values()]))
_ID = {word: i for i, word in enumerate(VOCABULARY)}
PROMPT = 8  # tokens of a record with its arrow
LENGTH = PROMPT + 2 + 1 + 4 + 2 + 1 + 1 + 1 + 4  # the longest line, as input (END is only ever a target)


def encode(words: Iterable[str]) -> Tensor:
    """Words -> token numbers, (len,)."""
    return torch.tensor([_ID[w] for w in words])


def decode(ids: Tensor) -> tuple[str, ...]:
    """Token numbers -> words, up to END."""
    words = [VOCABULARY[i] for i in ids.tolist()]
    return tuple(words[: words.index(END)] if END in words else words)


def prompts(records: Sequence[Sequence[str]]) -> Tensor:
    """Records -> (n, 8) token numbers, arrow included: what the model is asked to continue."""
    return torch.stack([encode([*record, ARROW]) for record in records])


def tensors(lines: Sequence[Line]) -> tuple[Tensor, Tensor]:
    """Inputs and targets, both (n, LENGTH): y[t] is the token after X[t], and -100 (no loss) on record and padding."""
    X = torch.full((len(lines), LENGTH), _ID[END])
    y = torch.full((len(lines), LENGTH), -100)
    for row, line in enumerate(lines):
        ids = encode([*line.record, ARROW, *line.text, END])
        X[row, : len(ids) - 1] = ids[:-1]
        y[row, PROMPT - 1 : len(ids) - 1] = ids[PROMPT:]
    return X, y
