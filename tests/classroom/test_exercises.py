"""Checked exercises: stubs, solutions, plausible wrong answers, answers that misbehave, and the learner's progress."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import threading

import pages
import pytest
import torch
from wrong_answers import PRELUDE, WRONG, fn

from lora_lab import add_lora
from lora_lab.classroom import exercises

NUMBERS = exercises.all_numbers()


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LAB_PROGRESS", str(tmp_path / "progress.json"))
    book._hints_given.clear()
    return tmp_path / "progress.json"


def said(capsys, *answer) -> str:
    exercises.check(*answer)
    return capsys.readouterr().out


def run_cell(code: str) -> dict:
    space: dict = {}
    exec(PRELUDE + "from lora_lab import check\n" + code, space)
    return space


@pytest.mark.parametrize("number", NUMBERS)
def test_the_cell_as_given_says_not_attempted_and_keeps_nothing(number, capsys, own_progress):
    run_cell(book.find(number).stub)
    out = capsys.readouterr().out
    assert out.startswith(f"○ Exercise {number}: not attempted yet") and out.count("\n") == 1
    assert not own_progress.exists()


@pytest.mark.parametrize("number", NUMBERS)
def test_the_solution_passes_and_is_kept(number, capsys, own_progress):
    run_cell(book.find(number).solution)
    assert capsys.readouterr().out.startswith(f"✓ Exercise {number}: ")
    assert json.loads(own_progress.read_text()) == {number: "right"}


def test_every_exercise_has_at_least_four_wrong_answers():
    assert {n: len(WRONG.get(n, ())) for n in NUMBERS if len(WRONG.get(n, ())) < 4} == {}
    assert set(WRONG) <= set(NUMBERS)


@pytest.mark.parametrize(
    "number, code, piece", [(n, c, p) for n, found in WRONG.items() for c, p in found], ids=lambda x: str(x)[-40:]
)
def test_a_wrong_answer_is_told_what_is_wrong_with_it(number, code, piece, capsys):
    out = said(capsys, number, run_cell(code)["answer"])
    assert out.startswith(f"✗ Exercise {number}: ") and any(p in out.lower() for p in piece.lower().split('|')), out


MISBEHAVING = {
    "raises": (lambda *a: 1 / 0, "raised ZeroDivisionError: division by zero"),
    "exits": (lambda *a: exit(3), "raised SystemExit"),
    "None": (lambda *a: None, "None|pair|optimizer"),
    "a string": (lambda *a: "seven", "wanted"),
    "wrong shape": (lambda *a: torch.ones(3, 1, 7), "shape|wanted"),
    "NaN": (lambda *a: torch.full((4, 5), torch.nan), "NaN|shape|wanted"),
    "too few arguments": (lambda: 1, "raised TypeError"),
}
FUNCTIONS = [n for n in NUMBERS if "def " in book.find(n).solution]


@pytest.mark.parametrize("number", FUNCTIONS)
@pytest.mark.parametrize("kind", MISBEHAVING)
def test_an_answer_that_misbehaves_is_met_with_a_sentence(number, kind, capsys):
    answer, piece = MISBEHAVING[kind]
    out = said(capsys, number, answer)
    assert out.startswith(f"✗ Exercise {number}: ") and any(p in out for p in piece.split("|")), out


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("answer", [None, float("nan"), torch.ones(2, 3, 4), object(), [], {"a": 1}, "x", b"x"],
                         ids=lambda x: type(x).__name__)
def test_whatever_is_handed_in_gets_one_line(number, answer, capsys):
    out = said(capsys, number, answer)
    assert out.startswith("✗ Exercise") and out.count("\n") == 1


def test_an_endless_loop_is_stopped(monkeypatch, capsys):
    space = run_cell("def answer(A, B, alpha, r):\n    while True:\n        pass")
    exercise = book.find("3.1")
    assert engine.examine(exercise, space["answer"], seconds=0.3)[1].startswith("your answer ran for more than")
    stubborn = run_cell(
        "def answer(A, B, alpha, r):\n    for _ in range(3):\n        try:\n            while True:\n"
        "                pass\n        except BaseException:\n            pass"
    )
    assert engine.examine(exercise, stubborn["answer"], seconds=0.3)[0] == "wrong"


def test_an_endless_loop_is_stopped_where_ctrl_c_is_ignored():
    space = run_cell("def answer(A, B, alpha, r):\n    while True:\n        pass")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a job in the background
    try:
        assert engine.examine(book.find("3.1"), space["answer"], seconds=0.3)[1].startswith("your answer ran")
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_limit_is_ten_seconds_and_a_quick_answer_leaves_no_alarm_behind():
    assert engine.SECONDS == 10
    before = threading.active_count()
    assert engine.examine(book.find("3.1"), lambda A, B, alpha, r: alpha / r * B @ A, seconds=0.2)[0] == "right"
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait(0.5)  # an alarm left behind would ring here
    assert threading.active_count() <= before + 1


def test_the_learners_own_interrupt_is_not_a_wrong_answer(own_progress):
    def answer(*args):
        raise KeyboardInterrupt

    assert engine.examine(book.find("3.1"), answer)[0] == "open"


def test_check_works_in_another_thread(capsys):
    thread = threading.Thread(target=exercises.check, args=("3.1", lambda A, B, alpha, r: alpha / r * B @ A))
    thread.start()
    thread.join()
    assert capsys.readouterr().out.startswith("✓")


def test_the_callers_random_state_is_left_alone(capsys):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    said(capsys, "3.3", lambda layer: torch.rand(3))
    assert torch.equal(torch.get_rng_state(), before)


def test_an_answer_may_change_its_arguments(capsys):
    def answer(A, B, alpha, r):
        B *= alpha / r
        return B @ A

    assert said(capsys, "3.1", answer).startswith("✓")


def test_numpy_and_python_numbers_count_as_numbers(capsys):
    import numpy as np

    for value in (5, 5.0, np.int64(5), torch.tensor(5), torch.tensor([5])[0]):
        assert said(capsys, "0.3", value).startswith("✓")


def test_two_hints_the_second_nearer(capsys):
    for i, wanted in enumerate(("1 of 2", "2 of 2", "2 of 2")):
        exercises.hint("2.3")
        out = capsys.readouterr().out
        assert f"Hint {wanted}" in out and book.find("2.3").hints[min(i, 1)] in out


@pytest.mark.parametrize("number", NUMBERS)
def test_every_exercise_is_whole(number):
    e = book.find(number)
    assert len(e.hints) == 2 and all(h.endswith((".", "?")) for h in e.hints) and e.right.endswith(".")
    assert "..." in e.stub and "..." not in e.solution
    assert e.stub.splitlines()[-1] == e.solution.splitlines()[-1] and f'check("{number}", ' in e.stub.splitlines()[-1]
    assert all(len(line) <= 105 for line in f"{e.stub}\n{e.solution}".splitlines()) and e.objective


def test_numbers_follow_each_other_on_every_page():
    for page in book.PAGES:
        found = [n for n in NUMBERS if int(n.split(".")[0]) == int(page)]
        assert found == [f"{int(page)}.{i}" for i in range(1, len(found) + 1)] and 3 <= len(found) <= 5


@pytest.mark.parametrize("call", [exercises.check, exercises.hint, exercises.solution])
@pytest.mark.parametrize("number", ["3.9", "12.1", "three", 3.1, None])
def test_a_number_that_is_none_is_answered_and_does_not_stop_the_page(call, number, capsys):
    if number == 3.1:
        number = 31
    call(number)
    out = capsys.readouterr().out
    assert "there is no exercise" in out and "3.1" in out


def test_the_solution_is_folded_in_jupyter_and_plain_elsewhere():
    shown = exercises.solution("3.1")
    assert shown._repr_html_().startswith("<details><summary>") and "<details open" not in shown._repr_html_()
    assert "alpha / r * (B @ A)" in repr(shown)


def test_the_convolutions_answer_is_what_add_lora_trains():
    model = torch.nn.Sequential(torch.nn.Conv2d(4, 10, kernel_size=3))
    add_lora(model, r=2, alpha=6)
    update = model[0].parametrizations.weight[0]
    with torch.no_grad():
        update.lora_B.normal_()
    before = model[0].parametrizations.weight.original
    space = run_cell(book.find("6.1").solution)
    change = space["conv_update"](update.lora_A, update.lora_B, 3.0, (10, 4, 3, 3))
    assert torch.allclose(change, model[0].weight - before, atol=1e-6)


# ---- progress -----------------------------------------------------------------------------------------------------


def right_31(A, B, alpha, r):
    return alpha / r * (B @ A)


def test_progress_counts_and_what_was_right_stays_right(capsys, own_progress):
    exercises.check("3.1", lambda *a: None)
    exercises.check("3.1", right_31)
    exercises.check("3.1", lambda *a: None)
    exercises.check("0.3", 7)
    capsys.readouterr()
    exercises.progress()
    out = capsys.readouterr().out
    assert "3.1 ✓" in out and "0.3 ✗" in out and "0.1 ○" in out and f"1 of {len(NUMBERS)} solved" in out


@pytest.mark.parametrize("content", ["not json {", "[1, 2]", '{"mine": "precious"}'])
def test_a_file_that_is_not_ours_is_never_overwritten(content, own_progress, capsys):
    own_progress.write_text(content)
    assert said(capsys, "3.1", right_31).startswith("✓")
    assert own_progress.read_text() == content
    exercises.progress()


def test_a_home_that_cannot_be_written_to_stops_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LORA_LAB_PROGRESS", str(tmp_path / "no" / "such" / "folder" / "p.json"))
    assert said(capsys, "3.1", right_31).startswith("✓")
    exercises.progress()
    assert "0 of" in capsys.readouterr().out


def test_progress_is_replaced_whole_and_leaves_no_temporary_file(own_progress, capsys):
    for number, answer in (("3.1", right_31), ("0.3", 5)):
        said(capsys, number, answer)
    assert json.loads(own_progress.read_text()) == {"0.3": "right", "3.1": "right"}
    assert [p.name for p in own_progress.parent.iterdir()] == [own_progress.name]


def test_fn_makes_functions():
    space: dict = {}
    exec(fn("a, b", "a + b"), space)
    assert space["answer"](1, 2) == 3


# ---- on the pages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", NUMBERS)
def test_the_page_shows_the_cell_that_is_tested(number):
    page = next(p for p in pages.page_files() if p.stem.startswith(book.find(number).page))
    nb = pages.read(page)
    assert [c.source for c in pages.code_cells(nb) if f'check("{number}"' in c.source] == [book.find(number).stub]
    assert any(f"**Exercise {number}, {book.find(number).title}.**" in c.source for c in nb.cells)


def test_predictions_are_numbered_through_on_every_page():
    for page in pages.page_files():
        text = "\n".join(c.source for c in pages.read(page).cells if c.cell_type == "markdown")
        assert "**Predict:**" not in text and "**Predict**" not in text, page.name
        for kind in ("Predict", "Think", "Lab", "Exercise"):
            found = re.findall(rf"\*\*{kind} (\d+)\.(\d+)", text)
            assert found == [(str(int(page.stem[:2])), str(i)) for i in range(1, len(found) + 1)], (page.name, kind)
