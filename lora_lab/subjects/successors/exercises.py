"""Exercises about what came after LoRA."""

import copy
from functools import cache

from lora_lab.adapters import count_parameters
from lora_lab.classroom.judging import exercise


@exercise(
    title="the wrong scaling rule",
    hints=("rsLoRA scales by α/√r = 4. What does the server scale by?", "1 in place of 4."),
    right="a quarter: the adapter loads, answers, and is four times too weak (vLLM#6909).",
    mistakes={
        "the other way round: the server scales too little.": 4,
        "that is 1/r; the two rules differ by √r.": 1 / 16,
        "the two rules agree at r = 1 only.": 1,
        "not a half: write down both scales, α/√r and α/r, and divide.": 0.5,
        "that is the part that is lost; the part that arrives is wanted.": 0.75,
        "that is in percent; 1 would be all of it.": 25,
    },
)
def wrong_rule():
    # An adapter was trained with rsLoRA, r = 16, α = 16. A server ignores `use_rslora` and scales by α/r.
    share = (16 / 16) / (16 / 16**0.5)  # of the update that arrives: 1 would be all of it
    return share


NUMBERS, TUNED = 2000, 0.4  # that may be trained; the test loss to reach


@cache
def _stranger():
    """Digits and a base that no page shows."""
    from . import variants  # which reads scikit-learn's digits: not before it is asked

    data = variants.turned_digits(seed=20)
    return data, variants.digit_base(data, seed=20)


def _rubric(choice: tuple) -> str:
    """Train the chosen adapter on the stranger: three lines with a ✓ or a ✗, or "" if all of them hold."""
    from . import variants

    data, base = _stranger()
    model, (r, alpha, lr) = copy.deepcopy(base), map(float, choice)
    try:
        variants.lora(model, seed=20, r=int(r) if r.is_integer() else r, alpha=alpha)
        trained = count_parameters(model)[0]
        loss = variants.fit(model, data, lr, seed=20).loss
    except ValueError as refused:
        return f"it cannot be built: {refused}"
    rubric = {
        f"it trains {trained:,} numbers, at most {NUMBERS:,}": trained <= NUMBERS,
        f"it learns: test loss {loss:.3f}, below 1": loss < 1,
        f"it is tuned: below {TUNED}": loss < TUNED,
    }
    lines = "\n".join(f"  {'✓' if held else '✗'} {line}" for line, held in rubric.items())
    return "" if all(rubric.values()) else f"on the other base:\n{lines}\n "


@exercise(
    title="tuned for a stranger",
    hints=(
        "One rank costs 970 numbers here. Which rates did the tuning find for LoRA?",
        "`variants.fit(variants.lora(copy.deepcopy(base), seed=0, r=2, alpha=4.0), data, lr).loss` for a few rates.",
    ),
    right="all three lines hold on a base and digits that you have not seen.",
    accept=_rubric,
)
def choice():
    r, alpha, lr = 2, 16.0, 0.016
    choice = (r, alpha, lr)  # the rank, α and learning rate of LoRA on every layer
    return choice
