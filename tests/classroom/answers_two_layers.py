"""Right answers to the exercises of two_layers, and wrong ones with a piece of what they are told."""

import re

import numpy as np
import torch


def as_the_model_narrows(sizes, change, budget):
    d_in, hidden, d_out = sizes
    if d_in > d_out:
        return budget // (d_in + hidden), 0
    return 0, budget // (hidden + d_out)


def by_the_wider_layer(sizes, change, budget):
    rank = torch.linalg.matrix_rank(torch.ones(sizes[2], sizes[0])) if change == "ones" else torch.tensor(4)
    return torch.stack([rank, 0 * rank]) if sizes[0] + sizes[1] > sizes[1] + sizes[2] else [0, float(rank)]


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
    "ranks_within": [
        as_the_model_narrows,
        by_the_wider_layer,
        lambda sizes, change, budget: np.array([sizes[0] == 101, sizes[0] != 101]) * (4 if budget > 600 else 1),
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
    "ranks_within": [
        ("ranks 2 and 2: trained, they leave", lambda sizes, change, budget: (2, 2) if change != "ones" else (1, 0)),
        ("ranks 0 and 6: trained, they leave", lambda sizes, change, budget: (0, 6)),
        ("ranks 1 and 0: trained, they leave", lambda sizes, change, budget: as_the_model_narrows(sizes, change, 170)),
        ("the budget is 650", lambda sizes, change, budget: (4, 4)),
        ("leave 100.0% of the loss", lambda sizes, change, budget: (0, 0)),
        ("whole numbers", lambda sizes, change, budget: (budget / 161, 0)),
        ("whole numbers", lambda sizes, change, budget: (-4, 8)),
        ("2 values are wanted", lambda sizes, change, budget: 4),
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
