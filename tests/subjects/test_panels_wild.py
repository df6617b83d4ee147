"""Page 09's panels: the calculator says what models.py counts, the comparison says what is recorded."""

from __future__ import annotations

import numpy as np
import pytest

from lora_lab import figures
from lora_lab.costs import human
from lora_lab.subjects.files_and_costs import models
from lora_lab.subjects.files_and_costs import panels as files_and_costs_panels
from lora_lab.subjects.files_and_costs.panels import DTYPES, TOKENS
from lora_lab.subjects.successors import panels, variants

RECORD = variants.recorded()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", ["Adam", "8-bit Adam", "SGD"])
def test_every_estimate_is_the_formulas(dtype, optimizer):
    for name, shape in models.SHAPES.items():
        found = files_and_costs_panels.estimate(name, 8, "all", dtype, optimizer, "8 × 512", 24)
        kind = DTYPES[dtype]
        assert found["lora"] == models.training_bill(shape, 8, "all", kind, optimizer, 4096)
        wide = "bfloat16" if kind == "nf4" else kind
        assert found["full"] == models.training_bill(shape, None, "all", wide, optimizer, 4096)
        assert found["trained"] == models.adapter_numbers(shape, 8, "all") and found["file"] == 2 * found["trained"]
        assert found["lora"].total < found["full"].total
        room = found["beside"] * found["file"] + models.weight_bytes(shape, kind)
        assert found["beside"] == 0 or 24e9 - found["file"] < room <= 24e9


def test_tokens_are_what_they_are_called():
    for words, tokens in TOKENS.items():
        batch, length = map(int, words.split(" × "))
        assert batch * length == tokens


def test_calculator_moves_and_says_its_numbers():
    panel = files_and_costs_panels.calculator_panel()
    text = panel.caption
    assert f"{models.adapter_numbers(models.SHAPES['Llama-3-8B'], 8):,} trained numbers" in text
    assert human(models.training_bill(models.SHAPES["Llama-3-8B"], 8).total) in text
    assert "the base alone does not fit" in panel.set(model="GPT-3 175B")
    for control in panel.values:
        for value in panel.positions(control):
            assert panel.set(**{control: value}) and panel.error is None
    assert panel._figure.axes[0].get_title("left") == f"while training {panel.values['model']}"


def test_bars_are_as_long_as_the_bill():
    panel = files_and_costs_panels.calculator_panel()
    panel.set(optimizer="SGD", r=64)
    values = files_and_costs_panels.estimate(**panel.values)
    widths = [patch.get_width() for patch in panel._figure.axes[0].patches]
    wanted = [bill[part] / 1e9 for part in range(4) for bill in (values["full"], values["lora"])]
    assert widths == pytest.approx(wanted)


@pytest.mark.parametrize("name", RECORD["methods"])
def test_a_sentence_for_each_method(name):
    text, losses = panels.against_lora(RECORD, name), RECORD["methods"][name]["loss"]
    assert text.startswith(f"{name}: {RECORD['methods'][name]['trained']:,} numbers")
    assert f"loss {np.median(losses):.2g}" in text
    wins = sum(a < b for a, b in zip(losses, RECORD["methods"]["LoRA"]["loss"]))
    assert name == "LoRA" or f"on {wins} of {len(losses)}" in text


def test_variant_panel_draws_both_bands_the_live_run_and_all_dots():
    live = {"PiSSA": RECORD["methods"]["PiSSA"]["curves"][0]}
    panel = panels.variant_panel(RECORD, live)
    panel.set(method="PiSSA")
    left, right = panel._figure.axes
    assert list(left.lines[2].get_ydata()) == live["PiSSA"]
    curves = np.array(RECORD["methods"]["PiSSA"]["curves"])
    assert list(left.lines[1].get_ydata()) == list(np.median(curves, 0))
    assert list(left.lines[0].get_ydata()) == list(np.median(RECORD["methods"]["LoRA"]["curves"], 0))
    heights = left.collections[1].get_paths()[0].vertices[:, 1]
    assert heights.min() == curves.min() and heights.max() == curves.max() and len(left.collections) == 2
    assert left.get_legend().get_texts()[1].get_text().startswith("PiSSA")
    drawn = {method: line for method, line in zip(RECORD["methods"], right.lines[::2])}
    for method, line in drawn.items():
        assert list(line.get_xdata()) == RECORD["methods"][method]["loss"]
    colours = {method: line.get_color() for method, line in drawn.items()}
    assert colours["PiSSA"] == figures.COLOURS["variant"] and colours["LoRA"] == figures.COLOURS["LoRA"]
    assert colours["full"] == figures.COLOURS["full"]
    assert list(colours.values()).count(figures.COLOURS["rest"]) == len(colours) - 3
    panel.set(method="DoRA")
    assert np.isnan(left.lines[2].get_ydata()).all(), "no live run of this one"
    assert drawn["PiSSA"].get_color() == figures.COLOURS["rest"]
