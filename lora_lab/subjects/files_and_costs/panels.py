"""The calculator: what adapting a published model costs."""

from collections.abc import Mapping
from typing import NamedTuple

import ipywidgets as w
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lora_lab.costs import human
from lora_lab.figures.live import LiveFigure, choice, menu
from lora_lab.figures.style import COLOURS, FILLS

from . import models

GB = 1e9
DTYPES = {"bfloat16": "bfloat16", "float32": "float32", "4 bits (NF4)": "nf4"}
TOKENS = {"1 × 512": 512, "1 × 2048": 2048, "8 × 512": 4096, "8 × 2048": 16384, "32 × 512": 16384, "32 × 2048": 65536}
PARTS = {  # of the memory: colour, hatch, words
    "weights": (FILLS["weights"], "", "weights"),
    "gradients": (FILLS["gradient"], "///", "gradients"),
    "adam": (FILLS["Adam"], "...", "Adam's two moments"),
    "optimizer": (FILLS["Adam"], "...", "Adam's state"),
    "activations": (FILLS["activations"], "xx", "activations"),
}


class Estimate(NamedTuple):
    """What the calculator says. trained: numbers. file: bytes of the adapter in 16 bits, as the paper counts them.

    beside: how many such adapters a card holds beside one base and the cache of a batch; 0 if these do not fit.
    """

    trained: int
    lora: models.Bill
    full: models.Bill
    file: int
    beside: int


def estimate(
    model: str, r: int, targets: str, dtype="bfloat16", batch="1 × 2048", card: int = 80, checkpointing: bool = False
) -> Estimate:
    """All numbers of the calculator. Beside a 4-bit base, full fine-tuning is counted in bfloat16."""
    shape, kind, tokens = models.SHAPES[model], DTYPES[dtype], TOKENS[batch]
    trained = models.adapter_numbers(shape, r, targets)
    trainable = "bfloat16" if kind == "nf4" else kind
    lora = models.training_bill(shape, r, targets, kind, tokens, checkpointing)
    full = models.training_bill(shape, None, targets, trainable, tokens, checkpointing)
    left = card * GB - models.weight_bytes(shape, kind) - models.cache_bytes(shape, tokens)
    return Estimate(trained, lora, full, file=2 * trained, beside=max(0, int(left)) // (2 * trained))


def caption(found: Estimate, model: str, batch: str, card: int) -> str:
    lora, total = found.lora, models.SHAPES[model].total
    fits = "fits" if lora.total <= card * GB else "does not fit"
    beside = f"{found.beside:,} adapters" if found.beside else "no adapter: they alone do not fit"
    return (
        f"{found.trained:,} trained numbers ({100 * found.trained / total:.2g} %). "
        f"Training {human(lora.total)}, in full {human(found.full.total)}. "
        f"LoRA: weights {human(lora.weights)}, gradients {human(lora.gradients)}, "
        f"optimizer {human(lora.optimizer)}, activations {human(lora.activations)}. "
        f"File {human(found.file)}, in full {human(2 * total)}. "
        f"A card of {card} GB: training with LoRA {fits}; beside one base and the cache of {batch} tokens, {beside}"
    )


def memory_bars(ax: Axes, bills: Mapping[str, NamedTuple], unit: float) -> None:
    """A bar for each label, stacked of its bill's parts (keys of PARTS) in `unit` bytes; drawn once, then updated."""
    if not ax.containers:
        for part in next(iter(bills.values()))._fields:
            colour, hatch, words = PARTS[part]
            ax.barh(list(bills), [0] * len(bills), color=colour, hatch=hatch, edgecolor=FILLS["paper"], label=words)
        ax.invert_yaxis()
        ax.legend(ncols=3, loc="upper left", bbox_to_anchor=(-0.02, -0.25))
    for row, bill in enumerate(bills.values()):
        left = 0
        for size, bars in zip(bill, ax.containers):
            bars[row].set(x=left, width=size / unit)
            left += size / unit


def calculator_panel() -> LiveFigure:
    """Memory while training a published model, in full and with LoRA, and the memory of a card as a line."""

    def draw(fig: Figure, **values) -> str:
        found, card = estimate(**values), values["card"]
        if not fig.axes:
            ax = fig.subplots(gridspec_kw={"left": 0.08, "right": 0.97, "bottom": 0.4, "top": 0.88})
            ax.axvline(0, color=COLOURS["chosen"], lw=1.5, label="the card")
        (ax,) = fig.axes
        memory_bars(ax, {"full": found.full, "LoRA": found.lora}, GB)
        ax.lines[0].set_xdata([card, card])
        longest = max(found.full.total, found.lora.total) / GB
        ax.set_xlim(0, 1.05 * max(longest, card if card < 2 * longest else 0))
        ax.set(title=f"while training {values['model']}", xlabel="GB")
        return caption(found, values["model"], values["batch"], card)

    controls = {
        "model": menu("model", list(models.SHAPES), "Llama-3-8B"),
        "r": choice("rank r", (1, 2, 4, 8, 16, 32, 64, 128, 256), 8),
        "targets": menu("matrices", list(models.TARGETS), "q, v"),
        "dtype": menu("base in", list(DTYPES)),
        "batch": choice("batch × length", list(TOKENS), "1 × 2048"),
        "checkpointing": w.Checkbox(description="gradient checkpointing", indent=False),
        "card": choice("card, GB", (8, 16, 24, 48, 80, 141), 24),
    }
    return LiveFigure(draw, controls, name="what it costs", figsize=(9.5, 3.4), keep=True, lines=2)
