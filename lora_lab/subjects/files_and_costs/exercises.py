"""Exercises about adapter files and what adapters cost."""

from __future__ import annotations

import json

from lora_lab.classroom.judging import exercise


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


@exercise(
    title="a count to check",
    hints=("Each matrix has A and B, each of d·r numbers.", "Two matrices with two factors each, in every layer."),
    right="4·L·d·r. For RoBERTa-large that is the paper's 0.8M; for GPT-2 M it is not its 0.35M.",
    cases=[(2, 5, 3), (96, 12288, 8), (24, 1024, 4), (12, 768, 1)],
    mistakes={
        "that is one of the two matrices, or one of the two factors.": lambda layers, d, r: 2 * layers * d * r,
        "two matrices with two factors each make four.": lambda layers, d, r: layers * d * r,
        "that is one layer.": lambda layers, d, r: 4 * d * r,
        "that is one matrix of one layer.": lambda layers, d, r: 2 * d * r,
        "W_q, W_k, W_v and W_o: the paper adapts two of them.": lambda layers, d, r: 8 * layers * d * r,
        "the rank is missing: A has r rows, B has r columns.": lambda layers, d, r: 4 * layers * d,
        "the rank is taken to be 8; it is an argument.": lambda layers, d, r: 32 * layers * d,
        "the rank is taken to be 4; it is an argument.": lambda layers, d, r: 16 * layers * d,
        "that is full fine-tuning of the two.": lambda layers, d, r: 2 * layers * d * d,
        "the frozen weights are counted, too; only A and B train.": (
            lambda layers, d, r: layers * (2 * d * d + 4 * d * r)
        ),
        "A is r × d and B is d × r: neither has d·d·r numbers.": lambda layers, d, r: 4 * layers * d * d * r,
        "those are bytes; the numbers are wanted.": lambda layers, d, r: 16 * layers * d * r,
        "those are millions; the numbers are wanted.": lambda layers, d, r: 4 * layers * d * r / 1e6,
    },
)
def count(layers, d, r):  # LoRA on W_q and W_v, both d x d
    # how many numbers it trains
    return 4 * layers * d * r
