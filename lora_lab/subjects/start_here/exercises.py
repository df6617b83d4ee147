"""Exercises of page 00, the first taste."""

from __future__ import annotations

import torch

from lora_lab.classroom.judging import Exercise, NotAttempted, function_judge, value_judge
from lora_lab.subjects.linear_task.tasks import letters


def numbers(d_out, d_in, r):
    return (d_out + d_in) * r


E01 = Exercise(
    number="0.1",
    title="how many numbers",
    objective="say what a rank-r copy costs",
    stub='''\
def numbers(d_out, d_in, r):  # of r columns (d_out long) times r rows (d_in long)
    return ...

check("0.1", numbers)''',
    solution='''\
def numbers(d_out, d_in, r):  # of r columns (d_out long) times r rows (d_in long)
    return (d_out + d_in) * r

check("0.1", numbers)''',
    hints=("One column has d_out numbers, one row has d_in.", "Each of the r pieces is one column and one row."),
    judge=function_judge(
        numbers,
        [(56, 184, 1), (56, 184, 5), (1000, 1001, 3)],
        {
            "that is the whole matrix, d_out · d_in.": lambda d_out, d_in, r: d_out * d_in,
            "that is one piece; there are r of them.": lambda d_out, d_in, r: d_out + d_in,
            "the columns are missing: a piece is a column times a row.": lambda d_out, d_in, r: d_in * r,
            "the rows are missing: a piece is a column times a row.": lambda d_out, d_in, r: d_out * r,
            "a piece stores d_out + d_in numbers; d_out · d_in is what their product spreads to.": (
                lambda d_out, d_in, r: d_out * d_in * r
            ),
        },
        describe=lambda d_out, d_in, r: f"a {d_out} x {d_in} matrix and r = {r}",
    ),
    right="(d_out + d_in)·r numbers.",
)


def _word_judge(word: object) -> str:
    if word is ...:
        raise NotAttempted
    if not isinstance(word, str):
        return f"a word in quotes is wanted, this is a {type(word).__name__}."
    try:
        rank = int(torch.linalg.matrix_rank(letters(word, scale=1)))
    except ValueError as e:
        return str(e)
    if len(word) < 3:
        return f"{word!r} has {len(word)} letters; three or more are wanted."
    return "" if rank <= 2 else f"{word!r} has rank {rank}: it shows {rank} different patterns of columns or more."


E02 = Exercise(
    number="0.2",
    title="a word of rank 2",
    objective="see rank in a picture",
    stub='''\
word = ...  # three letters or more, of A B D E H I K L N O P R S T W a o

check("0.2", word)''',
    solution='''\
word = "LLL"  # three letters or more, of A B D E H I K L N O P R S T W a o

check("0.2", word)''',
    hints=(
        "Rank counts columns that are not sums of others. A letter used twice brings no new column.",
        "Which single letter is drawn with two kinds of columns? Write it three times.",
    ),
    judge=_word_judge,
    right="its columns are of two kinds only, so two pieces rebuild it exactly.",
)

E03 = Exercise(
    number="0.3",
    title="a budget of one percent",
    objective="say what a rank-r copy costs",
    stub='''\
largest_r = ...  # its copy of a 1000 x 1001 matrix takes at most 1 % of the matrix's numbers

check("0.3", largest_r)''',
    solution='''\
largest_r = int(0.01 * 1000 * 1001 / (1000 + 1001))

check("0.3", largest_r)''',
    hints=("One percent of 1000 · 1001 is 10 010 numbers.", "A piece takes 2001 numbers. How many fit into 10 010?"),
    judge=value_judge(
        5,
        {
            "six pieces take 12 006 numbers, and 1 % is 10 010.": 6,
            "that leaves room: five pieces take 10 005 numbers, still within 10 010.": 4,
            "that counts 1001 numbers a piece; a column of 1000 belongs to it, too.": 10,
            "a rank is a whole number; round down.": 10010 / 2001,
            "that is 10 %; one percent is wanted.": 50,
        },
        tolerance=1e-6,
    ),
    right="five pieces, 10 005 numbers of 1 001 000.",
)

EXERCISES = (E01, E02, E03)
