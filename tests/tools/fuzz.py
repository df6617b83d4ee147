"""Random events on every panel of the course, in real kernels: python tests/fuzz.py [PAGE ...] [--events N] [--seed N]

Sliders, menus, checkboxes and buttons are moved as a browser moves them, by messages to the widgets: to random
positions, to the ends, to where they stand already, rapidly back and forth, several at once; from code, too; and by
messages that no sound browser sends. After each event there is no error, the controls stand where the event put them,
and the caption is what the same position said before. On every RENDER-th event the picture is really drawn, and caption
and PNG are those of a second panel, built by the same cells of the page and drawn there on an empty figure.

Growth is counted in the kept figure's artists, in widgets and in Python objects; and memory over MOVES plain moves.
The result is kept in fuzz.json beside this file; tests/test_fuzz.py checks it and fuzzes a few panels in CI.
"""
from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import html
import io
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import course_panels
import ipywidgets as w
import numpy as np
import pages
from matplotlib.figure import Figure
from page_order import Kernel

from lora_lab.figures.live import LiveFigure, TrainingFigure
from lora_lab.subjects.digits import panels
from lora_lab.subjects.two_layers import panels as two_layers_panels

RECORD = Path(__file__).with_suffix(".json")
MOVES = 1000
MOST_MB = 10
STUB = b"\x89PNG not drawn"

# What a broken browser, or another program on the same kernel, might send.
NONSENSE = (
    {"index": 10**6}, {"index": -1}, {"index": "two"}, {"index": None}, {"index": 1.5}, {"value": None},
    {"value": "two"}, {"value": [1]}, {"value": {}}, {"no_such_trait": 1}, {}, {"options": []}, {"disabled": "?"},
)  # fmt: skip


class Found(AssertionError):
    """What the fuzzer finds: the event, and what is wrong after it."""


def send(widget: w.Widget, state: dict) -> None:
    """What the kernel does with a browser's message about this widget."""
    widget._handle_msg({"content": {"data": {"method": "update", "state": state, "buffer_paths": []}}, "buffers": []})


def click(button: w.Button) -> None:
    content = {"method": "custom", "content": {"event": "click"}}
    button._handle_msg({"content": {"data": content}, "buffers": []})


def message(control: w.Widget, value: object) -> dict:
    """The state that the browser sends when `control` is moved to `value`: selections are sent by their number."""
    if hasattr(control, "options"):
        return {"index": [o[1] if isinstance(o, tuple) else o for o in control.options].index(value)}
    return {"value": value}


def artists(panel: LiveFigure) -> int:
    return len(panel._figure.findobj())


def widgets() -> int:
    return len(w.widget._instances)


def resident_mb() -> float | None:
    """Memory of this process as the system counts it; None where it cannot be read."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return None


def _rounded(values) -> bytes:
    """Two panels compute their data anew, and the last bits of a sum depend on where it lies in memory."""
    return np.round(np.ma.filled(np.ma.asarray(values, dtype=float), -1e9), 6).tobytes()


def contents(figure: Figure) -> str:
    """What a figure would show, without drawing it: data, limits and words of everything visible, as a digest."""
    seen: list = [t.get_text() for t in figure.texts]
    for ax in (a for a in figure.axes if a.get_visible()):
        seen += [ax.get_title(), ax.get_title("left"), ax.get_xlabel(), ax.get_ylabel()]
        seen += [_rounded(ax.get_xlim()), _rounded(ax.get_ylim())]
        seen += [(_rounded(line.get_xydata()), line.get_color()) for line in ax.lines]
        seen += [(_rounded(p.get_path().vertices), _rounded(p.get_patch_transform().get_matrix())) for p in ax.patches]
        seen += [(t.get_text(), _rounded(t.get_position())) for t in ax.texts]
        seen += [(_rounded(i.get_array()), _rounded(i.get_clim()), i.get_extent()) for i in ax.images]
        seen += [[_rounded(path.vertices) for path in c.get_paths()] for c in ax.collections]
        seen += [t.get_text() for t in ax.get_legend().get_texts()] if ax.get_legend() else []
    return hashlib.sha256(repr(seen).encode()).hexdigest()


class Fuzzer:
    """Random events on one panel. fresh: builds the same panel anew; render: draw on every so many events."""

    def __init__(self, panel: LiveFigure, fresh: Callable[[], LiveFigure], seed: int, render: int = 1) -> None:
        self.panel, self.other, self.render = panel, fresh(), render
        self.random = random.Random(seed)
        self.controls = dict(panel._controls)
        self.positions = {name: panel.positions(name, most=10**6) for name in self.controls}
        self.expected = dict(panel.values)
        self.said: dict[str, tuple[str, str]] = {}  # state -> caption, digest of the picture
        self.read: set[str] = set()  # states of which the figure's contents were compared
        self.counts: Counter[str] = Counter()
        self.drawn = self.compared = self.trained = 0
        self.kinds = {"move": 8, "same": 1, "end": 2, "rapid": 1, "together": 2, "code": 1, "nonsense": 2}
        if isinstance(panel, TrainingFigure):
            self.kinds["train"] = 0.4
        if isinstance(panel, panels.DrawPanel):
            self.kinds |= {"press": 6, "begin": 2}

    # -- events ---------------------------------------------------------------------------------------------------
    def _pick(self) -> tuple[str, object]:
        name = self.random.choice(list(self.controls))
        return name, self.random.choice(self.positions[name])

    def _move(self, name: str, value: object) -> None:
        send(self.controls[name], message(self.controls[name], value))
        self.expected[name] = value

    def move(self) -> None:
        self._move(*self._pick())

    def same(self) -> None:
        name, _ = self._pick()
        self._move(name, self.panel.values[name])

    def end(self) -> None:
        name, _ = self._pick()
        self._move(name, self.random.choice([self.positions[name][0], self.positions[name][-1]]))

    def rapid(self) -> None:
        name, value = self._pick()
        here = self.panel.values[name]
        for _ in range(2):
            self._move(name, value)
            self._move(name, here)

    def together(self) -> None:
        """Several controls inside one hold: each tells the panel when all of them have moved."""
        chosen = dict(self._pick() for _ in range(3))
        with contextlib.ExitStack() as held:
            for name in chosen:
                held.enter_context(self.controls[name].hold_trait_notifications())
            for name, value in chosen.items():
                self.controls[name].value = self.expected[name] = value

    def code(self) -> None:
        name, value = self._pick()
        caption = self.panel.set(**{name: value})
        self.expected[name] = value
        if caption != self.panel.caption:
            raise Found(f"set returned {caption!r}")

    def nonsense(self) -> None:
        """Refused, or taken for what it may mean; the values stay positions of their controls."""
        name, _ = self._pick()
        control, state = self.controls[name], self.random.choice(NONSENSE)
        if "options" in state and not hasattr(control, "options"):
            state = {}
        options = getattr(control, "options", None)
        with contextlib.suppress(Exception):  # ipywidgets' refusal, which the kernel logs
            send(control, state)
        if hasattr(control, "options") and control.options != options:  # what a browser may do, and nobody would
            control.options = options
        control.disabled = False
        now = self.panel.values[name]
        if now not in self.positions[name]:
            raise Found(f"{name} took {now!r} from {state}")
        self._move(name, self.expected[name])

    def train(self) -> None:
        click(self.panel.button)
        self.trained += 1
        if isinstance(self.panel, two_layers_panels.LayerPanel) and not (self.expected["layer1"] or self.expected["layer2"]):
            if not isinstance(self.panel.error, ValueError):
                raise Found("training without a layer was not refused")
            self._move("layer1", True)  # the refusal stays until the next move

    def press(self) -> None:
        i = self.random.randrange(64)
        want = (float(self.panel.ink[i]) + 0.5) % 1.5
        click(self.panel.pixels[i])
        if float(self.panel.ink[i]) != want:
            raise Found(f"pixel {i} has {float(self.panel.ink[i])}, not {want}")

    def begin(self) -> None:
        name = self.random.choice(self.panel._start.options)
        again = name == self.panel._start.value  # then nothing happens: what has been drawn stays
        send(self.panel._start, message(self.panel._start, name))
        want = (2 * self.panel._images[name]).round() / 2 if name != "empty" else 0 * self.panel.ink
        if self.panel.ink.tolist() != want.tolist() and not again:
            raise Found(f"the field does not show {name!r}")

    # -- what must hold -------------------------------------------------------------------------------------------
    def state(self) -> str:
        """All that the picture may depend on."""
        pins = sorted((repr(k), p.seed, p.loss) for k, p in getattr(self.panel, "pins", {}).items())
        ink = self.panel.ink.tolist() if isinstance(self.panel, panels.DrawPanel) else ()
        return repr((self.panel.values, pins, ink))

    def look(self, really: bool) -> None:
        panel = self.panel
        if panel.error is not None:
            raise Found(f"error {panel.error!r}")
        if panel.values != self.expected:
            raise Found(f"the controls stand at {panel.values}, not at {self.expected}")
        if html.escape(panel.caption) not in panel._caption.value:
            raise Found(f"the page shows {panel._caption.value[:200]!r}, the panel says {panel.caption!r}")
        picture = bytes(panel._picture.value)
        digest = hashlib.sha256(picture).hexdigest() if really else ""
        if not picture.startswith(b"\x89PNG"):
            raise Found("the picture is no PNG")
        caption, before = self.said.setdefault(self.state(), (panel.caption, digest))
        if caption != panel.caption:
            raise Found(f"here it said {caption!r} before, now {panel.caption!r}")
        if before and digest and before != digest:
            raise Found("the same position had another picture before")
        if digest:
            self.said[self.state()] = (caption, digest)
            self.compare(picture)
        elif self.state() not in self.read:  # each place once: cheaper than a picture, and sharper than a sample
            self.read.add(self.state())
            self.compare(None)

    def compare(self, picture: bytes | None) -> None:
        """With the second panel, put in the same state and drawn on an empty figure; without a picture, what the two
        figures contain."""
        self.compared += picture is not None
        if isinstance(self.panel, TrainingFigure):
            self.other.pins = dict(self.panel.pins)
        if isinstance(self.panel, panels.DrawPanel):
            self.other.ink = self.panel.ink.clone()
        figure = Figure(figsize=self.panel._figure.get_size_inches(), dpi=self.panel._figure.dpi)
        caption, png = self.other._drawn(figure, self.panel.values)
        if caption != self.panel.caption:
            raise Found(f"a fresh panel says {caption!r}, this one {self.panel.caption!r}")
        if picture is not None and png != picture:
            raise Found("a fresh panel shows another picture")
        if contents(figure) != contents(self.panel._figure):
            raise Found("a fresh panel's figure contains something else")

    def run(self, events: int) -> None:
        """That many events. Raises Found with the number and kind of the first that went wrong."""
        names, weights = zip(*self.kinds.items())
        for n in range(events):
            kind = self.random.choices(names, weights)[0]
            really = n % self.render == 0
            try:
                with drawing(really), contextlib.redirect_stdout(io.StringIO()):
                    getattr(self, kind)()
                    if really and self.render > 1:
                        self.panel._redraw()  # an event that changes nothing draws nothing
                    self.look(really)
            except Found as e:
                raise Found(f"event {n} ({kind}) at {self.panel.values}: {e}") from None
            except Exception as e:
                raise Found(f"event {n} ({kind}) at {self.panel.values}: {type(e).__name__}: {e}") from e
            self.counts[kind] += 1
            self.drawn += really

    def dead(self) -> list[str]:
        """Controls of which no position changes anything, from where the panel stands or from another place."""
        out = []
        for name in self.controls:
            for _ in range(6):
                seen = {self.other.fresh(**{**self.panel.values, name: v}) for v in self.panel.positions(name, 4)}
                if len(seen) > 1:
                    break
                self.move()
            else:
                out.append(name)
        return out


@contextlib.contextmanager
def drawing(really: bool) -> Iterator[None]:
    """Without `really`, figures are updated and not rendered: the picture is a few bytes."""
    if really:
        yield
        return
    with mock.patch.object(Figure, "savefig", lambda self, file, **_: file.write(STUB)):
        yield


def memory(fuzzer: Fuzzer, moves: int, render: int = 1) -> dict:
    """What grows over so many plain moves, of which every `render`-th is really drawn."""

    def go(n: int) -> None:
        for i in range(n):
            with drawing(i % render == 0):
                fuzzer.move()

    for name in fuzzer.controls:  # matplotlib makes ticks as they are needed and keeps them
        for value in fuzzer.panel.positions(name):
            fuzzer._move(name, value)
    go(moves // 10)
    gc.collect()
    before = artists(fuzzer.panel), widgets(), len(gc.get_objects()), resident_mb()
    go(moves)
    gc.collect()
    after = artists(fuzzer.panel), widgets(), len(gc.get_objects()), resident_mb()
    grown = [a - b if a is not None and b is not None else None for a, b in zip(after, before)]
    mb = round(grown[3], 1) if grown[3] is not None else None
    names = ("moves", "drawn", "artists", "widgets", "objects", "MB")
    return dict(zip(names, (moves, -(-moves // render), *grown[:3], mb)))


def fuzz(panel: LiveFigure, fresh: Callable[[], LiveFigure], events: int, seed: int, render: int, moves: int) -> dict:
    """All of it on one panel: the record's entry. What was found first is in "found"."""
    start = time.process_time()
    fuzzer = Fuzzer(panel, fresh, seed, render)
    entry: dict = {"seed": seed, "events": 0, "found": None}
    try:
        fuzzer.run(events)
        entry["dead"] = fuzzer.dead()
        entry["growth"] = memory(fuzzer, moves, render)
    except Found as e:
        entry["found"] = str(e)
    counts = dict(fuzzer.counts)
    return entry | {
        "events": sum(counts.values()), "kinds": counts, "drawn": fuzzer.drawn, "compared": fuzzer.compared,
        "states": len(fuzzer.said), "trained": fuzzer.trained, "cpu_s": round(time.process_time() - start),
    }  # fmt: skip


def fuzz_page(number: str, file: str, events: int, seed: int, render: int, moves: int) -> None:
    """In the kernel: every panel of one page; the entries are written to `file`, each as soon as it is there."""
    page, entries = course_panels.Page(number), {}
    for shown in page.shown:
        panel = page.build(shown)
        entries[shown.title] = fuzz(panel, lambda s=shown: page.build(s), events, seed, render, moves)
        Path(file).write_text(json.dumps(entries), encoding="utf-8")


def problems(entry: dict) -> list[str]:
    """What is wrong with one panel's entry, in sentences."""
    out = [entry["found"]] if entry["found"] else []
    out += [f"the control {name} changes nothing" for name in entry.get("dead", [])]
    growth = entry.get("growth", {})
    for what, allowed in (("artists", max(20, growth.get("moves", 0) // 20)), ("widgets", 0)):  # a leak: one a move
        if growth.get(what, 0) > allowed:
            out.append(f"{growth[what]} more {what} after {growth['moves']} moves")
    if (growth.get("MB") or 0) > MOST_MB:
        out.append(f"{growth['MB']} MB more after {growth['moves']} moves; the limit is {MOST_MB} MB")
    return out


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", metavar="PAGE")
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--render", type=int, default=1, metavar="N", help="really draw on every N-th event")
    parser.add_argument("--moves", type=int, default=MOVES, help="over which memory is measured")
    parser.add_argument("--record", type=Path, default=RECORD)
    args = parser.parse_args(argv)
    try:
        numbers = [pages.find_page(p).stem[:2] for p in args.pages] or [p.stem[:2] for p in pages.page_files()]
    except ValueError as e:
        parser.error(str(e))
    failed = False
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder, Kernel() as kernel:
            file = Path(folder) / "entries.json"
            call = (number, str(file), args.events, args.seed, args.render, args.moves)
            outputs = kernel.run(f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
                                 f"import fuzz; fuzz.fuzz_page(*{call!r})", timeout=6 * 3600)
            entries = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        for output in outputs:
            if output.output_type == "error" and output.ename != "TraitError":  # ipywidgets' refusal of nonsense
                failed = True
                print(f"page {number} stopped: {output.ename}: {output.evalue}", flush=True)
        for title, entry in entries.items():
            failed |= bool(problems(entry))
            shown = {k: entry.get(k) for k in ("events", "drawn", "growth", "cpu_s")}
            print(title, shown, *problems(entry), flush=True)
        record = json.loads(args.record.read_text(encoding="utf-8")) if args.record.is_file() else {}
        record |= entries
        there = [s.title for s in course_panels.every_shown_panel()]
        record = {title: record[title] for title in there if title in record}
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        args.record.write_text(text, encoding="utf-8", newline="\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
