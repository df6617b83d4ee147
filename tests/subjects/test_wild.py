"""Page 09: round trips with transformers and PEFT (skipped without them), its shipped folder, links and guards."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pages
import pytest
import torch
import torch.nn.functional as F
from test_adapters import gap, randomise
from torch import nn

from lora_lab import (
    adapter_state,
    add_lora,
    count_parameters,
    delta_weights,
    load_adapter,
    merge,
    remove_lora,
    save_adapter,
    train,
)
from lora_lab.layers import is_conv1d
from lora_lab.subjects.files_and_costs import models, neighbours
from lora_lab.subjects.successors import variants

PAGE = pages.NOTEBOOKS / "09_in_the_wild.ipynb"
pytestmark = pytest.mark.filterwarnings("ignore")


def page_source(beginning: str) -> str:
    """The code cell of page 09 that holds this text."""
    found = [c.source for c in pages.code_cells(pages.read(PAGE)) if beginning in c.source]
    assert len(found) == 1, beginning
    return found[0]


# ------------------------------------------------------------------------------------------------- transformers


@pytest.fixture(scope="module")
def transformers():
    module = pytest.importorskip("transformers", reason="transformers is optional: pip install peft==0.21.2")
    assert neighbours.have("transformers")
    return module


@pytest.fixture(scope="module")
def peft():
    return pytest.importorskip("peft", reason="PEFT is optional: pip install peft==0.21.2")


SMALL = {"vocab_size": 50, "bos_token_id": 0, "eos_token_id": 0}


def gpt2(transformers, **options):
    config = {"n_positions": 16, "n_embd": 24, "n_layer": 2, "n_head": 3, "attn_pdrop": 0.0, "resid_pdrop": 0.0}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**SMALL, **config | {"embd_pdrop": 0.0} | options))


def llama(transformers, **options):
    config = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
    config |= {"num_key_value_heads": 2} | options
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL, **config))


KINDS = {"gpt2": (gpt2, ["c_attn", "mlp.c_proj"]), "llama": (llama, ["q_proj", "v_proj", "down_proj"])}


@pytest.fixture(params=KINDS)
def checkpoint(request, transformers, tmp_path):
    """(folder of a tiny random checkpoint, its target_modules)."""
    torch.manual_seed(0)
    make, targets = KINDS[request.param]
    make(transformers).save_pretrained(tmp_path / "base")
    return tmp_path / "base", targets


TOKENS = torch.randint(50, (3, 9), generator=torch.Generator().manual_seed(1))


def test_our_adapter_in_peft_and_back(transformers, peft, checkpoint, tmp_path):
    folder, targets = checkpoint

    def load() -> nn.Module:
        return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()

    base, ours = load()(TOKENS).logits, load()
    names = add_lora(ours, r=3, alpha=5, target_modules=targets)
    assert len(names) == 2 * len(targets)
    assert torch.equal(ours(TOKENS).logits, base), "a fresh adapter changes nothing"
    randomise(ours)
    wanted = ours(TOKENS).logits
    assert gap(base, wanted) > 0.05
    save_adapter(ours, tmp_path / "ours")
    theirs = peft.PeftModel.from_pretrained(load(), tmp_path / "ours").eval()
    assert gap(theirs(TOKENS).logits, wanted) < 1e-5
    config = peft.LoraConfig(r=3, target_modules=targets)
    assert peft.get_peft_model(load(), config).get_nb_trainable_parameters()[0] == count_parameters(ours)[0]

    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if "lora_" in name:
                p.add_(0.1 * torch.randn(p.shape))
    theirs.save_pretrained(tmp_path / "theirs")
    back = load()
    load_adapter(back, tmp_path / "theirs")
    assert gap(back(TOKENS).logits, theirs(TOKENS).logits) < 1e-5
    assert gap(back(TOKENS).logits, wanted) > 1e-3
    assert gap(theirs.merge_and_unload()(TOKENS).logits, back(TOKENS).logits) < 1e-5


def test_conv1d_keeps_every_promise(transformers):
    torch.manual_seed(0)
    model = gpt2(transformers).eval()
    before, plain = {n: p.detach().clone() for n, p in model.named_parameters()}, model(TOKENS).logits
    add_lora(model, r=2, alpha=4, target_modules=["c_attn"])
    state = adapter_state(model)
    assert state["transformer.h.0.attn.c_attn.lora_A"].shape == (2, 24)
    assert state["transformer.h.0.attn.c_attn.lora_B"].shape == (72, 2)
    train(model, TOKENS, TOKENS, steps=3, lr=1e-2, loss=lambda out, y: F.cross_entropy(out.logits.mT, y), progress=None)
    model.eval()
    adapted = model(TOKENS).logits
    delta = delta_weights(model)["transformer.h.0.attn.c_attn"]
    assert delta.shape == (72, 24) and delta.abs().max() > 0
    layer = model.transformer.h[0].attn.c_attn
    assert torch.allclose(layer.weight, before["transformer.h.0.attn.c_attn.weight"] + delta.T, atol=1e-6)
    merge(model)
    assert gap(model(TOKENS).logits, adapted) < 1e-5
    remove_lora(model)
    assert torch.equal(model(TOKENS).logits, plain)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_a_name_alone_makes_no_conv1d():
    class Conv1D(nn.Module):
        pass

    assert not is_conv1d(Conv1D()) and not is_conv1d(nn.Conv1d(3, 4, 1))


def test_gpt2s_tied_head_is_refused_in_words(transformers):
    with pytest.raises(ValueError, match=r"transformer.wte is tied: its weight is also lm_head.weight"):
        add_lora(gpt2(transformers), r=2)


def test_the_recipe_on_the_page_works_on_checkpoints_on_disk(transformers, checkpoint, tmp_path):
    folder, _ = checkpoint
    scope = {"transformers": transformers, "add_lora": add_lora, "F": F}
    exec(page_source("TARGETS = {"), scope)
    exec(page_source("def adapt_checkpoint"), scope)
    model, names = scope["adapt_checkpoint"](folder)
    assert names and all(n.rsplit(".", 1)[-1] in ("c_attn", "q_proj", "v_proj") for n in names)
    losses = train(model, TOKENS, TOKENS, steps=30, lr=1e-2, loss=scope["next_token_loss"], progress=None).losses
    assert losses[-1] < losses[0] - 0.05
    save_adapter(model, tmp_path / "adapter")
    again = transformers.AutoModelForCausalLM.from_pretrained(folder)
    load_adapter(again, tmp_path / "adapter")
    assert torch.equal(again.eval()(TOKENS).logits, model.eval()(TOKENS).logits)
    out = model.generate(TOKENS[:, :3], max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert out.shape == (3, 7)


def test_the_names_on_the_page_are_those_of_the_architectures(transformers):
    scope: dict = {}
    exec(page_source("TARGETS = {"), scope)
    made = {
        "gpt2": gpt2(transformers),
        "llama": llama(transformers),
        "mistral": transformers.MistralForCausalLM(
            transformers.MistralConfig(**llama(transformers).config.to_diff_dict() | {"model_type": "mistral"})
        ),
        "qwen2": transformers.Qwen2ForCausalLM(
            transformers.Qwen2Config(
                **SMALL, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2,
            )
        ),
    }
    assert made.keys() == scope["TARGETS"].keys()
    for kind, targets in scope["TARGETS"].items():
        assert add_lora(made[kind], r=2, target_modules=targets), kind
    add_lora(llama(transformers), r=2, target_modules=scope["ALL_LINEAR"])


# ------------------------------------------------------------------------------------------ PEFT's shipped folder


def test_the_shipped_folder_gives_pefts_numbers():
    net = neighbours.small_net()
    x, y = neighbours.peft_output()
    assert (net(x) - y).abs().max() > 0.5
    load_adapter(net, neighbours.PEFT_FOLDER)
    assert (net(x) - y).abs().max() < 1e-5


def test_peft_still_computes_what_is_recorded(peft):
    x, y = neighbours.peft_output()
    theirs = peft.PeftModel.from_pretrained(neighbours.small_net(), neighbours.PEFT_FOLDER).eval()
    assert (theirs(x) - y).abs().max() < 1e-5


# --------------------------------------------------------------------------------------------- optional packages


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


def test_the_page_is_green_without_the_optional_packages(tmp_path):
    """Strict nbval of the whole page in kernels that cannot import them, as for a reader who has only the course."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('peft', 'transformers', 'accelerate'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(pages.ROOT)])}
    check = [sys.executable, "-c", "import peft"]
    assert b"No module named 'peft'" in subprocess.run(check, env=env, capture_output=True).stderr
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PAGE)]
    done = subprocess.run(command, env=env, cwd=pages.ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-3000:]


def names(tree: ast.AST, context: type) -> set[str]:
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, context)}


def test_optional_packages_are_used_in_guarded_cells_only():
    """Without them the page must run: what needs them, or a name made by them, stands under `if have(...)`."""
    made: set[str] = set()  # names that exist only with the optional packages
    for cell in pages.code_cells(pages.read(PAGE)):
        body = ast.parse(cell.source).body
        guarded = [n for n in body if isinstance(n, ast.If) and "have" in names(n.test, ast.Load)]
        functions = [n for n in body if isinstance(n, ast.FunctionDef)]  # run only when they are called
        free = ast.Module([n for n in body if n not in guarded and n not in functions], [])
        if guarded:
            assert pages.escape(cell), f"its output depends on what is installed: {cell.source[:60]}"
            made |= {name for n in guarded for name in names(n, ast.Store)}
        assert not re.search(r"\b(import|from) (peft|transformers)\b", ast.unparse(free)), cell.source[:60]
        own = names(free, ast.Store) | {n.arg for n in ast.walk(free) if isinstance(n, ast.arg)}
        made -= names(free, ast.Store)
        lost = names(free, ast.Load) & made - own
        assert not lost, f"{lost} come from a guarded cell: {cell.source[:60]}"


# ------------------------------------------------------------------------------------------------- the page itself


def anchors(page: Path) -> set[str]:
    """Headings as JupyterLab makes anchors of them: spaces become hyphens."""
    text = [c.source for c in pages.read(page).cells if c.cell_type == "markdown"]
    return {h.strip().replace(" ", "-") for t in text for h in re.findall(r"^#+ (.+)$", t, re.MULTILINE)}


LINK = re.compile(r"\]\(([\w-]+\.ipynb)?(?:#([^)\s]+))?\)")


def test_every_link_leads_to_a_page_and_a_heading():
    text = "\n".join(c.source for c in pages.read(PAGE).cells if c.cell_type == "markdown")
    links = LINK.findall(text)
    assert len(links) >= 22
    missing = []
    for name, anchor in links:
        path = pages.NOTEBOOKS / name if name else PAGE
        if not path.is_file() or anchor and anchor not in anchors(path):
            missing.append(f"{name}#{anchor}")
    assert not missing
    assert all(anchor.isascii() for _, anchor in links), "JupyterLab 4.6 opens the page but does not find the heading"


def test_all_questions_are_there_with_a_link_each():
    cells = [c.source for c in pages.read(PAGE).cells if c.cell_type == "markdown"]
    questions = [line for t in cells for line in t.splitlines() if re.match(r"\d+\. \*.+\?\*", line)]
    assert [int(q.split(".")[0]) for q in questions] == list(range(1, 23))
    assert [i for i, q in enumerate(questions, 1) if not LINK.search(q)] == [6], "its cell follows the list"


def class_bodies(source: str) -> dict[str, str]:
    """{class: its statements, without docstrings}."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            node.body = [n for n in node.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
            found[node.name] = ast.unparse(node).replace("variants.", "")
    return found


def test_the_layers_on_the_page_are_those_that_were_measured():
    page = "\n".join(c.source for c in pages.code_cells(pages.read(PAGE)))
    written, measured = class_bodies(page), class_bodies(Path(variants.__file__).read_text(encoding="utf-8"))
    layers = ["RsLoRALinear", "PiSSALinear", "DoRALinear", "ExactDoRALinear", "VeRALinear", "QLoRALinear"]
    for name in layers:
        assert written[name] == measured[name], name


def test_the_record_names_what_wrote_it():
    note = json.loads((neighbours.PEFT_FOLDER / "output.json").read_text())
    assert note["peft"] == json.loads((neighbours.PEFT_FOLDER / "adapter_config.json").read_text())["peft_version"]


def test_formula_counts_a_tiny_gpt2(transformers):
    tiny = models.Shape("tiny", "gpt2", 2, 24, 96, 3, 3, 50, 16, "")
    model = gpt2(transformers)
    assert tiny.total == count_parameters(model)[1]
    names = add_lora(model, r=2, target_modules=["c_proj", "c_fc"])
    assert len(names) == 6 and count_parameters(model)[0] == models.adapter_numbers(tiny, 2, ("o", "up", "down"))
