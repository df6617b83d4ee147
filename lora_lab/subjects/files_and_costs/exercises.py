"""Exercises of page 09, in the wild."""

from __future__ import annotations

import json

from lora_lab.classroom.first_edition import Exercise, NotAttempted, function_judge, value_judge


def _file(header: dict, tail: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + tail


_FILES = [
    _file({"lora_A": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}, bytes(24)),
    _file({"x": {"dtype": "F32", "shape": [300], "data_offsets": [0, 1200]}, "y": 1}, b"\x7b" * 1200),
]


def header(raw):
    size = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + size])


def _header_judge(answer: object) -> str:
    if answer is ...:
        raise NotAttempted
    if not callable(answer):
        return "the function itself is wanted, without calling it."
    for raw in _FILES:
        try:
            got = answer(raw)
        except OverflowError as e:
            return f"the size came out too large ({e}): the eight bytes are little-endian."
        except json.JSONDecodeError as e:
            return f"what was read is no JSON ({e.msg}): which bytes are the text, from where to where?"
        if got is ...:
            raise NotAttempted
        if isinstance(got, (bytes, str)):
            return "that is text, a dictionary is wanted: `json.loads` makes one of it."
        if isinstance(got, int):
            return "that is the size of the header; the header itself is wanted."
        if not isinstance(got, dict):
            return f"a dictionary is wanted, this is {'None: is a `return` missing?' if got is None else type(got)}."
        if got != header(raw):
            return "that is a dictionary, but not the header."
    return ""


E91 = Exercise(
    number="9.1",
    title="a header, by hand",
    objective="open an adapter folder byte by byte",
    stub='''\
def header(raw):  # the bytes of a .safetensors file: 8 bytes, the size n; n bytes, JSON; then floats
    return ...    # the header as a dictionary

check("9.1", header)''',
    solution='''\
import json

def header(raw):  # the bytes of a .safetensors file: 8 bytes, the size n; n bytes, JSON; then floats
    size = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + size])

check("9.1", header)''',
    hints=(
        "`int.from_bytes(raw[:8], \"little\")` is the size of the JSON text.",
        "The text begins at byte 8 and is `size` bytes long; `json.loads` reads it.",
    ),
    judge=_header_judge,
    right="no code in it, only sizes and numbers: that is why it can be opened without trusting it.",
)


def count(layers, d, r):
    return 4 * layers * d * r


E92 = Exercise(
    number="9.2",
    title="a count to check",
    objective="recompute what a paper prints",
    stub='''\
def count(layers, d, r):  # LoRA on W_q and W_v, both d x d
    return ...

check("9.2", count)''',
    solution='''\
def count(layers, d, r):  # LoRA on W_q and W_v, both d x d
    return 4 * layers * d * r

check("9.2", count)''',
    hints=("Each matrix has A and B, each of d·r numbers.", "Two matrices with two factors each, in every layer."),
    judge=function_judge(
        count,
        [(96, 12288, 8), (24, 1024, 8), (12, 768, 8)],
        {
            "that is one of the two matrices, or one of the two factors.": lambda n, d, r: 2 * n * d * r,
            "that is one layer.": lambda n, d, r: 4 * d * r,
            "W_q, W_k, W_v and W_o: the paper adapts two of them.": lambda n, d, r: 8 * n * d * r,
            "that is full fine-tuning of the two.": lambda n, d, r: 2 * n * d * d,
            "two matrices with two factors each make four.": lambda n, d, r: n * d * r,
        },
        tolerance=1e-9,
        describe=lambda n, d, r: f"{n} layers, d = {d}, r = {r}",
    ),
    right="4·L·d·r. For RoBERTa-large that is the paper's 0.8M; for GPT-2 M it is not its 0.35M.",
)

E93 = Exercise(
    number="9.3",
    title="the wrong scaling rule",
    objective="recognise a broken adapter",
    stub='''\
# An adapter was trained with rsLoRA, r = 16, α = 16. A server ignores `use_rslora` and scales by α/r.
share = ...  # of the update that arrives: 1 would be all of it

check("9.3", share)''',
    solution='''\
# An adapter was trained with rsLoRA, r = 16, α = 16. A server ignores `use_rslora` and scales by α/r.
share = (16 / 16) / (16 / 16**0.5)

check("9.3", share)''',
    hints=("rsLoRA scales by α/√r = 4. What does the server scale by?", "1 in place of 4."),
    judge=value_judge(
        0.25,
        {
            "the other way round: the server scales too little.": 4,
            "that is 1/r; the two rules differ by √r.": 1 / 16,
            "the two rules agree at r = 1 only.": 1,
            "that is as if α were squared away; α/r is 1, α/√r is 4.": 0.5,
        },
        tolerance=1e-6,
    ),
    right="a quarter: the adapter loads, answers, and is four times too weak (vLLM#6909).",
)

EXERCISES = (E91, E92, E93)
