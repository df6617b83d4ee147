"""Runs in a page's kernel, for the browser and for conftest.py: what its panels should show."""

import hashlib
import json

from IPython import get_ipython
from ipywidgets.widgets.widget import _instances


def about(model_id: str) -> str:
    """The panel's name and the labels of its controls."""
    panel = _instances[model_id]
    return json.dumps({"name": panel._name, "labels": [c.description for c in panel._controls.values()]})


def positions(control) -> dict[str, object]:
    """{what the browser shows at a position: the position}"""
    options = getattr(control, "options", [("false", False), ("true", True)])
    return dict(option if isinstance(option, tuple) else (str(option), option) for option in options)


def fresh(model_id: str, shown: dict[str, str]) -> str:
    """Caption and picture that the pure function draws at the positions that the browser shows, by label."""
    panel = _instances[model_id]
    values = {name: positions(c)[shown[c.description]] for name, c in panel._controls.items()}
    caption, png = panel.fresh(**values)
    return json.dumps({"caption": " ".join(caption.split()), "picture": hashlib.sha256(png).hexdigest()})


def run_again(source: str, stored: str) -> None:
    """In the kernel of a page after Run All: its cell `source` shows what is stored, and a panel that follows."""
    run = get_ipython().run_cell(source, store_history=False)
    run.raise_error()
    shown = run.result._repr_mimebundle_()["text/plain"]
    assert shown == stored, f"after Run All the panel says {shown!r}, on the page {stored!r}"
    follow_controls(run.result)


def follow_controls(panel) -> None:
    """Move each control, and back: caption and picture are those drawn afresh there, and one move changes something."""
    for name, value in panel.values.items():
        before = panel.caption, panel._picture.value
        for position in reversed(panel.positions(name, most=4)):
            after = panel.set(**{name: position}), panel._picture.value
            if after != before:
                break
        assert after == panel.fresh() != before, f"{panel._name}: {name} changes nothing, or shows another picture"
        panel.set(**{name: value})
