"""What a seat costs in memory and CPU: python tests/benchmarks/seats.py [N ...]      (N learners at once: 1 10 20)

The room's hub of notebooks/hub/jupyterhub_config.py, really started. N learners log in, and each one's server starts;
then all press Run All on page 04 in the same moment, in fresh kernels. Every two seconds the memory of every process
is read as PSS, in which a page of memory that k processes share counts 1/k for each: the sum is what the machine
really holds. Needs what tests/test_hub.py needs (see notebooks/HUB.md), and Linux. Writes seats.json.
"""

import asyncio
import json
import os
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, median

import psutil
from machine import describe
from tornado.websocket import WebSocketClosedError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import hub as hubs
import pages

PAGE = "04"
MACHINE, SYSTEM = 24e9, 2e9  # bytes: the machine that seats are stated for, and what is kept for its system
SEATS = "seats in 24 GB, 2 GB kept for the system"
CELL_SECONDS = 900
REDIALS: list[str] = []  # who had to connect anew


def pss(pid: int) -> int:
    """Bytes; 0 when the process has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def kind(process: psutil.Process) -> str | None:
    """None for what lives only a moment: git, or a process between fork and exec, which looks like its parent."""
    try:
        if time.time() - process.create_time() < 1:
            return None
        command = " ".join(process.cmdline())
    except psutil.Error:
        return None
    for part, name in (("ipykernel", "kernel"), ("jupyterhub.singleuser", "server")):
        if part in command:
            return name
    return "hub"  # the hub itself, the proxy, the culler


class Sampler(threading.Thread):
    """Memory of every process of the hub, from start() until `end` is set."""

    def __init__(self, hub: hubs.Hub, every: float = 2.0):
        super().__init__(daemon=True)
        self.hub, self.every, self.end = hub, every, threading.Event()
        self.kinds: dict[int, str] = {}
        self.peak: dict[int, int] = {}
        self.total_peak = 0

    def run(self):
        while not self.end.wait(self.every):
            try:
                self.note(self.sample())
            except psutil.Error:  # a process ended while its children were asked for
                continue

    def note(self, now: dict[int, int]) -> None:
        self.total_peak = max(self.total_peak, sum(now.values()))
        for pid, size in now.items():
            self.peak[pid] = max(self.peak.get(pid, 0), size)

    def sample(self) -> dict[int, int]:
        for process in self.hub.processes():
            if process.pid not in self.kinds and (which := kind(process)):
                self.kinds[process.pid] = which
        return {pid: pss(pid) for pid in self.kinds}

    def mean(self, sizes: dict[int, int], which: str) -> float:
        """MB per process of a kind; of the hub's processes their sum."""
        mine = [size for pid, size in sizes.items() if self.kinds[pid] == which and psutil.pid_exists(pid)]
        return round((sum(mine) if which == "hub" else fmean(mine)) / 1e6, 1) if mine else 0.0


def cpu(process: psutil.Process) -> float:
    t = process.cpu_times()
    return t.user + t.system


async def run_page(learner: hubs.Learner, cells: list[str]) -> float:
    """All cells of the page in a fresh kernel; seconds from the click to the last output."""
    start = time.perf_counter()
    kernel = await asyncio.to_thread(learner.start_kernel, "lora-lab/notebooks")
    socket = await learner.connect(kernel)
    for _ in range(10):  # a server that starts a kernel on a crowded machine may drop the line: a browser connects anew
        try:
            await asyncio.wait_for(hubs.run_cell(socket, "pass"), CELL_SECONDS)
            break
        except (WebSocketClosedError, RuntimeError):
            REDIALS.append(learner.name)
            socket = await learner.connect(kernel)
    try:
        for code in cells:
            await asyncio.wait_for(hubs.run_cell(socket, code), CELL_SECONDS)
    finally:
        socket.close()
    return time.perf_counter() - start


async def all_at_once(learners: list[hubs.Learner], cells: list[str]) -> list[float]:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(len(learners)))
    return await asyncio.gather(*(run_page(learner, cells) for learner in learners))


def measure(n: int) -> dict[str, object]:
    page = pages.find_page(PAGE)
    cells = [cell.source for cell in pages.code_cells(pages.read(page))]
    with tempfile.TemporaryDirectory(prefix="seats-") as name:
        folder = Path(name)
        repo = hubs.make_course(folder / "course", [page])
        (folder / "room").mkdir()
        with hubs.Hub(folder / "room", repo) as hub:
            start = time.perf_counter()
            learners = [hubs.Learner(hub, f"learner{i}") for i in range(n)]
            with ThreadPoolExecutor(n) as pool:
                list(pool.map(lambda learner: (learner.log_in(), learner.open(), learner.pull()), learners))
            arrived = time.perf_counter() - start
            sampler = Sampler(hub)
            idle = sampler.sample()
            servers = [psutil.Process(pid) for pid, which in sampler.kinds.items() if which == "server"]
            started = [cpu(process) for process in servers]
            sampler.start()
            load = os.getloadavg()[0]
            REDIALS.clear()
            machine = psutil.cpu_times()
            seconds = asyncio.run(all_at_once(learners, cells))
            machine = [b - a for a, b in zip(machine, psutil.cpu_times())]
            sampler.end.set()
            sampler.join()
            after = sampler.sample()
            sampler.note(after)
            kernels = [psutil.Process(p) for p, which in sampler.kinds.items() if which == "kernel" and after[p]]
            assert len(kernels) == len(servers) == n, f"{len(kernels)} kernels, {len(servers)} servers, not {n}"
            spent = [cpu(process) for process in kernels]
            served = [cpu(process) - before for process, before in zip(servers, started)]
            used = sum(spent) + sum(served)
            return {
                "seats": n,
                "from login to the page, all, s": round(arrived, 1),
                "server's start, CPU s": round(fmean(started), 1),
                "MB": {
                    "hub, proxy, culler": sampler.mean(after, "hub"),
                    "server, before": sampler.mean(idle, "server"),
                    "server, peak": sampler.mean(sampler.peak, "server"),
                    "kernel, peak": sampler.mean(sampler.peak, "kernel"),
                    "kernel, after": sampler.mean(after, "kernel"),
                    "all processes, peak of the sum": round(sampler.total_peak / 1e6),
                },
                "page's CPU s": {"kernel": round(fmean(spent), 1), "server": round(fmean(served), 1)},
                "page's wall s": {
                    "first": round(min(seconds), 1),
                    "median": round(median(seconds), 1),
                    "last": round(max(seconds), 1),
                },
                "had to connect anew": len(REDIALS),
                "cores they got": round(used / max(seconds), 2),
                "cores others used": round((sum(machine[:3]) - used) / max(seconds), 2),
                "load average before": round(load, 1),
            }


def seats(row: dict) -> dict[str, int]:
    """How many learners fit into MACHINE, if every one is at the peak at the same moment."""
    mb = row["MB"]
    room = (MACHINE - SYSTEM) / 1e6 - mb["hub, proxy, culler"]
    one = mb["server, peak"] + mb["kernel, peak"]
    return {"one page open each": int(room / one), "three pages open each": int(room / (one + 2 * mb["kernel, after"]))}


def main() -> None:
    lacks = hubs.missing()
    if lacks:
        sys.exit(f"a hub cannot start here: {lacks}; see notebooks/HUB.md")
    file = Path(__file__).with_suffix(".json")
    machine = describe() | {
        "jupyterhub": version("jupyterhub"),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
    }
    old = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.is_file() else []
    for n in [int(n) for n in sys.argv[1:]] or [1, 10, 20]:
        row = measure(n)
        old = sorted([*(r for r in old if r["seats"] != n), row], key=lambda r: r["seats"])
        record = {"machine": machine, "page": PAGE, "rows": old, SEATS: seats(old[-1])}
        file.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(json.dumps(row, indent=1, ensure_ascii=False), record[SEATS], flush=True)


if __name__ == "__main__":
    main()
