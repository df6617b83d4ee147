"""Comparing a learner's value with the right one, in any style: numbers, lists, numpy, torch, any precision."""

import numbers
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def as_number(value: object) -> object:
    """Numbers, lists of them, numpy arrays and tensors as one float64 tensor; anything else as it is."""
    if isinstance(value, Tensor):
        return value if value.is_complex() else value.detach().cpu().double()
    try:
        if isinstance(value, (list, tuple)):
            return torch.stack([as_number(part) for part in value])
        if isinstance(value, numbers.Number):
            value = float(value)
        return torch.tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return value


def as_list(value: object) -> list | None:
    """The parts of a tuple, list, set, array or tensor; None of anything else."""
    if isinstance(value, (Tensor, np.ndarray)):
        return list(value) if value.ndim else None
    return list(value) if isinstance(value, (tuple, list, set)) else None


def has_dots(value: object) -> bool:
    """Whether there is still a `...` in it."""
    if isinstance(value, Mapping):
        return any(has_dots(part) for part in value.values())
    return value is ... or (isinstance(value, (tuple, list)) and any(has_dots(part) for part in value))


def shown(value: object) -> str:
    """A value in a sentence: small ones in full, otherwise what they are."""
    number = as_number(value)
    if not isinstance(number, Tensor):
        text = repr(value)
        return text if len(text) <= 60 and "\n" not in text else f"a {type(value).__name__}"
    if number.is_complex() or number.numel() > 6:
        return f"a tensor of shape {tuple(number.shape)}"
    if number.ndim:
        return f"[{', '.join(shown(part) for part in number)}]"
    return f"{number.item():.15g}" if number == number.round() else f"{number.item():.5g}"


def wrong_form(got: object, wanted: object, what: str, any_shape: bool = False) -> str:
    """What is wrong with the form of a value: missing, wrong kind, wrong shape, NaN. "" if the form is right.

    what: how the sentence begins, such as "your function returns". any_shape: tensors may have another shape.
    """
    if got is None:
        return f"{what} None: is a `return` missing, or a value not assigned?"
    if isinstance(wanted, tuple):
        return _wrong_parts(got, wanted, what, any_shape)
    number, right = as_number(got), as_number(wanted)
    if not isinstance(right, Tensor):
        if isinstance(wanted, list) and as_list(got) is None:
            return f"{what} {shown(got)}; a list is wanted."
        if isinstance(wanted, (str, dict)) and not isinstance(got, type(wanted)):
            return f"{what} {shown(got)}; a {'text in quotes' if isinstance(wanted, str) else 'dictionary'} is wanted."
        return ""
    kind = "a tensor" if right.ndim else "a number"
    if not isinstance(number, Tensor) or number.is_complex():
        return f"{what} {shown(got)}, of type {type(got).__name__}; {kind} is wanted."
    if number.numel() == 0 and right.numel() > 0:
        return f"{what} something empty; {kind} is wanted."
    flat = right.ndim < 2 and number.squeeze().shape == right.squeeze().shape  # tensor([5.]), or one column
    if number.shape != right.shape and not flat and not any_shape:
        if number.ndim == right.ndim == 1:  # a list, an array or a tensor
            return f"{what} {len(number)} numbers; wanted are {len(right)}."
        given = f"a tensor of shape {tuple(number.shape)}" if number.ndim else f"a single number, {shown(number)}"
        form = f"shape {tuple(right.shape)}" if right.ndim else "a single number"
        turned = ": it is transposed" if number.ndim == 2 and number.T.shape == right.shape else ""
        return f"{what} {given}; wanted is {form}{turned}."
    if number.isnan().any() and not right.isnan().any():
        return f"{what} NaN (not a number): something was divided by zero, or overflowed."
    return ""


def _wrong_parts(got: object, wanted: tuple, what: str, any_shape: bool) -> str:
    parts = as_list(got)
    if parts is None or len(parts) != len(wanted):
        given = shown(got) if parts is None else f"{len(parts)} values"
        return f"{what} {given}; {len(wanted)} values are wanted, with a comma between them."
    for i, (part, right) in enumerate(zip(parts, wanted), start=1):
        if fault := wrong_form(part, right, f"in place {i} {what}", any_shape):
            return fault
    return ""


def _whole(value: object) -> bool:
    if isinstance(value, (Tensor, np.ndarray)):
        return "int" in str(value.dtype) or "bool" in str(value.dtype)
    return all(_whole(part) for part in value) if isinstance(value, list) else isinstance(value, int)


def equal(got: object, wanted: object) -> bool:
    """Same form, and equal to a relative tolerance of 1e-4, or of 1e-6 where `wanted` holds integers.

    Entries near 0 are compared to a tenth of it, relative to the largest entry, and to 1e-6 at least.
    """
    if isinstance(wanted, tuple):
        parts = as_list(got)
        same_length = parts is not None and len(parts) == len(wanted)
        return same_length and all(equal(part, right) for part, right in zip(parts, wanted))
    number, right = as_number(got), as_number(wanted)
    if not isinstance(right, Tensor):
        return (as_list(got) == wanted if isinstance(wanted, list) else got == wanted) is True
    if wrong_form(got, wanted, ""):
        return False
    tolerance = 1e-6 if _whole(wanted) else 1e-4
    finite = right[right.isfinite()]
    size = float(finite.abs().max()) if finite.numel() else 0.0
    number = number.reshape(right.shape)
    return torch.allclose(number, right, rtol=tolerance, atol=max(0.1 * tolerance * size, 1e-6), equal_nan=True)


def unchanged(before: object, after: object) -> bool:
    """Whether an argument is after a call what it was before."""
    if isinstance(before, torch.nn.Module):
        return unchanged(before.state_dict(), after.state_dict())
    if isinstance(before, Tensor):
        return before.shape == after.shape and torch.equal(before, after)
    if isinstance(before, Mapping):
        return list(before) == list(after) and all(unchanged(before[key], after[key]) for key in before)
    if isinstance(before, (list, tuple)):
        return len(before) == len(after) and all(unchanged(b, a) for b, a in zip(before, after))
    return bool(np.all(before == after))
