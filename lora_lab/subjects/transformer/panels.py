"""Panels of the transformer: ways to fine-tune, subspaces, and adapters that are turned up and down while they talk."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

from matplotlib.figure import Figure
from torch import Tensor

from lora_lab import figures
from lora_lab.adapter_set import AdapterSet
from lora_lab.adapters import set_scale
from lora_lab.figures import short
from lora_lab.figures.live import LiveFigure, choice, menu
from lora_lab.subjects.mini_language import language
from lora_lab.subjects.tables import Table

from . import directions, drawings
from .gpt import RANKS, above_floor, generate, linears, load_base


def ways_panel(runs: Table) -> LiveFigure:
    """Every way to fine-tune, from the record: loss on the task, loss on the voices that no task trains."""
    titles = {"loss": "above the floor", "others": "other voices: forgotten"}

    def draw(fig: Figure, task: str, where: str, r: int) -> str:
        here = runs.where(task=task)
        chosen, full = here.where(where=where, rank=r), here.where(way="full")
        if fig.get_label() != task:  # drawn once for each task; then only the rings move
            fig.clear()
            fig.set_label(task)
            grid = {"left": 0.08, "right": 0.985, "bottom": 0.15, "top": 0.9, "wspace": 0.25}
            for ax, column in zip(fig.subplots(1, 2, gridspec_kw=grid), titles):
                drawings.ways(here, column, ax, title=f"{task}, {titles[column]}")
                ax.axhline(full.mean(column), lw=1, ls=":", color=figures.COLOURS["full"])
                figures.ring(ax, 17)
            fig.axes[0].legend(loc="best")
        trained = chosen[0].trained
        for ax, column in zip(fig.axes, titles):
            ax.lines[-1].set_data([trained], [chosen.mean(column)])
        return (
            f"{where} r = {r}: {trained:,} numbers ({short(100 * trained / full[0].trained)} %), "
            f"{task} {short(chosen.mean('loss'))} (full {short(full.mean('loss'))}), "
            f"other voices {short(chosen.mean('others'))} (full {short(full.mean('others'))})"
        )

    controls = {
        "task": menu("task", ["swap 8", "bard"]),
        "where": menu("adapted", ["q,v", "all linears"]),
        "r": choice("rank r", RANKS, 8),
    }
    return LiveFigure(draw, controls, name="ways to fine-tune", figsize=(10.5, 4.2), keep=True)


def regret_panel(runs: Table) -> LiveFigure:
    """How much data and which rank: loss above the floor on new lines (left), and on the lines it learned from."""
    columns = {"loss": "new lines", "seen": "the lines it learned from"}

    def draw(fig: Figure, lines: int, way: str) -> str:
        now = runs.where(lines=lines, way=way)
        if not fig.axes:
            for ax, (column, title) in zip(fig.subplots(1, 2), columns.items()):
                drawings.over(runs, "lines", column, ax)
                ax.axhline(0, ls="--", lw=1, color=figures.COLOURS["floor"])
                ax.set(title=title, xlabel="lines to learn from (small: each seed)")
                figures.ring(ax, 15)
            fig.axes[0].set_ylabel("nats above the floor")
            fig.axes[0].legend()
            fig.subplots_adjust(left=0.09, right=0.98, bottom=0.19, top=0.9, wspace=0.25)
        for ax, column in zip(fig.axes, columns):
            ax.lines[-1].set_data([lines], [now.mean(column)])
        return (
            f"{way}, {now[0].trained:,} numbers, {lines:,} lines: {now.mean('loss'):.3f} above the floor on new lines, "
            f"{now.mean('seen'):+.3f} on its own"
        )

    controls = {"lines": choice("lines", sorted(runs.kinds("lines"))), "way": menu("way", runs.kinds("way"))}
    return LiveFigure(draw, controls, name="data and rank", figsize=(10.5, 3.8), keep=True)


def similarity_panel(pairs: Mapping[str, tuple[Tensor, Tensor]]) -> LiveFigure:
    """φ(A₁, A₂, i, j) as a map with a mark at (i, j), and its value beside what chance gives. {label: (A1, A2)}."""
    phis = {label: directions.subspace_similarity(*pair) for label, pair in pairs.items()}
    width = {label: A.shape[1] for label, (A, _) in pairs.items()}

    def draw(fig: Figure, pair: str, i: int, j: int) -> str:
        phi = phis[pair]
        i, j = min(i, phi.shape[0]), min(j, phi.shape[1])
        value, chance = float(phi[i - 1, j - 1]), directions.random_similarity(i, j, width[pair])
        if not fig.axes:
            grid = {"left": 0.07, "right": 0.98, "bottom": 0.18, "top": 0.88, "wspace": 0.3, "width_ratios": (2.2, 1)}
            left, right = fig.subplots(1, 2, gridspec_kw=grid)
            figures.ring(left, 13)
            right.bar(["these two", "chance"], [0, 0], color=[figures.COLOURS["LoRA"], figures.COLOURS["rest"]])
            right.set(ylim=(0, 1.1))
        left, right = fig.axes[:2]
        drawings.phi_map(phi, left)
        left.set_title(f"φ(i, j), {pair}")
        left.lines[0].set_data([j], [i])
        right.set_title(f"{value:.2f}, by chance {chance:.2f}")
        for bar, height in zip(right.patches, (value, chance)):
            bar.set_height(height)
        return f"φ({i}, {j}) = {value:.2f}, chance {chance:.2f}"

    controls = {"pair": menu("pair", list(pairs)), "i": choice("i", RANKS), "j": choice("j", RANKS)}
    controls["pair"].readout = False  # names are longer than a slider shows; the title has them
    return LiveFigure(draw, controls, name="subspace similarity", figsize=(10, 3.6), keep=True)


def talk(
    adapters: AdapterSet, tasks: Mapping[str, str], lams: Sequence[float], records: Sequence[Sequence[str]]
) -> dict[tuple[str, float], SimpleNamespace]:
    """{(adapter, λ): its texts for `records`; and on more: nats above the floor of its task and of other voices, right,
    the share of habits that are the task's favourite; a sentence that the grammar refuses has none}.

    tasks: {adapter: task}.
    """
    others = language.corpus(80, seed=8_000, tellers=[t for t in language.TELLERS if t != "anon"])
    found = {}
    for name, task in tasks.items():
        lines = language.dialect(task, 80, seed=8_001)
        asked = [line.record for line in lines[:30]]
        adapters.use(name)
        for lam in lams:
            set_scale(adapters.model, lam)
            texts = generate(adapters.model, [*records, *asked])
            found[name, lam] = SimpleNamespace(
                texts=[" ".join(text) for text in texts[: len(records)]],
                task=above_floor(adapters.model, lines),
                voices=above_floor(adapters.model, others),
                right=language.shares(asked, texts[len(records) :], task).in_voice,
            )
        set_scale(adapters.model, 1.0)
    return found


def talk_panel(said: Mapping[tuple[str, float], SimpleNamespace], records: Sequence[Sequence[str]]) -> LiveFigure:
    """One adapter, one λ: the sentences, and the two losses over λ. said: from `talk`."""
    names = list(dict.fromkeys(name for name, _ in said))
    lams = list(dict.fromkeys(lam for _, lam in said))
    highest = 1.1 * max(max(s.task, s.voices) for s in said.values())

    def draw(fig: Figure, adapter: str, lam: float) -> str:
        now = said[adapter, lam]
        if not fig.axes:
            left = fig.add_axes((0.07, 0.3, 0.33, 0.58))
            left.plot(lams, [0] * len(lams), label="its task", color=figures.COLOURS["LoRA"])
            left.plot(lams, [0] * len(lams), label="other voices", color=figures.COLOURS["other"])
            left.axvline(lam, lw=1.2, color=figures.COLOURS["chosen"])
            left.set(xlabel="λ", ylabel="nats above the floor", ylim=(0, highest))
            left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
            for k, record in enumerate(records):
                y = 0.84 - 0.26 * k
                facts = " ".join(word for word in record if word != language.NOTHING)
                fig.text(0.44, y, facts, color=figures.COLOURS["base"], fontsize=11)
                fig.text(0.45, y - 0.1, "", fontsize=13)
        (left,) = fig.axes
        left.set_title(f"adapter {adapter}")
        task_line, voices_line, mark = left.lines
        task_line.set_ydata([said[adapter, x].task for x in lams])
        voices_line.set_ydata([said[adapter, x].voices for x in lams])
        mark.set_xdata([lam, lam])
        for text, sentence in zip(fig.texts[1::2], now.texts):
            text.set(text=sentence, color=figures.COLOURS["LoRA"] if lam else figures.COLOURS["base"])
        return f"“{now.texts[0]}” task {short(now.task)}, others {short(now.voices)}, right {100 * now.right:.0f} %"

    controls = {"adapter": menu("adapter", names), "lam": choice("λ", lams, 0.5)}
    return LiveFigure(draw, controls, name="adapters that talk", figsize=(11, 3.6), keep=True)


def scale_intruders(
    deltas: Mapping[str, Tensor], task: str, scales: Sequence[float] = (0, 0.25, 0.5, 0.75, 1.0, 1.25)
) -> tuple[Table, int]:
    """The base with these updates {matrix: ΔW}, and the part of W + ΔW along its intruders scaled, a row for each
    scale: nats above the floor of the task and of the others; and how many there are.
    """
    model = load_base()
    layers = {name: layer for name, layer in linears(model).items() if name in deltas}
    parts = {name: directions.intruders(layer.weight, deltas[name]) for name, layer in layers.items()}
    tuned = {name: layer.weight.detach() + deltas[name] for name, layer in layers.items()}
    lines = language.dialect(task, 400, seed=8_002)
    others = language.corpus(400, seed=8_003, tellers=[t for t in language.TELLERS if t != "anon"])
    found = []
    for scale in scales:
        for name, layer in layers.items():
            layer.weight.data = tuned[name] + (scale - 1) * parts[name][1]
        found.append({"scale": scale, "task": above_floor(model, lines), "others": above_floor(model, others)})
    return Table.of(found), sum(count for count, _ in parts.values())


def intruder_panel(measured: Mapping[str, tuple[Table, int]]) -> LiveFigure:
    """What becomes of the task and of the other voices when the intruders are turned down. measured: {adapter: from
    `scale_intruders`}.
    """
    scales = next(iter(measured.values()))[0].column("scale")

    def draw(fig: Figure, adapter: str, scale: float) -> str:
        rows, count = measured[adapter]
        now = rows[scales.index(scale)]
        if not fig.axes:
            for ax, colour in zip(fig.subplots(1, 2), ("LoRA", "other")):
                ax.plot(scales, scales, "o-", color=figures.COLOURS[colour])
                ax.set(xlabel="intruders scaled by", xticks=scales)
                figures.ring(ax, 15)
            fig.axes[0].set_ylabel("nats above the floor")
            fig.subplots_adjust(left=0.08, right=0.98, bottom=0.17, top=0.88)
        for ax, column, title in zip(fig.axes, ("task", "others"), ("its task", "other voices")):
            values = rows.column(column)
            ax.lines[0].set_ydata(values)
            ax.lines[1].set_data([scale], [getattr(now, column)])
            ax.set(title=f"{adapter}: {title}", ylim=(0, 1.15 * max(values)))
        return f"{count} intruders scaled by {scale:g}: task {short(now.task)}, other voices {short(now.others)}"

    controls = {"adapter": menu("adapter", list(measured)), "scale": choice("scaled by", scales, 1.0)}
    return LiveFigure(draw, controls, name="intruders", figsize=(10.5, 3.4), keep=True)
