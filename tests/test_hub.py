"""The room's JupyterHub configuration, without a hub; tests/tools/hub.py starts a real one."""

import os
import re
from unittest import mock
from urllib.parse import unquote

import pages
import pytest
import yaml
from traitlets.config import Config

CONFIG = pages.NOTEBOOKS / "teaching" / "hub" / "jupyterhub_config.py"
VALUES = yaml.safe_load((CONFIG.parent / "kubernetes_values.yaml").read_text(encoding="utf-8"))
HOSTING = (CONFIG.parents[1] / "hosting.md").read_text(encoding="utf-8")


def load(**variables) -> Config:
    """load(LORA_LAB_...=...): what the configuration sets with these variables."""
    config, others = Config(), {k: v for k, v in os.environ.items() if not k.startswith("LORA_LAB")}
    source = compile(CONFIG.read_text(encoding="utf-8"), str(CONFIG), "exec")
    with mock.patch.dict(os.environ, others | variables, clear=True):
        exec(source, {"get_config": lambda: config, "__file__": str(CONFIG)})
    return config


def test_it_asks_for_a_password_and_keeps_to_this_machine():
    with pytest.raises(SystemExit, match="LORA_LAB_PASSWORD is not set: choose the room's password"):
        load()
    config = load(LORA_LAB_PASSWORD="eight or more")
    assert config.JupyterHub.bind_url == "http://127.0.0.1:8000"
    assert config.SharedPasswordAuthenticator.user_password == "eight or more"
    assert "admin_users" not in config.Authenticator
    assert load(LORA_LAB_PASSWORD="x", LORA_LAB_ADMIN_PASSWORD="y").Authenticator.admin_users == {"teacher"}


def test_learners_start_on_page_00_with_one_thread_and_idle_kernels_end():
    config = load(LORA_LAB_PASSWORD="eight or more", LORA_LAB_REPO="https://example.org/lora-lab")
    assert unquote(config.Spawner.default_url).endswith(f"lora-lab/notebooks/{pages.find_page('00').name}")
    assert "https://example.org/lora-lab" in unquote(config.Spawner.default_url)
    assert config.Spawner.environment["OMP_NUM_THREADS"] == "1"
    assert "--MappingKernelManager.cull_idle_timeout=1800" in config.Spawner.args


def test_the_teachers_page_names_the_variables_that_there_are():
    variable = re.compile(r"LORA_LAB_[A-Z_]+")
    assert set(variable.findall(HOSTING)) == set(variable.findall(CONFIG.read_text(encoding="utf-8")))


def test_the_kubernetes_values_give_page_00_and_room_for_a_measured_seat():
    server = VALUES["singleuser"]
    assert server["defaultUrl"] == f"/lab/tree/notebooks/{pages.find_page('00').name}"
    assert set(server["extraEnv"].values()) == {"1"}
    image_folder = re.search(r"--target-repo-dir (\S+)", HOSTING)[1]
    copied, home = server["lifecycleHooks"]["postStart"]["exec"]["command"][-1].split()[-2:]
    assert copied == f"{image_folder}/notebooks" and home == VALUES["hub"]["config"]["KubeSpawner"]["notebook_dir"]
    seat = int(re.search(r"With 10 learners a seat is (\d+) MB", HOSTING)[1])
    guaranteed = int(server["memory"]["guarantee"].removesuffix("M")) * 2**20  # JupyterHub's M is 2 to the 20
    assert seat * 1e6 < guaranteed < 1.5 * seat * 1e6
