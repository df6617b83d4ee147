"""JupyterLab's settings that come with the course: panels are saved with their page, and no news pop up over it."""

import json
import tomllib
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

ROOT = Path(__file__).resolve().parent.parent
INSIDE = Path("share/jupyter/lab/settings/overrides.d/lora-lab.json")  # of the environment; JupyterLab reads all there
FILE = ROOT / "lora_lab" / "jupyter" / INSIDE


def schema(plugin: str) -> dict:
    """Of one of JupyterLab's own plugins, or of ipywidgets'."""
    from jupyterlab.commands import get_app_dir

    extension, _, name = plugin.partition(":")
    folders = (Path(get_app_dir(), "schemas"), *Path(get_app_dir()).parent.glob("labextensions/@*/*/schemas"))
    found = [f for folder in folders if (f := folder / extension / f"{name}.json").is_file()]
    assert found, f"this JupyterLab has no settings of {plugin}"
    return json.loads(found[0].read_text(encoding="utf-8"))["properties"]


def test_every_setting_exists_and_takes_the_value():
    pytest.importorskip("jupyterlab")
    kinds = {"boolean": bool, "string": str}
    for plugin, settings in json.loads(FILE.read_text(encoding="utf-8")).items():
        known = schema(plugin)
        for name, value in settings.items():
            assert isinstance(value, kinds[known[name]["type"]]), f"{plugin}: {name}"
            assert value in known[name].get("enum", [o["const"] for o in known[name].get("oneOf", [])] or [value])


def test_panels_are_saved_with_the_page():
    settings = json.loads(FILE.read_text(encoding="utf-8"))
    assert settings["@jupyter-widgets/jupyterlab-manager:plugin"] == {"saveState": True}


def test_the_settings_are_installed_with_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["flit"]["external-data"]["directory"] == "lora_lab/jupyter"
    try:
        installed = metadata.distribution("lora-lab")
    except metadata.PackageNotFoundError:
        pytest.skip("lora-lab is not installed here, only found")
    source = json.loads(installed.read_text("direct_url.json") or "{}").get("url", "")
    if not source or Path(unquote(urlparse(source).path)) != ROOT:
        pytest.skip("lora-lab is installed from another folder")
    found = [f for f in installed.files if f.as_posix().endswith(INSIDE.as_posix())]
    assert found, "installed before there were settings: python -m pip install --no-deps -e . brings them"
    assert found[0].locate().read_text(encoding="utf-8") == FILE.read_text(encoding="utf-8"), "as before"
