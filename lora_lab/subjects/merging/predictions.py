"""The predictions of page 05."""

from lora_lab.classroom.predictions import Choice, Prediction

P53 = Prediction(
    number="5.3",
    question="does merging and unmerging (by subtracting) the *same* adapter a hundred times drift? And a hundred "
    "*different* ones?",
    choices=(
        Choice(
            "neither: what is added is subtracted",
            "In exact arithmetic, yes. Here every sum is rounded to the nearest number of the dtype: does a "
            "subtraction undo a rounding?",
        ),
        Choice(
            "both alike: a hundred roundings each",
            "There are a hundred roundings in both cases. What does the second cycle of the *same* adapter round that "
            "the first has not rounded already?",
        ),
        Choice(
            "the same one more: all errors point one way",
            "Errors that point one way add up fast. For that, the second cycle of the same adapter has to make a new "
            "one: does it?",
        ),
        Choice(
            "different ones more, the same one hardly",
            "You expect the same sum to be rounded the same way each time, and different ones differently. Compare "
            "the two columns, in each dtype.",
            right=True,
        ),
    ),
    look="Now run the next cell: a hundred cycles of each, in three dtypes.",
    found="different adapters leave at least 3 times the error of the same one: in bfloat16 about 10^-3 against 10^-4. "
    "The same adapter makes one rounding error and repeats it.",
    evidence=(
        "bfloat16 same adapter about 10^-4, different ones about 10^-3",
        "✓ bfloat16: different adapters leave at least 3 times the error of the same one",
    ),
)

P54 = Prediction(
    number="5.4",
    question="with λ = 0.5, how large is the loss on the task: a half, or a quarter of the base's?",
    choices=(
        Choice(
            "a half",
            "Half of the update, half of what is missing: for the *weights* that is so. What does the loss do with "
            "what is missing?",
        ),
        Choice(
            "a quarter",
            "Half of ΔW is missing, and the loss squares it. Test the rule a second time at λ = 0.25.",
            right=True,
        ),
        Choice(
            "three quarters",
            "A quarter has been repaired, you say: you square the part that was *added*. Which part makes the error?",
        ),
        Choice(
            "nearly nothing: half does most of the work",
            "In a deep network some habits do tip over early. This model is linear: what is missing, when half of ΔW "
            "is added?",
        ),
    ),
    look="Now run the next cell: four values of λ.",
    found="25 of 100. Half of ΔW is missing, and the loss is its square; at λ = 0.25 it is 57.",
    evidence=("λ = 0.00: loss on mix 100", "λ = 0.25: loss on mix 57", "λ = 0.50: loss on mix 25"),
)

PREDICTIONS = (P53, P54)
