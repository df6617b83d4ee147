"""Runs in a page's kernel: what the page's panels should show. Asked as an expression, so no name of the page changes."""

import hashlib
import json

from ipywidgets.widgets.widget import _instances

from lora_lab.live import LiveFigure


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
    """What the pure function draws at the positions that the browser shows, {label of a control: label of its value}."""
    panel = _panel(model_id)
    values = {name: labels(c)[shown[c.description]] for name, c in panel._controls.items()}
    caption, png = panel.fresh(**values)
    return json.dumps({"caption": caption, "sha": hashlib.sha256(png).hexdigest()})


def about(model_id: str) -> str:
    """The panel's name, its controls' labels, and whether it trains."""
    panel = _panel(model_id)
    kinds = [c.description for c in panel._controls.values()]
    return json.dumps({"name": panel._name, "controls": kinds, "trains": hasattr(panel, "train_now")})
