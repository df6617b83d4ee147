"""The small GPT, its loss and its text; the shipped checkpoint is what the command makes, and nothing else loads."""

import hashlib
import json
import math
import shutil

import pytest
import torch
from experiments import gpt_base
from safetensors.torch import load_file, save_file

from lora_lab import add_lora, count_parameters, remove_lora
from lora_lab.subjects.mini_language import language as L
from lora_lab.subjects.transformer import gpt


@pytest.fixture(scope="module")
def base():
    return gpt.load_base()


@pytest.fixture(scope="module")
def lines():
    return L.corpus(300, seed=77)


# ---------------------------------------------------------------------------------------------- the model


def test_a_token_sees_only_what_came_before_it(base, lines):
    X, _ = L.tensors(lines[:4])
    changed = X.clone()
    changed[:, 12] = (changed[:, 12] + 1) % len(L.VOCABULARY)
    with torch.no_grad():
        a, b = base(X), base(changed)
    assert torch.allclose(a[:, :12], b[:, :12], atol=1e-5) and not torch.allclose(a[:, 12:], b[:, 12:], atol=1e-2)


def test_attention_is_softmax_of_scaled_dot_products(base):
    layer = base.layers[0].attention
    x = torch.randn(2, 5, 96, generator=torch.Generator().manual_seed(0))
    q, k, v = (f(x).view(2, 5, 4, 24) for f in (layer.q_proj, layer.k_proj, layer.v_proj))
    scores = torch.einsum("bthe,bshe->bhts", q, k) / math.sqrt(24)
    weights = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -math.inf).softmax(-1)
    expected = layer.o_proj(torch.einsum("bhts,bshe->bthe", weights, v).flatten(2))
    assert torch.allclose(layer(x), expected, atol=1e-5)


def test_lora_finds_each_matrix_by_its_name(base):
    model = gpt.load_base()
    assert add_lora(model, r=2, target_modules=["q_proj", "v_proj"]) == [
        f"layers.{i}.attention.{m}_proj" for i in (0, 1) for m in "qv"
    ]
    assert count_parameters(model)[0] == 2 * 2 * 2 * (96 + 96)  # |theta| = 2 L d r for each of q and v
    remove_lora(model)
    assert len(add_lora(model, r=2, target_modules=gpt.LINEARS)) == 12
    assert torch.equal(model(torch.arange(6)[None]), base(torch.arange(6)[None]))


def test_an_untrained_model_knows_nothing_and_the_seed_decides_it(lines):
    model = gpt.new_gpt(0)
    assert gpt.above_floor(model, lines) + L.floor(lines) == pytest.approx(math.log(len(L.VOCABULARY)), abs=1.2)
    same, other = gpt.new_gpt(0), gpt.new_gpt(1)
    assert torch.equal(model.head.weight, same.head.weight) and not torch.equal(model.head.weight, other.head.weight)


def test_text_loss_is_the_mean_over_text_tokens_only():
    logits, y = torch.zeros(2, 3, 5), torch.tensor([[-100, 1, 2], [-100, -100, 3]])
    logits[0, 0] = 100 * torch.arange(5.0)  # where no loss is asked for, nothing counts
    assert gpt.text_loss(logits, y).item() == pytest.approx(math.log(5))


def test_above_floor_is_the_same_on_short_lines_as_on_padded_ones(base):
    short = [line for line in L.corpus(200, 9) if len(line.text) < 8]
    X, y = L.tensors(short)
    with torch.no_grad():
        whole = float(gpt.text_loss(base(X), y)) - L.floor(short)
    assert gpt.above_floor(base, short) == pytest.approx(whole, abs=1e-5)


def test_no_model_is_below_the_floor_by_more_than_chance(base):
    assert 0 < gpt.above_floor(base, L.corpus(2000, seed=4321)) < 0.02


# ---------------------------------------------------------------------------------------------- text


def test_the_base_speaks_each_tellers_language(base):
    for teller in L.TELLERS:
        lines = L.corpus(30, seed=5, tellers=[teller])
        records = [line.record for line in lines]
        chosen = [L.parse(r, t) for r, t in zip(records, gpt.generate(base, records))]
        assert all(chosen), teller
        kept = [L.TELLERS[teller][h] == o for c in chosen for h, o in c.items()]
        assert sum(kept) / len(kept) > 0.97  # greedy: the favourites


def test_sampled_text_has_the_habits_in_the_taught_proportion_and_repeats_with_its_generator(base):
    records = [line.record for line in L.corpus(400, seed=6, tellers=["anon"])]
    first = gpt.generate(base, records, torch.Generator().manual_seed(3))
    assert first == gpt.generate(base, records, torch.Generator().manual_seed(3))
    shares = L.shares(records, first, "anon")
    assert shares.grammatical > 0.97 and shares.in_voice == pytest.approx(0.94, abs=0.03)


def test_generation_stops_even_if_the_model_never_ends_a_sentence():
    model = gpt.new_gpt(0)
    with torch.no_grad():
        model.head.bias[L.VOCABULARY.index(L.END)] = -1e9
    model.train()
    (text,) = gpt.generate(model, [L.corpus(1, 0)[0].record])
    assert len(text) == L.LENGTH + 1 - L.PROMPT and model.training


# ---------------------------------------------------------------------------------------------- the checkpoint


def test_the_command_retrained_for_a_few_steps_walks_the_recorded_path():
    model, history = gpt_base.pretrain(stop_after=60)
    record = gpt.record_of()
    assert record["recipe"] == json.loads(json.dumps({"seed": 0, "lines": gpt_base.LINES, **gpt_base.RECIPE}))
    assert history.losses[: len(record["first_losses"])] == pytest.approx(record["first_losses"], rel=2e-3)
    assert history.steps == 60 and history.losses[-1] < 0.35 * history.losses[0]
    assert 0.05 < gpt.above_floor(model, L.corpus(200, 1)) < 2.0


def test_the_shipped_base_is_as_good_as_its_record_says(base):
    record = gpt.record_of()
    held_out = L.corpus(**record["held_out"])
    assert gpt.above_floor(base, held_out) == pytest.approx(record["above_floor"], abs=5e-4)
    assert L.floor(held_out) == pytest.approx(record["floor"], abs=1e-4)
    assert record["above_floor"] < 0.01 and record["parameters"] == count_parameters(base)[1]
    assert gpt.CHECKPOINT.stat().st_size == record["bytes"] < 5e6
    assert hashlib.sha256(gpt.CHECKPOINT.read_bytes()).hexdigest() == record["sha256"]


def test_damaged_and_foreign_checkpoints_are_refused_in_a_sentence(tmp_path):
    mine = tmp_path / "gpt_base.safetensors"
    whole = gpt.CHECKPOINT.read_bytes()

    def refuses(data, sentence, **sizes):
        mine.write_bytes(data)
        with pytest.raises(ValueError, match=sentence):
            gpt.load_base(mine, **sizes)

    with pytest.raises(ValueError, match="no checkpoint nowhere.safetensors.*gpt_base.py"):
        gpt.load_base(tmp_path / "nowhere.safetensors")
    refuses(whole[:-1000], "damaged")
    refuses(whole[:4], "damaged")
    refuses(b"", "damaged")
    refuses(b"\x80\x04pickled", "damaged")
    refuses(whole, "tokens.weight as 112 x 96; this model needs 112 x 64|holds .* this model needs", d=64)
    refuses(whole, "another model: layers.2", layers=3)
    tensors = load_file(gpt.CHECKPOINT)
    save_file(tensors | {"head.bias": torch.full_like(tensors["head.bias"], math.nan)}, mine)
    with pytest.raises(ValueError, match="NaN or infinity in head.bias"):
        gpt.load_base(mine)
    save_file({k: v for k, v in tensors.items() if k != "head.bias"}, mine)
    with pytest.raises(ValueError, match="head.bias is in one of them only"):
        gpt.load_base(mine)
    shutil.copy(gpt.CHECKPOINT.with_suffix(".json"), tmp_path)  # from here on the record beside it counts
    flipped = bytearray(whole)
    flipped[-100] ^= 1
    refuses(bytes(flipped), "not the file that its record describes: sha256")
    mine.write_bytes(whole)
    assert torch.equal(gpt.load_base(mine).head.weight, tensors["head.weight"])
