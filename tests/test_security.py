"""What could hurt a learner: an open server, a file that runs when it is read, a write in a foreign place."""

import ast
import contextlib
import copy
import json
import os
import re
import shlex
import socket
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

import pages
import psutil
import pytest
import requests
import torch

from lora_lab import add_lora, cache, load_adapter, save_adapter
from lora_lab.files import CONFIG, WEIGHTS

ROOT = pages.ROOT

# ---- JupyterLab as the README starts it ---------------------------------------------------------------------------
TOKEN = re.compile(r"(http://(?:127\.0\.0\.1|localhost):(\d+)/lab\S*?)\?token=([0-9a-f]{48})\b")


def readme_command() -> list[str]:
    """The last part of the README's first command, with this environment's Python in place of `jupyter`."""
    block = re.search(r"```bash\n(.*?)\n```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)[1]
    command = shlex.split(block.split("&&")[-1])
    assert command[:2] == ["jupyter", "lab"]
    return [sys.executable, "-m", "jupyterlab", *command[2:]]


def listening(process: psutil.Process) -> set[str]:
    """The addresses at which the process and its children wait for connections."""
    found = set()
    for p in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):  # a child of a moment
            connections = p.net_connections("inet") if hasattr(p, "net_connections") else p.connections("inet")
            found |= {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
    return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The real server: (its process, its address, its token)."""
    folder = tmp_path_factory.mktemp("lab")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # a learner's own settings, and those of a server around this test, must not count
    env = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPY"))}
    env |= {"HOME": str(folder), "JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(folder / "run"), "IPYTHONDIR": str(folder / "ipython")}
    root = ["--allow-root"] if os.name == "posix" and os.geteuid() == 0 else []
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([*readme_command(), "--no-browser", f"--port={port}", "--ServerApp.port_retries=0",
                                    *root], cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        found = None
        for _ in range(600):
            found = TOKEN.search(log.read_text(encoding="utf-8", errors="replace"))
            with socket.socket() as knock:  # the address is printed a moment before anybody answers there
                if found and knock.connect_ex(("127.0.0.1", int(found[2]))) == 0 or process.poll() is not None:
                    break
            time.sleep(0.2)
        assert found, log.read_text(encoding="utf-8", errors="replace")[-2000:]
        yield psutil.Process(process.pid), f"http://127.0.0.1:{found[2]}", found[3]
    finally:
        for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ():
            child.kill()
        process.kill()
        process.wait()


def test_the_readmes_server_wants_its_token(lab):
    _, url, token = lab
    assert requests.get(f"{url}/api/contents", timeout=60).status_code == 403
    assert requests.get(f"{url}/api/contents?token={'0' * 48}", timeout=60).status_code == 403
    assert requests.post(f"{url}/api/kernels", timeout=60).status_code == 403
    answer = requests.get(f"{url}/api/contents?token={token}", timeout=60)
    assert answer.status_code == 200 and "README.md" in {entry["name"] for entry in answer.json()["content"]}
    page = requests.get(f"{url}/lab/tree/notebooks/00_start_here.ipynb", timeout=60, allow_redirects=False)
    assert page.status_code == 302 and "/login" in page.headers["location"]


def test_the_readmes_server_and_its_kernels_listen_on_loopback_only(lab):
    process, url, token = lab
    before = listening(process)
    started = requests.post(f"{url}/api/kernels", json={"name": "python3"}, timeout=60,
                            headers={"Authorization": f"token {token}"})
    assert started.status_code == 201, started.text
    for _ in range(300):
        if any(listening(child) for child in process.children(recursive=True)):
            break
        time.sleep(0.1)
    assert process.children(recursive=True), "no kernel was started"
    addresses = before | listening(process)
    assert addresses and addresses <= {"127.0.0.1", "::1"}, addresses
    port = int(url.rpartition(":")[2])
    others = {a.address for found in psutil.net_if_addrs().values() for a in found
              if a.family == socket.AF_INET and not a.address.startswith("127.")}
    for address in others:
        with socket.socket() as stranger:
            stranger.settimeout(5)
            assert stranger.connect_ex((address, port)) != 0, f"reached at {address}"


def test_nothing_that_we_hand_out_opens_a_server():
    """No text or setting of the course takes the token away or listens for everybody; the hub says what it does."""
    files = [ROOT / "README.md", ROOT / "environment.yml", *pages.NOTEBOOKS.rglob("*.md"),
             *pages.NOTEBOOKS.rglob("*.py"), *pages.NOTEBOOKS.rglob("*.json")]
    opening = re.compile(r"--ip\b|0\.0\.0\.0|\.token\s*=\s*['\"\s]|\.password\s*=\s*['\"]['\"]|allow_origin|"
                         r"disable_check_xsrf|allow_root|allow_remote_access|c\.\w+\.ip\b")
    found = {f"{f.name}: {m[0]}" for f in files for m in opening.finditer(f.read_text(encoding="utf-8"))}
    assert not found
    hub = (pages.NOTEBOOKS / "HUB.md").read_text(encoding="utf-8")
    assert "Nothing is encrypted on the way" in hub and "HTTPS" in hub
    config = (pages.NOTEBOOKS / "hub" / "jupyterhub_config.py").read_text(encoding="utf-8")
    assert re.findall(r"bind_url = \"(.*?)\"", config) == ["http://127.0.0.1:8000"]


# ---- nothing unpickles, nothing runs what was fetched -------------------------------------------------------------
UNPICKLE = {"torch.load", "torch.hub.load", "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load",
            "marshal.loads", "shelve.open", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "joblib.load",
            "pandas.read_pickle", "pd.read_pickle", "np.load", "numpy.load", "np.fromfile", "dill.load", "dill.loads",
            "cloudpickle.load", "cloudpickle.loads", "torch.jit.load", "torch.package.PackageImporter"}
RUN = {"eval", "exec", "compile", "__import__", "runpy.run_path", "os.system", "os.popen"}
REACH = {"urllib", "http", "requests", "httpx", "aiohttp", "socket", "ftplib", "smtplib", "telnetlib", "websocket",
         "websockets", "huggingface_hub", "datasets", "wget", "gdown", "fsspec", "paramiko", "ssl"}
FETCH = {"from_pretrained", "load_dataset", "snapshot_download", "hf_hub_download", "fetch_openml", "urlopen",
         "urlretrieve", "load_state_dict_from_url", "download_url_to_file", "torch.hub"}
# Where it is right, and why. Nothing else in the package or on a page may.
ALLOWED = {
    ("lora_lab/cache.py", "np.load"): "with allow_pickle=False",
    ("lora_lab/latecomer.py", "exec"): "the cells of the page beside the package, as Run All runs them",
    ("lora_lab/latecomer.py", "compile"): "the same",
    ("lora_lab/gallery.py", "exec"): "programs written in this very file",
    ("lora_lab/gallery.py", "compile"): "the same",
    ("lora_lab/gallery.py", "eval"): "an expression written in this very file",
    ("09_in_the_wild.ipynb", "peft.PeftModel.from_pretrained"): "from a folder that the page has just written",
    ("09_in_the_wild.ipynb", "transformers.AutoModelForCausalLM.from_pretrained"): "the same, or the learner's own",
}


def dotted(node: ast.AST) -> str:
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([*([node.id] if isinstance(node, ast.Name) else [""]), *reversed(parts)])


def dangers(source: str) -> set[str]:
    """Names of what a piece of code calls or imports from UNPICKLE, RUN, REACH and FETCH."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.split(".")[0] in REACH}
            found |= {f"{a.name} as {a.asname}" for a in node.names if a.asname and a.name in ("pickle", "marshal")}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} if node.module.split(".")[0] in REACH else set()
            found |= {full for a in node.names if (full := f"{node.module}.{a.name}") in UNPICKLE | RUN}
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            if name in UNPICKLE | RUN or name.split(".")[-1] in FETCH or name.startswith("torch.hub."):
                found.add(name)
            if any(k.arg == "shell" and not (isinstance(k.value, ast.Constant) and not k.value.value)
                   for k in node.keywords):
                found.add("shell=True")
            if any(k.arg == "allow_pickle" and not (isinstance(k.value, ast.Constant) and k.value.value is False)
                   for k in node.keywords):
                found.add("allow_pickle")
            if name.endswith("np.load") and not any(k.arg == "allow_pickle" for k in node.keywords):
                found.add("np.load without allow_pickle")
    return found


def test_the_package_and_the_pages_neither_unpickle_nor_fetch_nor_run_foreign_text():
    found = {}
    for path in sorted((ROOT / "lora_lab").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        found |= {(name, danger): "" for danger in dangers(path.read_text(encoding="utf-8"))}
    for path in pages.page_files():
        for cell in pages.code_cells(pages.read(path)):
            found |= {(path.name, danger): "" for danger in dangers(cell.source)}
            shell = [line for line in cell.source.splitlines() if re.match(r"\s*[!%]", line)]
            assert not shell, f"{path.name} leaves Python: {shell[0]}"
    assert found.keys() == ALLOWED.keys()


def test_the_tests_and_tools_unpickle_nothing_either():
    found = {(path.name, danger) for path in (ROOT / "tests").rglob("*.py")
             for danger in dangers(path.read_text(encoding="utf-8")) & UNPICKLE
             if danger not in ("np.load", "numpy.load")}  # np.load refuses pickles unless told otherwise:
    assert not found
    told = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != Path(__file__).name
            and "allow_pickle" in dangers(path.read_text(encoding="utf-8"))]
    assert not told


@pytest.mark.parametrize("source, danger", [
    ("import torch\ntorch.load('x')", "torch.load"), ("from torch import load", "torch.load"),
    ("np.load('x', allow_pickle=True)", "allow_pickle"), ("np.load('x')", "np.load without allow_pickle"),
    ("import urllib.request", "urllib.request"), ("from requests import get", "requests"),
    ("AutoModel.from_pretrained('gpt2')", "AutoModel.from_pretrained"), ("def f():\n    exec(text)", "exec"),
    ("import pickle as p", "pickle as p"), ("subprocess.run(c, shell=True)", "shell=True"),
    ("import os\nos.system('x')", "os.system"), ("torch.hub.load('a', 'b')", "torch.hub.load"),
])
def test_the_search_finds_each_of_them(source, danger):
    assert danger in dangers(source)


# ---- files from elsewhere -----------------------------------------------------------------------------------------
@pytest.fixture
def adapted():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(7, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    add_lora(model, r=2, alpha=3)
    return model


def refused(model, folder: Path) -> str:
    """load_adapter's sentence; the model must be as it was."""
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError) as e:
        load_adapter(model, folder)
    assert all(torch.equal(t, before[k]) for k, t in model.state_dict().items())
    return str(e.value)


def tensor_file(header: object, size: int | None = None, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


KEY = "base_model.model.0.lora_A.weight"
BOMBS = {
    "a header of 2^63 bytes": tensor_file({}, size=2**63),
    "a header of 4 GB": tensor_file({}, size=2**32),
    "a tensor of 10^18 numbers": tensor_file({KEY: {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 8]}},
                                             data=bytes(8)),
    "a size beyond 64 bits": tensor_file({KEY: {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}},
                                         data=bytes(8)),
    "offsets outside": tensor_file({KEY: {"dtype": "F32", "shape": [2], "data_offsets": [0, 2**50]}}, data=bytes(8)),
    "offsets backwards": tensor_file({KEY: {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}, data=bytes(8)),
    "deep brackets": tensor_file(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
    "a note of deep brackets": tensor_file({"__metadata__": {"lora_lab": "[" * 200_000 + "]" * 200_000}}),
    "a note that is no text": tensor_file({"__metadata__": {"lora_lab": 3}}),
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS.keys())
def test_a_file_that_lies_about_its_size_is_refused_and_costs_no_memory(content, adapted, tmp_path):
    folder = save_adapter(adapted, tmp_path / "a")
    (folder / WEIGHTS).write_bytes(content)
    before = psutil.Process().memory_info().vms
    assert "not a whole safetensors file" in refused(adapted, folder)
    assert psutil.Process().memory_info().vms - before < 500e6


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, '{"r": ' + "9" * 10_000 + "}"],
                         ids=["brackets", "braces", "a long number"])
def test_a_config_made_to_break_the_reader_is_refused(text, adapted, tmp_path):
    folder = save_adapter(adapted, tmp_path / "a")
    (folder / CONFIG).write_text(text, encoding="utf-8")
    assert "not readable JSON" in refused(adapted, folder)


@pytest.mark.parametrize("name", ["../../../outside", "/outside", "base_model.model.0.lora_A.weight/../../outside"])
def test_a_tensors_name_is_never_a_path(name, adapted, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save_adapter(adapted, tmp_path / "deep" / "a")
    save_file({**load_file(folder / WEIGHTS), name: torch.zeros(2)}, folder / WEIGHTS)
    assert "not wanted" in refused(adapted, folder)
    assert [p.name for p in tmp_path.rglob("*outside*")] == []


# ---- writing ------------------------------------------------------------------------------------------------------
needs_links = pytest.mark.skipif(os.name == "nt", reason="making links needs a privilege on Windows")


@needs_links
def test_saving_writes_through_no_link_and_copies_nothing_behind_one(adapted, tmp_path):
    """The adapter's files may be links to somebody's (a hub's cache makes such folders), and so may a neighbour."""
    foreign = tmp_path / "foreign"
    (foreign / "private").mkdir(parents=True)
    for name in ("weights", "config", "private/diary"):
        (foreign / name).write_text("theirs", encoding="utf-8")
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / WEIGHTS).symlink_to(foreign / "weights")
    (folder / CONFIG).symlink_to(foreign / "config")
    (folder / "private").symlink_to(foreign / "private")
    (folder / "broken").symlink_to(foreign / "nothing")
    save_adapter(adapted, folder)
    assert {p.read_text(encoding="utf-8") for p in foreign.rglob("*") if p.is_file()} == {"theirs"}
    assert not (folder / WEIGHTS).is_symlink() and not (folder / CONFIG).is_symlink()
    assert (folder / "private").is_symlink() and (folder / "broken").is_symlink()
    load_adapter(adapted, folder)


@needs_links
def test_a_link_to_the_adapters_folder_stays_a_link(adapted, tmp_path):
    save_adapter(adapted, tmp_path / "real")
    (tmp_path / "current").symlink_to(tmp_path / "real", target_is_directory=True)
    save_adapter(adapted, tmp_path / "current")
    assert (tmp_path / "current").is_symlink() and sorted(p.name for p in tmp_path.iterdir()) == ["current", "real"]


@needs_links
def test_a_kept_computation_does_not_write_through_a_link(tmp_path):
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"years of work")
    (tmp_path / "kept.npz").symlink_to(theirs)
    cache.store(tmp_path / "kept.npz", "key", {"a": torch.ones(2)})
    assert theirs.read_bytes() == b"years of work" and not (tmp_path / "kept.npz").is_symlink()


def test_a_kept_computation_that_claims_a_thousand_billion_numbers_counts_as_absent(tmp_path):
    import io
    import zipfile

    import numpy as np

    head = io.BytesIO()
    np.lib.format.write_array_header_2_0(head, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
    cache.store(tmp_path / "kept.npz", "key", {"b": torch.ones(2)})
    with zipfile.ZipFile(tmp_path / "kept.npz", "a") as file:
        file.writestr("a.npy", head.getvalue())
    assert cache.load(tmp_path / "kept.npz", "key", {"a": ((2,), torch.float64)}) is None


def test_progress_is_the_learners_own_and_leaves_nothing_behind(tmp_path, monkeypatch):
    file = tmp_path / "progress.json"
    monkeypatch.setenv("LORA_LAB_PROGRESS", str(file))
    book.keep("0.1", "right")
    assert json.loads(file.read_text(encoding="utf-8")) == {"0.1": "right"}
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text('{"somebody\'s": "right"}', encoding="utf-8")  # our form, but no number of an exercise
    book.keep("0.2", "right")
    assert [p.name for p in tmp_path.iterdir()] == ["progress.json"]
    with monkeypatch.context() as disk_full:
        disk_full.setattr(book.os, "replace", lambda *a: (_ for _ in ()).throw(OSError("No space left on device")))
        file.write_text("{}", encoding="utf-8")
        book.keep("0.2", "right")
    assert [p.name for p in tmp_path.iterdir()] == ["progress.json"]
    if os.name == "posix":
        theirs = tmp_path / "theirs"
        theirs.write_text("{}", encoding="utf-8")
        file.unlink()
        file.symlink_to(theirs)
        book.keep("0.1", "right")
        assert theirs.read_text(encoding="utf-8") == "{}" and not file.is_symlink()


# ---- advisories ---------------------------------------------------------------------------------------------------
def test_no_pinned_version_has_a_known_advisory_and_what_is_undecided_is_said():
    """advisories.json says how it was found, and by which control that the answer was a real one."""
    record = json.loads((ROOT / "tests" / "advisories.json").read_text(encoding="utf-8"))
    assert record["advisories found"] == {} and all(record["control"].values())
    clear, undecided = record["none known"], record["not decided, the installed version is not the newest"]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    for name, version in (re.match(r"([\w-]+)==(\S+)", line).groups() for line in lines if "==" in line):
        known = clear.get(name) == version or undecided.get(name, "").split(" ")[0] == version
        assert known, f"{name} {version} was never looked up: {record['command']}"
