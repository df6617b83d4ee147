"""Page 01: what fine-tuning one layer costs, fully and with LoRA: bytes while training with Adam, and on disk."""

from typing import NamedTuple

from matplotlib.figure import Figure

from lora_lab import costs, figures
from lora_lab.figures.live import LiveFigure, choice, menu
from lora_lab.subjects.files_and_costs.models import parameter_bytes
from lora_lab.subjects.files_and_costs.panels import memory_bars

TASKS = (1, 2, 5, 10, 20, 50, 100)


class Memory(NamedTuple):
    """Bytes held while training, by purpose. Activations are not in it; page 10 measures them."""

    weights: int
    gradients: int
    adam: int

    @property
    def total(self) -> int:
        return sum(self)


def training_memory(d_out: int, d_in: int, r: int | None = None, dtype: str = "float32") -> Memory:
    """One d_out x d_in weight trained with Adam. In full (r None): the weight, its gradient, two moments, all in
    `dtype`. With LoRA: the frozen weight in `dtype`; factors, their gradient and moments in float32.
    """
    costs.check_positive(d_out=d_out, d_in=d_in)
    weight = d_out * d_in * parameter_bytes(dtype)
    if r is None:
        return Memory(weight, weight, 2 * weight)
    factors = 4 * costs.lora_numbers(d_out, d_in, r)
    return Memory(weight + factors, factors, 2 * factors)


def disk_bytes(d_out: int, d_in: int, tasks: int, r: int | None = None, dtype: str = "float32") -> int:
    """What is stored for `tasks` tasks: a full copy each (r None), or one base and an adapter of rank r each."""
    costs.check_positive(d_out=d_out, d_in=d_in, tasks=tasks)
    weight = d_out * d_in * parameter_bytes(dtype)
    return tasks * weight if r is None else weight + tasks * 4 * costs.lora_numbers(d_out, d_in, r)


def _in_units(biggest: float) -> tuple[float, str]:
    """The unit in which a number of bytes is at least 1: (1e6, "MB")."""
    return next((s, u) for s, u in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if max(biggest, 1e3) >= s)


def cost_panel(width: int = 1000, r: int = 1) -> LiveFigure:
    """Page 01: what one square layer costs to fine-tune, fully and with LoRA, for one task and for many."""
    labels = ["full", f"r = {r}"]

    def draw(fig: Figure, width: int, tasks: int, dtype: str) -> str:
        memory = [training_memory(width, width, rank, dtype) for rank in (None, r)]
        disk = [disk_bytes(width, width, tasks, rank, dtype) for rank in (None, r)]
        if not fig.axes:
            grid = {"left": 0.09, "right": 0.97, "bottom": 0.3, "top": 0.87, "wspace": 0.3}
            left, right = fig.subplots(1, 2, gridspec_kw=grid)
            left.set_title("while training one task")
            right.barh(labels, disk, color=[figures.COLOURS["full"], figures.COLOURS["LoRA"]])
            right.invert_yaxis()
        left, right = fig.axes
        scale, unit = _in_units(memory[0].total)
        memory_bars(left, dict(zip(labels, memory)), scale)
        left.set(xlim=(0, 1.05 * memory[0].total / scale), xlabel=unit)
        most = disk_bytes(width, width, TASKS[-1], None, dtype)  # the axis stands still while tasks moves
        scale, unit = _in_units(most)
        for bar, size in zip(right.patches, disk):
            bar.set_width(size / scale)
        right.set(xlim=(0, 1.05 * most / scale), xlabel=unit)
        right.set_title(f"on disk for {tasks} task{'s' * (tasks > 1)}")
        full, lora = memory
        return (
            f"training {costs.human(full.total)} full, {costs.human(lora.total)} LoRA; "
            f"disk {costs.human(disk[0])} full, {costs.human(disk[1])} LoRA"
        )

    controls = {
        "width": choice("width d", (250, 500, 1000, 2000, 4096, 8192, 12288), width),
        "tasks": choice("tasks", TASKS, 10),
        "dtype": menu("dtype", list(costs.BYTES)),
    }
    return LiveFigure(draw, controls, name="what fine-tuning costs", figsize=(9.5, 3.6), keep=True)
