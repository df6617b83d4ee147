"""The predictions of page 04."""

from lora_lab.classroom.predictions import Choice, Prediction

P42 = Prediction(
    number="4.2",
    question="where on the map is the cliff: at large α, at small r, or along a line?",
    choices=(
        Choice(
            "at large α, whatever the rank",
            "A large α makes large steps. What the layer multiplies with is α/r, though: what becomes of the same α "
            "at eight times the rank?",
        ),
        Choice(
            "at small r, whatever α",
            "In α/r a small r does act strongly. At every α, even at the smallest?",
        ),
        Choice(
            "along a line, where α/r is large",
            "You look at α/r, the one place where the two meet. If it is all that counts, twice the rank must allow "
            "twice the α.",
            right=True,
        ),
        Choice(
            "nowhere: each run ends at its floor",
            "A floor says what a rank can reach, not that a run gets there. What does plain SGD do when its steps are "
            "too long?",
        ),
    ),
    look="Now run the next two cells: 576 runs, and × where one diverged.",
    found="six cells diverged, on a staircase: r = 1 from α = 32 on, r = 2 from 64, r = 4 at 128. On all four tasks, "
    "every run with α/r of 64 or more diverges, and none with 8 or less.",
    evidence=(
        "r = 1, α = 32: diverged",
        "r = 2, α = 64: diverged",
        "r = 4, α = 128: diverged",
        "✓ α/r of 64 or more: every run diverges",
        "✓ α/r of 8 or less: none does",
    ),
)

P44 = Prediction(
    number="4.4",
    question="how wrong is it?",
    choices=(
        Choice(
            "not at all: α only scales the step",
            "α scales every step, through ΔW. It also scales what A and B are worth at the start: does a learning "
            "rate do that?",
        ),
        Choice(
            "by a few percent",
            "The start concerns the early steps, so it might cost little. Look at the figure, how early the curves "
            "part.",
        ),
        Choice(
            "by over 20 %, under SGD and Adam",
            "You take the start seriously: it is a column of the table for both optimizers. The claims put a number "
            "on leaving it out.",
            right=True,
        ),
        Choice(
            "exact under SGD, wrong under Adam",
            "In the table SGD's learning rate does take all of s. And what stands beside it, in the column of the "
            "start?",
        ),
    ),
    look="Now run the next two cells: the curves, and the largest difference.",
    found="off by more than 20 % under both. At step 20 Adam has 0.32 in place of 0.61, and SGD 0.85 in place of 0.77.",
    evidence=(
        "adam, what equals α × 4? lr × 4 only 0.32; lr and start 0.61; α × 4 0.61; at step 20",
        "sgd, what equals α × 4? lr × 4 only 0.85; lr and start 0.77; α × 4 0.77; at step 20",
        "✓ adam: lr × 4 with the start untouched is off by more than 20 %",
        "✓ sgd: lr × 4 with the start untouched is off by more than 20 %",
    ),
)

P46 = Prediction(
    number="4.6",
    question="what happens to the training loss as r grows, and to the loss on fresh data?",
    choices=(
        Choice(
            "training falls; fresh data: best at r = 4",
            "The task has four directions, and you expect the others to be spent on something else. Then training "
            "must go on improving while the truth gets worse.",
            right=True,
        ),
        Choice(
            "both fall: more rank is never worse",
            "On the training examples it cannot hurt: a larger rank can do all that a smaller one can. What else can "
            "it do, with noise on every output?",
        ),
        Choice(
            "training falls; fresh data: flat from r = 4 on",
            "Beyond four directions there is nothing left to gain. Is there nothing to lose, with noise on every "
            "output?",
        ),
        Choice(
            "both are best at r = 4",
            "For fresh data that is a thought. But training minimises the training loss itself: can a rank that "
            "could copy the solution of r = 4 end above it?",
        ),
    ),
    look="Now run the next cells: three seeds, each with data of its own.",
    found="the training loss falls with every rank. On fresh data r = 4 is the best of all on three seeds (0.04 on the "
    "first), and r = 64 over 5 times worse (0.41).",
    evidence=(
        "seed 10, fresh data: 0.76 0.52 0.04 0.11 0.23 0.35 0.41",
        "✓ seed 10: more rank always lowers the training loss",
        "✓ on fresh data r = 4 is the best of all ranks",
        "✓ and r = 64 over 5 times worse",
    ),
)

PREDICTIONS = (P42, P44, P46)
