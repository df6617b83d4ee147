"""What could hurt a learner: an open server, a file that runs when it is read, a write in a foreign place."""

import ast
import json
import os
import re
import shlex
import socket
import struct
import subprocess
import sys
import time

import pages
import psutil
import pytest
import requests
from zoo import fingerprint, mlp

from lora_lab import add_lora, load_adapter, remove_lora, save_adapter
from lora_lab.files import CONFIG, WEIGHTS

ROOT = pages.ROOT


def test_the_readmes_server_wants_its_token_and_listens_on_this_machine_only(tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    command = shlex.split(re.search(r"&& (jupyter lab .*)", readme)[1])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPY"))}
    env |= {"HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path)}  # nobody's settings
    log = tmp_path / "log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "jupyterlab", *command[2:], "--no-browser", f"--port={port}", "--allow-root"]
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=out)
    try:
        token, url = None, f"http://127.0.0.1:{port}/api/contents"
        for _ in range(300):
            token = re.search(r"\?token=([0-9a-f]{48})\b", log.read_text(errors="replace"))
            with socket.socket() as knock:  # the address is printed a moment before anybody answers there
                if token and knock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        assert token, log.read_text()[-2000:]
        assert requests.get(url, timeout=60).status_code == 403
        assert requests.get(f"{url}?token={'0' * 48}", timeout=60).status_code == 403
        assert requests.get(f"{url}?token={token[1]}", timeout=60).status_code == 200
        connections = psutil.Process(process.pid).net_connections("inet")
        assert {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN} <= {"127.0.0.1", "::1"}
    finally:
        process.kill()
        process.wait()


def test_nothing_that_we_hand_out_opens_a_server():
    """No text or setting of the course takes the token away or listens for everybody."""
    files = [ROOT / "README.md", ROOT / "environment.yml"]
    for kind in ("*.md", "*.py", "*.json"):
        files += [*pages.NOTEBOOKS.rglob(kind), *(ROOT / "teaching").rglob(kind)]
    opening = re.compile(r"--ip\b|0\.0\.0\.0|\.token\s*=\s*['\"\s]|\.password\s*=\s*['\"]['\"]|allow_origin|"
                         r"disable_check_xsrf|allow_root|allow_remote_access|c\.\w+\.ip\b")  # fmt: skip
    found = [f"{file.name}: {m[0]}" for file in files for m in opening.finditer(file.read_text(encoding="utf-8"))]
    assert not found


# ---- nothing unpickles, nothing fetches

UNPICKLES = ("torch.load", "torch.hub", "pickle.load", "pickle.loads", "Unpickler", "marshal.load", "marshal.loads",
             "joblib.load", "read_pickle", "torch.jit.load", "yaml.unsafe_load", "np.load", "shelve.open")  # fmt: skip
FETCHES = ("from_pretrained", "load_dataset", "snapshot_download", "hf_hub_download", "fetch_openml", "urlopen")
NETWORK = ("urllib", "http", "requests", "socket", "ftplib", "huggingface_hub", "datasets", "pickle")


def dangers(source: str) -> set[str]:
    """What a piece of code calls or imports that unpickles, fetches, or starts a shell."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] in NETWORK}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module.split(".")[0] in NETWORK}
            found |= {"torch.load" for alias in node.names if (node.module, alias.name) == ("torch", "load")}
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            found |= {name for name in (*UNPICKLES, *FETCHES) if called == name or called.endswith(f".{name}")}
            found |= {"shell" for keyword in node.keywords if keyword.arg == "shell"}
    return found


def test_neither_the_package_nor_a_page_nor_a_test_unpickles_and_nothing_fetches():
    for path in sorted((ROOT / "lora_lab").rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        from_disk = {"from_pretrained"} if '"HF_HUB_OFFLINE", "1"' in source else set()
        assert dangers(source) <= from_disk, path
    for path in pages.page_files():
        written_before = {"from_pretrained"} if path.name[:2] in ("10", "13") else set()  # folders of the page's own
        for cell in pages.code_cells(pages.read(path)):
            assert dangers(cell.source) <= written_before, f"{path.name}:\n{cell.source}"
            assert not re.search(r"^\s*[!%]", cell.source, re.M), f"{path.name} leaves Python:\n{cell.source}"
    for path in sorted((ROOT / "tests").rglob("*.py")):
        found = dangers(path.read_text(encoding="utf-8")) & set(UNPICKLES)
        assert found <= {"np.load"}, path  # which refuses pickles unless told otherwise


# ---- adapter files from elsewhere


@pytest.fixture
def adapted():
    model = mlp()
    add_lora(model, r=2)
    return model


def tensor_file(header: object, size: int | None = None, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


KEY = "base_model.model.0.lora_A.weight"
HUGE = {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 8]}
LIES = {
    "a header of 2^63 bytes": (WEIGHTS, tensor_file({}, size=2**63)),
    "a tensor of 10^18 numbers": (WEIGHTS, tensor_file({KEY: HUGE}, data=bytes(8))),
    "deep brackets": (WEIGHTS, tensor_file(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}")),
    "a config of brackets": (CONFIG, b"[" * 200_000),
    "a config with a long number": (CONFIG, b'{"r": ' + b"9" * 10_000 + b"}"),
}


@pytest.mark.parametrize("name, content", LIES.values(), ids=LIES.keys())
def test_a_file_made_to_break_the_reader_is_refused_and_costs_no_memory(name, content, adapted, tmp_path):
    folder = save_adapter(adapted, tmp_path / "a")
    (folder / name).write_bytes(content)
    remove_lora(adapted)
    before, memory = fingerprint(adapted), psutil.Process().memory_info().vms
    with pytest.raises(ValueError, match="not a whole safetensors file|not readable JSON|is a pickle"):
        load_adapter(adapted, folder)
    assert psutil.Process().memory_info().vms - memory < 500e6
    assert fingerprint(adapted) == before


@pytest.mark.skipif(os.name == "nt", reason="making links needs a privilege on Windows")
def test_saving_writes_through_no_link(adapted, tmp_path):
    """The adapter's files may be links to somebody's: a hub's cache makes such folders."""
    theirs, folder = tmp_path / "theirs", tmp_path / "a"
    theirs.write_text("years of work", encoding="utf-8")
    folder.mkdir()
    for name in (WEIGHTS, CONFIG):
        (folder / name).symlink_to(theirs)
    save_adapter(adapted, folder)
    assert theirs.read_text(encoding="utf-8") == "years of work" and not (folder / WEIGHTS).is_symlink()
    load_adapter(remove_lora(adapted), folder)
