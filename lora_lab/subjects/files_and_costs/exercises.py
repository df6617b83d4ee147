"""Exercises about adapter files and what adapters cost."""

from __future__ import annotations

import json
from itertools import product

from lora_lab.classroom.judging import exercise

from . import models


def _file(text: str, floats: bytes = b"") -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(8, "little") + encoded + floats


def _long_header(entries: int) -> str:
    """About 75 bytes for each entry, and the note that PEFT writes."""
    header = {"__metadata__": {"format": "pt"}}
    for i in range(entries):
        header[f"layers.{i}.lora_A"] = {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]}
    return json.dumps(header)


# Spaces fill a text up. In some of these files a reader that stops too early is right, and it is known by that.
_FILES = [
    _file('{"n": 1}', bytes(4)),
    _file(_long_header(2) + 3 * " ", b"\x7d" * 8),  # in text, this byte is a }
    _file(_long_header(10) + 10 * " ", bytes(40)),
    _file(_long_header(1000), bytes(4000)),
    _file('{"Θ₀": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}'),  # no floats
]


def _size(raw: bytes) -> int:
    return int.from_bytes(raw[:8], "little")


def _header(raw: bytes) -> dict:
    return json.loads(raw[8 : 8 + _size(raw)])


@exercise(
    title="a header, by hand",
    hints=(
        '`int.from_bytes(raw[:8], "little")` is the size of the JSON text.',
        "The text begins at byte 8 and is `size` bytes long; `json.loads` reads it.",
    ),
    right="no code in it, only sizes and numbers: that is why it can be opened without trusting it.",
    cases=[(raw,) for raw in _FILES],
    mistakes={
        "that reads on into the floats: the first eight bytes say where the text ends, the lowest byte first.": (
            lambda raw: json.loads(raw[8:])
        ),
        "right for headers under 256 bytes only: the size takes eight bytes, not one.": (
            lambda raw: json.loads(raw[8 : 8 + raw[0]])
        ),
        "right for headers under 65 536 bytes only: the size takes eight bytes, not two.": (
            lambda raw: json.loads(raw[8 : 8 + int.from_bytes(raw[:2], "little")])
        ),
        "the text begins at byte 8, so it ends at 8 + n: this stops eight bytes before.": (
            lambda raw: json.loads(raw[8 : _size(raw)])
        ),
        "the text is n bytes long, from byte 8 on: this stops a byte before.": (
            lambda raw: json.loads(raw[8 : 7 + _size(raw)])
        ),
        "a float can hold the byte of a } as well: the first eight bytes say where the text ends.": (
            lambda raw: json.loads(raw[8 : raw.rindex(b"}") + 1])
        ),
        "the first } does not end the text: the first eight bytes say where it ends.": (
            lambda raw: json.loads(raw[8 : raw.index(b"}") + 1])
        ),
        "that is the size of the header; the header itself is wanted.": _size,
        "that is the JSON text, as bytes; `json.loads` makes a dictionary of it.": lambda raw: raw[8 : 8 + _size(raw)],
        "that is the JSON text, as a string; `json.loads` makes a dictionary of it.": (
            lambda raw: raw[8 : 8 + _size(raw)].decode()
        ),
        "those are the names; the whole dictionary is wanted.": lambda raw: list(_header(raw)),
        "that is one entry; the whole dictionary is wanted.": lambda raw: list(_header(raw).values())[0],
        "`__metadata__` is missing; the whole dictionary is wanted.": (
            lambda raw: {name: entry for name, entry in _header(raw).items() if name != "__metadata__"}
        ),
        "the text is in UTF-8: give `json.loads` the bytes as they are.": (
            lambda raw: json.loads(raw[8 : 8 + _size(raw)].decode("latin-1"))
        ),
    },
)
def header(raw):  # the bytes of a .safetensors file: 8 bytes, the size n; n bytes, JSON; then floats
    # the header as a dictionary
    size = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + size])


DTYPES, TARGETS, RANKS = ("bfloat16", "nf4"), tuple(models.TARGETS)[::-1], (256, 128, 64, 32, 16, 8)


def _first(shape, card, file, dtypes=DTYPES, targets=TARGETS, ranks=RANKS, each=2, without=()):
    """The first choice that fits; each: bytes of a number in the file, without: parts of the bill that are left out."""
    for dtype, target, r in product(dtypes, targets, ranks):
        bill = models.training_bill(shape, r, target, dtype)
        needed = bill.total - sum(getattr(bill, part) for part in without)
        if needed <= card and each * models.adapter_numbers(shape, r, target) <= file:
            return dtype, target, r


@exercise(
    title="what fits",
    hints=(
        "Three loops, the most important outside: dtypes, then targets from all to q, then ranks from 256 down to 8.",
        "`models.training_bill(shape, r, targets, dtype).total` and `2 * models.adapter_numbers(shape, r, targets)`.",
    ),
    right="also for models and cards that the page does not show: first the base, then the matrices, then the rank.",
    cases=[
        (models.SHAPES["Llama-3-8B"], 24e9, 100e6),
        (models.SHAPES["Llama-3-8B"], 28e9, 200e6),
        (models.SHAPES["Qwen2.5-7B"], 40e9, 30e6),
        (models.SHAPES["Qwen2.5-0.5B"], 8e9, 1e9),
        (models.SHAPES["Llama-2-7B"], 16e9, 500e6),
    ],
    mistakes={
        "the activations are left out of the bill.": lambda *given: _first(*given, without=("activations",)),
        "the optimizer and the gradients are left out of the bill.": (
            lambda *given: _first(*given, without=("optimizer", "gradients"))
        ),
        "the base is rounded where it would have fitted in bfloat16.": lambda *given: _first(*given, dtypes=("nf4",)),
        "the file has 16 bits for each number; that counts 32.": lambda *given: _first(*given, each=4),
        "that is the smallest rank that fits.": lambda *given: _first(*given, ranks=RANKS[::-1]),
        "the paper adapts q and v; here as many matrices as fit are wanted.": (
            lambda *given: _first(*given, targets=("q, v",))
        ),
        "that is the fewest matrices with the largest rank: matrices come first.": (
            lambda *given: _first(*given, targets=TARGETS[::-1])
        ),
    },
)
def what_fits(shape, card, file):  # a Shape of `models`; the card's bytes, and the 16-bit file's
    # dtype: "bfloat16" if that fits, else "nf4"; targets: as many as fit with r = 8 or more;
    # r: the largest of 8, 16, 32, 64, 128, 256 with these
    for dtype in ("bfloat16", "nf4"):
        for targets in reversed(models.TARGETS):
            for r in (256, 128, 64, 32, 16, 8):
                bill = models.training_bill(shape, r, targets, dtype)
                if bill.total <= card and 2 * models.adapter_numbers(shape, r, targets) <= file:
                    return dtype, targets, r
