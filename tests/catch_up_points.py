"""Keep the results of the pages' long trainings for `catch_up`, and see that every point can be reached.

    python tests/catch_up_points.py [PAGE ...]           # run the pages' code, keep trainings over 0.4 CPU seconds
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
from safetensors.torch import save_file

from lora_lab import latecomer, training

LONG = 0.4  # CPU seconds
LARGEST = 1_500_000  # bytes of one kept result
RECORD = pages.ROOT / "tests" / "catch_up_points.json"


class Recorder(latecomer.KeptTrainings):
    """Trains for real, and keeps what took long."""

    def stand_in(self, trainable, settings, train):
        key = f"{self.cell}.{self.calls}"
        self.calls += 1
        training.stand_in, start = None, time.process_time()
        try:
            history = train()
        finally:
            training.stand_in = self.stand_in
        took = time.process_time() - start
        size = sum(p.numel() * p.element_size() for p in trainable.values()) * (1 + len(history.snapshots))
        if took > LONG and size <= LARGEST:
            tensors = {f"{key}/{name}": p.detach().clone() for name, p in trainable.items()}
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
            }
            print(f"  kept: cell {self.cell}, {took:.1f} s, {size / 1000:.0f} kB", file=sys.stderr)
        return history


def keep(page: str) -> None:
    sources = latecomer.code_of(page)
    text = latecomer.fingerprint(sources)
    recorder = Recorder(page, text="nothing")
    os.chdir(pages.NOTEBOOKS)
    latecomer.run_cells(sources, sorted(sources), {"__name__": "__main__"}, recorder)
    path = latecomer.KEPT / f"{page}.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if recorder.about:
        save_file(recorder.tensors, path, {"text": text, "trainings": json.dumps(recorder.about, sort_keys=True)})
    size = path.stat().st_size / 1000 if path.exists() else 0
    print(f"{page}: {len(recorder.about)} trainings, {size:.0f} kB")


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
    training.stand_in = kept.stand_in
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
