"""Run pages twice, and their cells out of order: python tests/page_order.py [PAGE ...] [--seed N]

What a reader's hands do to a page, in real kernels. "twice": Run All and, in the same kernel, Run All again. "again":
in that full kernel, every cell once more, alone and in random order. "shuffled": a fresh kernel, the first cell (the
imports), then every other cell once in random order. Each printed output is compared with the stored one, as strict
nbval compares. It is the same; or the cell stopped with an error (an `odd` one is neither a NameError nor one of our
sentences); or it was `said` that the order is not the page's (lora_lab.order); or it is `silent`: another number, and
nobody says so. That is what must not be.

The result is kept in page_order.json beside this file; tests/test_page_order.py checks that it is up to date and that
no cell is silent. Exit status 1 if one is.
"""
from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import nbformat
import pages
from jupyter_client.manager import KernelManager
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, NbvalKernelspecManager

RECORD = Path(__file__).with_suffix(".json")
NOTICE = re.compile(r"^\(Not the page's order: .*\)$", re.MULTILINE)  # what lora_lab.order prints
ERRORS = ("NameError", "ValueError", "ClaimError", "AssertionError")  # Jupyter's own sentence, and ours


class Kernel:
    """A kernel of this interpreter in the pages' folder, as nbval starts it. Use it in a `with`."""

    def __enter__(self) -> Kernel:
        self._home = tempfile.TemporaryDirectory(prefix="pages-", ignore_cleanup_errors=True)
        self._manager = KernelManager(kernel_name=CURRENT_ENV_KERNEL_NAME,
                                      kernel_spec_manager=NbvalKernelspecManager())
        self._manager.start_kernel(cwd=str(pages.NOTEBOOKS), env=pages.kernel_environment(Path(self._home.name)))
        self.client = self._manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._home.cleanup()

    def interrupt(self) -> None:
        self._manager.interrupt_kernel()

    def run(self, source: str, timeout: float = pages.CELL_TIMEOUT) -> list:
        """Execute one cell; its outputs as a notebook stores them. TimeoutError if it takes too long."""
        outputs: list = []

        def keep(message: dict) -> None:
            if message["msg_type"] in ("stream", "display_data", "execute_result", "error"):
                outputs.append(nbformat.v4.output_from_msg(message))

        self.client.execute_interactive(source, timeout=timeout, output_hook=keep, store_history=True,
                                        allow_stdin=False)
        return outputs


def text_of(cell, outputs: list) -> dict:
    """What strict nbval would compare if `cell` had these outputs."""
    probe = nbformat.v4.new_code_cell(cell.source, outputs=outputs, metadata=cell.metadata)
    return pages.compared_text(pages.normalise(nbformat.v4.new_notebook(cells=[probe])).cells[0])


def verdict(cell, outputs: list) -> tuple[str, str]:
    """("same" | "error" | "said" | "odd error" | "silent", words about it) of a cell that ran at some moment."""
    error = next((o for o in outputs if o.output_type == "error"), None)
    now, stored = text_of(cell, outputs), text_of(cell, cell.outputs)
    notice = NOTICE.search("".join(o.text for o in outputs if o.output_type == "stream"))
    if error:
        said = f"{error.ename}: {error.evalue}".splitlines()[0][:200]
        return ("error" if error.ename in ERRORS or notice else "odd error"), said
    if notice and "stdout" in now:
        now["stdout"] = [NOTICE.sub("", now["stdout"][0]).lstrip("\n")]
        if not now["stdout"][0]:
            del now["stdout"]
    if now == stored:
        return "same", "with a notice" if notice else ""
    return ("said" if notice else "silent"), _difference(stored, now)


def _difference(stored: dict, now: dict) -> str:
    for kind in {**stored, **now}:
        old, new = ("\n".join(map(str, d.get(kind, ["nothing"]))).splitlines() for d in (stored, now))
        for a, b in zip([*old, "(end)"], [*new, "(end)"], strict=False):
            if a != b:
                return f"{a.strip()[:110]} -> {b.strip()[:110]}"
    return "?"


def run_cells(kernel: Kernel, cells: list, order: list[int]) -> dict[int, tuple[str, str]]:
    """{number of a code cell, counted from 1: its verdict}, run in this order."""
    return {i: verdict(cells[i - 1], kernel.run(cells[i - 1].source)) for i in order}


def summary(found: dict[int, tuple[str, str]]) -> dict:
    """Counts, and the words of every cell that was not simply the same."""
    shown = {str(i): list(v) for i, v in sorted(found.items()) if v[0] in ("silent", "odd error", "said")}
    errors = Counter(words.split(":")[0] for kind, words in found.values() if kind in ("error", "odd error"))
    needless = sum(verdict == ("same", "with a notice") for verdict in found.values())
    kinds = Counter(kind for kind, _ in found.values())
    return {"cells": len(found), **kinds, "needless notices": needless, "errors": dict(errors), "shown": shown}


def examine(path: Path, seed: int) -> dict:
    nb = pages.read(path)
    cells = pages.code_cells(nb)
    numbers = list(range(1, len(cells) + 1))
    shuffled = numbers[1:]
    random.Random(seed).shuffle(shuffled)
    result = {}
    with Kernel() as kernel:
        first = run_cells(kernel, cells, numbers)
        result["once"] = summary(first)
        result["twice"] = summary(run_cells(kernel, cells, numbers))
        result["again"] = summary(run_cells(kernel, cells, shuffled))
    with Kernel() as kernel:
        result["shuffled"] = summary(run_cells(kernel, cells, [1, *shuffled]))
    return result


def bad(entry: dict) -> list[str]:
    """What is wrong with one page's entry, in sentences."""
    out = []
    for how in ("once", "twice", "again", "shuffled"):
        for cell, (kind, words) in entry[how]["shown"].items():
            if kind == "silent" or (how in ("once", "twice") and kind != "same"):
                out.append(f"{how}, code cell [{cell}]: {kind}: {words}")
        if how in ("once", "twice") and entry[how].get("same", 0) != entry[how]["cells"]:
            out.append(f"{how}: {entry[how].get('same', 0)} of {entry[how]['cells']} cells the same")
    return out


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    parser.add_argument("--seed", type=int, default=0, help="of the random order")
    parser.add_argument("--record", type=Path, default=RECORD)
    args = parser.parse_args(argv)
    try:
        files = [pages.find_page(name) for name in args.pages] or pages.page_files()
    except ValueError as e:
        parser.error(str(e))
    failed = False
    for path in files:
        sha, start = pages.content_hash(pages.read(path)), time.perf_counter()
        entry = {"sha256": sha, "seed": args.seed, **examine(path, args.seed)}
        found = bad(entry)
        failed |= bool(found)
        counts = {how: {k: v for k, v in entry[how].items() if k != "shown"} for how in ("twice", "again", "shuffled")}
        print(f"{path.stem}: {time.perf_counter() - start:.0f} s", counts, *found, sep="\n   ", flush=True)
        record = json.loads(args.record.read_text(encoding="utf-8")) if args.record.is_file() else {}
        record[path.stem] = entry
        there = {p.stem for p in pages.page_files()}
        record = {name: record[name] for name in sorted(record) if name in there}
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        args.record.write_text(text, encoding="utf-8", newline="\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
