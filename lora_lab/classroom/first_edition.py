"""Exercises in the first edition's form. DELETE THIS FILE, and the two lines of exercises.py that open it, once every
subject's exercises.py is written as judging.py says (none has a tuple EXERCISES any more)."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .judging import NotAttempted, explained


@dataclass(frozen=True)
class Exercise:
    """One exercise of a page, its cell and its solution written out."""

    number: str
    title: str
    objective: str
    stub: str
    solution: str
    hints: tuple[str, str]
    judge: Callable[[Any], str]
    right: str


class Adapted:
    """An old exercise with the names of a new one."""

    def __init__(self, old: Exercise, subject: str) -> None:
        self.old, self.title, self.hints, self.right = old, old.title, old.hints, old.right
        handed_in = re.search(r'check\(".*?", \(?(\w+)', old.stub)[1]
        self.name = f"{subject}.{handed_in}"

    def stub(self, number: str) -> str:
        return re.sub(r'check\(".*?"', f'check("{number}"', self.old.stub)

    def solution(self, number: str) -> str:
        return re.sub(r'check\(".*?"', f'check("{number}"', self.old.solution)

    def complaint(self, answer: object) -> str:
        try:
            return self.old.judge(answer)
        except NotAttempted:
            raise
        except (Exception, SystemExit) as error:
            return explained(error)


# ---------------------------------------------------------------------------------------------- comparing answers


def _number(value: object) -> object:
    """Numbers, booleans, numpy and torch values as one tensor; anything else as it is."""
    if isinstance(value, Tensor):
        return value.detach().double()
    try:
        return torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        return value


def _has_dots(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(_has_dots(v) for v in value.values())
    return value is ... or (isinstance(value, (tuple, list)) and any(_has_dots(v) for v in value))


def _shown(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{float(value):.4g}" if value.ndim == 0 else f"a tensor of shape {tuple(value.shape)}"
    return repr(value) if len(repr(value)) < 60 else type(value).__name__


def form_of(given: object, wanted: object, what: str) -> str:
    """What is wrong with the form of a value: missing, wrong kind, wrong shape, NaN. "" if the form is right."""
    if _has_dots(given):
        raise NotAttempted
    if given is None:
        return f"{what} is None: is a `return` missing, or the value not assigned?"
    got, right = _number(given), _number(wanted)
    if isinstance(right, Tensor):
        if not isinstance(got, Tensor):
            return f"{what} is a {type(given).__name__}; a {'number' if not right.ndim else 'tensor'} is wanted."
        if got.shape != right.shape:
            if got.ndim == 2 and got.T.shape == right.shape:
                return f"{what} has shape {tuple(got.shape)}, wanted is {tuple(right.shape)}: it is transposed."
            wanted_shape = f"shape {tuple(right.shape)}" if right.ndim else "a single number"
            return f"{what} has shape {tuple(got.shape)}, wanted is {wanted_shape}."
        if torch.isnan(got).any() and not torch.isnan(right).any():
            return f"{what} holds NaN (not a number): something was divided by zero, or overflowed."
    elif type(given) is not type(wanted):
        return f"{what} is {_shown(given)}; a {type(wanted).__name__} is wanted."
    return ""


def equal(given: object, wanted: object, tolerance: float) -> bool:
    """Same form, and equal to a relative `tolerance` of the largest entry."""
    got, right = _number(given), _number(wanted)
    if isinstance(right, Tensor) != isinstance(got, Tensor):
        return False
    if not isinstance(right, Tensor):
        return got == right
    if got.shape != right.shape:
        return False
    size = float(right.abs().max()) if right.numel() else 0.0
    return bool(torch.allclose(got, right, rtol=0, atol=tolerance * (size or 1.0), equal_nan=True))


def value_judge(right: object, mistakes: Mapping[str, object] | None = None, tolerance: float = 1e-3):
    """Judge a value. mistakes: {what to say: the value that this mistake gives}."""

    def judge(answer: object) -> str:
        if callable(answer) and not isinstance(answer, Tensor):
            return "the answer is a function; a value is wanted: call it, and pass what it returns."
        if wrong := form_of(answer, right, "the answer"):
            return wrong
        if equal(answer, right, tolerance):
            return ""
        for sentence, value in (mistakes or {}).items():
            if equal(answer, value, tolerance):
                return sentence
        return f"{_shown(_number(answer))} is not right."

    return judge


def function_judge(
    right: Callable,
    cases: Sequence[tuple],
    mistakes: Mapping[str, Callable] | None = None,
    tolerance: float = 1e-4,
    describe: Callable[..., str] | None = None,
):
    """Judge a function by its results on `cases` (tuples of arguments, copied for each call).

    mistakes: {what to say: a function with this mistake}; the first whose results are those of the answer is told.
    describe(*case): the case in words, for a mistake that is not known.
    """

    def judge(answer: object) -> str:
        if answer is ...:
            raise NotAttempted
        if not callable(answer):
            return f"the answer is {_shown(_number(answer))}; the function itself is wanted, without calling it."
        results = [answer(*copy.deepcopy(case)) for case in cases]
        wanted = [right(*copy.deepcopy(case)) for case in cases]
        bad = [i for i, (got, want) in enumerate(zip(results, wanted)) if form_of(got, want, "") or
               not equal(got, want, tolerance)]
        if not bad:
            return ""
        for sentence, wrong in (mistakes or {}).items():
            if all(equal(got, wrong(*copy.deepcopy(case)), tolerance) for got, case in zip(results, cases)):
                return sentence
        i = bad[0]
        if wrong_form := form_of(results[i], wanted[i], "what your function returns"):
            return wrong_form
        where = f" for {describe(*cases[i])}" if describe else ""
        return f"your function returns {_shown(_number(results[i]))}{where}; that is not right."

    return judge
