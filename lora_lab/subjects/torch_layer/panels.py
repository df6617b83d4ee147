"""Page 03: a film of ΔΘ while it is trained."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from torch import Tensor

from lora_lab import figures
from lora_lab.figures.live import LiveFigure, choice


class Film:
    """Snapshots of one low-rank training run: at each epoch the factors, from which delta is rebuilt on demand.

    losses: the loss at every step; frames: {epoch: (lora_A (r, in), lora_B (out, r))}.
    """

    def __init__(self, history, scaling: float) -> None:
        self.losses, self.per_epoch = history.losses, history.steps_per_epoch
        self.frames = {
            round(step / self.per_epoch): (scaling * state["lora_B"], state["lora_A"])
            for step, state in history.snapshots.items()
        }

    def delta(self, epoch: int) -> Tensor:
        B, A = self.frames[epoch]
        return B @ A  # (out, in)

    def loss(self, epoch: int) -> float:
        """The loss of the first batch after this epoch (of the last batch, at the end)."""
        return self.losses[min(epoch * self.per_epoch, len(self.losses) - 1)]


def film_panel(
    films: Mapping[tuple, Film], target: Tensor, *,
    names: Sequence[str] = (), floors: Mapping[int, float] | None = None, limit: float = 1.5,
) -> LiveFigure:  # fmt: skip
    """ΔΘ at a chosen epoch beside the loss curve with a marker, and the floor of its rank.

    films: {(): Film}, or with the names "r" and "alpha", which get a slider each, {(r, alpha): Film}.
    target (out, in): what ΔΘ should become. floors: {r: best possible loss}.
    """
    first = next(iter(films.values()))
    constant = bool((target == target.flatten()[0]).all())
    lowest = max(min(min(f.losses) for f in films.values()) / 2, 1e-4)
    highest = 2 * max(f.losses[0] for f in films.values())

    def draw(fig: Figure, epoch: int, **key: object) -> str:
        film = films[tuple(key.values())]
        delta, loss = film.delta(epoch), film.loss(epoch)
        curve = figures.thinned_curve([i / film.per_epoch for i in range(len(film.losses))], film.losses)
        if not fig.axes:
            place = {"left": 0.07, "right": 0.97, "bottom": 0.16, "top": 0.88, "wspace": 0.45}
            left, right = fig.subplots(1, 2, gridspec_kw=place)
            figures.heatmap(delta, left, limit=limit)
            figures.loss_curves({"LoRA": curve}, right, xlabel="epoch")
            if floors:
                right.axhline(lowest, ls="--", lw=1.5, color=figures.COLOURS["floor"])
            right.plot([], [], "o", ms=11, color=figures.COLOURS["chosen"], mec=figures.FILLS["paper"], mew=2)
            right.set_ylim(lowest, highest)
        left, right = fig.axes[:2]
        figures.update_heatmap(left, delta, f"ΔΘ after epoch {epoch}", limit)
        right.lines[0].set_data(*curve)
        right.lines[-1].set_data([epoch], [loss])
        best = ""
        if floors:
            floor = floors[int(key["r"])]
            best = f", floor {figures.short(floor)}"
            right.lines[1].set_ydata([floor, floor])  # below the picture when it is 0
        right.set_title(f"loss {figures.short(loss)}" + (", floor dashed" if floors else ""))
        off = 100 * float((delta - target).norm() / target.norm())
        away = f"{off:.0f} % of its norm" if off >= 1 else "less than 1 %"
        mean = f"mean entry {float(delta.mean()):.2f}, " if constant else ""
        return f"{mean}{away} away from the target, loss {figures.short(loss)}{best}"

    controls = {"epoch": choice("epoch", sorted(first.frames), max(first.frames))}
    for name, values in zip(names, zip(*films)):
        controls[name] = choice({"alpha": "α", "r": "rank r"}[name], sorted(set(values)))
    return LiveFigure(draw, controls, name="film of ΔΘ", figsize=(9.5, 4), keep=True)
