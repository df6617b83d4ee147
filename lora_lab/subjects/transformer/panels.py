"""Page 08: ways to fine-tune, subspaces, and adapters that are turned up and down while they talk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from lora_lab import figures, theory
from lora_lab.adapter_set import AdapterSet
from lora_lab.adapters import set_scale
from lora_lab.figures.live import LiveFigure, choice, menu
from lora_lab.subjects.mini_language import language

from . import drawings
from .gpt import RANKS, above_floor, generate


def ways_panel(table: Mapping[str, Mapping[str, Mapping]]) -> LiveFigure:
    """Every way to fine-tune, from the record: loss on the task, loss on the voices that were not trained.

    table: {task: {way: {"trained": n, "task": [per seed], "voices": [per seed]}}}, as gpt_tuning.json has it.
    """

    def draw(fig: Figure, task: str, where: str, r: int) -> str:
        rows = {way: row for way, row in table[task].items() if way != "before"}
        chosen, full = rows[f"{where} r={r}"], rows["full"]
        keys = {"task": f"{task}: above the floor", "voices": "other voices: forgotten"}
        axes = [ax for ax in fig.axes if ax.get_label() == task]
        if not axes:  # drawn once for each task; then only the rings move
            grid = {"left": 0.08, "right": 0.985, "bottom": 0.15, "top": 0.9, "wspace": 0.25}
            axes = fig.subplots(1, 2, gridspec_kw=grid)
            for ax, (key, title) in zip(axes, keys.items()):
                drawings.ways({way: (row["trained"], mean(row[key])) for way, row in rows.items()}, ax, title=title)
                ax.axhline(mean(full[key]), lw=1, ls=":", color=figures.COLOURS["full"])
                figures.ring(ax, 17)
                ax.set_label(task)
            axes[1].get_legend().remove()
        for ax in fig.axes:
            ax.set_visible(ax.get_label() == task)
        for ax, key in zip(axes, keys):
            ax.lines[-1].set_data([chosen["trained"]], [mean(chosen[key])])
        share = 100 * chosen["trained"] / full["trained"]
        return (
            f"{where} r = {r}: {chosen['trained']:,} numbers ({figures.short(share)} %), {task} "
            f"{figures.short(mean(chosen['task']))} (full {figures.short(mean(full['task']))}), other voices "
            f"{figures.short(mean(chosen['voices']))} (full {figures.short(mean(full['voices']))})"
        )

    controls = {
        "task": menu("task", list(table)),
        "where": menu("adapted", ["q,v", "all linears"]),
        "r": choice("rank r", RANKS, 8),
    }
    return LiveFigure(draw, controls, name="ways to fine-tune", figsize=(10.5, 4.2), keep=True)


# ------------------------------------------------------------------------------------------- subspaces


def similarity_panel(pairs: Mapping[str, tuple[Tensor, Tensor]], sides: Sequence[int] = RANKS) -> LiveFigure:
    """φ(A₁, A₂, i, j) as a map with a mark at (i, j), and its value beside what chance gives. {label: (A1, A2)}."""
    phis = {label: theory.subspace_similarity(*pair) for label, pair in pairs.items()}
    width = {label: pair[0].shape[1] for label, pair in pairs.items()}

    def draw(fig: Figure, pair: str, i: int, j: int) -> str:
        phi, d = phis[pair], width[pair]
        i, j = min(i, phi.shape[0]), min(j, phi.shape[1])
        value, chance = float(phi[i - 1, j - 1]), theory.random_similarity(i, j, d)
        if not fig.axes:
            grid = {"left": 0.07, "right": 0.98, "bottom": 0.18, "top": 0.88, "wspace": 0.3, "width_ratios": (2.2, 1)}
            left, right = fig.subplots(1, 2, gridspec_kw=grid)
            drawings.phi_map(phi, left, title="φ(i, j)")
            figures.ring(left, 13)
            right.bar(["these two", "chance"], [0, 0], color=[figures.COLOURS["LoRA"], figures.COLOURS["rest"]])
            for x in (0, 1):
                right.text(x, 0, "", ha="center", va="bottom")
            right.set(ylim=(0, 1.1))
        left, right = fig.axes[:2]
        drawings.update_phi_map(left, phi)
        left.lines[0].set_data([j], [i])
        right.set_title(f"i = {i}, j = {j}")
        for bar, label, height in zip(right.patches, right.texts, (value, chance)):
            bar.set_height(height)
            label.set(text=f"{height:.2f}", y=height)
        return f"φ({i}, {j}) = {value:.2f}, chance {chance:.2f}"

    controls = {"pair": menu("pair", list(pairs)), "i": choice("i", sides), "j": choice("j", sides)}
    return LiveFigure(draw, controls, name="subspace similarity", figsize=(10, 3.6), keep=True)


# ------------------------------------------------------------------------------------------- adapters that talk


class Said(NamedTuple):
    """What the model says and loses (nats above the floor) with one adapter at one λ.

    right: the share of habits that are the task's favourite; a sentence that the task's grammar refuses has none.
    """

    texts: list[str]
    task: float
    voices: float
    right: float


@torch.no_grad()
def talk(
    adapters: AdapterSet, tasks: Mapping[str, str], lams: Sequence[float], records: Sequence[Sequence[str]], n: int = 60
) -> dict[tuple[str, float], Said]:
    """Every adapter at every λ: greedy text for `records`, the loss on its task and on the voices that no task
    trains, and the share of habits that are right in n more sentences. tasks: {adapter: task}."""
    others = language.corpus(150, seed=8_000, tellers=[t for t in language.TELLERS if t != "anon"])
    found = {}
    for name, task in tasks.items():
        lines = language.dialect(task, 150, seed=8_001)
        asked = [line.record for line in lines[:n]]
        adapters.use(name)
        for lam in lams:
            set_scale(adapters.model, lam)
            texts = generate(adapters.model, [*records, *asked])
            found[name, lam] = Said(
                [" ".join(text) for text in texts[: len(records)]],
                above_floor(adapters.model, lines),
                above_floor(adapters.model, others),
                language.shares(asked, texts[len(records) :], task).in_voice,
            )
        set_scale(adapters.model, 1.0)
    return found


def talk_panel(said: Mapping[tuple[str, float], Said], records: Sequence[Sequence[str]]) -> LiveFigure:
    """One adapter, one λ: the sentences, and the two losses over λ. said: from `talk`."""
    names = list(dict.fromkeys(name for name, _ in said))
    lams = list(dict.fromkeys(lam for _, lam in said))
    highest = 1.1 * max(max(s.task, s.voices) for s in said.values())

    def draw(fig: Figure, adapter: str, lam: float) -> str:
        now = said[adapter, lam]
        if not fig.axes:
            left = fig.add_axes((0.07, 0.18, 0.33, 0.7))
            for label, colour in (("its task", "LoRA"), ("other voices", "other")):
                left.plot(lams, [0] * len(lams), label=label, color=figures.COLOURS[colour])
            left.axvline(lam, lw=1.2, color=figures.COLOURS["chosen"])
            left.set(xlabel="λ", ylabel="nats above the floor", ylim=(0, highest))
            left.legend(loc="upper center", frameon=True, framealpha=1, edgecolor="none")  # over the line at λ
            for k, record in enumerate(records):
                y = 0.84 - 0.26 * k
                fig.text(0.44, y, " ".join(w for w in record if w != "-"), color=figures.COLOURS["base"], fontsize=11)
                fig.text(0.45, y - 0.1, "", fontsize=13)
        (left,) = fig.axes
        left.set_title(f"adapter {adapter}")
        for line, key in zip(left.lines, ("task", "voices")):
            line.set_ydata([getattr(said[adapter, x], key) for x in lams])
        left.lines[2].set_xdata([lam, lam])
        for text, sentence in zip(fig.texts[1::2], now.texts):
            text.set(text=sentence, color=figures.COLOURS["LoRA"] if lam else figures.COLOURS["base"])
        return (
            f"“{now.texts[0]}” task {figures.short(now.task)}, others {figures.short(now.voices)}, "
            f"right {100 * now.right:.0f} %"
        )

    controls = {"adapter": menu("adapter", names), "lam": choice("λ", lams, 1.0)}
    return LiveFigure(draw, controls, name="adapters that talk", figsize=(11, 3.4), keep=True)
