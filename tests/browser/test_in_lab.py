"""Every page in JupyterLab: Run All, every panel by keyboard and mouse, and the page again after its kernel has ended.

What a panel must show is asked from its pure function, drawn afresh in the page's kernel at the positions that the
browser shows: the caption must be the same text and the picture the same bytes.
"""

import pages
import pytest


def test_a_page_that_was_never_run_shows_still_pictures(page, name):
    stored = [o for c in pages.code_cells(pages.read(pages.find_page(name))) for o in c.outputs]
    panels = [o for o in stored if pages.WIDGET in o.get("data", {})]
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


def step(control: dict) -> str:
    return "ArrowLeft" if control["at"] == control["max"] else "ArrowRight"


def move(panel, label: str, control: dict) -> None:
    """One event of a reader's: a key on a slider, another choice in a menu, a click on a box."""
    if control["kind"] == "slider":
        panel.press(label, step(control))
    elif control["kind"] == "menu":
        options = control["options"]
        panel.choose(label, options[(options.index(control["value"]) + 1) % len(options)])
    else:
        panel.tick(label)


def test_every_control_moves_its_picture(page):
    for panel in page.panels():
        for label, control in panel.settle().controls.items():
            pictures = {panel.settle().picture["sha"]}
            for _ in range(4):  # some neighbours look alike: then further
                before = panel.shown()
                move(panel, label, before.controls[label])
                after = panel.settle()
                assert after.positions[label] != before.positions[label], f"{label} does not move"
                pictures.add(after.picture["sha"])
                if len(pictures) > 1:
                    break
            assert len(pictures) > 1, f"{panel.about['name']}: no move of {label} changes the picture"
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
