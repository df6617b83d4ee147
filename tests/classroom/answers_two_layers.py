"""Right answers to the exercises of two_layers, and wrong ones with a piece of what they are told."""

import re

import numpy as np
import torch


def with_probes(W1, D1, W2, D2):
    x = torch.eye(W1.shape[1])
    return ((W2 + D2) @ ((W1 + D1) @ x)) - W2 @ (W1 @ x)


def in_place(W1, D1, W2, D2):
    before = W2 @ W1
    W1 += D1
    return (W2 + D2) @ W1 - before


def one_by_one(names, ending):
    for name in names:
        if ("." + name).endswith("." + ending):
            yield name


def by_parts(names, ending):
    parts = ending.split(".")
    return [name for name in names if name.split(".")[-len(parts) :] == parts]


def twice(names, ending):
    found = [name for name in names if name.endswith("." + ending)]
    return found + [name for name in names if name.endswith(ending) and name in by_parts(names, ending)]


def removed(names, ending):
    for name in list(names):
        if name not in by_parts([name], ending):
            names.remove(name)
    return names


RIGHT = {
    "end_to_end": [
        lambda W1, D1, W2, D2: W2 @ D1 + D2 @ W1 + D2 @ D1,
        lambda W1, D1, W2, D2: torch.einsum("om,mi->oi", W2 + D2, D1) + D2 @ W1,
        lambda W1, D1, W2, D2: (W2 + D2).numpy() @ (W1 + D1).numpy() - W2.numpy() @ W1.numpy(),
        lambda W1, D1, W2, D2: (W2 + D2).double() @ D1.double() + (D2 @ W1).double(),
        with_probes,
    ],
    "adapted": [
        one_by_one,
        by_parts,
        lambda names, ending: {name for name in names if ("." + name).endswith("." + ending)},
        lambda names, ending: filter(lambda n: re.search(rf"(^|\.){re.escape(ending)}$", n), names),
        lambda names, ending: np.array([n for n in names if n == ending or n.endswith(f".{ending}")]),
        lambda names, ending: tuple(sorted(by_parts(names, ending))),
    ],
}

WRONG = {
    "end_to_end": [
        ("changes `W1` in place", in_place),
        ("expected is [[4, 2]]", lambda W1, D1, W2, D2: W2 @ D1 + 2 * D2 @ W1),
    ],
    "adapted": [
        ("there 2 times", twice),
        ("changes `names` in place", removed),
        (
            "for 'out', 'fc' is among them",
            lambda names, ending: [n for n in names if n in ("fc", "a.fc", "blocks.0.fc")],
        ),
        ("for 'fc', 'a.fc' is missing", lambda names, ending: by_parts(names, ending)[:1]),
        ("a list is wanted", lambda names, ending: ", ".join(by_parts(names, ending))),
    ],
}
