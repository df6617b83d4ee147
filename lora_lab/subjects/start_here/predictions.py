"""The prediction of page 00."""

from lora_lab.classroom.predictions import Choice, Prediction

PREDICTIONS = (
    Prediction(
        number="0.1",
        question="how many rank-1 pieces, each one column times one row, does it take before the word can be read? "
        "And before it is exact?",
        choices=(
            Choice(
                "4 and 4: a piece for each letter",
                "Four letters, four pieces. But a row of the picture runs through all the letters at once: can a "
                "letter have a piece to itself?",
            ),
            Choice(
                "2 or 3 to read it, 7 until it is exact",
                "You trust the eye to read long before every entry is right. Watch the share that is still missing "
                "when you can first read it.",
                right=True,
            ),
            Choice(
                "7 and 7: not readable before it is exact",
                "You count rows of dots. Does the eye have to wait for the last of them?",
            ),
            Choice(
                "about 50, and 56: one for each row",
                "A matrix of 56 rows can need 56 pieces, if all of its rows differ. How many different rows does this "
                "picture have?",
            ),
        ),
        look="Now look at the word, and then drag the slider below it.",
        found="most people read it at rank 2 or 3, while a third or so of the norm is missing; it is exact at 7, "
        "because the letters have seven different rows.",
        evidence=("r = 7: 1,680 numbers instead of 10,304 (16.3 %); nothing is missing", "rank of ΔW: 7"),
    ),
)
