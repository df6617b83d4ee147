"""Predictions that are made on the page: choose first, then see.

    predict("1.2")     # the choices of Predict 1.2 as buttons; says what speaks for and against the one you press
    votes("1.2")       # what was chosen in this session, in order, such as ("B", "C")
"""

from .book import Choice, Prediction, all_numbers, find, votes
from .card import Card, predict

__all__ = ["Card", "Choice", "Prediction", "all_numbers", "find", "predict", "votes"]
