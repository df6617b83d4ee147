"""The predictions of page 07."""

from lora_lab.classroom.predictions import Choice, Prediction

P72 = Prediction(
    number="7.2",
    question="what happens to the nine, and which other digits will suffer most? Write three of them down.",
    choices=(
        Choice(
            "repaired; 4 and 7, they look like a nine",
            "To our eyes they are nearest. What counts is how far the *network* keeps a digit from nine, and it need "
            "not see as we do.",
        ),
        Choice(
            "repaired; 3, 5 and 8",
            "Not those that look most like a nine, then. If so, the network must keep these three nearer to nine than "
            "the 4.",
            right=True,
        ),
        Choice(
            "repaired; all others alike",
            "Perhaps all are pushed alike. Do all start equally far from nine?",
        ),
        Choice(
            "repaired; hardly any, rank 1 is too small",
            "Rank 1 is one direction in each layer. How many directions does it take to say \"nine\"?",
        ),
    ),
    look="Now run on: the repair, its table, and then *Who pays for what*.",
    found="no nine is wrong any more, and on every seed 3, 5 and 8 are the three that lose most. The 4 hardly pays at "
    "all: 2 to 11 of 91 wrong.",
    evidence=(
        "✓ the nine is repaired",
        "✓ on every seed, 3, 5 and 8 are the three that lose most",
        "4:  2 to 11 of 91 wrong",
    ),
)

P73 = Prediction(
    number="7.3",
    question="the same 100 batches, but all parameters are trained. Better or worse for the others?",
    choices=(
        Choice(
            "better: it has room for nine and the rest",
            "There is more room. What in these batches asks it to keep the rest?",
        ),
        Choice(
            "the same: the data is the same",
            "The data is the same, and so is what it asks for. Do both get equally far in 100 batches?",
        ),
        Choice(
            "somewhat worse",
            "LoRA broke a good part of them already. Is there anything in the data that stops a stronger learner?",
        ),
        Choice(
            "much worse: nearly all of them go wrong",
            "Every image in these batches is a nine, and you expect more parameters to draw the conclusion sooner. "
            "Then it must hold on all five seeds.",
            right=True,
        ),
    ),
    look="Now run the next two cells: this network, and five seeds from the record.",
    found="all 811 are wrong, on every seed, where LoRA left 351 to 425 wrong. At a tenth of the rate it is 215 to "
    "290: the data does it, not LoRA.",
    evidence=(
        "✓ and more than 95 % of the other digits wrong",
        "full, nines only            811 (811-811)",
        "LoRA, nines only            385 (351-425)",
        "full, a tenth of the rate   264 (215-290)",
    ),
)

PREDICTIONS = (P72, P73)
