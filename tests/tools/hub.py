"""A real JupyterHub on loopback, from the teacher's own configuration, and learners who use it as a browser would.

For test_hub.py and benchmarks/seats.py. `missing()` says in a sentence what this machine lacks for it.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from urllib.parse import quote

import psutil
import requests
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "notebooks" / "hub" / "jupyterhub_config.py"
PASSWORD = "eight or more"
NEEDS = {"jupyterhub": "5.3", "nbgitpuller": "1.2", "jupyterhub-idle-culler": "1.2"}  # shared-password came with 5.3


def missing() -> str | None:
    """What a hub needs and this machine has not; None when it can start."""
    for name, least in NEEDS.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return f"{name} is not installed"
        if [int(n) for n in found.split(".")[:2]] < [int(n) for n in least.split(".")]:
            return f"{name} is {found}, {least} is needed"
    absent = [command for command in ("node", "configurable-http-proxy", "git") if not shutil.which(command)]
    return f"no {absent[0]} on PATH" if absent else None


def git(folder: Path, *args: str) -> str:
    who = ["-c", "user.name=Teacher", "-c", "user.email=teacher@example.org"]
    run = subprocess.run(["git", *who, *args], cwd=folder, check=True, capture_output=True, encoding="utf-8")
    return run.stdout


def make_course(folder: Path, pages: list[Path]) -> str:
    """A small git repository in place of the course's; returns its address."""
    (folder / "notebooks").mkdir(parents=True)
    for page in pages:
        shutil.copy(page, folder / "notebooks")
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "The course")
    return folder.resolve().as_uri()


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


class Hub:
    """`with Hub(folder, repo) as hub:` starts it in `folder`; leaving the block ends it and all that it started."""

    def __init__(self, folder: Path, repo: str):
        self.folder, self.repo = folder, repo
        port, hub_port, proxy_port = free_ports(3)
        self.url = f"http://127.0.0.1:{port}"
        # The teacher's file as it is; only a test runs as root, which jupyter_server refuses unless told.
        own = folder / "test_config.py"
        root = "c.Spawner.args.append('--allow-root')\n" if os.name == "posix" and os.geteuid() == 0 else ""
        own.write_text(f"c = get_config()\nload_subconfig({str(CONFIG)!r})\n{root}", encoding="utf-8")
        self.command = [sys.executable, "-m", "jupyterhub", "-f", str(own), f"--url={self.url}",
                        f"--JupyterHub.hub_port={hub_port}",
                        f"--ConfigurableHTTPProxy.api_url=http://127.0.0.1:{proxy_port}"]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "LORA_LAB", "OMP_", "MKL_"))}
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.env = {**kept, "LORA_LAB_PASSWORD": PASSWORD, "LORA_LAB_REPO": repo, "PYTHONPATH": path}
        self.log = folder / "hub.log"

    def __enter__(self) -> Hub:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(self.command, cwd=self.folder, env=self.env, stdout=log, stderr=log)
        try:
            self.wait(lambda: requests.get(f"{self.url}/hub/health", timeout=5).ok, 120)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def wait(self, ready, seconds: float) -> None:
        """Until `ready()` is true; what the hub logged, if it ends before, or if that takes too long."""
        end = time.monotonic() + seconds
        while True:
            try:
                if ready():
                    return
            except requests.RequestException:
                pass  # not listening yet
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the hub did not get there; its log ends:\n{self.tail()}")
            time.sleep(0.2)

    def tail(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:]

    def processes(self) -> list[psutil.Process]:
        """The hub, its proxy, its services, the learners' servers and their kernels."""
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def stop(self, seconds: float = 60) -> list[str]:
        """End it as Ctrl+C does. Returns what outlived it, after killing that too."""
        if self.process.poll() is not None:
            return []
        family = self.processes()
        self.process.terminate()
        _, left = psutil.wait_procs(family, timeout=seconds)
        names = []
        for process in left:
            try:
                names.append(" ".join(process.cmdline()))
                process.kill()
            except psutil.NoSuchProcess:
                pass
        psutil.wait_procs(left, timeout=10)
        self.process.wait(10)
        return names


class Learner:
    """Somebody at a browser: logs in with the room's password, and then works on a server of their own."""

    def __init__(self, hub: Hub, name: str):
        self.hub, self.name, self.session = hub, name, requests.Session()
        self.server = f"{hub.url}/user/{name}"

    def log_in(self, password: str = PASSWORD) -> requests.Response:
        """What the login form does. A right password makes the hub start this learner's server."""
        page = f"{self.hub.url}/hub/login"
        self.session.get(page, timeout=30)
        form = {"username": self.name, "password": password, "_xsrf": self.session.cookies.get("_xsrf", path="/hub/")}
        return self.session.post(page, data=form, timeout=300)

    def open(self) -> str:
        """Wait for the server as the browser does; the address that the learner is then sent to."""
        where = ""

        def arrived():
            nonlocal where
            answer = self.session.get(f"{self.server}/", timeout=300)
            where = answer.url
            return answer.ok and where.startswith(self.server)

        self.hub.wait(arrived, 300)
        ask = f"{self.hub.url}/hub/api/users/{self.name}/tokens"
        xsrf = {"X-XSRFToken": self.session.cookies.get("_xsrf", path="/hub/"), "Referer": f"{self.hub.url}/hub/home"}
        answer = self.session.post(ask, json={"expires_in": 3600}, headers=xsrf, timeout=30)
        answer.raise_for_status()
        self.headers = {"Authorization": f"token {answer.json()['token']}"}
        return where

    def ask(self, method: str, path: str, **kwargs) -> requests.Response:
        return requests.request(method, f"{self.server}/{path}", headers=self.headers, timeout=120, **kwargs)

    def pull(self) -> str:
        """nbgitpuller's work, as its page asks for it; its last report."""
        where = {"repo": self.hub.repo, "targetpath": "lora-lab"}
        answer = self.ask("GET", "git-pull/api", params=where)
        answer.raise_for_status()
        reports = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        return reports[-1]["phase"]

    def page(self, path: str) -> dict:
        answer = self.ask("GET", f"api/contents/{quote(path)}")
        answer.raise_for_status()
        return answer.json()["content"]

    def save(self, path: str, notebook: dict) -> None:
        body = {"type": "notebook", "content": notebook}
        self.ask("PUT", f"api/contents/{quote(path)}", json=body).raise_for_status()

    def start_kernel(self, folder: str) -> str:
        """As a page opened in `folder` starts it; the kernel's id."""
        answer = self.ask("POST", "api/kernels", json={"name": "python3", "path": f"{folder}/page.ipynb"})
        answer.raise_for_status()
        return answer.json()["id"]

    async def connect(self, kernel: str):
        address = f"{self.server.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels"
        return await websocket_connect(HTTPRequest(address, headers=self.headers, connect_timeout=120,
                                                   request_timeout=120))


async def run_cell(socket, code: str) -> str:
    """Run one cell over a kernel's websocket; what it printed. Raises what the cell raised."""
    sent = uuid.uuid4().hex
    header = {"msg_id": sent, "msg_type": "execute_request", "username": "", "session": sent, "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False,
               "stop_on_error": True}
    await socket.write_message(json.dumps({"header": header, "parent_header": {}, "metadata": {}, "content": content,
                                           "channel": "shell", "buffers": []}))
    printed = ""
    while True:
        message = await socket.read_message()
        if message is None:
            raise RuntimeError("the kernel's connection closed")
        if isinstance(message, bytes):
            continue  # a widget's picture
        message = json.loads(message)
        if message["parent_header"].get("msg_id") != sent:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            printed += content["text"]
        elif kind == "error":
            raise RuntimeError(f"{content['ename']}: {content['evalue']} in the cell\n{code}")
        elif kind == "status" and content["execution_state"] == "idle":
            return printed
