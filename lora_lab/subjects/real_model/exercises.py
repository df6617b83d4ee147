"""Exercises about adapting a real model."""

import torch

from lora_lab.classroom.judging import exercise
from lora_lab.subjects.linear_task.tasks import normal


def _rounded(d_out, d_in, step, seed):
    W, delta = normal(d_out, d_in, seed=seed), normal(d_out, d_in, seed=seed + 1, std=0.3)
    return W, delta, ((W + delta) / step).round() * step


@exercise(
    title="what counts",
    hints=(
        "A target is the token that comes next: the first one stands behind the first token of the prompt.",
        "len(before) - 1 times -100, then the answer and the end token, then -100 up to `length`.",
    ),
    right="only the answer and the end of the turn count; what the prompt says is given, and padding is nothing.",
    cases=[
        ([5, 6, 7], [8, 9], 2, 8),
        ([1, 4, 2, 1, 6], [3, 8, 3], 2, 8),
        ([1, 4, 2, 2], [9], 2, 11),
        ([7], [4, 4, 2, 5], 2, 5),
    ],
    mistakes={
        "the prompt counts, too: the model would learn to write the questions.": (
            "before[1:] + targets(before[-1:], after, end, length + 1 - len(before))"
        ),
        "without the end of the turn it never learns to stop.": "targets(before, after[:-1], after[-1], length)",
        "the padding counts: most of the loss would be about nothing.": (
            "targets(before, after + [end] * (length - len(before + after)), end, length)"
        ),
        "each token is its own target; a target is the token that comes next, one place to the left.": (
            "[-100, *targets(before, after, end, length)][:length]"
        ),
        "the answer's first token is missing.": "targets([*before, 0], after[1:], end, length)",
        "what is masked is every token equal to the padding, and so the end of the turn.": (
            "[-100 if t == end else t for t in targets(before, after, end, length)]"
        ),
    },
)
def targets(before, after, end, length):
    # before: the prompt's token numbers; after: the answer's; end: the token that ends a turn, and pads.
    # The input is before + after, padded to `length`. Return `length` targets, -100 for no loss.
    counted = [-100] * (len(before) - 1) + after + [end]
    return counted + [-100] * (length - len(counted))


@exercise(
    title="what survives",
    hints=("How much of rounded - W lies along ΔW?", "The inner product of the two (multiply, sum) over ‖ΔW‖²."),
    right="1 would be all of it. The rest of the change is rounding noise, and points anywhere.",
    cases=[
        (torch.tensor([[1.0, 2], [3, 4]]), torch.tensor([[1.0, 0], [0, 2]]), torch.tensor([[2.0, 2], [3, 5]])),
        _rounded(4, 6, 0.5, 40),
        _rounded(3, 3, 0.2, 50),
        _rounded(6, 2, 1.0, 60),
    ],
    mistakes={
        "the length of the change over that of ΔW counts the noise, too.": "(rounded - W).norm() / delta.norm()",
        "the squared lengths count the noise, too.": "(rounded - W).square().sum() / delta.square().sum()",
        "one minus the error; the noise counts in it, too.": "1 - (rounded - W - delta).norm() / delta.norm()",
        "W is still in it: the change is rounded - W.": "survives(0 * W, delta, rounded)",
        "that is the cosine.": "survives(W, delta, rounded) * delta.norm() / (rounded - W).norm()",
        "divided by ‖ΔW‖; for a part of ΔW it is ‖ΔW‖².": "survives(W, delta, rounded) * delta.norm()",
        "the inner product is right; a share is wanted: divide by ‖ΔW‖².": "((rounded - W) * delta).sum()",
    },
)
def survives(W, delta, rounded):  # rounded = Q(W + delta): the part of delta that is still in it
    change = rounded - W
    return (change * delta).sum() / delta.square().sum()
