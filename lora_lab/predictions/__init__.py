"""Predictions that are made on the page: choose first, then see.

    predict("1.2")     # the choices of Predict 1.2 as buttons; the one you press is answered, not marked
    votes("1.2")       # what was chosen in this session, in order, such as ("B", "C")
    forget()           # for a second class with the same kernel
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .book import Choice, Prediction, all_numbers, find, forget, votes

if TYPE_CHECKING:
    from .card import Card

__all__ = ["Choice", "Prediction", "all_numbers", "find", "forget", "predict", "votes"]


def predict(number: str) -> Card | None:
    """The card of Predict `number`, such as "1.2". A number that is none gets a line, and the page goes on."""
    try:
        prediction = find(number)
    except ValueError as e:
        print(f"predict: {e}")
        return None
    from .card import Card  # here, because the exercises count predictions where ipywidgets may be missing

    return Card(prediction)
