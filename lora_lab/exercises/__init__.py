"""What a page checks: `claim`, a sentence about the page's own numbers, and `check`, a learner's answer.

    check("3.1", delta_weight)    # right, or what is wrong with this answer; never stops the page
    hint("3.1")                   # the first hint; again for the second
    solution("3.1")               # folded away in Jupyter
    progress()                    # what has been solved so far, on every page
"""

from .book import Solution, all_numbers, check, hint, progress, solution
from .claims import ClaimError, claim

__all__ = ["ClaimError", "Solution", "all_numbers", "check", "claim", "hint", "progress", "solution"]
