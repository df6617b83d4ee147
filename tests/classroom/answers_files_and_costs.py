"""Right answers to the exercises of files_and_costs, and wrong ones with a piece of what they are told."""

import io
import itertools
import json
import struct

import numpy as np

from lora_lab.subjects.files_and_costs import models


def unpacked(raw):
    (n,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + n].decode("utf-8"))


def as_a_file(raw):
    file = io.BytesIO(raw)
    n = int.from_bytes(file.read(8), byteorder="little")
    return json.load(io.BytesIO(file.read(n)))


def byte_by_byte(raw):
    n = sum(byte * 256**k for k, byte in enumerate(raw[:8]))
    return json.loads(bytes(raw[8 + k] for k in range(n)))


def size(raw):
    return int.from_bytes(raw[:8], "little")


def fits(shape, card, file, dtype, targets, r):
    numbers = models.adapter_numbers(shape, r, targets)
    return sum(models.training_bill(shape, r, targets, dtype)) <= card and numbers * 16 / 8 <= file


def all_that_fit(shape, card, file):
    ways = itertools.product(("nf4", "bfloat16"), ("q", "q, v", "q, k, v, o", "all"), range(3, 9))
    places = [(dtype, targets, 2**k) for dtype, targets, k in ways if fits(shape, card, file, dtype, targets, 2**k)]
    return places[-1]


def halves_from_above(shape, card, file):
    for dtype, targets in itertools.product(("bfloat16", "nf4"), list(models.TARGETS)[::-1]):
        r = 256
        while r >= 8 and not fits(shape, card, file, dtype, targets, r):
            r //= 2
        if r >= 8:
            return dtype, targets, r


def from_the_start(raw):
    return json.loads(raw[: 8 + size(raw)])


RIGHT = {
    "header": [
        unpacked,
        as_a_file,
        byte_by_byte,
        lambda raw: json.loads(raw[8:][: np.frombuffer(raw[:8], "<u8")[0]]),
    ],
    "what_fits": [
        all_that_fit,
        halves_from_above,
        lambda *given: list(all_that_fit(*given)),
    ],
}

WRONG = {
    "header": [
        ("raised UnicodeDecodeError|raised JSONDecodeError", json.loads),
        ("raised UnicodeDecodeError", lambda raw: json.loads(raw[7 : 8 + size(raw)])),
        ("at `return json.loads(raw[: 8 + size(raw)])`", from_the_start),
        ("None", lambda raw: print(end="")),
    ],
    "what_fits": [
        ("expected is ('nf4', 'all', 16)", lambda shape, card, file: ("nf4", "all", 8)),
        ("3 values are wanted", lambda shape, card, file: "nf4"),
    ],
}
