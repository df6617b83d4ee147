"""Every slider panel, a file for each subject: a pure function (values -> numbers and a figure) and a thin widget
around it (`LiveFigure`). All of them are reached from here: `panels.film_panel(...)`.
"""

from ..live import LiveFigure, choice, menu
from .cost import cost_panel
from .film import Film, film_panel
from .low_rank import LowRankView, rank_panel, taste_panel
from .merging import DTYPES, lost_entries, lost_panel, mixture_losses, mixture_panel
from .rank_alpha import MapPanel, Pin, RankAlphaMap, map_panel, residual_of
from .transformer import Said, similarity_panel, talk, talk_panel, ways_panel

__all__ = [
    "DTYPES",
    "Film",
    "LiveFigure",
    "LowRankView",
    "MapPanel",
    "Pin",
    "RankAlphaMap",
    "Said",
    "choice",
    "cost_panel",
    "film_panel",
    "lost_entries",
    "lost_panel",
    "map_panel",
    "menu",
    "mixture_losses",
    "mixture_panel",
    "rank_panel",
    "residual_of",
    "similarity_panel",
    "talk",
    "talk_panel",
    "taste_panel",
    "ways_panel",
]
