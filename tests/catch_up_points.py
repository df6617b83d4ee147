"""Keep the results of the pages' long trainings for `catch_up`, and see that every point can be reached.

    python tests/catch_up_points.py [PAGE ...]           # run the pages' code, keep trainings and sweeps
    python tests/catch_up_points.py [PAGE ...] --check   # reach every section in a fresh process, go on to the end
                                                         # of the page, and compare what is printed

The first writes lora_lab/data/catch_up/NN.safetensors; the second writes tests/catch_up_points.json.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import time

import pages
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lora_lab import latecomer, sweeps, training

LARGEST = 1_500_000  # bytes of one kept result, unless its training takes over LONG
LONG = 1.0  # CPU seconds
BIG = 1_000_000  # bytes of a tensor that the pages share
RECORD = pages.ROOT / "tests" / "catch_up_points.json"


class Recorder(latecomer.KeptTrainings):
    """Trains for real, and keeps the results."""

    def __init__(self, page: str) -> None:
        super().__init__(page, text="nothing")
        self.big: dict[str, torch.Tensor] = {}

    def stand_in(self, trainable, settings, train):
        key = self._next()
        training.stand_in, start = None, time.process_time()
        try:
            history = train()
        finally:
            training.stand_in = self.stand_in
        took = time.process_time() - start
        size = sum(p.numel() * p.element_size() for p in trainable.values()) * (1 + len(history.snapshots))
        if took > LONG or size <= LARGEST:
            tensors = {f"{key}/{name}": p.detach().clone() for name, p in trainable.items()}
            shared = {n: latecomer.digest_of(t) for n, t in tensors.items() if t.numel() * t.element_size() > BIG}
            self.big |= {digest: tensors.pop(name) for name, digest in shared.items()}
            for step, state in history.snapshots.items():
                tensors |= {f"{key}/{name}@{step}": t.clone() for name, t in state.items()}
            tensors[f"{key}/losses"] = torch.tensor(history.losses, dtype=torch.float64)
            self.tensors |= tensors
            self.about[key] = {
                "settings": json.loads(json.dumps(settings)),
                "snapshots": list(history.snapshots),
                "measured": history.measured,
                "epoch_losses": history.epoch_losses,
                "steps_per_epoch": history.steps_per_epoch,
                "seconds": round(history.seconds, 2),
                "diverged_at": history.diverged_at,
            } | ({"shared": shared} if shared else {})
            print(f"  kept: cell {self.cell}, {took:.1f} s, {size / 1000:.0f} kB", file=sys.stderr)
        return history

    def stand_in_sweep(self, sweep, run):
        key = self._next()
        run()
        self.about[key] = {"sweep": latecomer.said_of(sweep)}
        kept = {f"{key}/{name}": getattr(sweep, name).clone() for name in ("losses", "final", "ends")}
        self.tensors |= kept
        size = sum(t.numel() * t.element_size() for t in kept.values())
        print(f"  kept: cell {self.cell}, a sweep, {size / 1000:.0f} kB", file=sys.stderr)
        return True


def keep(page: str) -> None:
    """Train what some section of this page needs, and keep it."""
    sources = latecomer.code_of(page)
    text = latecomer.fingerprint(sources)
    recorder = Recorder(page)
    os.chdir(pages.NOTEBOOKS)
    points = [latecomer.needed_cells(sources, section.at) for section in latecomer.sections(page)]
    latecomer.run_cells(sources, sorted(set().union(*points)), {"__name__": "__main__"}, recorder)
    path = latecomer.KEPT / f"{page}.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if recorder.about:
        about = json.dumps(recorder.about, sort_keys=True)
        write(path, recorder.tensors, {"text": text, "trainings": about})
    share(recorder.big)
    size = path.stat().st_size / 1000 if path.exists() else 0
    print(f"{page}: {len(recorder.about)} trainings, {size:.0f} kB")


def write(path, tensors: dict[str, torch.Tensor], about: dict[str, str] | None = None) -> None:
    save_file(tensors, path, about)
    path.chmod(0o644)


def share(new: dict[str, torch.Tensor]) -> None:
    """Put these among the tensors that the pages share, and drop what no page asks for any more."""
    path, wanted = latecomer.KEPT / latecomer.SHARED, set()
    for page in latecomer.KEPT.glob("[0-9][0-9].safetensors"):
        with safe_open(page, "pt") as f:
            wanted |= {d for kept in json.loads(f.metadata()["trainings"]).values()
                       for d in kept.get("shared", {}).values()}
    there = load_file(path) if path.exists() else {}
    tensors = {digest: t for digest, t in sorted((there | new).items()) if digest in wanted}
    if set(tensors) != set(there):
        path.unlink(missing_ok=True)
        if tensors:
            write(path, tensors)


def reach(point: str) -> dict:
    """In this process: catch up, then run the rest of the page and compare its prints with the stored ones.

    The rest, too, uses kept trainings: what is tested is the state, and a page has many points.
    """
    os.chdir(pages.NOTEBOOKS)
    section = latecomer.find_section(point)
    path = latecomer.find_page(section.number[:2])
    namespace: dict = {"__name__": "__main__"}
    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        latecomer.catch_up(point, namespace)
    seconds = time.process_time() - start
    import matplotlib.pyplot as plt

    different = []
    page = section.number[:2]
    sources = latecomer.code_of(page)
    kept = latecomer.KeptTrainings(page, latecomer.fingerprint(sources))
    training.stand_in, sweeps.stand_in = kept.stand_in, kept.stand_in_sweep
    for i, cell in enumerate(pages.read(path).cells):
        if i not in sources or i < section.at:
            continue
        kept.enter(sources, i)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(cell.source, f"<cell {i}>", "exec"), namespace)
        plt.close("all")
        stored = "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stdout")
        if printed.getvalue().strip() != stored.strip() and not pages.REASON.search(cell.source):
            different.append(i)
    return {"title": section.title, "cpu_s": round(seconds, 1), "different": different}


def check(page: str) -> dict:
    found = {}
    for section in latecomer.sections(page):
        command = [sys.executable, __file__, "--reach", section.number]
        env = os.environ | {"TQDM_DISABLE": "1", "MPLBACKEND": "Agg"}
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        if done.returncode:
            found[section.number] = {"title": section.title, "error": done.stderr.strip().splitlines()[-1]}
        else:
            found[section.number] = json.loads(done.stdout.splitlines()[-1])
        print(section.number, found[section.number])
    return {"text": latecomer.fingerprint(latecomer.code_of(page)), "points": found}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--reach", metavar="POINT", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.reach:
        print(json.dumps(reach(given.reach)))
        return 0
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ["MPLBACKEND"] = "Agg"
    bad = 0
    for path in [pages.find_page(p) for p in given.pages] or pages.page_files():
        page = path.stem[:2]
        if not given.check:
            subprocess.run([sys.executable, "-c", f"import catch_up_points as c; c.keep({page!r})"], check=True,
                           cwd=pages.ROOT / "tests", env=os.environ)
            continue
        record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
        record[path.stem] = check(page)
        text = json.dumps(dict(sorted(record.items())), indent=1, ensure_ascii=False) + "\n"
        RECORD.write_text(text, encoding="utf-8", newline="\n")
        bad += sum("error" in p or bool(p["different"]) for p in record[path.stem]["points"].values())
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
