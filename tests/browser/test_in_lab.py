"""Every page in JupyterLab: Run All, every panel by keyboard and mouse, and the page again after its kernel has ended.

What a panel must show is asked from its pure function, drawn afresh in the page's kernel at the positions that the
browser shows: the caption must be the same text and the picture the same bytes.
"""

import re

import pages
import pytest


def test_a_page_that_was_never_run_shows_still_pictures(page, name):
    stored = [o for c in pages.code_cells(pages.read(pages.find_page(name))) for o in c.outputs]
    panels = [o for o in stored if {pages.WIDGET, "image/png"} <= o.get("data", {}).keys()]
    assert [still for _, still in page.stills] == [True] * len(panels) and panels


def test_run_all_ends_without_an_error(page):
    state = page.state()
    assert not [(i, c["errors"]) for i, c in enumerate(state["cells"], 1) if c["errors"]]
    assert [c["count"] for c in state["cells"]] == list(range(1, len(state["cells"]) + 1))
    assert not page.console and not page.dead_boxes()


def test_every_panel_is_a_live_picture(page):
    panels = page.panels()
    assert len(panels) == len(page.stills)
    for panel in panels:
        shown = panel.settle()
        assert shown.picture["visible"] and shown.picture["width"] > 300 and shown.picture["height"] > 150
        assert set(panel.about["controls"]) <= set(shown.controls) and not shown.asleep
    assert not page.console


def test_every_control_moves_its_picture(page):
    for panel in page.panels():
        for label in panel.settle().controls:
            panel.follow(label)
    assert not page.console


def test_a_slider_is_dragged_with_the_mouse(page):
    for panel in page.panels():
        before = panel.settle()
        sliders = [label for label, control in before.controls.items() if control["kind"] == "slider"]
        for label in sliders[:1]:
            control = before.controls[label]
            middle = (control["min"] + control["max"]) / 2
            panel.drag(label, to=0.05 if control["at"] > middle else 0.95)
            after = panel.settle()
            assert abs(after.controls[label]["at"] - control["at"]) >= (control["max"] - control["min"]) / 4
            assert after.picture["sha"] != before.picture["sha"]
    assert not page.console


# ------------------------------------------------------------------------------------------- buttons, field, gallery


def the(page, name):
    """The page's panel of this name."""
    [panel] = [p for p in page.panels() if p.about["name"] == name]
    return panel


BUTTONS = {"04": ("the (r, α) map", "train this point"), "06": ("which layers", "train this choice")}


@pytest.mark.of_pages(*BUTTONS)
def test_the_button_trains_again_and_again(page, name):
    panel_name, label = BUTTONS[name[:2]]
    panel, seeds = the(page, panel_name), []
    for _ in range(2):
        before = panel.settle()
        panel.click()
        assert panel.said(label) == [label, "training …", label]
        after = panel.settle()
        seeds += re.findall(r"trained live with seed (\d+): ", after.caption)
        assert after.positions == before.positions and after.picture["sha"] != before.picture["sha"]
        assert page.ask(f"__import__('in_kernel').trains_the_same({panel.id!r})")
    assert len(seeds) == 2 and int(seeds[1]) == int(seeds[0]) + 1
    assert not page.console


@pytest.mark.of_pages(*BUTTONS)
def test_an_interrupt_ends_the_training_and_says_so(page, name):
    panel_name, label = BUTTONS[name[:2]]
    panel = the(page, panel_name)
    for slider in {"α", "learning rate"} & set(panel.settle().controls):
        panel.press(slider, "Home")  # where no run diverges and ends by itself
    before = panel.settle()
    page.ask("__import__('in_kernel').slow_epochs(1)")
    panel.click()
    panel.said("training …")
    page.menu("Kernel", "kernelmenu:interrupt")
    assert panel.said(label) == [label, "training …", label]
    page.ask("__import__('in_kernel').slow_epochs(0)")
    after = panel.shown()
    assert after.caption == f"Interrupted: this run was not kept. {before.caption}"
    assert after.picture["sha"] == before.picture["sha"]
    panel.move("rank r", after.controls["rank r"])  # and the panel lives on
    panel.follow("rank r")
    panel.click()
    panel.said(label)
    assert "trained live" in panel.settle().caption
    assert not page.console


@pytest.mark.of_pages("07")
def test_what_is_drawn_by_mouse_changes_the_answer(page):
    panel = the(page, "your digit")
    panel.choose("start from", "empty")
    captions = [panel.settle().caption]
    pixels = panel.node.locator(".widget-gridbox button")
    for column, clicks in ((4, 2), (5, 1)):  # a black stroke with a grey edge: one click is grey, two are black
        for row in range(1, 7):
            for _ in range(clicks):
                pixels.nth(8 * row + column).click()
        captions.append(panel.settle().caption)
    assert len(set(captions)) == 3, captions
    shades = {"rgb(255, 255, 255)": 0.0, "rgb(153, 153, 153)": 0.5, "rgb(34, 34, 34)": 1.0}
    seen = [shades[colour] for colour in page.tab.evaluate("id => __lab.field(id)", panel.id)]
    assert seen == page.ask(f"__import__('in_kernel').ink({panel.id!r})") and sum(seen) == 9
    assert not page.console


@pytest.mark.of_pages("09")
def test_the_gallery_answers_a_guess_and_shows_the_line(page):
    panel = the(page, "broken LoRA")
    if panel.settle().controls["show the line"]["value"]:
        panel.tick("show the line")
    panel.press("symptom", "Home")
    answers, pictures = {}, {}
    for cause in panel.settle().controls["the cause"]["options"][1:]:
        panel.choose("the cause", cause)
        shown = panel.settle()
        answers[cause], pictures[cause] = shown.caption, shown.picture["sha"]
    [right] = [cause for cause, said in answers.items() if said.startswith(f"Right: {cause} (")]
    others = [said for cause, said in answers.items() if cause != right]
    assert all(said.startswith(("Not that. ", "That would look just like this, but")) for said in others)
    wrong = {pictures[cause] for cause in answers if cause != right}
    assert len(wrong) == 1 and pictures[right] not in wrong  # the line is drawn for the right guess alone
    panel.choose("the cause", "… choose")
    unsaid = panel.settle()
    panel.tick("show the line")
    assert panel.settle().picture["sha"] == pictures[right] and unsaid.picture["sha"] in wrong
    assert panel.settle().caption == answers[right].removeprefix("Right: ")
    assert not page.console


# ---------------------------------------------------------------------------------------------------- opened again


def test_a_reopened_page_shows_still_pictures_and_how_to_wake_them(page):
    before = [panel.settle() for panel in page.panels()]
    page.save()
    page.end_kernel()
    page.open()
    panels = page.panels()
    assert not page.dead_boxes() and len(panels) == len(before)
    for panel, old in zip(panels, before):
        now = panel.asleep()
        assert now.picture["sha"] == old.picture["sha"] and now.picture["visible"]
        assert (now.positions, now.caption) == (old.positions, old.caption)
        assert now.asleep == "This is a still picture: Run ▸ Run All Cells wakes the sliders."


@pytest.mark.of_pages("00")
def test_run_all_wakes_a_reopened_page(page):
    page.start_run()
    page.finish_run()
    for panel in page.panels():
        assert not panel.settle().asleep
        panel.follow("rank r")


@pytest.mark.of_pages("00")
def test_a_second_run_all_leaves_no_panel_of_the_first_behind(page):
    count = "len(__import__('ipywidgets').widgets.widget._instances)"
    before = page.ask(count)
    page.start_run()
    page.finish_run()
    assert page.ask(count) == before
    for panel in page.panels():
        panel.follow("rank r")
    assert not page.console and not page.dead_boxes()
