"""Exercises about LoRA in a transformer."""

import torch

from lora_lab.classroom.judging import exercise
from lora_lab.subjects.linear_task.tasks import normal
from lora_lab.subjects.mini_language import language


@exercise(
    title="the paper's formula",
    hints=("A has r·d numbers, B has d·r.", "Two factors, each of d·r numbers, in each matrix of each layer."),
    right="2·L·d·r for each adapted matrix: 37 748 736 for GPT-3's query and value at r = 8.",
    cases=[(2, 5, 3, 4), (96, 12288, 2, 8), (24, 1024, 1, 4), (3, 64, 4, 2)],
    mistakes={
        "that counts one of the two factors, A or B.": "layers * d * r * matrices",
        "that is one matrix in each layer; there are `matrices`.": "2 * layers * d * r",
        "that is one layer.": "2 * d * r * matrices",
        "4·L·d·r is right for two matrices in a layer; here `matrices` says how many.": "4 * layers * d * r",
        "twice too many: a matrix has two factors, and all the matrices are counted.": "4 * layers * d * r * matrices",
        "the rank is missing: A has r rows, B has r columns.": "2 * layers * d * matrices",
        "the rank is taken to be 8; it is an argument.": "16 * layers * d * matrices",
        "that is full fine-tuning of those matrices.": "layers * d * d * matrices",
    },
)
def trained(layers, d, matrices, r):  # `matrices` d x d weights in each layer, all with rank r
    # how many numbers LoRA trains
    return 2 * layers * d * r * matrices


def _basis(r, d, seed):
    """Orthonormal directions in rows, (r, d)."""
    return torch.linalg.qr(normal(d, r, seed=seed).double())[0].T.float()


@exercise(
    title="φ by hand",
    hints=("`U1[:i] @ U2[:j].T` holds the cosines.", "Add up their squares; divide by the largest sum, min(i, j)."),
    right="eq. 4 of the paper: 1 if the smaller space lies in the larger one.",
    cases=[
        (torch.tensor([[1.0, 0, 0], [0, 1, 0]]), torch.tensor([[0.0, -1, 0], [0, 0, 1]]), 2, 1),
        (_basis(4, 12, seed=1), _basis(6, 12, seed=2), 2, 5),
        (_basis(3, 9, seed=3), _basis(3, 9, seed=4), 3, 1),
        (_basis(5, 5, seed=5), _basis(5, 5, seed=6), 3, 3),
    ],
    mistakes={
        "divided by max(i, j); the sum's largest value is min(i, j).": "phi(U1, U2, i, j) * min(i, j) / max(i, j)",
        "divided by i; the sum's largest value is min(i, j), and j may be less.": "phi(U1, U2, i, j) * min(i, j) / i",
        "divided by j; the sum's largest value is min(i, j), and i may be less.": "phi(U1, U2, i, j) * min(i, j) / j",
        "divided by i·j: the mean squared cosine; divide by min(i, j).": "(U1[:i] @ U2[:j].T).square().mean()",
        "not divided: the sum grows with i and j.": "phi(U1, U2, i, j) * min(i, j)",
        "that swaps i and j: the first i of U1 and the first j of U2 are wanted.": "phi(U1, U2, j, i)",
        "the cosines are not squared, so that signs cancel.": "(U1[:i] @ U2[:j].T).sum() / min(i, j)",
        "all directions are compared; take the first i and j.": "(U1 @ U2.T).square().sum() / min(i, j)",
    },
)
def phi(U1, U2, i, j):  # orthonormal directions in rows, (r1, d) and (r2, d), strongest first
    # how much of the first i of one lies in the first j of the other
    return (U1[:i] @ U2[:j].T).square().sum() / min(i, j)


@exercise(
    title="what chance gives",
    hints=("A squared cosine is 1/d on average. How many are added up?", "i·j of them, divided by min(i, j)."),
    right="max(i, j)/d, which is no small number in a small model: always draw it.",
    cases=[(2, 3, 12), (8, 1, 64), (8, 8, 64), (3, 2, 50), (8, 64, 64)],
    mistakes={
        "random subspaces are not orthogonal: chance is not 0.": "0",
        "right for i = j only: i·j squared cosines of 1/d each, divided by min(i, j).": "min(i, j) / d",
        "that is i/d, right where i is the larger; φ does not care which of the two is called i.": "i / d",
        "that is j/d, right where j is the larger; φ does not care which of the two is called i.": "j / d",
        "the division by min(i, j) is missing.": "i * j / d",
        "that is for one direction each.": "1 / d",
        "1/√d is the size of a cosine; its square, 1/d, is added up.": "max(i, j) / d**0.5",
    },
)
def by_chance(i, j, d):  # two random subspaces of i and j dimensions in d
    # their expected φ
    return max(i, j) / d


HIDDEN, SEED, STEPS = "wire + swap 2", 47, 60  # a task, data and starts that the page does not show
NUMBERS, TASK, FORGOTTEN = 7000, 0.06, 0.65  # at most: trained numbers; nats above the floor of the task, of others
EACH = {"q": 384, "k": 384, "v": 384, "o": 384, "up": 960, "down": 960}  # numbers in A and B at rank 1, both layers


def _complaint_about_choice(choice: tuple) -> str:
    """Train the choice, and measure what it learned and what it forgot."""
    from . import gpt, make_record  # which read the record: not before it is asked

    where, *numbers = choice
    matrices = EACH if where == "all linears" else {part.strip() for part in where.split(",")}
    if unknown := set(matrices) - set(EACH):
        return f'{min(unknown)!r} is no matrix here; there are {", ".join(EACH)}, or "all linears".'
    if not all(number.numel() == 1 for number in numbers):
        return "one rank and one rate are wanted."
    r, rate = map(float, numbers)
    if r < 1 or not r.is_integer() or not 0 < rate < 10:
        return f"the rank is a whole number from 1 on, and the rate a small one above 0; they are {r:g} and {rate:g}."
    if (trained := int(r) * sum(EACH[m] for m in matrices)) > NUMBERS:
        return f"that trains {trained:,} numbers; the budget is {NUMBERS:,}."
    way = f"{','.join(sorted(matrices))} r={int(r)}"
    model = make_record.fine_tune(HIDDEN, way, rate, STEPS, SEED, lines=32 * STEPS)
    task = gpt.above_floor(model, language.dialect(HIDDEN, 400, seed=SEED))
    others = gpt.above_floor(model, language.corpus(400, seed=SEED, tellers=make_record.VOICES))
    if task < TASK and others < FORGOTTEN:
        return ""
    return (
        f"{trained:,} numbers; on unseen lines the task is {task:.3f} nats above its floor, at most {TASK} are wanted, "
        f"and the other tellers {others:.3f}, at most {FORGOTTEN}."
    )


@exercise(
    title="learn it, and forget little",
    hints=(
        "Table 5 in section 9.7 compares matrices at one budget. For what is forgotten, look at the rates in 9.12.",
        "Two matrices at r = 8, W_v or W_o among them; and the lowest rate that still learns the task, near 0.01.",
    ),
    right="a task that the page does not show is learned within the budget, and the other tellers are mostly kept.",
    accept=_complaint_about_choice,
)
def learn_and_keep():
    # at most 7,000 numbers in A and B, alpha = 16, 60 steps of 32 lines
    matrices = "q,v"  # of q, k, v, o, up, down, with commas between them; or "all linears"
    each_rank = 8  # of each of these in both layers; it takes 384 numbers each, 960 for up or down
    first_rate = 0.01  # the learning rate; it falls to 0
    return matrices, each_rank, first_rate
