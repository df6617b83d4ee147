"""Exercises about adapter files and what adapters cost."""

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


def _size(raw: bytes) -> int:
    return int.from_bytes(raw[:8], "little")


@exercise(
    title="a header, by hand",
    hints=('`int.from_bytes(raw[:8], "little")` is the size.', "The text begins at byte 8; `json.loads` reads it."),
    right="no code in it, only sizes and numbers: that is why it can be opened without trusting it.",
    cases=[  # spaces fill a text up: in some of these files a reader that stops too early is right, and known by that
        (_file('{"n": 1}', bytes(4)),),
        (_file(_long_header(2) + 3 * " ", b"\x7d" * 8),),  # in text, this byte is a }
        (_file(_long_header(10) + 10 * " ", bytes(40)),),
        (_file(_long_header(1000), bytes(4000)),),
        (_file('{"Θ₀": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}'),),  # no floats
    ],
    mistakes={
        "that reads on into the floats; the first 8 bytes say where to stop, “little”.": "json.loads(raw[8:])",
        "right for headers under 256 bytes: the size takes eight bytes, not one.": "json.loads(raw[8 : 8 + raw[0]])",
        "right for headers under 65 536 bytes: the size takes 8, not 2.": "json.loads(raw[8 : 8 + _size(raw[:2])])",
        "the text begins at byte 8, so it ends at 8 + n, not at n.": "json.loads(raw[8 : _size(raw)])",
        "a float can hold any byte, that of a } as well; take the size.": "json.loads(raw[8 : raw.rindex(b'}') + 1])",
        "the first } does not end the text; take the size.": "json.loads(raw[8 : raw.index(b'}') + 1])",
        "the text is UTF-8, and has other letters than latin ones.": (
            "json.loads(raw[8 : 8 + _size(raw)].decode('latin-1'))"
        ),
        "the note `__metadata__` is a part of the header.": "{k: v for k, v in header(raw).items() if k[:2] != '__'}",
    },
)
def header(raw):  # the bytes of a .safetensors file: 8 bytes, the size n; n bytes, JSON; then floats
    # the header as a dictionary
    size = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + size])


TARGETS, RANKS = tuple(models.TARGETS)[::-1], (256, 128, 64, 32, 16, 8)


def _first(shape, card, file, dtypes=("bfloat16", "nf4"), targets=TARGETS, ranks=RANKS, without=()):
    """The first choice that fits; without: parts of the bill that are left out."""
    for dtype, target, r in product(dtypes, targets, ranks):
        bill = models.training_bill(shape, r, target, dtype)
        needed = bill.total - sum(getattr(bill, part) for part in without)
        if needed <= card and 2 * models.adapter_numbers(shape, r, target) <= file:
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
        "the activations are left out of the bill.": "_first(shape, card, file, without=['activations'])",
        "the optimizer is left out of the bill.": "_first(shape, card, file, without=['optimizer', 'gradients'])",
        "the base is rounded where it would have fitted in bfloat16.": "_first(shape, card, file, dtypes=['nf4'])",
        "the file has 16 bits for each number; that counts 32.": "_first(shape, card, file / 2)",
        "that is the smallest rank that fits.": "_first(shape, card, file, ranks=RANKS[::-1])",
        "the paper adapts q and v; here as many as fit are wanted.": "_first(shape, card, file, targets=['q, v'])",
        "matrices come first; that is few with the largest rank.": "_first(shape, card, file, targets=TARGETS[::-1])",
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
