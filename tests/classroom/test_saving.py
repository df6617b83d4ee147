"""A page that is saved or exported keeps pictures and questions, and has no box that nothing can fill."""

import copy
import json

import ipywidgets
import nbformat
import pages
import pytest
from jupyter_server.serverapp import ServerApp
from nbconvert import HTMLExporter
from traitlets.config import Config

from lora_lab.classroom import saving
from lora_lab.classroom.cards import Card
from lora_lab.classroom.predictions import find
from lora_lab.figures.live import LiveFigure, choice

SETTINGS = pages.ROOT / "lora_lab" / "classroom" / "jupyter" / "etc" / "jupyter"


def settings(file):
    return json.loads((SETTINGS / file).read_text(encoding="utf-8"))


@pytest.fixture
def page():
    """A panel, a card, and a widget that has nothing else to show, with the state of all of them."""
    panel = LiveFigure(lambda fig, r: f"r={r}", {"r": choice("r", (1, 2))}, figsize=(2, 2))
    bundles = [panel._repr_mimebundle_(), Card(find("1.2"))._repr_mimebundle_(), {saving.VIEW: {"model_id": "alone"}}]
    outputs = [nbformat.v4.new_output("display_data", bundle) for bundle in bundles]
    cells = [nbformat.v4.new_markdown_cell("text"), nbformat.v4.new_code_cell("shown", outputs=outputs)]
    saved = {"widgets": {saving.STATE: ipywidgets.Widget.get_manager_state()}}
    return nbformat.v4.new_notebook(cells=cells, metadata=saved)


def kinds(nb):
    return [set(output["data"]) for output in nb["cells"][1]["outputs"]]


def test_a_widget_that_is_not_saved_leaves_its_picture_or_its_question(page):
    before = copy.deepcopy(page)
    saving.without_dead_widgets({"type": "notebook", "content": page}, path="x.ipynb", contents_manager=None)
    assert page == before, "JupyterLab stored them: they are shown again"
    del page["metadata"]["widgets"]
    saving.without_dead_widgets({"type": "notebook", "content": page})
    assert kinds(page) == [{"text/plain", "image/png"}, {"text/plain"}, {saving.VIEW}]
    saving.without_dead_widgets({"type": "file", "content": "text"})


def test_the_server_takes_the_extension_that_is_installed_with_the_course(page, tmp_path):
    enabled = settings("jupyter_server_config.d/lora-lab.json")
    assert enabled == {"ServerApp": {"jpserver_extensions": {saving.__name__: True}}}
    assert saving._jupyter_server_extension_points() == [{"module": saving.__name__}]
    server = ServerApp(root_dir=str(tmp_path), runtime_dir=str(tmp_path))
    server.init_configurables()
    saving._load_jupyter_server_extension(server)
    del page["metadata"]["widgets"]
    server.contents_manager.run_pre_save_hooks({"type": "notebook", "content": page}, "x.ipynb")
    assert saving.VIEW not in kinds(page)[0]
    assert server.config.WidgetsDataTypeFilter.display_data_priority == saving.EXPORTED


@pytest.mark.filterwarnings("ignore:Your element")  # the widget that has nothing else to show
def test_exported_a_page_shows_pictures_and_questions_though_its_widgets_are_saved(page):
    """By itself nbconvert would show the saved widgets: empty boxes where there is no network."""
    of_the_command = settings("jupyter_nbconvert_config.json")
    assert of_the_command["WidgetsDataTypeFilter"]["display_data_priority"] == saving.EXPORTED
    html = HTMLExporter(config=Config(of_the_command)).from_notebook_node(page)[0]
    picture = page["cells"][1]["outputs"][0]["data"]["image/png"]
    assert picture[:200] in html and "Predict 1.2: a million weights" in html
