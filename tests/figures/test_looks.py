"""Looks: one palette that everyone can tell apart, figures whose words are whole, pictures described in words, and
pages that read well where nothing runs (GitHub, nbconvert).
"""
from __future__ import annotations

import ast
import base64
import html.parser
import io
import itertools
import re
from urllib.parse import unquote

import looks
import matplotlib
import numpy as np
import pages
import pytest
from matplotlib.colors import is_color_like
from matplotlib.figure import Figure
from nbconvert import HTMLExporter

from lora_lab import figures
from lora_lab.figures import style
from lora_lab.figures.live import LiveFigure, choice
from lora_lab.subjects.digits import drawings
from lora_lab.subjects.digits.repair import Push
from lora_lab.subjects.files_and_costs import panels as files_and_costs_panels
from lora_lab.subjects.linear_task import tasks
from lora_lab.subjects.low_rank import panels
from lora_lab.subjects.objective import panels as objective_panels
from lora_lab.subjects.start_here import panels as start_here_panels
from lora_lab.subjects.two_layers import panels as two_layers_panels

LINES = style.LINES
MEANINGS = ("base", "LoRA", "full", "floor", "published", "other", "bad")
APART, GREYS_APART, LINE, TEXT = 15, 7, 3, 4.5  # CIELAB, CIELAB's L*, WCAG's ratios
LABLIGHT, LABDARK = "#ffffff", "#111111"  # behind an output in JupyterLab's themes

# Figures in which these stand side by side. Every pair of MEANINGS may.
BESIDE = {
    "two LoRAs (08, 07)": ("LoRA", "LoRA2", "full", "other"),
    "variants (09)": ("LoRA", "full", "variant", "rest"),
    "gallery (09)": ("LoRA", "bad", "good"),
    "live runs (04, 06)": ("LoRA", "other", "floor", "base"),
}


def pairs():
    yield from (("meanings", *pair) for pair in itertools.combinations(MEANINGS, 2))
    yield from ((name, *pair) for name, names in BESIDE.items() for pair in itertools.combinations(names, 2))


# ---- the eye ----------
def test_the_simulation_confuses_what_such_readers_confuse():
    for sight, matrix in looks.SIGHT.items():
        assert np.allclose(matrix.sum(1), 1, atol=2e-6), f"{sight}: greys stay grey"
    orange, amber, green, sky = "#D55E00", "#C28000", "#009E73", "#3A9BDC"
    assert looks.distance(orange, amber) > 25 > 5 > looks.distance(orange, amber, "deuteranopia")
    assert looks.distance(green, sky) > 60 > 15 > looks.distance(green, sky, "tritanopia")
    darker = [looks.lab(looks.seen("red", sight))[0] for sight in ("usual", "protanopia")]
    assert darker[1] < darker[0] - 10, "red is dark to a protanope"
    known = {"black": 21, "#777777": 4.48, "#767676": 4.54}  # on white, as WCAG's checkers say
    assert {c: looks.contrast(c) for c in known} == pytest.approx(known, abs=0.01)


# ---- the palette --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("sight", looks.SIGHT)
def test_colours_that_stand_together_differ_for_every_eye(sight):
    close = [(figure, one, other, round(d)) for figure, one, other in pairs()
             if (d := looks.distance(LINES[one], LINES[other], sight)) < APART]
    assert not close
    cycle = [(one, other) for one, other in itertools.combinations(style.CYCLE, 2)
             if looks.distance(one, other, sight) < APART]
    assert not cycle and len(set(style.DASHES)) >= len(style.CYCLE), "and each has dashes of its own"


def test_the_four_meanings_differ_on_a_printer_without_colour():
    light = {name: looks.lab(looks.seen(LINES[name], "grey"))[0] for name in ("base", "LoRA", "full", "floor")}
    close = [pair for pair in itertools.combinations(light, 2) if abs(light[pair[0]] - light[pair[1]]) < GREYS_APART]
    assert not close


def test_lines_stand_out_from_the_paper_and_words_more():
    assert not {name: c for name, c in LINES.items() if looks.contrast(c, style.STYLE["figure.facecolor"]) < LINE}
    assert all(looks.contrast(c) >= LINE for c in (*style.CYCLE, *style.shades(7)))
    for name in ("base", "marked", "bad", "LoRA", "chosen"):  # are used for words, too
        assert looks.contrast(LINES[name]) >= TEXT, name


def test_figures_bring_their_own_paper_for_the_dark_theme():
    assert style.STYLE["figure.facecolor"] == style.STYLE["savefig.facecolor"] == "white"
    picture = matplotlib.image.imread(io.BytesIO(objective_panels.cost_panel()._picture.value))
    assert (picture[[0, 0, -1, -1], [0, -1, 0, -1]] == 1).all(), "white and opaque in all four corners"


def test_the_diverging_map_says_its_sign_to_every_eye():
    ends = matplotlib.colormaps[style.DIVERGING]
    for sight in looks.SIGHT:
        for strong in (0.25, 0.4, 0.5):  # half a colour bar away from zero, and its ends
            low, high, zero = ends(0.5 - strong), ends(0.5 + strong), ends(0.5)
            assert looks.distance(low, high, sight) > 2 * APART, (sight, strong)
            assert min(looks.distance(low, zero, sight), looks.distance(high, zero, sight)) > APART


@pytest.mark.parametrize("sight", [*looks.SIGHT, "grey"])
def test_maps_of_amounts_grow_in_one_direction(sight):
    for name in (style.LOSSES, style.SHARES, style.COUNTS):
        light = [looks.lab(looks.seen(c, sight))[0] for c in matplotlib.colormaps[name](np.linspace(0, 1, 16))]
        steps = np.diff(light)
        assert (steps > 0).all() or (steps < 0).all(), name


def test_ranks_go_from_light_to_dark():
    light = [looks.lab(looks.seen(c, "grey"))[0] for c in style.shades(7)]
    assert (np.diff(light) < -3).all()


def test_labels_get_the_colour_of_what_they_name():
    found = style.lines_for(["LoRA r = 8", "full fine-tuning", "full, with replay", "base", "head only"])
    assert [look["color"] for look in found[:4]] == [LINES[k] for k in ("LoRA", "full", "full", "base")]
    assert found[2]["linestyle"] != found[1]["linestyle"] == "-", "a second one of a kind is dash-dotted"
    reserved = {LINES[kind] for kind in ("LoRA", "full", "base", "floor")}
    assert found[4]["color"] not in reserved and not reserved & {look["color"] for look in style.lines_for("abcd")}
    targets = style.lines_for(["rank-4", "full rank"])
    assert not reserved & {look["color"] for look in targets}, "a target of full rank is no full fine-tuning"
    ranks = style.lines_for(["r = 1", "r = 2", "r = 16"])
    assert [look["color"] for look in ranks] == style.shades(3)
    assert style.lines_for(["live", "LoRA+"], {"live": "#123456"})[0]["color"] == "#123456"
    assert not any(look["color"] == LINES["LoRA"] for look in style.lines_for(["LoRA+", "x"]))


THEMES = re.compile(r"var\(--jp-[^()]*\)")  # words beside a figure: JupyterLab's colour, and one for where it is not
NAMED = re.compile(r"#[0-9a-fA-F]{3}(?:[0-9a-fA-F]{3}(?:[0-9a-fA-F]{2})?)?\b")
ARGUMENTS = ("color", "colour", "c", "cmap", "facecolor", "edgecolor", "mfc", "mec", "fc", "ec", "foreground")


def raw_colours(source: str) -> list[str]:
    """Colours and colour maps that are written out in Python code, not taken from the palette."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += NAMED.findall(THEMES.sub("", node.value))
        if isinstance(node, ast.keyword) and node.arg in ARGUMENTS:
            values = [v.value for v in ast.walk(node.value) if isinstance(v, ast.Constant) and isinstance(v.value, str)]
            found += [v for v in values if v != "none" and (v in matplotlib.colormaps or is_color_like(v))]
    return found


def sources():
    for path in sorted((pages.ROOT / "lora_lab").rglob("*.py")):
        if path.name != "style.py" and "data" not in path.parts:
            yield path.name, path.read_text(encoding="utf-8")
    for page in pages.page_files():
        for cell in pages.code_cells(pages.read(page)):
            yield page.name, cell.source


def test_no_colour_is_named_outside_the_palette():
    def parses(source):
        try:
            return ast.parse(source)
        except SyntaxError:  # a cell with a magic draws nothing
            return None

    raw = {(name, c) for name, source in sources() if parses(source) for c in raw_colours(source)}
    issues = re.compile(r"#\d{3,4}$")  # "peft#1388" is no colour
    assert not {(name, c) for name, c in raw if not issues.match(c)}


@pytest.mark.parametrize("bad", ["ax.plot(x, color='red')", "ax.imshow(M, cmap='jet')", "C = '#ff0000'",
                                 "ax.bar(x, y, color=['C0', 'black'])", "ax.plot(x, mec='white')"])
def test_a_named_colour_is_found(bad):
    assert raw_colours(bad) and not raw_colours("ax.plot(x, color=COLOURS['LoRA'], mfc='none', label='red')")


# ---- words in figures ---------------------------------------------------------------------------------------------
def drawn_in(ax):
    return (ax[0] if isinstance(ax, list) else ax).figure


FIGURES = {
    "band": lambda: figures.heatmap(np.eye(56, 184), title="ΔW, 56 × 184"),
    "square": lambda: figures.heatmap(np.ones((1000, 1001)), title="ΔΘ"),
    "row": lambda: figures.heatmaps({k: np.ones((1000, 1001)) for k in ("ΔΘ", "rank-1 copy", "residual")}),
    "curves": lambda: figures.loss_curves({"LoRA": [1000, 1e-3], "full": [900, 1e-4]}, floor=0.1, levels={"base": 999}),
    "spectra": lambda: figures.spectra({k: [4, 3, 1] for k in ("rank-1", "rank-4", "full rank")}, log=True),
    "floors": lambda: figures.floor_curves({k: ((1, 2, 64), (1, 0.1, 0), [(1, 0.1, 0)]) for k in ("rank-1", "decaying")}),
    "ratios": lambda: figures.ratio_bars({"base": 1.0, "merged": 0.99, "unmerged, r = 8": 1.08}, "base"),
    "confusions": lambda: drawings.confusions({k: np.arange(100).reshape(10, 10) for k in ("before", "after")}),
    "margins": lambda: drawings.margins([Push(digit, 5 + digit, 13 - digit, 0.24) for digit in range(9)]),
}


@pytest.mark.parametrize("name", FIGURES)
def test_words_do_not_lie_over_each_other(name):
    with matplotlib.rc_context(style.STYLE):
        figure = drawn_in(FIGURES[name]())
        assert looks.flaws(figure, tight=True) == []
    figures.plt.close(figure)


def test_flaws_are_found():
    figure = Figure(figsize=(4, 3))
    ax = figure.subplots()
    ax.text(0.5, 0.5, "one word"), ax.text(0.52, 0.5, "another"), figure.text(0.9, 0.5, "a long way out"),
    ax.set_title("small", fontsize=6)
    found = "\n".join(looks.flaws(figure))
    assert "'one word' lies over 'another'" in found and "'a long way out' is cut off" in found and "6 points" in found


def test_panels_are_whole_at_every_position():
    target = {kind: tasks.shift(kind, 60, 80) for kind in ("ones", "rank-5", "full rank")}
    for panel in (objective_panels.cost_panel(), files_and_costs_panels.calculator_panel(), panels.rank_panel(target),
                  start_here_panels.taste_panel(tasks.letters("LoRA"), (1, 7)), two_layers_panels.layer_panel()):
        for name in panel.values:
            for value in panel.positions(name, most=3):
                panel.set(**{name: value})
                with matplotlib.rc_context(style.STYLE):
                    assert looks.flaws(panel._figure) == [], (panel._name, panel.values)


# ---- pictures in words --------------------------------------------------------------------------------------------
def pixels(png: bytes) -> np.ndarray:
    return matplotlib.image.imread(io.BytesIO(png), format="png")


def test_a_stored_panel_is_its_picture_under_its_line():
    def draw(fig, r):
        (fig.texts or [fig.text(0.5, 0.5, "")])[0].set_text(f"{r}")
        return f"the numbers of this panel at {r}, " * 6

    panel = LiveFigure(draw, {"r": choice("r", (1, 2))}, figsize=(6, 3), keep=True)
    live = pixels(panel._picture.value)
    still = pixels(base64.b64decode(panel._repr_mimebundle_()["image/png"]))
    above = still.shape[0] - live.shape[0]
    assert still.shape[1] == live.shape[1] and above > 60, "some lines of text higher"
    assert np.array_equal(still[above:], live), "and below them the same picture"
    assert still[:above].min() < 0.5 and still[:above, :4].min() == still[:above, -4:].min() == 1, "nothing is cut off"
    panel.set(r=2), panel.set(r=1)
    assert len(panel._figure.texts) == 1, "the line is on the stored picture alone"
    assert np.array_equal(pixels(panel._picture.value), live)


@pytest.mark.parametrize("page", pages.page_files(), ids=lambda p: p.stem[:2])
def test_every_picture_is_described_in_words_of_its_own(page):
    found = [(i, text) for i, _, text in pages.descriptions(pages.read(page))]
    assert not [i for i, text in found if len(text) < 20], "its cell prints what it shows"
    assert len({text for _, text in found}) == len(found)
    described = pages.describe(pages.read(page))
    alts = [o.metadata["image/png"]["alt"] for _, o, _ in pages.descriptions(described)]
    assert alts == [text for _, text in found] and pages.describe(described) == described


def test_stored_pictures_carry_their_description():
    stale = [page.stem for page in pages.page_files() if pages.describe(nb := pages.read(page)) != nb]
    assert not stale, f"run python tests/execute_pages.py {' '.join(stale)}"


# ---- reading without a kernel -------------------------------------------------------------------------------------
class Reader(html.parser.HTMLParser):
    """Pictures, links, anchors and the visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pictures, self.links, self.anchors, self.words, self._quiet = [], [], set(), [], 0
        self.feed(text)
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors |= {attrs[k] for k in ("id", "name") if attrs.get(k)}
        if tag == "img":
            self.pictures.append(attrs)
        if tag == "a":
            self.links.append(attrs.get("href", ""))
        self._quiet += tag in ("script", "style")

    def handle_endtag(self, tag):
        self._quiet -= tag in ("script", "style")

    def handle_data(self, data):
        if not self._quiet:
            self.words.append(data)


@pytest.fixture(scope="module")
def exported():
    exporter = HTMLExporter()
    return {page.name: Reader(exporter.from_notebook_node(pages.read(page))[0]) for page in pages.page_files()}


@pytest.mark.parametrize("name", [p.name for p in pages.page_files()])
def test_an_exported_page_needs_nothing_but_itself(exported, name):
    nb, page = pages.read(pages.NOTEBOOKS / name), exported[name]
    stored = [f"data:image/png;base64,{o.data['image/png'].strip()}" for _, o, _ in pages.descriptions(nb)]
    assert [p["src"] for p in page.pictures] == stored, "every picture, in order, and none from elsewhere"
    for dead in ("Error displaying widget", "widget-view", "LiveFigure(", "VBox(", "<Figure size", "Loading widget"):
        assert dead not in page.text
    outer = [link for link in page.links if re.match(r"https?:|//", link)]
    inner = [link for link in page.links if link not in outer]
    assert all(link.startswith("https://") for link in outer)
    for link in inner:  # a page beside this one, or a heading of a page
        file, _, anchor = link.partition("#")
        target = exported.get(unquote(file) or name)
        assert target, f"{link} leads nowhere"
        assert not anchor or {anchor, unquote(anchor)} & target.anchors, f"{link}: no such heading"


def test_formulas_stay_readable_as_tex_without_mathjax(exported):
    for page in pages.page_files():
        for cell in pages.read(page).cells:
            if cell.cell_type == "markdown":
                for formula in re.findall(r"\$\$.+?\$\$", cell.source, re.DOTALL):
                    assert " ".join(formula.split()) in exported[page.name].text, formula


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


@pytest.mark.parametrize("bad", [r"$a\_b$", r"$$a \\ b$$", r"$\text{d_out}$", "x$y$", "$ y $", r"$a << b$"])
def test_risky_tex_is_found(bad):
    assert tex_problems(bad) and not tex_problems(r"so $a_{b}$, and" + "\n$$\\text{floor}_r = 1$$\n")


@pytest.mark.parametrize("page", pages.page_files(), ids=lambda p: p.stem[:2])
def test_github_shows_what_a_page_holds(page):
    nb = pages.read(page)
    kinds = {mime for c in pages.code_cells(nb) for o in c.outputs for mime in o.get("data", {})}
    assert kinds <= {"image/png", "text/plain", pages.WIDGET}, "GitHub strips scripts and styles from text/html"
    for i, cell in enumerate(nb.cells):
        if cell.cell_type == "markdown":
            bare = re.sub(r"```.*?```|`[^`]*`", "", cell.source, flags=re.DOTALL)
            tags = {tag.lower() for tag in re.findall(r"</?([a-zA-Z]\w*)[^>]*>", bare)}
            assert tags <= {"details", "summary"} and "style=" not in bare, f"cell {i}"
            assert not re.search(r"!\[\s*\]\(|<img", bare), f"cell {i}: a picture without alternative text"
            assert tex_problems(cell.source) == [], f"cell {i}"
            if "<details>" in bare:  # markdown inside needs an empty line after the summary
                assert re.search(r"</summary>\s*\n\s*\n", bare), f"cell {i}: what is folded would show its markup"
    assert len(page.read_bytes()) < 1_000_000, "GitHub stops showing large notebooks"
