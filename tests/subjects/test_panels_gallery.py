"""The gallery's panel: the symptom first, a verdict on each guess, the line when it is right or asked for."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lora_lab.subjects.broken import panels
from lora_lab.subjects.broken.gallery import FAULTS
from lora_lab.subjects.broken.panels import ASK, Symptoms

NAMES = list(FAULTS)


@pytest.fixture(scope="module")
def panel():
    return panels.gallery_panel()


@pytest.fixture(autouse=True)
def put_back(request):
    yield
    if "panel" in request.fixturenames:
        request.getfixturevalue("panel").set(symptom=1, guess=ASK, reveal=False)


def texts(panel) -> list[str]:
    return [t.get_text() for t in panel._figure.texts]


def test_the_symptom_comes_without_its_name_and_line(panel):
    for i, fault in enumerate(FAULTS.values(), 1):
        caption = panel.set(symptom=i)
        assert caption.startswith(fault.symptom[0].upper()) and "shipped: " in caption
        assert fault.name not in caption and fault.broken_line not in caption and texts(panel) == ["", ""]


def test_the_right_guess_shows_name_source_cure_and_both_lines(panel):
    for i, fault in list(enumerate(FAULTS.values(), 1))[::4]:
        panel.set(symptom=i)
        caption = panel.set(guess=fault.name)
        assert caption == f"Right: {fault.name} ({fault.source}). {fault.cure}"
        assert texts(panel) == [f"✗ {fault.broken_line}", f"✓ {fault.correct_line}"]


def test_a_wrong_guess_a_guess_that_looks_alike_and_giving_up(panel):
    panel.set(symptom=NAMES.index("B is detached in the forward") + 1)
    assert panel.set(guess="merged twice").startswith("Not that. A flat line")
    assert panel.set(guess="B does not require a gradient").startswith("That would look just like this")
    assert texts(panel) == ["", ""]
    assert panel.set(reveal=True).startswith("B is detached in the forward (")
    assert texts(panel)[0].startswith("✗ return")


def test_the_figure_holds_the_runs(panel):
    panel.set(symptom=NAMES.index("merged twice") + 1)
    curves, right, wrong = panel._figure.axes
    run = FAULTS["merged twice"].run()
    assert list(curves.lines[2].get_ydata()) == pytest.approx(run.losses)
    assert list(curves.lines[3].get_ydata()) == [run.shipped_loss]
    low, high = curves.get_ylim()
    assert low < min(run.losses) and high > run.shipped_loss
    assert wrong.images[0].get_array().max() == pytest.approx(float(run.delta.max()))
    assert right.images[0].get_clim() == wrong.images[0].get_clim() == (-1.5, 1.5)


def test_what_is_written_below_stays_inside_the_figure(panel):
    longest = max(range(len(NAMES)), key=lambda i: len(FAULTS[NAMES[i]].correct_line))
    panel.set(symptom=longest + 1, reveal=True)
    renderer = FigureCanvasAgg(panel._figure).get_renderer()
    assert all(t.get_window_extent(renderer).x1 < panel._figure.bbox.width for t in panel._figure.texts)


def test_the_menu_does_not_give_the_order_away():
    symptoms = Symptoms()
    assert sorted(symptoms.causes) == sorted(NAMES) and symptoms.causes != NAMES


def test_levels_are_words_that_no_rounding_changes():
    symptoms = Symptoms()
    for _, run in symptoms.runs:  # no loss near a border between two words
        for loss in (run.losses[-1], run.shipped_loss):
            words = {symptoms.level(loss * f) for f in (0.98, 1.0, 1.02)}
            assert len(words) == 1, loss
    assert symptoms.level(float("nan")) == "far above the base's"
