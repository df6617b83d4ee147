"""The predictions of page 02."""

from lora_lab.classroom.predictions import Choice, Prediction

P21 = Prediction(
    number="2.1",
    question="could some other rank-4 matrix come closer?",
    choices=(
        Choice(
            "yes: with luck, one of the 200 will",
            "Least squares gives each competitor the best coefficients there are for its four directions. How likely "
            "are four random directions of 80 to be good ones?",
        ),
        Choice(
            "no, but the best of them come near",
            "You trust the theorem, and least squares to make up for random directions. How much can coefficients "
            "do, when the directions are not theirs to choose?",
        ),
        Choice(
            "no, and none of them comes near",
            "You trust the theorem and distrust random directions. Look at both figures: how many come closer, and "
            "what the best of the 200 still misses.",
            right=True,
        ),
        Choice(
            "they tie: rank 4 is rank 4",
            "All have as many numbers to spend. They spend them on different directions: does that matter?",
        ),
    ),
    look="Now run the next cell: it lets them try.",
    found="none of 200 comes as close. The best copy misses 35 % of the norm, the competitors miss 91 % or more: it "
    "counts which directions are kept.",
    evidence=("share missed: best copy 35%, competitors from 91%",),
)

P23 = Prediction(
    number="2.3",
    question="how close does training come to the floor?",
    choices=(
        Choice(
            "within a few percent, at every rank",
            "You expect gradient descent to find the best directions by itself. The claims say how far above its "
            "floor each rank may end.",
            right=True,
        ),
        Choice(
            "not close: it gets stuck far above",
            "In A and B together the loss is not convex, so the fear is fair. See where the curves come to rest, "
            "above the dashes.",
        ),
        Choice(
            "close at r = 1, less so at higher ranks",
            "More numbers, more to find, so the gap would grow with the rank. Compare the four curves, each with its "
            "own dashes.",
        ),
        Choice(
            "below it: the floor is an estimate",
            "The second column was computed from these very examples. If a curve ended below it, what would be wrong "
            "with \"best possible\"?",
        ),
    ),
    look="Now run the next cells: they train one layer at each rank.",
    found="above it, by at most 5 %, at r = 1, 2, 3 and 4. At r = 5 there is no floor, and the loss falls "
    "below 0.0001.",
    evidence=(
        *(f"✓ r = {r}: training ends above the floor, by at most 5 %" for r in (1, 2, 3, 4)),
        "✓ r = 5: there is no floor, and training goes below 0.0001",
    ),
)

PREDICTIONS = (P21, P23)
