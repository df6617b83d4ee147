"""Checked exercises: what one is, how an answer is judged, and what the learner is told.

A page gives a cell with `...` in it and a call of `check`. As given, the cell says that nothing was attempted; it never
stops Run All, whatever is put into it. A wrong answer is told what is wrong with *it*, by comparing it with the answers
of known mistakes.
"""

from __future__ import annotations

import copy
import ctypes
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SECONDS = 10.0  # what an answer may take


@dataclass(frozen=True)
class Exercise:
    """One exercise of a page.

    number: "3.1". objective: what of the page's objectives it serves. stub, solution: the learner's cell as the page
    gives it and as it should be; both end with the call of `check`. hints: two, the second nearer to the answer.
    judge(answer) returns what is wrong in a sentence, or "" if it is right; it may raise what the answer raises.
    right: what the learner has shown, in a sentence.
    """

    number: str
    title: str
    objective: str
    stub: str
    solution: str
    hints: tuple[str, str]
    judge: Callable[[Any], str]
    right: str

    @property
    def page(self) -> str:
        return f"{int(self.number.split('.')[0]):02d}"


class NotAttempted(Exception):
    """The answer still has a `...` in it."""


class TookTooLong(BaseException):
    """The answer did not finish in time."""


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


# --------------------------------------------------------------------------------------------- running an answer


@contextmanager
def time_limit(seconds: float):
    """Raise TookTooLong in this thread after `seconds`.

    The interpreter itself raises it between two steps of the answer: on every system, in every thread, and also where
    Ctrl-C is ignored, as in a job in the background. It cannot stop one long call inside torch before that returns.
    """
    here, done = ctypes.c_ulong(threading.get_ident()), threading.Event()
    throw = ctypes.pythonapi.PyThreadState_SetAsyncExc

    def wake() -> None:
        wait = seconds
        while not done.wait(wait):
            throw(here, ctypes.py_object(TookTooLong))
            wait = 0.5  # again, in case the answer swallows it

    timer = threading.Thread(target=wake, daemon=True)
    timer.start()
    try:
        yield
    finally:
        try:
            done.set()
            timer.join()
        finally:  # TookTooLong itself may arrive in the two lines above
            done.set()
            throw(here, None)  # one that was asked for and not raised yet


def examine(exercise: Exercise, answer: object, seconds: float = SECONDS) -> tuple[str, str]:
    """("right" | "wrong" | "open", a sentence for the learner). Whatever the answer does is caught."""
    again = f'lora_lab.hint("{exercise.number}") helps.'
    try:
        with time_limit(seconds), torch.random.fork_rng(devices=[]):
            wrong = exercise.judge(answer)
    except NotAttempted:
        return "open", f"not attempted yet. Put your answer in place of the `...` and run the cell; {again}"
    except TookTooLong:
        return "wrong", f"your answer ran for more than {seconds:.0f} seconds and was stopped: does a loop never end?"
    except KeyboardInterrupt:
        return "open", "interrupted."
    except (Exception, SystemExit) as e:
        said = str(e).strip().split("\n")[0]
        ours = str(Path(__file__).parent)
        frames = [f for f in traceback.extract_tb(e.__traceback__) if f.line and not f.filename.startswith(ours)]
        frames = [f for f in frames if "site-packages" not in f.filename]  # the learner's own line, not torch's
        line = f" at `{frames[-1].line}`" if frames else ""
        return "wrong", f"your answer raised {type(e).__name__}{': ' + said if said else ''}{line}."
    if wrong:
        return "wrong", f"{wrong[0].upper() if wrong[0].isascii() else wrong[0]}{wrong[1:]} {again}"
    return "right", exercise.right
