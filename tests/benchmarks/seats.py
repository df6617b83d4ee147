"""What a seat costs in memory and CPU: python tests/benchmarks/seats.py [N ...]      (N learners at once: 1 10 20)

The room's hub (tests/tools/hub.py), really started. N learners log in; then all press Run All on page 04 in the same
moment, in fresh kernels. Every two seconds the memory of every process is read as PSS, in which a page of memory that
k processes share counts 1/k for each: the sum is what the machine really holds. Linux.
"""

import asyncio
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from machine import machine, print_head, print_row

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "tools")]

import hub as hubs  # noqa: E402
import pages  # noqa: E402

PAGE = "04"
ROOM_MB = 22_000  # 24 GB, 2 kept for the system


class Sampler(threading.Thread):
    """The peak of every process's memory in MB, by kind, from start() until `end` is set."""

    def __init__(self, hub: hubs.Hub) -> None:
        super().__init__(daemon=True)
        self.hub, self.end = hub, threading.Event()
        self.peaks: dict[str, dict[int, float]] = {"hub": {}, "server": {}, "kernel": {}}
        self.total = 0.0

    def run(self) -> None:
        while not self.end.wait(2):
            total = 0.0
            for process in self.hub.processes():
                try:
                    command, mb = " ".join(process.cmdline()), process.memory_full_info().pss / 1e6
                except psutil.Error:  # it has just ended
                    continue
                singleuser = "server" if "jupyterhub.singleuser" in command else "hub"
                peaks = self.peaks["kernel" if "ipykernel" in command else singleuser]
                peaks[process.pid] = max(mb, peaks.get(process.pid, 0))
                total += mb
            self.total = max(self.total, total)


async def all_at_once(learners: list[hubs.Learner], cells: list[str]) -> list[float]:
    """Seconds from the click on Run All to the last output, of each."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(len(learners)))

    async def run(learner: hubs.Learner) -> float:
        start = time.perf_counter()
        await learner.run(cells)
        return time.perf_counter() - start

    return sorted(await asyncio.gather(*[run(learner) for learner in learners]))


def measure(n: int) -> None:
    cells = [cell.source for cell in pages.code_cells(pages.read(pages.find_page(PAGE)))]
    with tempfile.TemporaryDirectory(prefix="seats-") as folder:
        repo = hubs.make_course(Path(folder) / "course")
        with hubs.Hub(Path(folder), repo) as hub:
            with ThreadPoolExecutor(n) as pool:
                learners = list(pool.map(lambda i: hubs.Learner(hub, f"learner{i}"), range(n)))
            sampler = Sampler(hub)
            sampler.start()
            seconds = asyncio.run(all_at_once(learners, cells))
            sampler.end.set()
            sampler.join()
    hub_mb = sum(sampler.peaks["hub"].values())
    server, kernel = [sum(sampler.peaks[kind].values()) / n for kind in ("server", "kernel")]
    fit = (ROOM_MB - hub_mb) / (server + kernel)
    times = f"{seconds[0]:.0f} to {seconds[-1]:.0f}"
    print_row(n, f"{hub_mb:.0f}", f"{server:.0f}", f"{kernel:.0f}", f"{sampler.total:.0f}", times, f"{fit:.0f}")


if __name__ == "__main__":
    print(machine())
    print_head("N", "hub, MB", "server, MB", "kernel, MB", "all at once, MB", "Run All, s", "seats in 24 GB")
    for count in sys.argv[1:] or ("1", "10", "20"):
        measure(int(count))
