"""The predictions of page 06."""

from lora_lab.classroom.predictions import Choice, Prediction

P63 = Prediction(
    number="6.3",
    question="how many singular values does the end-to-end update have?",
    choices=(
        Choice(
            "1: both adapters have rank 1",
            "Each of them has rank 1. They sit in different layers: does each of them write the same direction into "
            "the output?",
        ),
        Choice(
            "2: one for each adapter",
            "You count what stands on the left, W₂B₁ and B₂. If that is all, the third singular value must be "
            "nothing.",
            right=True,
        ),
        Choice(
            "3: W₂B₁A₁, B₂A₂W₁ and B₂A₂B₁A₁",
            "Three products of rank 1 could give three. Look at their left ends: how many different columns are "
            "there?",
        ),
        Choice(
            "100: the full W₁ and W₂ spread it",
            "W₁ and W₂ do have full rank. Can a product have more rank than its thinnest factor?",
        ),
    ),
    look="Now run the next cell.",
    found="two; the third is below a thousandth of the first. And one does nearly all of it: the first is over 20 "
    "times the second.",
    evidence=(
        "✓ the update has two singular values; the third is below a thousandth",
        "✓ one direction does it: the first is over 20 times the second",
    ),
)

P65 = Prediction(
    number="6.5",
    question="the ones need one input direction, (1, 1, …, 1), and one output direction. W₁ is 100 × 101. What does "
    "layer 2 alone miss?",
    choices=(
        Choice(
            "a little: W₁ loses one direction of 101",
            "101 inputs, 100 outputs: one direction does not reach layer 2. How much of the ones lies along it, the "
            "cells work out.",
            right=True,
        ),
        Choice(
            "nothing: rank 1 is enough for the ones",
            "The rank is enough. But layer 2 reads W₁x and not x: does W₁ pass on all of the 101 input directions?",
        ),
        Choice(
            "half: it is one of two layers",
            "The floor does not ask how many layers help, but which input directions still reach this one. How many "
            "does W₁ lose?",
        ),
        Choice(
            "all: it never sees the input",
            "It does not see x, but it sees W₁x. How much of x can still be read from that?",
        ),
    ),
    look="Now run the next two cells: the floor of each layer alone.",
    found="about 1, of 101 to do: the ones along the one direction that W₁ maps to 0. Layer 1 alone misses nothing.",
    evidence=("layer 1 alone: floor 0.00", "layer 2 alone: about 1, of 101 to do"),
)

PREDICTIONS = (P63, P65)
