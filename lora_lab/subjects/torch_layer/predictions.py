"""The predictions of page 03."""

from lora_lab.classroom.predictions import Choice, Prediction

P32 = Prediction(
    number="3.2",
    question="at the first step, one of the two gradients is exactly zero. Which one, and is that a bug?",
    choices=(
        Choice(
            "A's; no bug, A follows when B has moved",
            "You saw that each gradient holds the *other* factor. Then A stands still for one step, and the loss must "
            "fall all the same.",
            right=True,
        ),
        Choice(
            "A's; a bug, for A can never learn",
            "A's gradient has B as a factor, and B is zero: so far so good. Is B still zero at the second step?",
        ),
        Choice(
            "B's: B itself is zero",
            "A weight of zero can have a gradient. Look at the two formulas above: which factor stands in which?",
        ),
        Choice(
            "A's; starting both at zero would be cleaner",
            "Two zeros, too, begin exactly at the base. Put them into the two formulas: what is left of either "
            "gradient?",
        ),
    ),
    look="Now run on: the cells try four starts.",
    found="with B = 0 the gradient of A is 0.00 and that of B 0.07. After one step B has moved, both learn, and the "
    "loss ends below 0.001. With two zeros it stays at 1 for ever.",
    evidence=(
        "B = 0, A random  gap 0.00  |grad A| 0.00  |grad B| 0.07  loss after 300 steps: below 0.001",
        "both zero        gap 0.00  |grad A| 0.00  |grad B| 0.00  loss after 300 steps: 1",
    ),
)

P35 = Prediction(
    number="3.5",
    question="A ~ N(0, 1/d_in) instead of N(0, 1), and a larger learning rate that decays to zero. How many of the "
    "7900 steps are needed?",
    choices=(
        Choice(
            "about 7900: a start is soon forgotten",
            "In the film the start was not forgotten soon: half of A had the wrong sign. How far has an entry to go "
            "now, until it crosses zero?",
        ),
        Choice(
            "about 4000",
            "Half the entries have the wrong sign, half the time? How long one of them takes depends on its size.",
        ),
        Choice(
            "about 400",
            "Smaller entries turn around sooner, and you leave some steps for the fit itself. If so, the result must "
            "not be worse than that of 7900 steps.",
            right=True,
        ),
        Choice(
            "about 40",
            "Smaller entries *and* larger steps, multiplied. But a decaying rate also has to settle: is turning the "
            "signs around all there is to do?",
        ),
    ),
    look="Now run the next cell: it counts the steps and compares both ΔΘ.",
    found="395 steps instead of 7900, and ΔΘ is closer to all ones than S1's own 100 epochs came.",
    evidence=("395 steps instead of 7900", "✓ which is closer than S1's own 100 epochs came"),
)

PREDICTIONS = (P32, P35)
