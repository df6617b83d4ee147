"""A hub for one room on one machine, with or without a network: what it does, and how to start it, is in ../hosting.md

    LORA_LAB_PASSWORD=... jupyterhub -f notebooks/teaching/hub/jupyterhub_config.py --url=http://:8000

The folder that it is started in gets the hub's database and `learners/`, a home for each name that logs in.
"""

import os
import sys
from pathlib import Path
from urllib.parse import urlencode

c = get_config()  # noqa: F821  (jupyterhub puts it here)

COURSE = Path(__file__).resolve().parents[3]  # the clone that this file belongs to
REPO = os.environ.get("LORA_LAB_REPO") or COURSE.as_uri()  # what the learners' copies are cloned from

# Only this machine can reach it, until --url=http://:8000 opens it to the room.
c.JupyterHub.bind_url = "http://127.0.0.1:8000"

# Any name, one password for the room (at least 8 characters). Set LORA_LAB_ADMIN_PASSWORD too (at least 32), and
# "teacher" logs in with that one, sees who is there, and can stop a server that hangs.
if not os.environ.get("LORA_LAB_PASSWORD"):
    raise SystemExit("LORA_LAB_PASSWORD is not set: choose the room's password, at least 8 characters")
c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = os.environ["LORA_LAB_PASSWORD"]
c.Authenticator.allow_all = True
if os.environ.get("LORA_LAB_ADMIN_PASSWORD"):
    c.SharedPasswordAuthenticator.admin_password = os.environ["LORA_LAB_ADMIN_PASSWORD"]
    c.Authenticator.admin_users = {"teacher"}

# Every server is a process of the account that started the hub: no accounts to make, no root. Learners are kept
# apart by good manners only, and no memory limit can be enforced. The Littlest JupyterHub does both.
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = str(Path.cwd() / "learners" / "{username}")
c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]  # this environment, whatever PATH says

# nbgitpuller clones the course into lora-lab/ at the first login, later merges what is new, and opens page 00.
start = {"repo": REPO, "targetPath": "lora-lab", "urlpath": "lab/tree/lora-lab/notebooks/00_start_here.ipynb"}
c.Spawner.default_url = "/git-pull?" + urlencode(start)

# One thread a learner, in cells that never call lora_lab.begin too.
c.Spawner.environment = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}

# Memory is in the kernels: one that nobody looked at for half an hour ends. A page whose tab is open keeps its own.
c.Spawner.args = ["--MappingKernelManager.cull_idle_timeout=1800", "--MappingKernelManager.cull_interval=300"]

# Thirty servers that start in the same minute share the cores: the defaults, 60 s and 30 s, are for one.
c.Spawner.start_timeout = 300
c.Spawner.http_timeout = 300

# A server that nobody used for an hour ends. The files stay; the next login starts it again.
c.JupyterHub.services = [
    {
        "name": "idle-culler",
        "command": [sys.executable, "-m", "jupyterhub_idle_culler", "--timeout=3600", "--cull-every=300"],
    }
]
c.JupyterHub.load_roles = [
    {
        "name": "idle-culler",
        "services": ["idle-culler"],
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
    }
]
