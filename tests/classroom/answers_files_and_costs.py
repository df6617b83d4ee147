"""Right answers to the exercises of files_and_costs, and wrong ones with a piece of what they are told."""

import io
import json
import struct

import numpy as np
import torch


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


def from_the_start(raw):
    return json.loads(raw[: 8 + size(raw)])


RIGHT = {
    "header": [
        unpacked,
        as_a_file,
        byte_by_byte,
        lambda raw: json.loads(raw[8:][: np.frombuffer(raw[:8], "<u8")[0]]),
    ],
    "count": [
        lambda layers, d, r: layers * 2 * (d * r + r * d),
        lambda n, d, r: 4.0 * n * d * r,
        lambda n, d, r: np.prod([4, n, d, r]),
        lambda n, d, r: n * sum(torch.empty(s, device="meta").numel() for s in [(r, d), (d, r)] * 2),
    ],
}

WRONG = {
    "header": [
        ("raised UnicodeDecodeError|raised JSONDecodeError", json.loads),
        ("raised UnicodeDecodeError", lambda raw: json.loads(raw[7 : 8 + size(raw)])),
        ("at `return json.loads(raw[: 8 + size(raw)])`", from_the_start),
        ("None", lambda raw: print(end="")),
    ],
    "count": [
        ("expected is 120", lambda layers, d, r: 6 * layers * d * r),
        ("the function itself", 37_748_736),
    ],
}
