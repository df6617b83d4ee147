"""Looks: one palette that everyone can tell apart, figures whose words are whole, pages that read well on GitHub."""

from __future__ import annotations

import io
import itertools
import re

import looks
import matplotlib
import numpy as np
import pages
import pytest

from lora_lab import figures
from lora_lab.figures import style
from lora_lab.subjects.files_and_costs.panels import calculator_panel
from lora_lab.subjects.linear_task import tasks
from lora_lab.subjects.low_rank.panels import rank_panel, taste_panel
from lora_lab.subjects.objective.panels import cost_panel
from lora_lab.subjects.two_layers.panels import layer_panel

LINES = style.LINES
MEANINGS = ("base", "LoRA", "full", "floor", "published", "other", "bad")
APART, GREYS_APART, LINE, TEXT = 15, 7, 3, 4.5  # CIELAB, CIELAB's L*, WCAG's ratios
BESIDE = {  # figures in which these stand side by side; every pair of MEANINGS may
    "two LoRAs": ("LoRA", "LoRA2", "full", "other"),
    "variants": ("LoRA", "full", "variant", "rest"),
    "gallery": ("LoRA", "bad", "good"),
    "live runs": ("LoRA", "other", "floor", "base"),
}
PAIRS = set(itertools.combinations(MEANINGS, 2))
for names in BESIDE.values():
    PAIRS |= set(itertools.combinations(names, 2))


# ---- the palette


@pytest.mark.parametrize("sight", looks.SIGHT)
def test_colours_that_stand_together_differ_for_every_eye(sight):
    assert not [pair for pair in PAIRS if looks.distance(LINES[pair[0]], LINES[pair[1]], sight) < APART]
    cycle = itertools.combinations(style.CYCLE, 2)
    assert not [pair for pair in cycle if looks.distance(*pair, sight) < APART]
    assert len(set(style.DASHES)) >= len(style.CYCLE), "and each has dashes of its own"
    ends = matplotlib.colormaps[style.DIVERGING]
    for strong in (0.25, 0.4, 0.5):  # half a colour bar away from zero, and its ends
        low, high, zero = ends(0.5 - strong), ends(0.5 + strong), ends(0.5)
        assert looks.distance(low, high, sight) > 2 * APART, strong
        assert min(looks.distance(low, zero, sight), looks.distance(high, zero, sight)) > APART


def test_the_four_meanings_differ_on_a_printer_without_colour():
    light = {name: looks.lab(looks.seen(LINES[name], "grey"))[0] for name in ("base", "LoRA", "full", "floor")}
    pairs = itertools.combinations(light, 2)
    assert not [(one, other) for one, other in pairs if abs(light[one] - light[other]) < GREYS_APART]


def test_lines_stand_out_from_the_paper_and_words_more():
    assert not {name: c for name, c in LINES.items() if looks.contrast(c, style.STYLE["figure.facecolor"]) < LINE}
    assert all(looks.contrast(c) >= LINE for c in (*style.CYCLE, *style.shades(7)))
    for name in ("base", "marked", "bad", "LoRA", "chosen"):  # are used for words, too
        assert looks.contrast(LINES[name]) >= TEXT, name
    picture = matplotlib.image.imread(io.BytesIO(cost_panel()._picture.value))
    assert (picture[[0, 0, -1, -1], [0, -1, 0, -1]] == 1).all(), "white and opaque, also in the dark theme"


@pytest.mark.parametrize("sight", [*looks.SIGHT, "grey"])
def test_maps_of_amounts_and_shades_of_ranks_grow_in_one_direction(sight):
    scales = [matplotlib.colormaps[name](np.linspace(0, 1, 16)) for name in (style.LOSSES, style.SHARES)]
    for colours in (*scales, style.shades(7)):
        steps = np.diff([looks.lab(looks.seen(colour, sight))[0] for colour in colours])
        assert (steps > 0).all() or (steps < 0).all()


def test_labels_get_the_colour_of_what_they_name():
    found = style.lines_for(["LoRA r = 8", "full fine-tuning", "full, with replay", "base", "head only"])
    assert [look["color"] for look in found[:4]] == [LINES[k] for k in ("LoRA", "full", "full", "base")]
    assert found[2]["linestyle"] != found[1]["linestyle"] == "-", "a second one of a kind is dash-dotted"
    reserved = {LINES[kind] for kind in ("LoRA", "full", "base", "floor")}
    assert found[4]["color"] not in reserved and not reserved & {look["color"] for look in style.lines_for("abcd")}
    targets = style.lines_for(["rank-4", "full rank", "LoRA+"])
    assert not reserved & {look["color"] for look in targets}, "a target of full rank is no full fine-tuning"
    assert style.lines_for(["base", "floor of rank 2"])[1] == {"color": LINES["floor"], "linestyle": "--"}
    ranks = style.lines_for(["r = 1", "r = 2", "r = 16"])
    assert [look["color"] for look in ranks] == style.shades(3)
    assert style.lines_for(["live", "LoRA+"], {"live": "#123456"})[0]["color"] == "#123456"


THEMES = re.compile(r"var\(--jp-[^()]*\)")  # words beside a figure: JupyterLab's colour, and one for where it is not
COLOUR = re.compile(
    r"#[0-9a-fA-F]{6}\b|\b(?:color|colour|c|cmap|facecolor|edgecolor|mfc|mec|fc|ec|foreground)=\[?[\"'](?!none)[^\"']+"
)


def test_no_colour_is_named_outside_the_palette():
    files = [path for path in (pages.ROOT / "lora_lab").rglob("*.py") if path.name != "style.py"]
    texts = [path.read_text(encoding="utf-8") for path in files]
    texts += [cell.source for page in pages.page_files() for cell in pages.code_cells(pages.read(page))]
    assert not [found for text in texts for found in COLOUR.findall(THEMES.sub("", text))]


# ---- words in figures

FIGURES = {
    "band": lambda: figures.heatmap(np.eye(56, 184), title="ΔW, 56 × 184"),
    "square": lambda: figures.heatmap(np.ones((1000, 1001)), title="ΔΘ"),
    "row": lambda: figures.heatmaps({k: np.ones((1000, 1001)) for k in ("ΔΘ", "rank-1 copy", "residual")})[0],
    "curves": lambda: figures.loss_curves({"LoRA": [1000, 1e-3], "full": [900, 1e-4]}, floor=0.1, levels={"base": 999}),
    "spectra": lambda: figures.spectra({k: [4, 3, 1] for k in ("rank-1", "rank-4", "full rank")}, log=True),
    "ratios": lambda: figures.ratio_bars({"base": 1.0, "merged": 0.99, "unmerged, r = 8": 1.08}, "base"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_words_do_not_lie_over_each_other(name):
    with matplotlib.rc_context(style.STYLE):
        figure = FIGURES[name]().figure
        assert looks.flaws(figure, tight=True) == []
    figures.plt.close(figure)


def test_panels_are_whole_at_every_position():
    target = {kind: tasks.shift(kind, 60, 80) for kind in ("ones", "rank-5", "full rank")}
    taste = taste_panel(tasks.letters("LoRA"), (1, 7))
    for panel in (cost_panel(), calculator_panel(), rank_panel(target), taste, layer_panel()):
        for name in panel.values:
            for value in panel.positions(name, most=3):
                panel.set(**{name: value})
                with matplotlib.rc_context(style.STYLE):
                    assert looks.flaws(panel._figure) == [], (panel._name, panel.values)


# ---- reading on GitHub and as an exported page


def tex_problems(source: str) -> list[str]:
    """What GitHub's markdown does to TeX, or TeX to GitHub's: by rules, because nothing here can ask it."""
    source = re.sub(r"```.*?```|`[^`]*`", "", source, flags=re.DOTALL)
    found = ["a $ that opens nothing"] if source.replace("$$", "").count("$") % 2 else []
    for formula in re.findall(r"\$\$(.+?)\$\$|\$([^$]+)\$", source, re.DOTALL):
        tex = "".join(formula)
        found += [f"{m!r} in {tex!r}" for m in re.findall(r"\\_|\\\\|\\text\{[^}]*_|[<>]{2}|\\(?:rm|bf|def)\b", tex)]
        found += [f"{tex!r} has space at its ends"] if len(formula[1]) and tex != tex.strip() else []
    found += [f"{m!r}: $ touches a word" for m in re.findall(r"\w\$[^$\s]|(?<=[^$\s])\$\w", source)]
    return found


@pytest.mark.parametrize("page", pages.page_files(), ids=lambda path: path.stem[:2])
def test_a_page_reads_well_where_nothing_runs(page):
    nb = pages.read(page)
    kinds = {mime for c in pages.code_cells(nb) for o in c.outputs for mime in o.get("data", {})}
    assert kinds <= {"image/png", "text/plain", pages.WIDGET}, "GitHub strips scripts and styles from text/html"
    for cell in nb.cells:
        if cell.cell_type == "code":
            continue
        bare = re.sub(r"```.*?```|`[^`]*`", "", cell.source, flags=re.DOTALL)
        tags = {tag.lower() for tag in re.findall(r"</?([a-zA-Z]\w*)[^>]*>", bare)}
        assert tags <= {"details", "summary"} and "style=" not in bare, bare
        assert not re.search(r"!\[\s*\]\(|<img", bare), "a picture without alternative text"
        assert tex_problems(cell.source) == [], bare
        if "<details>" in bare:  # markdown inside needs an empty line after the summary
            assert re.search(r"</summary>\s*\n\s*\n", bare), "what is folded would show its markup"
    assert len(page.read_bytes()) < 1_000_000, "GitHub stops showing large notebooks"
