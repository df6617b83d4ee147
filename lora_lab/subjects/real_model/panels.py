"""The panel of page 13: what the shipped adapters answer, turned up and down."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from lora_lab import figures
from lora_lab.figures.live import LiveFigure, choice, menu

from .task import KEYS, Example, facts_in, grade


def answer_panel(said: Mapping[str, Mapping[float, Sequence[str]]], examples: Sequence[Example]) -> LiveFigure:
    """An adapter's recorded answer at λ, fact by fact, and how many facts of all sentences are right over λ.

    said: {adapter: {λ: an answer for each example}}.
    """
    lams = list(next(iter(said.values())))
    right = {
        name: [sum(grade(a, e.facts).right for a, e in zip(by_lam[lam], examples)) for lam in lams]
        for name, by_lam in said.items()
    }
    most = len(KEYS) * len(examples)

    def draw(fig: Figure, adapter: str, lam: float, sentence: int) -> str:
        example, answer = examples[sentence - 1], said[adapter][lam][sentence - 1]
        facts = facts_in(answer) or {}
        if not fig.axes:
            table, curve = fig.subplots(1, 2, gridspec_kw={"width_ratios": (1.9, 1)})
            table.axis("off")
            for column, x in zip(("", "wanted", "answered"), (0, 0.2, 0.5)):
                table.text(x, 0.72, column, weight="bold", color=figures.COLOURS["base"])
                for i, key in enumerate(KEYS):
                    table.text(x, 0.6 - 0.115 * i, key if not x else "")
            table.text(0, 1.0, "", fontsize=12, weight="bold")
            table.text(0, 0.88, "", fontsize=10, family="monospace")
            curve.plot(lams, lams, "o-", color=figures.COLOURS["LoRA"])
            figures.ring(curve, 15)
            curve.set(xlabel="λ", ylabel=f"facts right, of {most}", ylim=(-2, most + 2), xticks=range(3))
            fig.subplots_adjust(left=0.03, right=0.985, bottom=0.17, top=0.9, wspace=0.12)
        table, curve = fig.axes
        wanted, got = (table.texts[i : i + 7] for i in (7, 14))
        for key, should, does in zip(KEYS, wanted[1:], got[1:]):
            is_right = key in facts and facts[key] == example.facts[key]
            should.set_text(example.facts[key] or "–")
            text = "–" if facts.get(key, 0) is None else str(facts.get(key, "(missing)"))
            mark, colour = ("✓ ", "good") if is_right else ("✗ ", "bad")
            does.set(text=mark + text[:28], color=figures.COLOURS[colour])
        table.texts[-2].set_text(example.sentence)
        words = " ".join(answer.split())
        table.texts[-1].set_text(words[:73] + "…" * (len(words) > 73))
        curve.lines[0].set_ydata(right[adapter])
        curve.lines[1].set_data([lam], [right[adapter][lams.index(lam)]])
        curve.set_title(f"all {len(examples)} sentences")
        mine = grade(answer, example.facts).right
        return (
            f"“{example.sentence}” λ = {lam:g}: {mine} of 6 facts right; "
            f"of all {len(examples)} sentences, {right[adapter][lams.index(lam)]} of {most}"
        )

    controls = {
        "adapter": menu("adapter", list(said)),
        "lam": choice("λ", lams, 0.5),
        "sentence": choice("sentence", range(1, len(examples) + 1)),
    }
    return LiveFigure(draw, controls, name="answers", figsize=(11, 3.7), keep=True)
