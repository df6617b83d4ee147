"""What Jupyter's server does when it saves or exports a notebook, so that pages show pictures and not errors.

JupyterLab stores the widgets that are alive. A page that is reopened, changed and saved without Run All, or saved after
a restart, has outputs whose widgets are not stored: opened again, they would be "Error displaying widget: model not
found". Such an output keeps what else it holds, a panel its picture and a card its question. Exported, a page shows
these even where its widgets are stored, because those are empty boxes where there is no network.

A server extension, enabled by `jupyter/etc/jupyter/jupyter_server_config.d`, which is installed with the course; for
the command nbconvert, which has no extensions, `jupyter_nbconvert_config.json` beside it says the same. Without either
the course runs all the same.
"""

VIEW, STATE = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"
EXPORTED = ["text/html", "text/markdown", "image/svg+xml", "text/latex", "image/png", "image/jpeg", "text/plain"]


def _jupyter_server_extension_points() -> list[dict]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server) -> None:
    server.contents_manager.register_pre_save_hook(without_dead_widgets)
    server.config.WidgetsDataTypeFilter.display_data_priority = EXPORTED


def without_dead_widgets(model: dict, **_about_the_file: object) -> None:
    """Take the widget out of each output of a notebook that is not stored with it, if there is anything else to show.

    model: of the file, as jupyter_server gives it to a hook before it saves; changed in place.
    """
    if model["type"] != "notebook":
        return
    stored = model["content"].get("metadata", {}).get("widgets", {}).get(STATE, {}).get("state", {})
    for cell in model["content"]["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if VIEW in data and len(data) > 1 and data[VIEW].get("model_id") not in stored:
                del data[VIEW]
