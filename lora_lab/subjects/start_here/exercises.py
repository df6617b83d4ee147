"""Exercises of the first page."""

import torch

from lora_lab.classroom.judging import exercise
from lora_lab.subjects.linear_task.tasks import letters


@exercise(
    title="how many numbers",
    hints=("One column has d_out numbers, one row has d_in.", "Each of the r pieces is one column and one row."),
    right="(d_out + d_in)·r numbers.",
    cases=[(2, 3, 1), (3, 2, 2), (4, 4, 3), (56, 184, 5), (1000, 1001, 3)],
    mistakes={
        "that is the whole matrix, d_out · d_in.": "d_out * d_in",
        "that is one piece; there are r of them.": "d_out + d_in",
        "the columns are missing: a piece is a column times a row.": "d_in * r",
        "the rows are missing: a piece is a column times a row.": "d_out * r",
        "a piece stores d_out + d_in numbers; d_out · d_in is what their product spreads to.": "d_out * d_in * r",
        "that multiplies only the rows by r; there are r columns, too.": "d_out + d_in * r",
    },
)
def stored_numbers(d_out, d_in, r):  # of r columns (d_out long) times r rows (d_in long)
    return (d_out + d_in) * r


def _complaint_about_word(word: str) -> str:
    if len(word) < 3:
        return f"{word!r} has {len(word)} letters; three or more are wanted."
    if unknown := set(word) - set("ABDEHIKLNOPRSTWao"):
        return f"{word!r} holds {min(unknown)!r}, which has no picture; the comment lists the letters that have one."
    rank = int(torch.linalg.matrix_rank(letters(word, scale=1)))
    if rank > 2:
        return f"{word!r} has rank {rank}: two of its columns are not enough to add up to all the others."
    return ""


@exercise(
    title="a word of rank 2",
    hints=("A letter used twice brings no new column.", "Which letter has a stem and one other kind of column?"),
    right="each column of its picture is blank, one of two, or made of these two: two pieces rebuild it.",
    accept=_complaint_about_word,
)
def word_of_rank_2():
    my_word = "LLL"  # three letters or more, of A B D E H I K L N O P R S T W a o
    return my_word


@exercise(
    title="a budget of one percent",
    hints=("One percent of 1000 · 1001 is 10 010 numbers.", "A piece takes 2001 numbers. How many fit into 10 010?"),
    right="five pieces, 10 005 numbers of 1 001 000.",
    mistakes={
        "six pieces take 12 006 numbers, and 1 % is 10 010.": 6,
        "that leaves room for more: four pieces take 8004 of the 10 010 numbers.": 4,
        "that counts 1001 numbers a piece; a column of 1000 belongs to it, too.": 10,
        "a rank is a whole number; round down.": 10010 / 2001,
        "that is 10 %; one percent is wanted.": 50,
        "that is the number of numbers; how many pieces is that?": 10010,
    },
)
def one_percent():
    # whose copy of a 1000 x 1001 matrix takes at most 1 % of the matrix's numbers
    largest_r = int(0.01 * 1000 * 1001 / (1000 + 1001))
    return largest_r
