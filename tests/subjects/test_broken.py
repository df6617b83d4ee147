"""The broken-LoRA gallery: one line of difference, a symptom that differs from the correct program's, and its panel.
The programs to mend: the numbers of their symptoms, what the judge says, what can be bought.

Mended programs, cheats and wrong cures: tests/classroom/answers_broken.py.
"""

import difflib
import re
from functools import cache, partial

import pages
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from lora_lab import theory
from lora_lab.classroom.judging import NotAttempted
from lora_lab.subjects.broken import gallery, judge, panels, probes
from lora_lab.subjects.broken.gallery import FAULTS, PROGRAMS
from lora_lab.subjects.broken.panels import ASK
from lora_lab.subjects.broken.repairs import REPAIRS, as_function

BY_CODE = {fault.code: fault for fault in FAULTS.values()}
FLAT = {"both-zero", "optimizer-misses-adapter", "no-gradient", "factor-frozen", "hardly-moved"}
TWICE = {"merged-and-added", "merge-adds-again", "base-contains-update", "stacked"}
ONLY_SHIPPED = TWICE | {"merge-rescales", "merge-transposed", "adapter-not-loaded", "other-base"}
ONLY_SHIPPED |= {"scaling-not-the-files"}


def error(run) -> float:
    """||delta - R|| / ||R||"""
    return float((run.delta - gallery.letter()).norm() / gallery.letter().norm())


@pytest.mark.parametrize("seed", [0, 2])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=BY_CODE)
def test_one_line_makes_the_symptom_and_the_finding_whatever_the_seed(fault, seed, monkeypatch):
    monkeypatch.setattr(gallery, "run", partial(gallery.run, seed=seed))
    changed = difflib.ndiff(fault.correct.split("\n"), fault.broken.split("\n"))
    lines = [line[2:].strip() for line in changed if line[:2] in ("- ", "+ ")]
    assert lines == [fault.correct_line, fault.broken_line]
    assert [finding.code for finding in fault.findings()] == [fault.code]
    right, wrong = fault.run_correct(), fault.run()
    if fault.code in FLAT:
        assert min(wrong.losses) > 0.95 * wrong.losses[0]
    if fault.code in ONLY_SHIPPED:
        assert wrong.losses[-1] < 0.04, "training shows nothing"
        assert wrong.shipped_loss > 20 * right.shipped_loss
    if fault.code in TWICE:  # the letter twice: one too many is the error
        assert error(wrong) > 0.9
    if fault.code == "half-precision-factors":
        assert wrong.losses[-1] > 1.3 * right.losses[-1]
    elif fault.code == "scaling-without-r":
        assert wrong.losses[3] < 0.95 * right.losses[3], "faster at first; where it ends is a matter of the seed"
    else:
        assert wrong.shipped_loss > 3 * right.shipped_loss


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_correct_programs_draw_the_letter(program):
    run = gallery.run(PROGRAMS[program])
    X, _ = gallery.new_task(gallery.new_base())
    assert run.losses[0] == pytest.approx(theory.shift_loss(gallery.letter(), X), rel=1e-4)
    assert run.losses[-1] < 0.04 or program == "dropout"
    assert run.shipped_loss < (0.3 if program == "dropout" else 0.04) and error(run) < 0.15


def test_special_symptoms():
    runs = {code: fault.run() for code, fault in BY_CODE.items()}
    base_loss = runs["both-zero"].losses[0]
    assert torch.equal(runs["both-zero"].delta, torch.zeros(35, 35))
    assert runs["start-is-not-base"].losses[0] > 5 * base_loss
    assert runs["update-too-large"].losses[-1] > 20 * base_loss
    assert runs["base-trains"].losses[-1] < 0.01 and runs["base-trains"].shipped_loss > 0.8 * base_loss
    assert runs["adapter-not-loaded"].shipped_loss == pytest.approx(base_loss, rel=1e-4), "exactly the base, no error"
    missing = theory.rank_floor(gallery.letter(), 3, gallery.new_task(gallery.new_base())[0])
    assert runs["uneven-targets"].losses[-1] == pytest.approx(missing, rel=0.1), "the floor of rank 3"
    assert runs["scaling-not-the-files"].delta.mean() < 0.75 * gallery.letter().mean()


def test_the_same_every_time_and_the_caller_sees_nothing():
    text, state = FAULTS["dropout is still on in eval mode"].broken, torch.get_rng_state()
    first, second = (gallery.run.__wrapped__(text, 5) for _ in range(2))
    assert first.losses == second.losses and first.shipped_loss == second.shipped_loss
    assert torch.equal(first.delta, second.delta) and torch.equal(state, torch.get_rng_state())


@pytest.fixture(scope="module")
def panel():
    return panels.gallery_panel()


def texts(panel) -> list[str]:
    return [t.get_text() for t in panel._figure.texts]


def test_a_symptom_begins_without_its_name_and_line_whatever_was_solved_before(panel):
    for i, fault in enumerate(FAULTS.values(), 1):
        caption = panel.set(symptom=i)
        assert panel.values == {"symptom": i, "guess": ASK, "reveal": False}
        assert caption.startswith(fault.symptom[0].upper()) and "shipped: " in caption
        assert fault.name not in caption and fault.broken_line not in caption and texts(panel) == ["", ""]
        panel.set(guess=fault.name, reveal=True)  # the next one must not inherit this
        assert texts(panel) == [f"✗ {fault.broken_line}", f"✓ {fault.correct_line}"]
        assert panel.caption == f"Right: {fault.name} ({fault.source}). {fault.cure}"
        renderer = FigureCanvasAgg(panel._figure).get_renderer()
        assert all(t.get_window_extent(renderer).x1 < panel._figure.bbox.width for t in panel._figure.texts)


def test_a_wrong_guess_a_guess_that_looks_alike_and_giving_up(panel):
    panel.set(symptom=list(FAULTS).index("B is detached in the forward") + 1)
    assert panel.set(guess="merged twice").startswith("“merged twice” is not it. A flat line")
    assert panel.set(guess="B does not require a gradient").startswith("“B does not require a gradient” would look")
    assert texts(panel) == ["", ""]
    assert panel.set(reveal=True).startswith("B is detached in the forward (")


def test_the_figure_holds_the_runs(panel):
    panel.set(symptom=list(FAULTS).index("merged twice") + 1)
    curves, _, wrong = panel._figure.axes
    run = FAULTS["merged twice"].run()
    assert list(curves.lines[2].get_ydata()) == pytest.approx(run.losses)
    assert list(curves.lines[3].get_ydata()) == [run.shipped_loss]
    assert wrong.images[0].get_array().max() == pytest.approx(float(run.delta.max()))


def test_the_menu_does_not_give_the_order_away_and_levels_are_words_that_no_rounding_changes(panel):
    _, *causes = panel.positions("guess", most=99)
    assert sorted(causes) == sorted(FAULTS) and causes != list(FAULTS)
    for fault in FAULTS.values():  # no loss near a border between two words
        base_loss = fault.run_correct().losses[0]
        for loss in (fault.run().losses[-1], fault.run().shipped_loss):
            assert len({panels.level(loss * f, base_loss) for f in (0.98, 1.0, 1.02)}) == 1, loss
    assert panels.level(float("nan"), base_loss) == "far above the base's"


every_repair = pytest.mark.parametrize("name", REPAIRS)


def as_given(name: str):
    return as_function(REPAIRS[name].given, name)


@cache
def given_runs(name: str) -> list[judge.Run]:
    size = judge.MANY if name == "eleven_blocks" else {}
    return [judge.Run(as_given(name), seed, **size) for seed in range(3)]


@every_repair
def test_the_numbers_of_the_symptoms_are_measured(name):
    """The loss on unseen inputs; of the second customer's program, of the first model when the second one has come."""
    repair = REPAIRS[name]
    losses = [run.unseen for run in given_runs(name)]
    if name == "second_customer":
        for seed, first in enumerate(given_runs(name)):
            second = judge.Run(as_given(name), seed, base=first.base, drawn=gallery.letter().T)
            assert losses[seed] < 0.04 and second.unseen < 0.2
            losses[seed] = first.loss(judge.unseen_rows(seed), gallery.letter())
    assert losses == pytest.approx(list(repair.shipped), rel=0.5 if name == "climbs_back" else 0.1)
    for seed in range(3):
        assert judge.Run(repair.reference, seed).unseen < 0.2 or repair.innocent
    for numbers in re.findall(r"(\S+), (\S+) and (\S+) on three seeds", repair.symptom):
        assert [float(number) for number in numbers] == pytest.approx(losses, rel=0.1)


def served_once(strength: float):
    def program(*arguments):
        model, losses = as_given("half_then_full")(*arguments)
        for layer in judge.layers(model):
            layer.serve(strength)
            layer.serve = lambda scaling: None  # the judge's customer changes it no more
        return model, losses

    return program


def test_what_the_symptoms_say_in_words():
    def ends(name):
        return [run.losses[-1] for run in given_runs(name)]

    three, up, twelve = (given_runs(name) for name in ("stops_at_three", "climbs_back", "stops_at_twelve"))
    assert all(2 < min(run.losses[15:]) == max(run.losses[16:]) < 3 for run in three)
    assert all(3 < min(run.losses) < 6 and run.losses[-1] > 100 * run.losses[0] for run in up)
    assert all(0.8 * run.losses[0] < run.losses[-1] and 11 < run.unseen < 13 for run in twelve)
    for name in ("stops_at_three", "stops_at_twelve"):  # twice the steps
        assert judge.Run(as_given(name), 0, steps=300).unseen > 0.99 * given_runs(name)[0].unseen
    assert all(0.2 < loss < 0.7 for loss in ends("nearly_there"))
    assert all(run.losses[0] < 0.1 and run.losses[-1] < 5e-4 for run in given_runs("perfect_curve"))
    assert max(ends("in_parts")) < 0.05 and max(ends("small_batches")) < 0.01 and max(ends("eleven_blocks")) < 0.4
    assert all(4 < run.unseen < 5 and run.losses[-1] < 0.03 for run in given_runs("half_then_full"))
    for strength, low, high in ((1.0, 4, 5), (2.0, 0, 0.04)):  # half of it; the whole straight away
        assert all(low < judge.Run(served_once(strength), seed).unseen < high for seed in range(3))
    assert judge.Run(as_given("eleven_blocks"), 0).unseen < 0.04, "two blocks are right"


@every_repair
def test_what_is_said_of_the_given_program_is_true_and_no_answer(name):
    repair = REPAIRS[name]
    said = judge.still_wrong(repair, as_given(name))
    assert said.startswith("on inputs it was not trained on") != repair.innocent
    for text in (repair.title, repair.symptom, said):
        assert not any(line.strip() and line.strip() in text for line in "\n".join(repair.line).splitlines())


@every_repair
def test_as_given_nothing_trains_and_a_comment_changes_nothing(name, monkeypatch):
    monkeypatch.setattr(judge, "Run", None)
    for text in (REPAIRS[name].given, REPAIRS[name].given.replace("\n    for ", "  # hm\n\n    for ", 1)):
        with pytest.raises(NotAttempted, match="as it was given"):
            REPAIRS[name].complaint(as_function(text, name))


def test_the_judges_own_failure_is_not_blamed_on_the_learner(monkeypatch):
    monkeypatch.setattr(judge, "correct_loss", lambda *args, **size: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # and not a sentence about the program
        judge.still_wrong(REPAIRS["climbs_back"], as_given("climbs_back"))


CLUES = {  # what to buy, and what it shows of the given program; nothing of it is in what the mended one shows
    "stops_at_three": ("rates", ", 0 (step 15)"),
    "climbs_back": ("gradients", "e+0"),
    "stops_at_twelve": ("numbers", "(3, 35) stays, (35, 3) moves"),
    "nearly_there": ("numbers", "315 numbers moved"),
    "perfect_curve": ("unseen", "14.1 on the rows"),
    "in_parts": ("unseen", "3.32 on the rows"),
    "small_batches": ("rows", "; 16 different ones"),
    "half_then_full": ("unseen", "4.36 on the rows"),
    "second_customer": ("base", "not the same"),
}


@pytest.mark.parametrize("name", CLUES)
def test_what_can_be_bought_shows_the_clue(name, capsys):
    probe, clue = CLUES[name]
    for program, there in ((as_given(name), True), (REPAIRS[name].reference, False)):
        probes.buy(probe, program)
        assert (clue in capsys.readouterr().out) == there
    assert f"`{probe}`" in REPAIRS[name].clue


def test_coins_add_up_and_a_program_that_fails_is_a_sentence(capsys, monkeypatch):
    monkeypatch.setattr(probes, "_spent", [])
    probes.buy("rows", lambda *whatever: 1 / 0)
    probes.buy("curve", lambda base, X, y, steps: (base, None))
    out = capsys.readouterr().out
    assert "raised ZeroDivisionError" in out and "(3 coins; 3 spent)" in out and "(1 coin; 4 spent)" in out
    probes.buy()
    out = capsys.readouterr().out
    assert out.count("\n") == len(probes.PROBES) and all(name in out for name in probes.PROBES)


def test_the_teachers_file_has_every_line_and_clue():
    text = (pages.NOTEBOOKS / "teaching" / "broken_lora_solutions.md").read_text(encoding="utf-8")
    for number, repair in enumerate(REPAIRS.values(), 1):
        assert f"## 11.{number} {repair.title}" in text and repair.clue in text
        assert all(line.strip() in text for line in "\n".join(repair.line).splitlines())
