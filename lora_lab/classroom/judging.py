"""Checked exercises: what one is, how an answer is judged, and what the learner is told. (How one is written:
EXERCISES.md, beside this file.)
"""

import copy
import ctypes
import inspect
import itertools
import re
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .cells import function_cell, value_cell
from .comparing import as_list, as_number, equal, has_dots, shown, unchanged, wrong_form

SECONDS, PATIENCE = 10.0, 6  # of CPU time that an answer may take; on a busy machine so many times as long
STUMBLED = re.compile("'ellipsis'|not ellipsis")  # in the message of an error over a `...` that is still there


class NotAttempted(Exception):
    """The answer still has a `...` in it, or is a program as it was given; then the message says what to do."""


class TookTooLong(BaseException):
    """The answer did not finish in time."""


# ------------------------------------------------------------------------------------------------- an exercise


@dataclass(frozen=True)
class Exercise:
    """One exercise, made by `@exercise(...)` from the function that solves it.

    mistakes: {what is said: the value that errs so or, where a function is wanted, what it returns, an expression in
        its arguments and the names of the exercise's module}.
    accept(result, *arguments): where more than one result is right, says what is wrong with it in a sentence, or "".
        It gets numbers and arrays as float64 tensors, in the shape of the reference's result (in a tuple: any shape).
    may_change: the arguments that an answer may change in place.
    trains: the arguments that gradients must reach. avoids(*arguments): the shape that must not be computed; the last
    case is used for both, in which all sizes should differ.
    """

    reference: Callable
    title: str
    hints: tuple[str, str]
    right: str
    cases: Sequence[tuple] = ((),)
    mistakes: Mapping[str, object] = field(default_factory=dict)
    accept: Callable[..., str] | None = None
    may_change: tuple[str, ...] = ()
    trains: tuple[str, ...] = ()
    avoids: Callable[..., tuple] | None = None

    def __call__(self, *arguments):
        return self.reference(*arguments)

    @property
    def name(self) -> str:
        """The lasting name: "low_rank.best_loss"."""
        return f"{self.reference.__module__.split('.')[-2]}.{self.reference.__name__}"

    @property
    def arguments(self) -> list[str]:
        return list(inspect.signature(self.reference).parameters)

    @property
    def is_function(self) -> bool:
        """Whether a function is wanted; otherwise a value."""
        return bool(self.arguments)

    @cached_property
    def wrong_answers(self) -> dict[str, object]:
        """{what is said: the answer that errs so}, with functions in place of the expressions."""
        if not self.is_function:
            return dict(self.mistakes)
        head, names = f"lambda {', '.join(self.arguments)}: ", self.reference.__globals__
        return {said: eval(head + expression, names) for said, expression in self.mistakes.items()}

    def stub(self, number: str) -> str:
        """The cell as the page gives it."""
        return (function_cell if self.is_function else value_cell)(self.reference, number, solved=False)

    def solution(self, number: str) -> str:
        """The cell as it should be."""
        return (function_cell if self.is_function else value_cell)(self.reference, number, solved=True)

    def complaint(self, answer: object) -> str:
        """What is wrong with an answer, in a sentence; "" if it is right. Raises NotAttempted."""
        if has_dots(answer):
            raise NotAttempted
        if self.is_function and not callable(answer):
            return f"the answer is {shown(answer)}; the function itself is wanted, without calling it."
        if not self.is_function and callable(answer):
            return "the answer is a function; a value is wanted: call it, and pass what it returns."
        function = self.as_function(answer)
        outcomes = [run(function, case, self.arguments) for case in self.cases]
        if any(has_dots(outcome.value) or STUMBLED.search(str(outcome.error)) for outcome in outcomes):
            raise NotAttempted
        faults = [_fault(self, case, outcome) for case, outcome in zip(self.cases, outcomes)]
        if any(faults):
            return _known_mistake(self, outcomes) or next(fault for fault in faults if fault)
        if changed := [name for outcome in outcomes for name in outcome.changed if name not in self.may_change]:
            return (
                f"the result is right, but your function changes `{changed[0]}` in place: whoever calls it finds "
                f"another `{changed[0]}` afterwards. Make a new one."
            )
        return _wrong_way(self, answer) if self.trains or self.avoids else ""

    def as_function(self, answer: object) -> Callable:
        return answer if self.is_function else lambda: answer


def exercise(**fields) -> Callable[[Callable], Exercise]:
    """Decorate the function that solves an exercise; the fields are those of `Exercise`."""
    return lambda reference: Exercise(reference, **fields)


# ------------------------------------------------------------------------------------------------- judging answers


@dataclass
class Outcome:
    """What came of one call: a value or an error, the arguments afterwards, and the names of those it changed."""

    value: object = None
    error: BaseException | None = None
    arguments: tuple = ()
    changed: tuple[str, ...] = ()


def run(function: Callable, case: tuple, names: Sequence[str]) -> Outcome:
    """Call an answer on a copy of `case`. Whatever it raises is its own."""
    arguments = copy.deepcopy(case)
    try:
        value = function(*arguments)
        if isinstance(value, Iterator):
            value = list(itertools.islice(value, 100_000))
    except (Exception, SystemExit) as error:
        return Outcome(error=error)
    changed = [name for name, before, after in zip(names, case, arguments) if not unchanged(before, after)]
    return Outcome(value, None, arguments, tuple(changed))


def _known_mistake(exercise: Exercise, outcomes: list[Outcome]) -> str:
    """The sentence of the first known mistake that gives what the answer gives, in every case; "" if there is none."""
    if all(outcome.error for outcome in outcomes):
        return ""  # a shape that fits nowhere is like any other
    for sentence, mistake in exercise.wrong_answers.items():
        function, names = exercise.as_function(mistake), exercise.arguments
        pairs = ((outcome, run(function, case, names)) for case, outcome in zip(exercise.cases, outcomes))
        if all(_same(*pair) for pair in pairs):
            return sentence
    return ""


def _same(outcome: Outcome, of_mistake: Outcome) -> bool:
    if outcome.error or of_mistake.error:
        return type(outcome.error) is type(of_mistake.error)
    return equal(outcome.value, of_mistake.value)


def _fault(exercise: Exercise, case: tuple, outcome: Outcome) -> str:
    """What is wrong in one case; "" if nothing."""
    described = [f"{name} = {shown(value)}" for name, value in zip(exercise.arguments, case)]
    where = f" for {', '.join(described)}".replace(" = a tensor of", " of") if described else ""
    if outcome.error is not None:
        return explained(outcome.error, where)
    got, wanted = outcome.value, exercise(*copy.deepcopy(case))
    what = "your function returns" if exercise.is_function else "the answer is"
    several = isinstance(wanted, tuple)
    if fault := wrong_form(got, wanted, what, any_shape=several and exercise.accept is not None):
        return fault
    arguments = outcome.arguments if exercise.may_change else case
    if exercise.accept and isinstance(wanted, list):
        return exercise.accept(as_list(got), *arguments)
    if exercise.accept:
        result = tuple(as_number(part) for part in as_list(got)) if several else as_number(got)
        return exercise.accept(result, *arguments)
    if equal(got, wanted):
        return ""
    if not exercise.is_function:
        return f"{shown(got)} is not right."
    number, right = as_number(got), as_number(wanted)
    if not isinstance(right, Tensor) or right.numel() <= 6:
        return f"{what} {shown(got)}{where}; expected is {shown(wanted)}."
    worst = int((number.reshape(right.shape) - right).abs().nan_to_num().argmax())
    place = [int(i) for i in np.unravel_index(worst, right.shape)]
    got, wanted = shown(number.flatten()[worst]), shown(right.flatten()[worst])
    return f"{what} {got} at {place}{where}; expected is {wanted}."


def explained(error: BaseException, where: str = "") -> str:
    """An error of the learner's code: its type, message and the learner's line."""
    not_theirs = ("site-packages", str(Path(__file__).parents[1]), str(Path(traceback.__file__).parent))
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f.line for f in frames if f.line and not any(place in f.filename for place in not_theirs)]
    line = f" at `{theirs[-1]}`" if theirs else ""
    said = str(error).strip().split("\n")[0]
    return f"your function raised {type(error).__name__}{': ' + said if said else ''}{line}{where}."


COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.clone.default)  # as in `weight.double()`


class ShapesMade(TorchDispatchMode):
    """Collects the shapes of all tensors that torch computes; views and copies of what was there are none."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and not operation.is_view and operation not in COPIES:
            self.shapes.add(tuple(sorted(size for size in result.shape if size > 1)))
        return result


def _watched(exercise: Exercise, function: Callable) -> tuple[set, Sequence[Tensor | None]]:
    """The shapes that a call computes, and the gradients that reach the arguments which should train."""
    case = dict(zip(exercise.arguments, copy.deepcopy(exercise.cases[-1])))
    leaves = [case[name].requires_grad_(True) for name in exercise.trains]
    with torch.enable_grad(), ShapesMade() as made:
        result = function(*case.values())
    if not result.requires_grad:
        return made.shapes, [None] * len(leaves)
    return made.shapes, torch.autograd.grad(result.double().square().sum(), leaves, allow_unused=True)


def _wrong_way(exercise: Exercise, answer: Callable) -> str:
    """What is wrong with how a right result was reached: it cannot train, or a forbidden matrix was built."""
    with_numpy = "the numbers are right, but computed in numpy, where torch sees no step and no gradient: use torch."
    if not isinstance(run(answer, exercise.cases[-1], ()).value, Tensor):
        return with_numpy
    try:
        shapes, gradients = _watched(exercise, answer)
    except Exception as error:
        return with_numpy if "numpy" in str(error) else explained(error, ", when its arguments train")
    if exercise.avoids:
        shape = tuple(exercise.avoids(*exercise.cases[-1]))
        if tuple(sorted(shape)) in shapes:
            return f"the numbers are right, but on the way a matrix of shape {shape} is built; do without it."
    for name, gradient, wanted in zip(exercise.trains, gradients, _watched(exercise, exercise.reference)[1]):
        if gradient is None or not equal(gradient, wanted):
            return (
                f"the numbers are right, but {'no' if gradient is None else 'a wrong'} gradient reaches `{name}`, "
                "so it could not be trained: is there a `no_grad`, `detach()`, `.data` or `.item()`?"
            )
    return ""


# --------------------------------------------------------------------------------------------- running an answer


@contextmanager
def time_limit(seconds: float):
    """Raise TookTooLong in this thread after `seconds` of this process's CPU time, or PATIENCE times as long.

    The interpreter itself raises it between two steps of the answer: on every system, in every thread, and also where
    Ctrl-C is ignored, as in a job in the background. It cannot stop one long call inside torch before that returns.
    """
    here, done = ctypes.c_ulong(threading.get_ident()), threading.Event()
    throw = ctypes.pythonapi.PyThreadState_SetAsyncExc

    def wake() -> None:
        began, used = time.monotonic(), time.process_time()
        while not done.wait(min(0.5, seconds / 3)):  # again and again, in case the answer swallows it
            if time.process_time() - used > seconds or time.monotonic() - began > PATIENCE * seconds:
                throw(here, ctypes.py_object(TookTooLong))

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


def examine(exercise: Exercise, answer: object, number: str, seconds: float = SECONDS) -> tuple[str, str]:
    """("right" | "wrong" | "open", a sentence for the learner). Whatever happens is caught."""
    again = f'lora_lab.hint("{number}") helps.'
    try:
        with time_limit(seconds), torch.random.fork_rng(devices=[]):
            wrong = exercise.complaint(answer)
    except NotAttempted as e:
        what = str(e) or "Put your answer in place of the `...` and run the cell"
        return "open", f"not attempted yet. {what}; {again}"
    except TookTooLong:
        stopped = f"your answer ran for more than {seconds:.0f} seconds and was stopped"
        return "wrong", f"{stopped}: does a loop never end, or do other programs run? Then run the cell again."
    except KeyboardInterrupt:
        return "open", "interrupted."
    except Exception as e:
        failed = f"the course's own judge failed ({type(e).__name__}: {e})."
        return "open", f"{failed} That is its mistake and not yours: your answer was not judged."
    if wrong:
        return "wrong", f"{wrong[0].upper() if wrong[0].isascii() else wrong[0]}{wrong[1:]} {again}"
    return "right", exercise.right
