"""Checked exercises: their cells, right answers in any style, wrong ones and what they are told, and the progress kept.

`answers_NAME.py` has the right and wrong answers to the exercises of subject NAME; a piece "a|b" means a or b.
"""

import ast
import contextlib
import importlib
import json
import sys
import threading

import numpy as np
import pages
import pytest
import stubs
import torch

from lora_lab.classroom import exercises, judging
from lora_lab.classroom.comparing import equal, shown
from lora_lab.classroom.judging import examine, exercise
from lora_lab.classroom.pages import PAGES

ALL = exercises.all_exercises()
every = pytest.mark.parametrize("number", ALL)
WITH_EXERCISES = [page for page in PAGES if exercises.of_page(page.number)]


def answers(kind: str, number: str) -> list:
    subject, _, name = ALL[number].name.partition(".")
    return getattr(importlib.import_module(f"answers_{subject}"), kind)[name]


def code_cells(page) -> tuple[list[str], list[str]]:
    """A page's exercise cells, and its other code cells."""
    cells = pages.read(page.file).cells
    places = stubs.exercise_cells(cells)
    others = [c.source for i, c in enumerate(cells) if c.cell_type == "code" and i not in places]
    return [cells[i].source for i in places], others


def run_solution(number: str) -> None:
    """Run the solution's cell after nothing but the page's imports."""
    page = next(page for page in PAGES if int(page.number) == int(number.split(".")[0]))
    statements = [statement for cell in code_cells(page)[1] for statement in ast.parse(cell).body]
    imports = [ast.unparse(s) for s in statements if isinstance(s, (ast.Import, ast.ImportFrom))]
    exec("\n".join([*imports, ALL[number].solution(number)]), {})


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LAB_PROGRESS", str(tmp_path / "progress.json"))
    exercises._hints_given.clear()
    return tmp_path / "progress.json"


# ---- each exercise ------------------------------------------------------------------------------------------------


@every
def test_the_cell_as_given_is_not_attempted_and_the_solution_is_right(number, capsys, own_progress):
    exec(ALL[number].stub(number), {"check": exercises.check})
    out = capsys.readouterr().out
    assert out.startswith(f"○ Exercise {number}: not attempted yet") and out.count("\n") == 1
    assert not own_progress.exists()
    run_solution(number)
    assert capsys.readouterr().out.startswith(f"✓ Exercise {number}: ")
    assert json.loads(own_progress.read_text()) == {ALL[number].name: "right"}


@every
def test_every_exercise_is_whole(number):
    e = ALL[number]
    assert len(e.hints) == 2 and all(h.endswith((".", "?")) for h in e.hints) and e.right.endswith(".")
    stub, solution = e.stub(number), e.solution(number)
    given_whole = type(e) is not judging.Exercise  # a program to mend
    assert ("..." in stub or given_whole) and "..." not in solution
    assert stub.splitlines()[-1] == solution.splitlines()[-1]
    assert all(len(line) <= 105 for line in f"{stub}\n{solution}".splitlines())
    first = ast.parse(stub).body[0]
    if isinstance(first, ast.FunctionDef) and not given_whole:  # nothing of the solution is in it
        assert len(first.body) == 1 + (ast.get_docstring(first) is not None)


@every
def test_right_answers_in_any_style_are_right(number):
    right = answers("RIGHT", number)
    assert len(right) >= 3
    for answer in right:
        verdict, sentence = examine(ALL[number], answer, number)
        assert verdict == "right", (answer, sentence)


@every
def test_wrong_answers_are_told_what_is_wrong_with_them(number):
    wrong = answers("WRONG", number)  # beside the known mistakes, which the next test tries
    assert len(wrong) + len(ALL[number].mistakes) >= 6
    for piece, answer in wrong:
        verdict, sentence = examine(ALL[number], answer, number)
        assert verdict == "wrong" and any(p.lower() in sentence.lower() for p in piece.split("|")), (piece, sentence)
        assert f'lora_lab.hint("{number}") helps.' in sentence


@every
def test_each_known_mistake_is_told_its_own_sentence(number):
    for sentence, mistake in ALL[number].wrong_answers.items():
        verdict, said = examine(ALL[number], mistake, number)
        assert verdict == "wrong" and sentence[1:] in said, (sentence, said)


VALUES = [None, float("nan"), torch.ones(2, 3, 4), torch.empty(0), object(), [], {"a": 1}, "x", b"x", 1j, (1, "a"),
          np.ones((4, 4), dtype=np.float32), [[1, 2], [3]], {"x"}, True, 10**400]  # fmt: skip


@every
def test_no_answer_is_blamed_for_the_judges_own_failure(number):
    """Strange values, and the known mistakes of all other exercises."""
    functions = [lambda *arguments, value=value: value for value in VALUES]
    functions += [lambda *arguments: (x for x in [1, 2]), lambda *arguments: 1 / 0, lambda: 1, sys.exit]
    functions += [lambda *arguments: torch.full((4, 5), torch.nan), lambda *arguments: arguments[-1]]
    mistakes = [mistake for e in ALL.values() for mistake in e.wrong_answers.values()]
    for answer in [*VALUES, (x for x in [1, 2]), *functions, *mistakes]:
        verdict, sentence = examine(ALL[number], answer, number)
        assert verdict in ("wrong", "right") and "judge failed" not in sentence, (answer, sentence)
        assert sentence.count("\n") == 0


# ---- on the pages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", WITH_EXERCISES, ids=lambda page: page.number)
def test_the_page_shows_the_cells_and_headings_that_are_tested(page):
    """Otherwise: python tests/tools/stubs.py"""
    notebook = json.loads(page.file.read_text(encoding="utf-8"))
    before = json.dumps(notebook)
    assert stubs.write_stubs(notebook, page.number) == "" and json.dumps(notebook) == before


@pytest.mark.parametrize("page", WITH_EXERCISES, ids=lambda page: page.number)
def test_no_exercise_binds_a_name_that_the_page_uses(page):
    """So any cell of the page can be run again after Run All."""
    exercise_cells, others = code_cells(page)
    used = set()
    for node in (node for cell in others for node in ast.walk(ast.parse(cell))):
        used |= {node.id} if isinstance(node, ast.Name) else {getattr(node, "name", None)}
    for cell in exercise_cells:
        space = {"check": lambda *answer: None}
        exec(cell, space)
        assert not set(space) & used - {"check", "__builtins__"}


# ---- the engine, on exercises of its own --------------------------------------------------------------------------


@exercise(
    title="the layer", hints=("One.", "Two."), right="So it is.", trains=("A", "B"),
    cases=[(torch.ones(1, 2), torch.ones(1, 2), torch.ones(2, 1)),
           (torch.randn(7, 5), torch.randn(2, 5), torch.randn(3, 2))],
    avoids=lambda x, A, B: (B @ A).shape,
)  # fmt: skip
def factored(x, A, B):
    """Without B @ A."""
    # (n, d_out)
    return x @ A.T @ B.T


@exercise(title="two values", hints=("One.", "Two."), right="So it is.")
def pair():
    # at the top
    half = 1 / 2  # a half
    third = [1,
             3]  # a list
    half = half * 1
    return half, third


def test_cells_are_made_from_the_function():
    doc = 'def factored(x, A, B):\n    """Without B @ A."""\n    # (n, d_out)\n    return'
    assert factored.stub("7.1") == f'{doc} ...\n\ncheck("7.1", factored)'
    assert factored.solution("7.1") == f'{doc} x @ A.T @ B.T\n\ncheck("7.1", factored)'
    cell = '# at the top\nhalf = ...  # a half\nthird = ...  # a list\n\ncheck("7.2", (half, third))'
    assert pair.stub("7.2") == cell
    assert pair.solution("7.2").splitlines()[2:5] == ["third = [1,", "         3]  # a list", "half = half * 1"]


WAYS = [
    (lambda x, A, B: torch.einsum("ni,ri,or->no", x, A, B), "right", "So it is"),
    (lambda x, A, B: torch.nn.functional.linear(torch.nn.functional.linear(x, A), B), "right", "So it is"),
    (lambda x, A, B: x @ (B @ A).T, "wrong", "a matrix of shape (3, 5)"),
    (lambda x, A, B: x @ torch.einsum("ri,or->io", A, B), "wrong", "is built; do without it"),
    (lambda x, A, B: x @ A.T.detach() @ B.T, "wrong", "no gradient reaches `A`"),
    (lambda x, A, B: torch.no_grad()(factored.reference)(x, A, B), "wrong", "no gradient reaches `A`"),
    (lambda x, A, B: (x @ A.T @ B.T + x @ A.T.detach() @ B.T) / 2, "wrong", "a wrong gradient reaches `A`"),
    (lambda x, A, B: x.numpy() @ A.numpy().T @ B.numpy().T, "wrong", "computed in numpy"),
    (lambda x, A, B: torch.tensor(x.numpy() @ A.numpy().T @ B.numpy().T), "wrong", "computed in numpy"),
    (lambda x, A, B: B @ A @ x, "wrong", "raised RuntimeError"),
]


@pytest.mark.parametrize("answer, verdict, piece", WAYS)
def test_how_a_result_is_reached_is_judged_where_the_exercise_says_how(answer, verdict, piece):
    said = examine(factored, answer, "7.1")
    assert said[0] == verdict and piece in said[1], said


def test_an_error_in_the_judge_is_called_the_courses_own():
    broken = exercise(title="", hints=("", ""), right="", accept=lambda value: 1 / 0)(lambda: 3)
    assert examine(broken, 3, "7.1") == ("open", "the course's own judge failed (ZeroDivisionError: division by zero). "
                                         "That is its mistake and not yours: your answer was not judged.")


@pytest.mark.filterwarnings("error")
def test_numbers_are_compared_to_what_float32_holds_and_whole_ones_exactly():
    assert equal(torch.tensor(0.1), 0.1) and equal(torch.tensor(1.0) / 3, 1 / 3) and not equal(0.1001, 0.1)
    assert equal(np.float32(37_748_736), 37_748_736) and not equal(819.2, 819) and not equal((1e-4, 0.5), (5e-5, 0.5))
    assert equal(["a", "b"], ["a", "b"]) and not equal(["b", "a"], ["a", "b"]) and equal({"a": 1}, {"a": 1})
    assert equal([torch.ones((), requires_grad=True), 2], [1.0, 2.0]) and not equal([[1, 2], [3]], [1.0, 2.0])
    assert shown(torch.tensor([[1.0, 0.5]])) == "[[1, 0.5]]" and shown(torch.ones(9)) == "a tensor of shape (9,)"


def test_an_endless_loop_is_stopped_and_leaves_no_thread_behind():
    def endless(x, A, B):
        while True:
            pass

    def stubborn(x, A, B):
        for _ in range(3):
            with contextlib.suppress(BaseException):
                endless(x, A, B)

    assert judging.SECONDS == 10
    threads = threading.active_count()
    assert "ran for more than" in examine(factored, endless, "7.1", seconds=0.3)[1]
    assert examine(factored, stubborn, "7.1", seconds=0.3)[0] == "wrong"
    assert threading.active_count() <= threads


def test_the_learners_own_interrupt_is_not_a_wrong_answer_and_the_random_state_is_left_alone():
    def interrupted(*arguments):
        raise KeyboardInterrupt

    before = torch.get_rng_state()
    assert examine(factored, interrupted, "7.1")[0] == "open"
    examine(factored, lambda *arguments: torch.rand(3), "7.1")
    assert torch.equal(torch.get_rng_state(), before)


# ---- check, hint, solution, progress ------------------------------------------------------------------------------


def test_check_works_in_another_thread(capsys):
    thread = threading.Thread(target=exercises.check, args=("0.3", 5))
    thread.start()
    thread.join()
    assert capsys.readouterr().out.startswith("✓ Exercise 0.3")


def test_two_hints_the_second_nearer_and_a_folded_solution(capsys):
    for i, number in enumerate(("2.3", "02.3", "2.3")):
        exercises.hint(number)
        out = capsys.readouterr().out
        assert f"Hint {min(i + 1, 2)} of 2 for exercise 2.3" in out and ALL["2.3"].hints[min(i, 1)] in out
    folded = exercises.solution("2.3")._repr_html_()
    assert folded.startswith("<details><summary>") and "svdvals" in folded
    assert repr(exercises.solution("2.3")).endswith('check("2.3", best_loss)')


@pytest.mark.parametrize("call", [exercises.check, exercises.hint, exercises.solution])
@pytest.mark.parametrize("number", ["3.9", "99.1", "three", 31, None, "", "3.1.1"])
def test_a_number_that_is_none_is_answered_and_does_not_stop_the_page(call, number, capsys):
    call(number)
    out = capsys.readouterr().out
    assert "there is no exercise" in out and "3.1" in out


def test_progress_counts_and_what_was_right_stays_right(capsys, own_progress):
    for number, answer in (("0.3", 7), ("0.2", "LLL"), ("0.2", "LIL")):
        exercises.check(number, answer)
    capsys.readouterr()
    exercises.progress()
    out = capsys.readouterr().out
    assert "0.1 ○   0.2 ✓   0.3 ✗" in out and f"1 of {len(ALL)} solved" in out
    kept = {"start_here.one_percent": "wrong", "start_here.word_of_rank_2": "right"}
    assert json.loads(own_progress.read_text()) == kept
    assert [path.name for path in own_progress.parent.iterdir()] == [own_progress.name]


@pytest.mark.parametrize("content", ["not json {", "[1, 2]", '{"mine": "precious"}'])
def test_a_file_that_is_not_ours_is_never_overwritten(content, own_progress):
    own_progress.write_text(content)
    exercises.check("0.3", 5)
    assert own_progress.read_text() == content
    exercises.progress()


def test_a_home_that_cannot_be_written_to_stops_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LORA_LAB_PROGRESS", str(tmp_path / "no" / "such" / "folder" / "p.json"))
    exercises.check("0.3", 5)
    exercises.progress()
    assert "0 of" in capsys.readouterr().out
