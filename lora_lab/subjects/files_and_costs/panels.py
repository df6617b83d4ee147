"""Panels of page 09: what a real model costs, and one variant of LoRA beside LoRA."""

from __future__ import annotations

from matplotlib.figure import Figure

from lora_lab.costs import Bill, human
from lora_lab.figures.live import LiveFigure, choice, menu
from lora_lab.subjects.files_and_costs import models
from lora_lab.subjects.objective.panels import _in_units

from . import drawings

DTYPES = {"bfloat16": "bfloat16", "float32": "float32", "4 bits (NF4)": "nf4"}
TOKENS = {"1 × 512": 512, "1 × 2048": 2048, "8 × 512": 4096, "8 × 2048": 16384, "32 × 512": 16384, "32 × 2048": 65536}


class Estimate(dict):
    """What the calculator says, by name; `full` and `lora` are Bills."""

    def caption(self) -> str:
        full, lora = self["full"], self["lora"]
        beside = f"{self['beside']:,} adapters" if self["beside"] else "no adapter: the base alone does not fit"
        return (
            f"{self['trained']:,} trained numbers ({self['share']:.2g} %). Training {human(lora.total)}, in full "
            f"{human(full.total)}. LoRA: weights {human(lora.weights)}, gradients {human(lora.gradients)}, "
            f"optimizer {human(lora.optimizer)}, activations {human(lora.activations)}. "
            f"File {human(self['file'])}, in full {human(self['full_file'])}. "
            f"In {self['card']} GB beside one base: {beside}"
        )


def estimate(model: str, r: int, targets: str, dtype: str, optimizer: str, batch: str, card: int = 80) -> Estimate:
    """All numbers of the calculator. Full fine-tuning beside a 4-bit base is counted in bfloat16: 4 bits do not train.

    Files are in 16 bits, as the paper counts them; `beside` is how many such adapters a card of `card` GB holds.
    """
    shape, kind, tokens = models.shape_of(model), DTYPES[dtype], TOKENS[batch]
    trained = models.adapter_numbers(shape, r, targets)
    wide = "bfloat16" if kind == "nf4" else kind
    full: Bill = models.training_bill(shape, None, targets, wide, optimizer, tokens)
    return Estimate(
        trained=trained,
        share=100 * trained / shape.total,
        lora=models.training_bill(shape, r, targets, kind, optimizer, tokens),
        full=full,
        file=2 * trained,
        full_file=2 * shape.total,
        beside=models.adapters_beside(shape, r, targets, kind, card * 1e9),
        card=card,
    )


def calculator_panel(model: str = "Llama-3-8B") -> LiveFigure:
    """Page 09: memory while training, full and with LoRA, for a published model."""

    def draw(fig: Figure, **values) -> str:
        found = estimate(**values)
        bills = {"full": found["full"], "LoRA": found["lora"]}
        scale, unit = _in_units(found["full"].total)
        if not fig.axes:
            ax = fig.subplots(gridspec_kw={"left": 0.08, "right": 0.97, "bottom": 0.4, "top": 0.88})
            drawings.bill_bars(bills, ax)
        drawings.update_bills(fig.axes[0], bills, scale, unit)
        fig.axes[0].set_title(f"while training {values['model']}")
        return found.caption()

    controls = {
        "model": menu("model", list(models.SHAPES)),
        "r": choice("rank r", (1, 2, 4, 8, 16, 32, 64, 128, 256), 8),
        "targets": menu("matrices", list(models.TARGETS)),
        "dtype": menu("base in", list(DTYPES)),
        "optimizer": menu("optimizer", ["Adam", "8-bit Adam", "SGD"]),
        "batch": choice("batch × length", list(TOKENS), "1 × 2048"),
        "card": choice("card, GB", (8, 16, 24, 48, 80, 141), 80),
    }
    controls["model"].value, controls["targets"].value = model, "q, v"
    return LiveFigure(draw, controls, name="what it costs", figsize=(9.5, 3.4), keep=True)




