"""`claim`: a sentence on a page that the page itself checks."""

from __future__ import annotations

import math
import sys


class ClaimError(AssertionError):
    """A claim on a page does not hold."""


def claim(text: str, truth: object) -> None:
    """Print "✓ text" if `truth` is true; raise ClaimError if it is not.

    truth: True or False, also as a numpy or torch boolean of one element. A number, None or a whole tensor is
    refused (TypeError): `claim("the loss is small", loss)` would hold for every loss but 0.
    """
    if not isinstance(text, str) or not text.strip():
        raise TypeError(f"claim needs a sentence, got {text!r}.")
    if not isinstance(truth, bool):
        if "bool" not in str(getattr(truth, "dtype", "")) or math.prod(truth.shape) != 1:
            shown = repr(truth)
            raise TypeError(
                f"claim needs True or False, got {shown if len(shown) <= 60 else type(truth).__name__}: "
                "write a comparison, and .all() if it compares many numbers."
            )
        truth = bool(truth)
    if not truth:
        raise ClaimError(f"✗ {text}\n  This claim does not hold for the numbers above.")
    say(f"✓ {text}")


def say(line: str) -> None:
    """Print a line. A console or file that has no ✓ gets +, no ✗ X, and ? for the rest that it cannot show."""
    try:
        print(line)
    except UnicodeEncodeError:  # raised before anything of the line is written
        encoding = sys.stdout.encoding or "ascii"
        plain = line.replace("✓", "+").replace("✗", "X")
        print(plain.encode(encoding, "replace").decode(encoding))
