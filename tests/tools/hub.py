"""The room's JupyterHub, really started on loopback, with learners as a browser would be: python tests/tools/hub.py

Two learners log in, get their own copy of the course, and run a cell in a kernel each; then all of it must end. Needs
what notebooks/teaching/hosting.md installs, and node, configurable-http-proxy and git on PATH.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import psutil
import requests
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "notebooks" / "teaching" / "hub" / "jupyterhub_config.py"
PASSWORD = "eight or more"


def make_course(folder: Path) -> str:
    """A git repository with the course's pages; returns its address."""
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    who = ["-c", "user.name=Teacher", "-c", "user.email=teacher@example.org"]
    for command in (["init", "--quiet", "--initial-branch=main"], ["add", "."], ["commit", "--quiet", "-m", "Course"]):
        subprocess.run(["git", *who, *command], cwd=folder, check=True)
    return folder.resolve().as_uri()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Hub:
    """`with Hub(folder, repo) as hub:` starts it in `folder`; leaving the block ends it and all that it started."""

    def __init__(self, folder: Path, repo: str) -> None:
        self.repo, self.log = repo, folder / "hub.log"
        self.url = f"http://127.0.0.1:{free_port()}"
        own = folder / "own_config.py"  # the teacher's file as it is; jupyter_server refuses to run as root unless told
        root = "c.Spawner.args.append('--allow-root')\n" if os.geteuid() == 0 else ""
        own.write_text(f"c = get_config()\nload_subconfig({str(CONFIG)!r})\n{root}", encoding="utf-8")
        command = [sys.executable, "-m", "jupyterhub", "-f", str(own), f"--url={self.url}",
                   f"--JupyterHub.hub_port={free_port()}",
                   f"--ConfigurableHTTPProxy.api_url=http://127.0.0.1:{free_port()}"]  # fmt: skip
        env = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "LORA_LAB", "OMP_", "MKL_"))}
        env |= {"LORA_LAB_PASSWORD": PASSWORD, "LORA_LAB_REPO": repo, "PYTHONPATH": str(ROOT)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)

    def __enter__(self) -> Hub:
        self.wait(lambda: requests.get(f"{self.url}/hub/health", timeout=5).ok)
        return self

    def wait(self, ready, seconds: float = 300) -> None:
        end = time.monotonic() + seconds
        while True:
            try:
                if ready():
                    return
            except requests.RequestException:
                pass  # not listening yet
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the hub did not get there; its log ends:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.2)

    def processes(self) -> list[psutil.Process]:
        """The hub, its proxy, its services, the learners' servers and their kernels."""
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def __exit__(self, *_) -> None:
        """End it as Ctrl+C does; RuntimeError names what outlives that."""
        family = self.processes()
        self.process.terminate()
        _, left = psutil.wait_procs(family, timeout=60)
        for process in left:
            process.kill()
        if left:
            raise RuntimeError(f"these outlived the hub: {left}")


class Learner:
    """Somebody at a browser: logs in with the room's password, then works on a server of their own."""

    def __init__(self, hub: Hub, name: str) -> None:
        """Log in, wait for the server, and have nbgitpuller copy the course, as its page does."""
        self.hub, self.session, self.server = hub, requests.Session(), f"{hub.url}/user/{name}"
        self.session.get(f"{hub.url}/hub/login", timeout=30)
        xsrf = self.session.cookies.get("_xsrf", path="/hub/")
        form = {"username": name, "password": PASSWORD, "_xsrf": xsrf}
        self.session.post(f"{hub.url}/hub/login", data=form, timeout=300).raise_for_status()
        hub.wait(lambda: self.session.get(f"{self.server}/", timeout=300).url.startswith(self.server))
        headers = {"X-XSRFToken": self.session.cookies.get("_xsrf", path="/hub/"), "Referer": f"{hub.url}/hub/home"}
        ask = f"{hub.url}/hub/api/users/{name}/tokens"
        token = self.session.post(ask, json={"expires_in": 3600}, headers=headers, timeout=30).json()["token"]
        self.headers = {"Authorization": f"token {token}"}
        self.ask("GET", "git-pull/api", params={"repo": hub.repo, "targetpath": "lora-lab"})

    def ask(self, method: str, path: str, **kwargs) -> requests.Response:
        answer = requests.request(method, f"{self.server}/{path}", headers=self.headers, timeout=120, **kwargs)
        answer.raise_for_status()
        return answer

    async def run(self, cells: list[str]) -> str:
        """Run cells in a fresh kernel in notebooks/; what they printed. RuntimeError for what a cell raised."""
        body = {"name": "python3", "path": "lora-lab/notebooks/page.ipynb"}
        kernel = await asyncio.to_thread(lambda: self.ask("POST", "api/kernels", json=body).json()["id"])
        address = f"{self.server.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels"
        patient = {"connect_timeout": 600, "request_timeout": 600}  # twenty kernels that start at once on two cores
        line = await websocket_connect(HTTPRequest(address, headers=self.headers, **patient))
        printed = ""
        for code in cells:
            printed += await run_cell(line, code)
        line.close()
        return printed


async def run_cell(line, code: str) -> str:
    """Send one cell over a kernel's websocket; what it printed until the kernel was idle again."""
    sent = uuid.uuid4().hex
    header = {"msg_id": sent, "msg_type": "execute_request", "username": "", "session": sent, "version": "5.3"}
    message = {"header": header, "parent_header": {}, "metadata": {}, "channel": "shell", "buffers": [],
               "content": {"code": code, "silent": False, "store_history": True, "allow_stdin": False}}  # fmt: skip
    await line.write_message(json.dumps(message))
    printed = ""
    while (message := await line.read_message()) is not None:
        if isinstance(message, bytes):
            continue  # a widget's picture
        message = json.loads(message)
        kind, content = message["msg_type"], message["content"]
        if message["parent_header"].get("msg_id") != sent:
            continue
        if kind == "stream":
            printed += content["text"]
        elif kind == "error":
            raise RuntimeError(f"{content['ename']}: {content['evalue']} in the cell\n{code}")
        elif kind == "status" and content["execution_state"] == "idle":
            return printed
    raise RuntimeError("the kernel's connection closed")


def main() -> None:
    code = "import lora_lab, os, torch\nlora_lab.begin('00')\nprint(os.getcwd(), torch.get_num_threads(), 'thread')"
    with tempfile.TemporaryDirectory(prefix="hub-") as name:
        folder = Path(name)
        repo = make_course(folder / "course")
        with Hub(folder, repo) as hub:
            for learner in (Learner(hub, "ada"), Learner(hub, "grace")):
                print(asyncio.run(learner.run([code])).splitlines()[-1])
            listening = [c.laddr.ip for p in hub.processes() for c in p.net_connections("inet") if c.status == "LISTEN"]
            print("listening on", ", ".join(sorted(set(listening))))
    print("the hub and everything that it started has ended")


if __name__ == "__main__":
    main()
