"""Round trips with transformers and PEFT (skipped without them), PEFT's folder, guards, calculator, questions."""

from __future__ import annotations

import ast
import importlib
import re

import pages
import pytest
import torch
from torch import nn

from lora_lab import add_lora, load_adapter, lora_parameters, save_adapter
from lora_lab.costs import human
from lora_lab.subjects.files_and_costs import models, neighbours, panels
from lora_lab.subjects.files_and_costs.panels import DTYPES, TOKENS

PAGE = pages.find_page("10")
pytestmark = pytest.mark.filterwarnings("ignore")


def gap(a, b) -> float:
    return float((a - b).abs().max() / b.abs().max())


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers", reason="transformers is optional: pip install peft==0.21.2")


@pytest.fixture(scope="module")
def peft():
    return pytest.importorskip("peft", reason="PEFT is optional: pip install peft==0.21.2")


TOKENS_IN = torch.randint(50, (3, 9), generator=torch.Generator().manual_seed(1))
TARGETS = {"gpt2": ["c_attn", "mlp.c_proj"], "llama": ["q_proj", "v_proj", "down_proj"]}


@pytest.fixture
def checkpoints(transformers, tmp_path):
    return {folder.name: folder for folder in neighbours.tiny_checkpoints(tmp_path)}


@pytest.mark.parametrize("kind", TARGETS)
def test_our_adapter_in_peft_and_back(transformers, peft, checkpoints, kind, tmp_path):
    folder, targets = checkpoints[kind], TARGETS[kind]

    def load() -> nn.Module:
        return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()

    base, ours = load()(TOKENS_IN).logits, load()
    assert len(add_lora(ours, r=3, alpha=5, target_modules=targets)) == 2 * len(targets)
    assert torch.equal(ours(TOKENS_IN).logits, base), "a fresh adapter changes nothing"
    for p in lora_parameters(ours):
        p.data.normal_(std=0.3)
    wanted = ours(TOKENS_IN).logits
    assert gap(base, wanted) > 0.05
    save_adapter(ours, tmp_path / "ours")
    theirs = peft.PeftModel.from_pretrained(load(), tmp_path / "ours").eval()
    assert gap(theirs(TOKENS_IN).logits, wanted) < 1e-5
    for name, p in theirs.named_parameters():
        if "lora_" in name:
            p.data.add_(0.1 * torch.randn(p.shape))
    theirs.save_pretrained(tmp_path / "theirs")
    back = load()
    load_adapter(back, tmp_path / "theirs")
    assert gap(back(TOKENS_IN).logits, theirs(TOKENS_IN).logits) < 1e-5
    assert gap(back(TOKENS_IN).logits, wanted) > 1e-3


def test_the_names_on_the_page_are_those_of_the_architectures(transformers):
    scope: dict = {}
    [source] = [cell.source for cell in pages.code_cells(pages.read(PAGE)) if "TARGETS = {" in cell.source]
    exec(source, scope)
    for kind, targets in scope["TARGETS"].items():
        assert add_lora(neighbours.tiny_model(kind), r=2, target_modules=targets), kind
    assert len(add_lora(neighbours.tiny_model("llama"), r=2, target_modules=scope["ALL_LINEAR"])) == 14


def test_peft_still_computes_what_is_recorded(peft):
    x, y = neighbours.peft_output()
    theirs = peft.PeftModel.from_pretrained(neighbours.small_net(), neighbours.PEFT_FOLDER).eval()
    assert (theirs(x) - y).abs().max() < 1e-5


def test_have_says_what_is_missing(capsys, monkeypatch):
    real = importlib.import_module

    def without(name, *rest):
        if name == "peft":
            raise ModuleNotFoundError("No module named 'peft'", name="peft")
        return real(name, *rest)

    monkeypatch.setattr(neighbours.importlib, "import_module", without)
    assert neighbours.have("json") and capsys.readouterr().out == ""
    assert not neighbours.have("json", "peft")
    out = capsys.readouterr().out
    assert "peft cannot be imported" in out and "pip install peft" in out and out.count("\n") == 1


def test_the_page_runs_without_the_optional_packages():
    """They are imported in guarded statements only, whose names no other statement uses. Such a cell's output is not
    compared: it depends on what is installed."""
    guarded, free = [], []
    for cell in pages.code_cells(pages.read(PAGE)):
        for statement in ast.parse(cell.source).body:
            if isinstance(statement, ast.If) and "have(" in ast.unparse(statement.test):
                guarded.append(statement)
                assert "nbval-ignore-output" in cell.metadata.get("tags", []), cell.source[:60]
            else:
                free.append(statement)
    assert len(guarded) >= 6
    assert not re.search(r"\b(import|from) (peft|transformers)\b", "\n".join(map(ast.unparse, free)))

    guarded, free = (ast.Module(statements, []) for statements in (guarded, free))
    assert not (names_made(guarded) - names_made(free)) & {n.id for n in ast.walk(free) if isinstance(n, ast.Name)}


def names_made(tree) -> set[str]:
    stored = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return stored | {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}


# ------------------------------------------------------------------------------------------------- the calculator


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_estimate_is_the_formulas(dtype):
    kind = DTYPES[dtype]
    trainable = "bfloat16" if kind == "nf4" else kind
    for name, shape in models.SHAPES.items():
        found = panels.estimate(name, 8, "all", dtype, "8 × 512", 24)
        assert found.lora == models.training_bill(shape, 8, "all", kind, 4096)
        assert found.full == models.training_bill(shape, None, "all", trainable, 4096)
        assert found.trained == models.adapter_numbers(shape, 8, "all") and found.file == 2 * found.trained
        room = found.beside * found.file + models.weight_bytes(shape, kind) + models.cache_bytes(shape, 4096)
        assert found.beside == 0 or 24e9 - found.file < room <= 24e9


def test_calculator_says_and_draws_its_numbers():
    for words, tokens in TOKENS.items():
        batch, length = map(int, words.split(" × "))
        assert batch * length == tokens
    panel = panels.calculator_panel()
    assert panel.values["card"] == 24 and "training with LoRA does not fit" in panel.caption, "where the page asks"
    assert human(models.training_bill(models.SHAPES["Llama-3-8B"], 8).total) in panel.caption
    assert "training with LoRA fits" in panel.set(dtype="4 bits (NF4)")
    panel.set(r=64, card=80)
    found = panels.estimate(**panel.values)
    ax = panel._figure.axes[0]
    lengths = [patch.get_width() for patch in ax.patches]
    assert lengths == pytest.approx([bill[part] / 1e9 for part in range(4) for bill in (found.full, found.lora)])
    assert list(ax.lines[0].get_xdata()) == [80, 80]
    assert panel.set(checkpointing=True) and panels.estimate(**panel.values).lora.activations < found.lora.activations
    assert "they alone do not fit" in panel.set(model="GPT-3 175B")


# ------------------------------------------------------------------------------------------------- the questions


def test_every_question_links_to_a_section_that_is_there():
    text = (pages.NOTEBOOKS / "QUESTIONS.md").read_text(encoding="utf-8")
    questions = [line for line in text.splitlines() if re.match(r"\d+\. ", line)]
    assert [int(q.split(".")[0]) for q in questions] == list(range(1, 23))
    for question in questions:
        [(heading, page)] = re.findall(r"\[([\d.]+ [^\]]+)\]\(([\w-]+\.ipynb)", question)
        cells = pages.read(pages.NOTEBOOKS / page).cells
        assert any(f"## {heading}\n" in f"{cell.source}\n" for cell in cells), question
