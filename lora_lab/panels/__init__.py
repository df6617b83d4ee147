"""Every slider panel, a file for each subject: a pure function (values -> numbers and a figure) and a thin widget
around it (`LiveFigure`). All of them are reached from here: `panels.film_panel(...)`.
"""

from ..live import LiveFigure, choice, menu
from .cost import cost_panel
from .digits import DrawPanel, changed_images, picture_panel, repair_panel
from .film import Film, film_panel
from .gallery import Symptoms, gallery_panel
from .low_rank import LowRankView, rank_panel, taste_panel
from .merging import DTYPES, lost_entries, lost_panel, mixture_losses, mixture_panel
from .rank_alpha import MapPanel, Pin, RankAlphaMap, map_panel, residual_of
from .transformer import Said, similarity_panel, talk, talk_panel, ways_panel
from .whole import LayerPanel, choice_of, layer_panel, recorded_runs
from .wild import against_lora, calculator_panel, estimate, variant_panel

__all__ = [
    "DTYPES",
    "DrawPanel",
    "Film",
    "LayerPanel",
    "LiveFigure",
    "LowRankView",
    "MapPanel",
    "Pin",
    "RankAlphaMap",
    "Said",
    "Symptoms",
    "against_lora",
    "calculator_panel",
    "changed_images",
    "choice",
    "choice_of",
    "cost_panel",
    "estimate",
    "film_panel",
    "gallery_panel",
    "layer_panel",
    "lost_entries",
    "lost_panel",
    "map_panel",
    "menu",
    "mixture_losses",
    "mixture_panel",
    "picture_panel",
    "rank_panel",
    "recorded_runs",
    "repair_panel",
    "residual_of",
    "similarity_panel",
    "talk",
    "talk_panel",
    "taste_panel",
    "variant_panel",
    "ways_panel",
]
