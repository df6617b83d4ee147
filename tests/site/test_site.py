"""The web edition of pages 00 and 04, built once and used in Chromium from a folder, with the network off.

The whole site is built and walked by hand: `python tests/tools/walk_site.py`.
"""

import importlib.util
import io
import re

import lab
import matplotlib
import numpy as np
import pytest
from PIL import Image

from lora_lab.classroom import predictions
from lora_lab.classroom.pages import PAGES, find_page
from lora_lab.classroom.site import build, panels, reading

START, MAP = find_page("00"), find_page("04")
MOST = 100  # positions: of the map's 576 a part is drawn
PANELS = {}  # {"04": (its panel, which the build moves, and where it stood)}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder, find = tmp_path_factory.mktemp("site"), panels.panels_of
    with pytest.MonkeyPatch.context() as patch:

        def keep(page):
            [panel] = find(page)
            PANELS[page.number] = panel, panel.values
            return [panel]

        patch.setattr(panels, "panels_of", keep)
        build.build(folder, [START, MAP], MOST)
        yield folder


@pytest.fixture(scope="module")
def browser(site):
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("no package playwright here")
    if lab.find_chromium() is None:
        pytest.skip("no Chromium here: apt install chromium, or playwright install chromium, or set CHROMIUM")
    with lab.chromium(offline=True) as context:
        yield context.browser


@pytest.fixture
def visit(site, browser):
    """visit(name, width, height): that page in a tab of its own. Afterwards: nothing was asked of a network."""
    contexts, asked, errors = [], [], []

    def start(name, width=1280, height=720, **options):
        size = {"width": width, "height": height}
        contexts.append(browser.new_context(offline=True, viewport=size, **options))
        tab = contexts[-1].new_page()
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda e: errors.append(str(e)))
        tab.goto(f"{site.as_uri()}/{name}")
        return tab

    yield start
    for context in contexts:
        context.close()
    assert not errors
    assert all(url.startswith((site.as_uri(), "data:,")) for url in asked), asked


def shown(tab, site, nth=0):
    """(caption, the picture's bytes) of a panel, once the picture is there."""
    panel = tab.locator(".panel").nth(nth)
    image = panel.locator("img")
    tab.wait_for_function("image => image.complete && image.naturalWidth", arg=image.element_handle())
    return panel.locator(".caption").text_content(), (site / image.get_attribute("src")).read_bytes()


def pure(panel, **values):
    """(caption, webp) that the panel's function draws from nothing."""
    with matplotlib.rc_context({"savefig.dpi": panels.DPI}):
        caption, png = panel.fresh(**values)
    few = np.asarray(Image.open(io.BytesIO(panels.webp(png))).convert("RGB"), dtype=float)
    assert np.abs(few - np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))).mean() < 1, "of 255"
    return caption, panels.webp(png)


def test_a_slider_moved_by_keyboard_and_mouse_shows_what_the_pure_function_gives(site, visit):
    tab = visit("00_start_here.html")
    taste, _ = PANELS["00"]
    slider = tab.get_by_label("rank r")
    assert shown(tab, site) == pure(taste, r=1)
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    assert shown(tab, site) == pure(taste, r=3) and slider.get_attribute("aria-valuetext") == "3"
    box = slider.bounding_box()
    tab.mouse.click(box["x"] + box["width"] - 3, box["y"] + box["height"] / 2)
    assert shown(tab, site) == pure(taste, r=7)
    assert tab.locator(".panel img").get_attribute("alt").endswith("nothing is missing")
    shapes = tab.locator(".panel img").evaluate(
        "i => [i.naturalWidth / i.naturalHeight, i.getAttribute('width') / i.getAttribute('height')]"
    )
    assert shapes[0] == pytest.approx(shapes[1], abs=0.02), "nothing jumps when it comes"


def test_buttons_and_sliders_together_and_a_position_that_is_not_drawn(site, visit):
    tab = visit("04_rank_and_alpha.html#4.5")  # a link to a section skips the predictions above it
    the_map, start = PANELS["04"]
    tab.get_by_text("decaying", exact=True).click()
    tab.get_by_label("rank r").press("End")
    assert shown(tab, site) == pure(the_map, **{**start, "target": "decaying", "r": 32})
    tab.get_by_label("α", exact=False).first.press("Home")
    tab.get_by_label("learning rate").press("Home")
    assert "run the page" in tab.locator(".caption").text_content()
    tab.get_by_label("learning rate").press("ArrowRight")
    tab.get_by_label("rank r").press("Home")
    for _ in range(2):
        tab.get_by_label("rank r").press("ArrowRight")
    assert shown(tab, site) == pure(the_map, **{**start, "target": "decaying", "alpha": 1})


def test_a_prediction_hides_what_follows_and_answers_as_the_card_does(site, visit):
    tab = visit("00_start_here.html")
    asked = predictions.find("0.1")
    below = [tab.locator("section:has(.predict) .output").last, tab.locator("main > section").last]
    assert not any(part.is_visible() for part in below)
    for letter in "AB":
        tab.locator(f"[data-letter={letter}]").click()
        assert all(part.is_visible() for part in below)
        said = " ".join(tab.locator(".answer").inner_text().split())
        assert said == " ".join(f"You chose {letter}. {asked.respond(letter)}".split())
    tab.reload()
    assert below[0].is_visible(), "a choice is kept while the tab is open"
    tab.get_by_role("button", name="Compare with the page").click()
    assert tab.locator(".answer").inner_text() == asked.compare(("A", "B"))


SMALLEST = """() => Math.min(...[...document.querySelectorAll("main *")]
    .filter(e => e.checkVisibility() && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
    .map(e => parseFloat(getComputedStyle(e).fontSize)))"""


def test_presenting_one_section_a_screen(visit):
    tab = visit("04_rank_and_alpha.html#4.5")
    tab.keyboard.press("p")
    sections = tab.locator("main > section:visible")
    assert sections.count() == 1 and "4.5 Walk" in sections.inner_text()
    assert tab.locator(".panel img").bounding_box()["width"] >= 0.845 * 1280
    assert tab.locator(".code:visible").count() == 0
    tab.keyboard.press("c")
    assert tab.locator(".code pre:visible").count() > 1
    tab.get_by_label("learning rate").press("ArrowRight")
    assert "4.5 Walk" in sections.inner_text(), "the arrow belonged to the slider"
    for _ in range(9):
        tab.keyboard.press("PageDown")  # a clicker's key: to the section's end, and on
    assert "4.5 Walk" not in sections.inner_text()
    tab.keyboard.press("Escape")
    tab.reload()  # at 4.5 again, the code folded
    tab.keyboard.press("p")
    for _ in range(4):
        tab.evaluate("document.activeElement.blur()")
        assert tab.evaluate(SMALLEST) >= 24, sections.inner_text()
        tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("Escape")
    assert sections.count() > 5


def test_while_presenting_a_prediction_waits_for_a_key(visit):
    tab = visit("00_start_here.html")
    tab.keyboard.press("p")
    tab.keyboard.press("ArrowRight")
    below = tab.locator("section:has(.predict) .output").last
    assert tab.locator(".predict").is_visible() and not below.is_visible()
    tab.keyboard.press("a")
    asked = predictions.find("0.1")
    answer = f"B, “{asked.choices['B'].text}”: {asked.found}"
    assert below.is_visible() and tab.locator(".answer").inner_text() == answer
    tab.locator("[data-letter=A]").click()  # the room's choice
    assert tab.locator(".answer").inner_text().startswith("You chose A.")
    tab.keyboard.press("a")
    assert tab.locator(".answer").inner_text() == answer


@pytest.mark.parametrize("name", ["00_start_here", "04_rank_and_alpha", "QUESTIONS", "index"])
def test_nothing_is_wider_than_a_phone(visit, name):
    tab = visit(f"{name}.html", width=360, height=740)
    for skip in tab.locator(".skip").all():
        skip.click()
    assert tab.evaluate("document.documentElement.scrollWidth") == 360


SMALL = """() => [...document.querySelectorAll("button, summary, input[type=range], fieldset label, nav a, .map a")]
    .filter(e => e.checkVisibility()).map(e => [e.getBoundingClientRect(), e.outerHTML.slice(0, 80)])
    .filter(([box]) => Math.min(box.width, box.height) < 44 || box.left < 0 || box.right > innerWidth)
    .map(([, html]) => html)"""


@pytest.mark.parametrize("name", ["00_start_here", "04_rank_and_alpha", "CHEATSHEET", "index"])
def test_a_finger_finds_44_px_of_all_that_can_be_pressed(visit, name):
    tab = visit(f"{name}.html", width=360, height=740, has_touch=True, is_mobile=True)
    for skip in tab.locator(".skip").all():
        skip.tap()
    assert tab.evaluate(SMALL) == []
    tab.locator("#present").tap()
    assert tab.locator("#bar button:visible").count() == 5 and tab.evaluate(SMALL) == []


def test_a_hint_unfolds_and_its_code_is_set_as_code(visit):
    tab = visit("04_rank_and_alpha.html#4.12")
    hint = tab.locator(".exercise").nth(1).locator("details").first
    assert not hint.locator("code").is_visible()
    hint.locator("summary").click()
    assert hint.locator("code").inner_text().startswith("sigmas[r:]") and "`" not in hint.inner_text()


def test_paper_has_everything_but_the_controls(visit):
    tab = visit("04_rank_and_alpha.html")
    tab.emulate_media(media="print")
    assert tab.get_by_role("heading", name="4.12 Exercises").is_visible() and tab.locator(".panel img").is_visible()
    assert not tab.locator(".controls").is_visible()
    assert tab.locator("button:visible").count() == tab.locator(".choices button").count(), "only what can be ticked"


@pytest.mark.parametrize("name, scheme", [("00_start_here", "light"), ("04_rank_and_alpha", "dark"), ("index", "dark")])
def test_axe_finds_nothing_serious(visit, name, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    tab = visit(f"{name}.html", color_scheme=scheme)
    for skip in tab.locator(".skip").all():
        skip.click()
    found = axe.Axe().run(tab, options={"preload": False}).response["violations"]
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    assert not [(v["id"], v["nodes"][0]["html"][:200]) for v in serious]


def test_every_link_leads_somewhere(site):
    names = {page.file.stem for page in PAGES}
    texts = {file.stem: file.read_text(encoding="utf-8") for file in site.glob("*.html")}
    for text in texts.values():
        assert ".ipynb" not in re.sub("<code>.*?</code>", "", text) and 'src="http' not in text
        assert "Run All" not in text, "there is no kernel here"
        for target, heading in re.findall(r'href="([^":#]*)\.html(?:#([^"]*))?"', text):
            assert target in names | texts.keys(), target
            assert not heading or target not in texts or f'id="{heading}"' in texts[target], heading


def test_formulas_links_and_headings_of_a_text():
    convert = reading.exporter({"04_rank_and_alpha"}).environment.filters["markdown2html"]
    assert "<math" in convert("so $r^2$ is") and "$" not in convert("$$\\frac{a}{b}$$")
    assert convert("[a](04_rank_and_alpha.ipynb#4.1-x)") == '<p><a href="04_rank_and_alpha.html#4.1-x">a</a></p>\n'
    assert convert("[the README](../README.md)") == "<p>the README</p>\n"
    assert convert("## 4.3 How much?") == '<h2 id="4.3-How-much?">4.3 How much?</h2>\n'
    assert [title for title, _ in reading.split("a\n## one\n```\n## no\n```\n## two")] == ["", "one", "two"]
