"""Runs in a page's kernel: what its panels should show. Asked as an expression, so no name of the page changes."""

import hashlib
import json
import time

import torch
from ipywidgets.widgets.widget import _instances

from lora_lab.figures.live import LiveFigure


def _panel(model_id: str) -> LiveFigure:
    panel = _instances[model_id]
    if not isinstance(panel, LiveFigure):
        raise TypeError(f"an output with a view and a picture is a {type(panel).__name__}, not a LiveFigure")
    return panel


def labels(control) -> dict[str, object]:
    """{what the browser shows at this position: the position}"""
    if not hasattr(control, "options"):
        return {False: False, True: True}
    return dict(o if isinstance(o, tuple) else (str(o), o) for o in control.options)


def fresh(model_id: str, shown: dict[str, object]) -> str:
    """What the pure function draws at the positions that the browser shows: {label of a control: of its value}."""
    panel = _panel(model_id)
    values = {name: labels(c)[shown[c.description]] for name, c in panel._controls.items()}
    try:
        caption, png = panel.fresh(**values)
    except Exception as e:
        return json.dumps({"raises": repr(e)})
    return json.dumps({"caption": caption, "sha": hashlib.sha256(png).hexdigest()})


def about(model_id: str) -> str:
    """The panel's name, its controls' labels, and whether it trains."""
    panel = _panel(model_id)
    kinds = [c.description for c in panel._controls.values()]
    return json.dumps({"name": panel._name, "controls": kinds, "trains": hasattr(panel, "train_now")})


def trains_the_same(model_id: str) -> bool:
    """Whether the pure training function gives, with the seed that the panel shows, what the panel has pinned."""
    panel = _panel(model_id)
    v = panel.values
    if hasattr(panel, "map"):  # page 04
        key = tuple(v[name] for name in ("target", "r", "alpha", "lr"))
        again, pin = panel.map.train_point(*key, panel.pins[key].seed), panel.pins[key]
    else:  # page 06
        key = panel._key()
        pin = panel.pins[key]
        again = panel._experiments[v["model"], v["change"]].train(key[3], v["r"], seed=pin.seed)
    return again.loss == pin.loss


def slow_epochs(seconds: float) -> None:
    """Each shuffle of the data takes longer, so that an interrupt falls into the training on every machine."""
    torch.randperm = _randperm if not seconds else lambda *a, **k: (time.sleep(seconds), _randperm(*a, **k))[1]


_randperm = torch.randperm


def ink(model_id: str) -> list[float]:
    """The 64 pixels of page 07's drawing field."""
    return _panel(model_id).ink.tolist()
