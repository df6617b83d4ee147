"""Predictions as cards: what they say, that the pages ask and show the same, and the card as a widget."""

from __future__ import annotations

import functools
import re
from html import unescape

import pages
import pytest
from test_teaching import numbers

from lora_lab.classroom import exercises
from lora_lab.classroom.cards import Card
from lora_lab.classroom.pages import PAGES
from lora_lab.classroom.predictions import Choice, Prediction, all_predictions, find, predict

ALL = all_predictions()
every_one = pytest.mark.parametrize("p", ALL, ids=lambda p: p.number)


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch):
    for p in ALL:
        monkeypatch.setattr(p, "chosen", [])


# ---- what they say


@every_one
def test_a_prediction_is_whole_and_no_response_says_right_or_wrong(p):
    choices = p.choices.values()
    assert 3 <= len(choices) <= 4 and sum(choice.right for choice in choices) == 1
    assert len({choice.text for choice in choices}) == len({choice.response for choice in choices}) == len(choices)
    assert all(1 <= len(choice.text) <= 48 for choice in choices), "a button's text is one line, also when projected"
    assert p.look.startswith("Now ") and p.look.endswith(".") and p.found.endswith(".") and p.evidence
    for letter in p.choices:
        said = p.respond(letter)
        assert not re.match(r"(Yes|No|Right|Wrong|Correct|Exactly|Indeed)\b", said), said
        assert p.found not in said and said.endswith(p.look)


def test_no_letter_to_bet_on():
    rights = "".join(p.right for p in ALL)
    assert all(0.1 < rights.count(letter) / len(rights) < 0.45 for letter in "ABCD"), rights


# ---- the pages ask them, and show what is said


@functools.cache
def page_of(p):
    return pages.read(pages.find_page(p.number.split(".")[0].zfill(2)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.number)
def test_the_cards_on_a_page_are_those_there_are(page):
    asked = [cell.source for cell in pages.read(page.file).cells if pages.asks(cell)]
    here = [p.number for p in ALL if p.number.startswith(f"{int(page.number)}.")]
    assert asked == [f'lora_lab.predict("{number}")' for number in here]


@every_one
def test_the_page_asks_above_the_card_and_shows_what_is_found_below_it(p):
    cells = page_of(p).cells
    at = next(i for i, cell in enumerate(cells) if cell.source == f'lora_lab.predict("{p.number}")')
    assert re.search(rf"\*\*Predict {re.escape(p.number)}(:\*\*|\*\*) {re.escape(p.question)}", cells[at - 1].source)
    above, below = printed(cells[:at]), printed(cells[at + 1:])
    for line in p.evidence:
        assert line in below and line not in above, line


def printed(cells) -> str:
    code = [cell for cell in cells if cell.cell_type == "code" and not pages.asks(cell)]
    return "\n".join(text for cell in code for texts in pages.compared_text(cell).values() for text in texts)


ROUND = {"3.5": {"400"}}  # a right choice may say a printed number in round figures: 395 steps


@every_one
def test_numbers_in_what_is_said_are_the_pages_numbers(p):
    cells = [cell for cell in page_of(p).cells if not pages.asks(cell)]
    text = "\n".join([cell.source for cell in cells]) + printed(cells)
    there = numbers(text) | set(re.findall(r"\d+(?:\.\d+)?", text))
    for choice in p.choices.values():
        assert numbers(choice.response) <= there | numbers(choice.text), choice.response
    right = p.choices[p.right].text
    assert numbers(right) - ROUND.get(p.number, set()) <= there and numbers(p.found + p.look) <= there


# ---- numbers that are none


@pytest.mark.parametrize("number", ["9.99", "03.9", "four", "", 4.25, None, ["4.2"]])
def test_a_number_that_is_none_is_answered_and_does_not_stop_the_page(number, capsys):
    assert predict(number) is None
    out = capsys.readouterr().out
    assert out.startswith(f"predict: there is no card for prediction {number!r}") and "4.2" in out
    assert out.count("\n") == 1
    assert find("4.2") is find("04.2") and find("0.1") is find("00.1")


# ---- the card


def press(card, letter):
    """What a press in the browser sends."""
    state = {"index": "ABCD".index(letter)}
    content = {"data": {"method": "update", "state": state, "buffer_paths": []}}
    card.buttons._handle_msg({"content": content, "buffers": []})


def shown(html: str) -> str:
    return unescape(re.sub(r"<[^>]+>", "", html.replace("<br>", "\n")))


@every_one
def test_every_choice_is_answered_when_it_is_pressed(p):
    card = predict(p.number)
    assert card.buttons.value is None and card.compare.disabled and not card.answer.value and not card.verdict.value
    assert [label for label, _ in card.buttons.options] == [f"{x} · {p.choices[x].text}" for x in p.choices]
    for letter in p.choices:
        press(card, letter)
        assert shown(card.answer.value) == f"You chose {letter}. {p.respond(letter)}".replace("*", "")
        assert not card.compare.disabled and not card.verdict.value
    assert p.chosen == list(p.choices)
    card.compare.click()
    assert shown(card.verdict.value).startswith("You said A, ")
    assert shown(card.verdict.value).endswith(p.found.replace("*", ""))


def test_first_and_last_choice_are_kept_comparing_ends_the_vote_and_the_next_run_has_it():
    card = predict("1.2")
    for letter in "BDC":
        press(card, letter)
    assert find("1.2").chosen == ["B", "D", "C"]
    card.compare.click()
    said = shown(card.verdict.value)
    assert said.startswith("You said B, “about 30”, and then C, “about 1000”. So does the page: 1001 predicted")
    press(card, "A")
    assert find("1.2").chosen == ["B", "D", "C"] and "Each weight is off by 1" in shown(card.answer.value)
    again = predict("1.2")
    assert again.buttons.value == "C" and "You chose C" in again.answer.value and predict("1.3").buttons.value is None
    assert find("1.2").compare(("D",)).startswith("You said D, “a million”. The page says C, “about 1000”: 1001 ")


def test_what_is_stored_does_not_depend_on_what_was_chosen():
    before = predict("1.2")._repr_mimebundle_()
    find("1.2").choose("B")
    after = predict("1.2")._repr_mimebundle_()
    assert set(before) == set(after) == {"text/plain", pages.WIDGET}
    assert before["text/plain"] == after["text/plain"] == str(find("1.2"))
    assert before["text/plain"].startswith("Predict 1.2: a million weights")
    assert "\n   B · about 30\n" in before["text/plain"]
    assert "*" not in str(find("5.3"))


def test_a_sign_in_a_text_is_no_markup():
    choice = Choice("a < b & c", "See *this* <b> & α*β*γ. So?", True)
    card = Card(Prediction("1.2", "a < b?", {"A": choice}, "Now.", "x.", ["x"]))
    press(card, "A")
    assert "<em>this</em> &lt;b&gt; &amp; α*β*γ" in card.answer.value


def test_progress_names_the_predictions_of_the_session(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LAB_PROGRESS", str(tmp_path / "progress.json"))
    find("4.2").choose("A")
    find("1.2").choose("A")
    exercises.progress()
    assert capsys.readouterr().out.endswith("predictions made in this session: 1.2, 4.2\n")
