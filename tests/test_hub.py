"""A room's JupyterHub, really started: notebooks/hub/jupyterhub_config.py, its proxy, two learners, a kernel each.

Skipped where jupyterhub or its proxy is absent. To run it, see "The test of all this" in notebooks/HUB.md.
"""

import asyncio
import json
import re
import shutil
import subprocess
import sys
from urllib.parse import parse_qsl, urlencode, urlsplit

import pages
import pytest

try:
    import hub as hubs

    lacks = hubs.missing()
except ImportError as e:  # psutil, requests and tornado come with jupyterlab
    lacks = f"{e.name} is not installed"
needs_hub = pytest.mark.skipif(lacks is not None, reason=f"a hub cannot start here: {lacks}")

NAMES = ("ada", "grace")
START = "lora-lab/notebooks/00_start_here.ipynb"


def text(cell):
    return "".join(cell["source"])  # a list of lines in a file, one string over the API


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course") / "lora-lab-course"
    return folder, hubs.make_course(folder, [pages.find_page("00"), pages.find_page("04")])


@pytest.fixture(scope="module")
def hub(repo, tmp_path_factory):
    with hubs.Hub(tmp_path_factory.mktemp("hub"), repo[1]) as running:
        yield running


@pytest.fixture(scope="module")
def learners(hub):
    """Both logged in, with a server each; where the hub sent them; and, as nbgitpuller's page does then, pulled."""
    out = {}
    for name in NAMES:
        learner = out[name] = hubs.Learner(hub, name)
        assert learner.log_in().ok, hub.tail()
        learner.sent_to = learner.open()
        assert learner.pull() == "finished", hub.tail()
    return out


@needs_hub
def test_only_the_rooms_password_opens_it(hub):
    stranger = hubs.Learner(hub, "stranger")
    assert stranger.log_in("a wrong password").status_code == 403
    assert not (hub.folder / "learners" / "stranger").exists()


@needs_hub
def test_it_listens_on_this_machine_only(hub, learners):
    """The hub, its proxy, the servers and the kernels: nothing of it can be reached from another machine."""
    heard = [c.laddr.ip for p in hub.processes() for c in p.net_connections("inet") if c.status == "LISTEN"]
    assert len(heard) > 4 and set(heard) <= {"127.0.0.1", "::1"}


@needs_hub
def test_each_learner_lands_on_page_00_of_an_own_copy(repo, hub, learners):
    original = json.loads(pages.find_page("00").read_text(encoding="utf-8"))
    for name, learner in learners.items():
        sent_to = urlsplit(learner.sent_to)
        assert sent_to.path == f"/user/{name}/git-pull"
        asked = {"repo": repo[1], "targetPath": "lora-lab", "urlpath": f"lab/tree/{START}"}
        assert asked.items() <= dict(parse_qsl(sent_to.query)).items()  # jupyterhub may add redirects=1
        opened = learner.session.get(f"{learner.server}/lab/tree/{START}", timeout=60)
        assert opened.ok and "jupyter-config-data" in opened.text and opened.url.endswith(START)
        copy = learner.page(START)
        assert [text(cell) for cell in copy["cells"]] == [text(cell) for cell in original["cells"]]
        assert (hub.folder / "learners" / name / START).is_file()


async def in_a_kernel(learner, code):
    socket = await learner.connect(learner.start_kernel("lora-lab/notebooks"))
    try:
        return await asyncio.wait_for(hubs.run_cell(socket, code), 240)
    finally:
        socket.close()


@needs_hub
def test_a_kernel_runs_the_course_with_one_thread(hub, learners):
    code = ("import lora_lab, torch, os\nprint(torch.get_num_threads())\n"  # before begin: what the hub sets
            "lora_lab.begin('04')\nprint(torch.get_num_threads())\nprint(os.getcwd())")

    async def both():
        return await asyncio.gather(*(in_a_kernel(learner, code) for learner in learners.values()))

    for name, printed in zip(NAMES, asyncio.run(both())):
        where = str((hub.folder / "learners" / name / "lora-lab" / "notebooks").resolve())
        assert printed.splitlines() == ["1", "LoRA Lab, page 04: ready", "1", where]


@needs_hub
def test_a_seat_has_what_environment_yml_pins(learners):
    pins = dict(re.findall(r"- ([\w-]+)==(\S+)", (pages.ROOT / "environment.yml").read_text(encoding="utf-8")))
    code = f"import importlib.metadata as m; print(*(m.version(name).split('+')[0] for name in {list(pins)}))"
    found = asyncio.run(in_a_kernel(learners["grace"], code)).split()
    assert dict(zip(pins, found)) == pins and len(pins) > 10


@needs_hub
def test_a_link_from_the_teacher_leads_into_ones_own_server(repo, hub, learners):
    """The form of link that HUB.md gives for a hub whose default page is not nbgitpuller's."""
    query = urlencode({"repo": repo[1], "branch": "main", "targetPath": "lora-lab", "urlpath": f"lab/tree/{START}"})
    opened = learners["grace"].session.get(f"{hub.url}/hub/user-redirect/git-pull?{query}", timeout=60)
    assert opened.ok and urlsplit(opened.url).path == "/user/grace/git-pull"
    assert set(parse_qsl(query)) <= set(parse_qsl(urlsplit(opened.url).query)) and "nbgitpuller" in opened.text


@needs_hub
def test_an_edit_is_seen_by_nobody_else_and_survives_an_update(repo, hub, learners):
    folder, _ = repo
    ada, grace = learners["ada"], learners["grace"]
    mine = ada.page(START)
    mine["cells"][-1]["source"] = "What I found: the floor is at r = 4."
    ada.save(START, mine)
    untouched = pages.find_page("00").read_bytes()
    assert text(grace.page(START)["cells"][-1]) == text(json.loads(untouched)["cells"][-1])
    assert (folder / "notebooks" / "00_start_here.ipynb").read_bytes() == untouched

    # The teacher corrects the first cell of page 00, rewrites its last one too, and adds a page.
    original = folder / "notebooks" / "00_start_here.ipynb"
    changed = pages.read(original)
    changed.cells[0].source += "\n\nA correction."
    changed.cells[-1].source = "The teacher's new ending."
    original.write_text(pages.as_text(changed), encoding="utf-8")
    shutil.copy(pages.find_page("05"), folder / "notebooks")
    hubs.git(folder, "add", ".")
    hubs.git(folder, "commit", "--quiet", "-m", "A correction, a new ending, and page 05")
    for learner in (ada, grace):
        assert learner.pull() == "finished", hub.tail()
    assert text(ada.page(START)["cells"][0]).endswith("A correction.")
    assert text(ada.page(START)["cells"][-1]) == "What I found: the floor is at r = 4."
    assert text(grace.page(START)["cells"][-1]) == "The teacher's new ending."
    assert ada.page("lora-lab/notebooks/" + pages.find_page("05").name)["cells"]


@needs_hub
def test_it_ends_with_everything_it_started(repo, tmp_path):
    """Ctrl+C on the hub: proxy, culler, server and kernel are gone, and the learner's files are not."""
    running = hubs.Hub(tmp_path, repo[1])
    with running:
        learner = hubs.Learner(running, "linus")
        assert learner.log_in().ok
        learner.open()
        assert learner.pull() == "finished"
        learner.start_kernel("lora-lab/notebooks")
        commands = [" ".join(p.cmdline()) for p in running.processes()]
        for part in ("configurable-http-proxy", "jupyterhub_idle_culler", "jupyterhub.singleuser", "ipykernel"):
            assert any(part in command for command in commands), (part, commands)
        assert running.stop() == []
    assert (tmp_path / "learners" / "linus" / START).is_file()


@pytest.mark.skipif(not shutil.which("jupyter-repo2docker"), reason="repo2docker is not installed")
def test_binder_would_build_environment_yml_with_the_package_beside_it(tmp_path):
    """Plan B: the recipe that Binder's tool writes from this repository. Building it needs Docker, and is not tried."""
    for name in ("environment.yml", "pyproject.toml"):
        shutil.copy(pages.ROOT / name, tmp_path)
    run = subprocess.run(["jupyter-repo2docker", "--no-build", "--debug", str(tmp_path)],
                         capture_output=True, encoding="utf-8", timeout=120)
    recipe = run.stdout + run.stderr
    assert run.returncode == 0 and "Building conda environment for python=3.11" in recipe, recipe[-2000:]
    update = recipe.index('--file "environment.yml"')
    assert recipe.index("src/ ${REPO_DIR}") < update  # -e . finds the package: its folder is there before pip runs


# without a hub

CHECK = "import runpy, sys; from traitlets.config import Config; c = Config(); " \
    "runpy.run_path(sys.argv[1], {'get_config': lambda: c}); print(c.JupyterHub.bind_url)"


def test_the_configuration_asks_for_a_password_and_keeps_to_this_machine():
    path = str(pages.ROOT / "notebooks" / "hub" / "jupyterhub_config.py")

    def load(**env):
        return subprocess.run([sys.executable, "-c", CHECK, path], env=env, capture_output=True, encoding="utf-8")

    without = load()
    assert without.returncode == 1 and "LORA_LAB_PASSWORD is not set: choose the room's password" in without.stderr
    assert load(LORA_LAB_PASSWORD="eight or more").stdout.strip() == "http://127.0.0.1:8000"


def test_the_teachers_page_names_what_there_is():
    """Links, headings, and the variables that the configuration reads, in HUB.md."""
    page = (pages.NOTEBOOKS / "HUB.md").read_text(encoding="utf-8")
    config = (pages.NOTEBOOKS / "hub" / "jupyterhub_config.py").read_text(encoding="utf-8")
    variable = re.compile(r"LORA_LAB_[A-Z_]+")
    assert set(variable.findall(page)) == set(variable.findall(config))
    headings = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.+)$", page, re.M)}
    local = [target for target in re.findall(r"\]\(([^)\s]+)\)", page) if "://" not in target]
    assert len(local) > 4
    assert not [t for t in local if not (t[1:] in headings if t[0] == "#" else (pages.NOTEBOOKS / t).is_file())]
