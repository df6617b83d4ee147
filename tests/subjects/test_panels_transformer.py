"""Page 08's panels and figures: their numbers are those of the functions behind them."""

import pytest
import torch

from lora_lab import add_lora, figures, published, set_scale, theory
from lora_lab.adapter_set import AdapterSet
from lora_lab.subjects.mini_language import language
from lora_lab.subjects.transformer import drawings, gpt, panels


@pytest.fixture(autouse=True)
def no_open_figures():
    yield
    figures.plt.close("all")


def row(trained, task, voices):
    return {"trained": trained, "task": [task] * 3, "voices": [voices] * 3}


def small_table():
    one = {
        "before": {"task": 1.0},
        "full": row(1000, 0.01, 0.5),
        "head": row(100, 0.02, 0.6),
        "biases": row(50, 0.3, 0.2),
    }
    one["last block"] = row(400, 0.02, 0.4)
    for k, where in enumerate(("q,v", "all linears")):
        one |= {f"{where} r={r}": row((k + 1) * 10 * r, 0.1 / r + 0.01, 0.05 * r) for r in gpt.RANKS}
    return {"bard": one, "swap 8": {**one, "q,v r=8": row(80, 0.123, 0.4)}}


def test_ways_panel_reads_the_record_and_marks_the_chosen_point():
    panel = panels.ways_panel(small_table())
    assert "q,v r = 8: 80 numbers (8 %), bard 0.022 (full 0.01), other voices 0.4 (full 0.5)" == panel.caption
    assert "swap 8 0.12 (full 0.01)" in panel.set(task="swap 8")
    panel.set(where="all linears", r=2)
    left, right = (ax for ax in panel._figure.axes if ax.get_visible())
    for ax, value in ((left, 0.06), (right, 0.1)):
        x, y = ax.lines[-1].get_data()
        assert (float(x[0]), float(y[0])) == pytest.approx((40, value))
    assert [t.get_text() for t in left.texts] == ["full", "head", "biases", "last block"]


def test_similarity_panel_shows_phi_at_the_mark_beside_chance():
    g = torch.Generator().manual_seed(0)
    A1, A2 = torch.randn(8, 50, generator=g), torch.randn(16, 50, generator=g)
    panel = panels.similarity_panel({"noise": (A1, A2), "same": (A1, A1)}, sides=(1, 2, 4, 8, 16))
    phi = theory.subspace_similarity(A1, A2)
    assert panel.set(i=4, j=16) == f"φ(4, 16) = {phi[3, 15]:.2f}, chance 0.32"
    assert panel.set(i=16) == panel.set(i=8)  # the first has 8 directions
    assert panel.set(pair="same", j=8) == "φ(8, 8) = 1.00, chance 0.16"
    heights = [bar.get_height() for bar in panel._figure.axes[1].patches]
    assert heights == pytest.approx([1.0, 0.16])


@pytest.fixture(scope="module")
def talked():
    model = gpt.load_base()
    add_lora(model, r=8, alpha=16, target_modules=["q_proj", "v_proj"])
    adapters = AdapterSet(model)
    adapters.load("bard", gpt.ADAPTERS / "bard")
    records = [line.record for line in language.dialect("bard", 3, seed=3)]
    return adapters, records, panels.talk(adapters, {"bard": "bard"}, (0.0, 0.5, 1.0), records, n=20)


def test_talk_is_the_base_at_lambda_0_and_the_dialect_at_1(talked):
    adapters, records, said = talked
    plain = [" ".join(t) for t in gpt.generate(gpt.load_base(), records)]
    assert said["bard", 0.0].texts == plain and said["bard", 0.0].voices < 0.02 < 1 < said["bard", 0.0].task
    assert all(text.startswith("hark :") and text.endswith("they say .") for text in said["bard", 1.0].texts)
    assert said["bard", 1.0].task < 0.02 and said["bard", 1.0].right > 0.99 and said["bard", 0.0].right < 0.5
    assert said["bard", 0.0].task > said["bard", 0.5].task > said["bard", 1.0].task
    assert said["bard", 0.0].voices < said["bard", 0.5].voices < said["bard", 1.0].voices
    assert all(m.lam == 1 for m in adapters.model.modules() if hasattr(m, "lam"))  # put back


def test_talk_panel_shows_the_text_of_its_position(talked):
    _, records, said = talked
    panel = panels.talk_panel(said, records)
    for lam in (0.0, 0.5, 1.0):
        caption = panel.set(lam=lam)
        assert said["bard", lam].texts[0] in caption and f"{100 * said['bard', lam].right:.0f} %" in caption
        shown = [t.get_text() for t in panel._figure.texts]
        assert shown[1::2] == said["bard", lam].texts and shown[0] == " ".join(w for w in records[0] if w != "-")


def test_greedy_text_has_no_near_ties_at_any_lambda_of_the_page():
    """So the sentences that page 08 prints are the same on every CPU: its rounding errors are near 1e-5."""
    model = gpt.load_base()
    add_lora(model, r=8, alpha=16, target_modules=["q_proj", "v_proj"])
    adapters = AdapterSet(model)
    records = [r.record for r in language.dialect("bard", 40, seed=6) if "-" not in r.record][:3]
    for name in ("bard", "wire", "swap"):
        adapters.load(name, gpt.ADAPTERS / name)
        adapters.use(name)
        for lam in (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5):
            set_scale(model, lam)
            texts = gpt.generate(model, records)
            for record, text in zip(records, texts):
                ids = language.encode([*record, language.ARROW, *text])[None]
                with torch.no_grad():
                    best = model(ids)[0, language.PROMPT - 1 :].topk(2).values
                assert (best[:, 0] - best[:, 1]).min() > 1e-3, f"{name}, λ = {lam}: {' '.join(text)}"
        set_scale(model, 1.0)


def test_tables_of_ours_are_drawn_beside_the_published_ones():
    ours = {row: [0.1, 0.2, 0.3] for row in published.TABLE5} | {"MLP": [0.5]}
    left, right = drawings.beside(ours, {row: v[0] for row, v in published.TABLE5.items()})
    assert [t.get_text() for t in left.get_yticklabels()] == list(ours)
    assert [float(line.get_xdata()[0]) for line in right.lines] == [v[0] for v in published.TABLE5.values()]
    assert len(left.lines) == 8 and left.lines[0].get_xdata() == pytest.approx([0.1, 0.2, 0.3])
    left, right = drawings.rank_lines({"ours": {1: [0.1, 0.3], 64: [0.02, 0.04]}}, published.TABLE6)
    assert left.lines[0].get_ydata() == pytest.approx([0.2, 0.03])
    assert right.lines[1].get_ydata()[-1] == 73.5


def test_the_papers_table_7_has_its_own_random_column():
    """‖W‖ r / d with d = 12288: the published random projections are what chance gives."""
    for r, given in published.TABLE7.items():
        assert given["norm"] * r / 12288 == pytest.approx(given["on_random"], abs=0.01)
    ax = drawings.projections({"r = 4": published.TABLE7[4]})
    heights = {bar.get_height() for bar in ax.patches}
    assert {round(h, 4) for h in heights} == {round(21.67 / 61.95, 4), round(0.32 / 61.95, 4), round(0.02 / 61.95, 4)}


def test_phi_map_and_learned_forgotten_draw_what_they_are_given():
    ax = drawings.phi_map(torch.full((8, 64), 0.5))
    assert ax.images[0].get_array().shape == (8, 64)
    one, two = drawings.learned_forgotten({"a": {"full": [(0.1, 0.2), (0.3, 0.4)]}, "b": {"q,v r=8": [(0.1, 0.5)]}})
    assert one.lines[0].get_ydata() == pytest.approx([0.2, 0.4]) and two.lines[0].get_ydata() == pytest.approx([0.5])
