"""Predictions as cards: what they say, that the pages ask and show the same, the card as a widget and in a kernel."""

from __future__ import annotations

import functools
import json
import re
from html import unescape

import pages
import pytest
import torch
from jupyter_client.manager import start_new_kernel
from test_teaching import chapter, numbers

import lora_lab
from lora_lab import LoRALinear, costs, theory
from lora_lab.classroom import catching_up, exercises
from lora_lab.classroom.cards import Card
from lora_lab.classroom.predictions import all_numbers, find, predict, votes
from lora_lab.figures import live
from lora_lab.subjects.linear_task import tasks

ALL = [find(number) for number in all_numbers()]
every_one = pytest.mark.parametrize("p", ALL, ids=lambda p: p.number)


@pytest.fixture(autouse=True)
def nothing_chosen():
    book.forget()
    yield
    book.forget()


# ---- what they say ------------------------------------------------------------------------------------------------
@every_one
def test_a_prediction_is_whole(p):
    assert 3 <= len(p.choices) <= 4 and sum(c.right for c in p.choices) == 1
    assert len({c.text for c in p.choices}) == len({c.response for c in p.choices}) == len(p.choices)
    assert all(1 <= len(c.text) <= 48 for c in p.choices), "a button's text is one line, also when projected"
    assert all(40 < len(c.response) < 260 and c.response.endswith((".", "?")) for c in p.choices)
    assert p.look.startswith("Now ") and p.look.endswith(".") and p.found.endswith(".") and p.evidence


@every_one
def test_no_response_says_right_or_wrong(p):
    """The next cell is the evidence. What is found is said by the comparison, not when a choice is made."""
    for letter in p.letters:
        said = p.respond(letter)
        assert not re.match(r"(Yes|No|Right|Wrong|Correct|Exactly|Indeed)\b", said), said
        assert p.found not in said and said.endswith(p.look)


def test_two_on_most_pages_and_no_letter_to_bet_on():
    on = {number: [p.number for p in ALL if p.page == number] for number in book.PAGES}
    assert 18 <= len(ALL) <= 22 and all(on.values()) and sum(len(found) >= 2 for found in on.values()) >= 9, on
    rights = "".join(p.right for p in ALL)
    assert all(3 <= rights.count(letter) <= 8 for letter in "ABCD"), rights


# ---- the pages ask them, and show what is said ---------------------------------------------------------------------
@functools.cache
def page(number):
    return pages.read(pages.find_page(number))


def test_the_cards_on_the_pages_are_those_there_are():
    asked = [c.source for number in book.PAGES for c in page(number).cells if pages.asks(c)]
    assert asked == [f'lora_lab.predict("{p.number}")' for p in ALL]


@pytest.mark.parametrize("number", book.PAGES)
def test_catching_up_leaves_the_cards_out(number):
    code = [c.source for c in pages.code_cells(page(number)) if not pages.asks(c)]
    assert list(catching_up.code_of(number).values()) == code


@every_one
def test_the_page_asks_the_same_question_right_above_its_card(p):
    cells = page(p.page).cells
    at = next(i for i, c in enumerate(cells) if c.source == f'lora_lab.predict("{p.number}")')
    assert re.search(rf"\*\*Predict {re.escape(p.number)}(:\*\*|\*\*) {re.escape(p.question)}", cells[at - 1].source)
    assert cells[at].outputs[0].data["text/plain"] == str(p)


@every_one
def test_what_is_found_is_printed_below_the_card_and_not_above(p):
    above, below, seen = "", "", False
    for cell in page(p.page).cells:
        seen = seen or cell.source == f'lora_lab.predict("{p.number}")'
        if cell.cell_type == "code" and not pages.asks(cell):
            text = "\n".join(v for values in pages.compared_text(cell).values() for v in values)
            above, below = (above, below + text) if seen else (above + text, below)
    for line in p.evidence:
        assert line in below and line not in above, line


# A right choice may say a printed number in round figures: 395 steps.
ROUND = {"3.5": {"400"}}


@every_one
def test_numbers_in_what_is_said_are_the_pages_numbers(p):
    cells = [c for c in page(p.page).cells if not pages.asks(c)]
    texts = [c.source for c in cells]
    texts += [v for c in cells if c.cell_type == "code" for vs in pages.compared_text(c).values() for v in vs]
    text = "\n".join(texts)
    there = numbers(text) | set(re.findall(r"\d+(?:\.\d+)?", text))
    for choice in p.choices:
        assert numbers(choice.response) <= there | numbers(choice.text), choice.response
    right = next(c for c in p.choices if c.right)
    assert numbers(right.text) - ROUND.get(p.number, set()) <= there, right.text
    assert numbers(p.found) <= there and numbers(p.look) <= there, p.found


@pytest.mark.parametrize("number", book.PAGES)
def test_the_teachers_book_lists_the_cards_with_their_right_letters(number):
    cards = ", ".join(f"{p.number} ({p.right})" for p in ALL if p.page == number)
    assert f"\n**Cards:** {cards}.\n" in chapter(f"Page {pages.title(page(number))}")
    assert f"On {len(ALL)} predictions the choices are buttons" in chapter("Asking the room")


# ---- some right choices, computed ----------------------------------------------------------------------------------
def test_right_choices_follow_from_the_package():
    def says(number, *words):
        text = find(number).choice(find(number).right).text
        return all(word in text for word in words)

    assert says("0.1", f"{torch.linalg.matrix_rank(tasks.letters('LoRA'))} until it is exact")
    assert says("1.2", f"about {round(theory.expected_shift_loss(tasks.shift('ones', 1000, 1001)), -2):.0f}")
    disk = {(n, r): costs.disk_bytes(1000, 1000, tasks=n, r=r) for n in (1, 100) for r in (1, None)}
    assert disk[100, None] == 100 * disk[1, None] and disk[100, 1] < 1.3 * disk[1, 1] and says("1.3", "hundredfold")
    assert (1 - 0.5) ** 2 == 0.25 and says("5.4", "a quarter")


def test_at_the_first_step_a_stands_still_and_learns_afterwards():
    layer = LoRALinear(torch.nn.Linear(5, 4, bias=False), r=2, alpha=2)
    optimizer = torch.optim.SGD([layer.lora_A, layer.lora_B], lr=0.1)
    norms = []
    for _ in range(2):
        optimizer.zero_grad()
        layer(torch.ones(3, 5)).sub(1).square().mean().backward()
        norms.append(float(layer.lora_A.grad.norm()))
        optimizer.step()
    assert norms[0] == 0 < norms[1] and find("3.2").choice(find("3.2").right).text.startswith("A's; no bug")


def test_two_adapters_of_rank_1_give_two_singular_values():
    g = tasks.normal
    W1, W2, B1, A1, B2, A2 = (g(*s, seed=i) for i, s in enumerate(((9, 8), (7, 9), (9, 1), (1, 8), (7, 1), (1, 9))))
    update = (W2 + B2 @ A2) @ (W1 + B1 @ A1) - W2 @ W1
    assert torch.linalg.matrix_rank(update) == 2 and find("6.3").named(find("6.3").right).startswith("B · 2:")


# ---- numbers --------------------------------------------------------------------------------------------------------
def test_a_number_can_be_written_as_the_prompt_or_as_a_section_has_it():
    assert find("4.2") is find("04.2") and find("4.2").page == "04"


@pytest.mark.parametrize("number, there", [("9.99", '"9.2"'), ("03.1", '"3.2"'), ("12.1", '"0.1"'), ("four", '"0.1"'),
                                           ("", '"0.1"'), (4.2, '"4.2"'), (None, '"0.1"'), (["4.2"], '"0.1"')])
def test_a_number_that_is_none_is_answered_and_does_not_stop_the_page(number, there, capsys):
    assert predict(number) is None
    out = capsys.readouterr().out
    assert out.startswith(f"predict: there is no card for prediction {number!r}") and there in out
    assert out.count("\n") == 1
    with pytest.raises(ValueError, match="no card"):
        votes(number)


# ---- the card -------------------------------------------------------------------------------------------------------
def as_the_front_end(widget, **state):
    """What a press in the browser sends."""
    widget._handle_msg({"content": {"data": {"method": "update", "state": state, "buffer_paths": []}}, "buffers": []})


def shown(html: str) -> str:
    return unescape(re.sub(r"<[^>]+>", "", html.replace("<br>", "\n")))


@every_one
def test_every_choice_is_answered_when_it_is_pressed(p):
    card = predict(p.number)
    assert card.buttons.value is None and card.compare.disabled and not card.answer.value and not card.verdict.value
    assert [label for label, _ in card.buttons.options] == [p.named(letter) for letter in p.letters]
    for i, letter in enumerate(p.letters):
        as_the_front_end(card.buttons, index=i)
        assert shown(card.answer.value) == f"You chose {letter}. {p.respond(letter)}".replace("*", "")
        assert not card.compare.disabled and not card.verdict.value
    assert votes(p.number) == tuple(p.letters)
    card.compare.click()
    verdict = shown(card.verdict.value)
    assert verdict.startswith("You said A, ") and verdict.endswith(p.found.replace("*", ""))


def test_first_and_last_choice_are_kept_and_comparing_ends_the_vote():
    card = predict("1.2")
    card.choose("B")
    card.choose("D")
    card.choose("C")
    assert votes("1.2") == votes("01.2") == ("B", "D", "C")
    card.buttons.value = None
    assert votes("1.2") == ("B", "D", "C")
    card.compare._handle_button_msg(card.compare, {"event": "click"}, [])
    said = shown(card.verdict.value)
    assert said.startswith("You said B, “about 30”, and then C, “about 1000”. So does the page: 1001 predicted")
    card.choose("A")
    assert votes("1.2") == ("B", "D", "C") and "Each weight is off by 1" in shown(card.answer.value)


def test_the_comparison_names_the_choice_and_what_the_page_has():
    assert find("1.2").compare(("D",)).startswith("You said D, “a million”. The page says C, “about 1000”: 1001 ")
    assert find("1.2").compare(("C",)).startswith("You said C, “about 1000”. So does the page: 1001 ")
    assert find("1.2").compare(("C", "A")).startswith("You said C, “about 1000”, and then A, “1”. The page says C, ")


def test_run_again_the_card_has_the_choice_and_another_card_has_none():
    predict("1.2").choose("B")
    again = predict("1.2")
    assert again.buttons.value == "B" and "You chose B" in again.answer.value and not again.compare.disabled
    assert votes("1.2") == ("B",) and predict("1.3").buttons.value is None
    book.forget()
    assert predict("1.2").buttons.value is None
    again.compare.click()
    assert "You said B" in again.verdict.value


def test_what_is_stored_does_not_depend_on_what_was_chosen():
    before = predict("1.2")._repr_mimebundle_()
    predict("1.2").choose("B")
    after = predict("1.2")._repr_mimebundle_()
    assert set(before) == set(after) == {"text/plain", pages.WIDGET}
    assert before["text/plain"] == after["text/plain"] == repr(predict("1.2")) == str(find("1.2"))
    assert before["text/plain"].startswith("Predict 1.2: a million weights")
    assert "\n   B · about 30\n" in before["text/plain"]
    assert all(len(line) <= 100 for p in ALL for line in str(p).splitlines())
    assert "*" not in str(find("5.3"))


def test_a_letter_that_is_none_is_refused_and_nothing_changes():
    card = predict("1.2")
    for bad in ("E", "", "AB", "b", 0, None):
        with pytest.raises(ValueError, match="Predict 1.2 has no choice .*; choose A, B, C, D"):
            card.choose(bad)
    with pytest.raises(ValueError, match="no choice 'E'"):
        book.vote("1.2", "E")
    assert card.buttons.value is None and votes("1.2") == ()


def test_a_sign_in_a_text_is_no_markup():
    p = book.Prediction("1.2", "a < b?", (book.Choice("a < b & c", "See *this* <b> & α*β*γ. So?", True),), "Now.", "x.",
                        ("x",))
    card = Card(p)
    card.choose("A")
    assert "<em>this</em> &lt;b&gt; &amp; α*β*γ" in card.answer.value


def test_progress_names_the_predictions_of_the_session(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LAB_PROGRESS", str(tmp_path / "progress.json"))
    exercises.progress()
    assert "predictions" not in capsys.readouterr().out
    predict("4.2").choose("A")
    predict("1.2").choose("A")
    exercises.progress()
    assert capsys.readouterr().out.endswith("predictions made in this session: 1.2, 4.2\n")
    assert not list(tmp_path.iterdir())


def test_the_name_is_public():
    assert lora_lab.predict is predict and "predict" in lora_lab.__all__


def test_a_press_in_the_front_end_reaches_the_card_in_a_kernel(tmp_path, monkeypatch):
    """A kernel as JupyterLab starts it; the press comes over the widget's comm, as its protocol has it."""
    for name, value in pages.kernel_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        def value(expression: str):
            reply = client.execute("", user_expressions={"x": f"__import__('json').dumps({expression})"}, reply=True,
                                   timeout=60)
            return json.loads(eval(reply["content"]["user_expressions"]["x"]["data"]["text/plain"]))

        done = client.execute("import lora_lab; card = lora_lab.predict('1.2')", reply=True, timeout=60)
        assert done["content"]["status"] == "ok"
        press = {"comm_id": value("card.buttons.model_id"),
                 "data": {"method": "update", "state": {"index": 1}, "buffer_paths": []}}
        client.shell_channel.send(client.session.msg("comm_msg", press))
        assert value("lora_lab.predictions.votes('1.2')") == ["B"]
        assert "You chose B.</b> You let the errors" in value("card.answer.value")
        assert value("card.compare.disabled") is False
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_a_card_that_runs_again_closes_that_of_the_last_run(monkeypatch):
    runs = iter("12")

    class Shell:
        kernel = property(lambda self: self)

        def get_parent(self):
            return {"metadata": {"cellId": "a"}, "header": {"msg_id": next(runs)}}

    monkeypatch.setattr(live, "get_ipython", Shell)
    monkeypatch.setattr(live, "_made", {})
    first, again = Card(find("1.2")), Card(find("1.2"))
    assert first.comm is None and first.buttons.comm is None and again.comm
