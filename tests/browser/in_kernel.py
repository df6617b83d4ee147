"""Runs in a page's kernel: what its panels should show. Asked as an expression, so no name of the page changes."""

import hashlib
import json

from ipywidgets.widgets.widget import _instances


def about(model_id: str) -> str:
    """The panel's name and the labels of its controls."""
    panel = _instances[model_id]
    return json.dumps({"name": panel._name, "labels": [c.description for c in panel._controls.values()]})


def positions(control) -> dict[str, object]:
    """{what the browser shows at a position: the position}"""
    found = {}
    for option in getattr(control, "options", [("false", False), ("true", True)]):
        label, value = option if isinstance(option, tuple) else (str(option), option)
        found[label] = value
    return found


def fresh(model_id: str, shown: dict[str, str]) -> str:
    """Caption and picture that the pure function draws at the positions that the browser shows, by label."""
    panel = _instances[model_id]
    values = {}
    for name, control in panel._controls.items():
        values[name] = positions(control)[shown[control.description]]
    caption, png = panel.fresh(**values)
    return json.dumps({"caption": " ".join(caption.split()), "picture": hashlib.sha256(png).hexdigest()})
