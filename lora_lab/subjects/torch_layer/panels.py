"""Page 03: a film of ΔΘ while it is trained."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from torch import Tensor

from lora_lab import figures
from lora_lab.figures.live import LiveFigure, choice
from lora_lab.training import History


def film_panel(
    films: Mapping[tuple[int, float], History], target: Tensor, *,
    floors: Mapping[int, float] | None = None, limit: float = 1.5,
) -> LiveFigure:  # fmt: skip
    """ΔΘ at a chosen epoch beside the loss curve with a marker, and the floor of its rank.

    films: {(r, alpha): a run with snapshots at ends of epochs}; several get sliders for r and alpha, too.
    target (out, in): what ΔΘ should become. floors: {r: best possible loss}.
    """
    ranks, alphas = (sorted(set(values)) for values in zip(*films))
    first = films[ranks[0], alphas[0]]
    per_epoch = first.steps_per_epoch
    constant = bool((target == target.flatten()[0]).all())
    lowest = max(min(min(film.losses) for film in films.values()) / 2, 1e-4)
    highest = 2 * max(film.losses[0] for film in films.values())

    def draw(fig: Figure, epoch: int, r: int = ranks[0], alpha: float = alphas[0]) -> str:
        film = films[r, alpha]
        state = film.snapshots[epoch * per_epoch]
        delta = alpha / r * state["lora_B"] @ state["lora_A"]  # (out, in)
        loss = film.losses[min(epoch * per_epoch, film.steps - 1)]  # of the next batch; at the end, of the last one
        curve = figures.thinned_curve([step / per_epoch for step in range(film.steps)], film.losses)
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
        best = f", floor {figures.short(floors[r])}" if floors else ""
        if floors:
            right.lines[1].set_ydata([floors[r]] * 2)  # below the picture when it is 0
        right.set_title(f"loss {figures.short(loss)}" + (", floor dashed" if floors else ""))
        off = 100 * float((delta - target).norm() / target.norm())
        away = f"{off:.0f} % of its norm" if off >= 1 else "less than 1 %"
        mean = f"mean entry {float(delta.mean()):.2f}, " if constant else ""
        return f"{mean}{away} away from the target, loss {figures.short(loss)}{best}"

    epochs = [step // per_epoch for step in first.snapshots]
    controls = {"epoch": choice("epoch", epochs, epochs[-1])}
    if len(films) > 1:
        controls |= {"r": choice("rank r", ranks), "alpha": choice("α", alphas)}
    return LiveFigure(draw, controls, name="film of ΔΘ", figsize=(9.5, 4), keep=True)
