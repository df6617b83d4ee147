"""The broken-LoRA gallery: one small correct program, and real mistakes that each change one line of it.

    fault = FAULTS["α is not divided by r"]
    print(fault.broken_line, "->", fault.correct_line, fault.source)
    run = fault.run()                     # the broken program's variables, run from start to shipping
    run.losses, run.shipped_loss, run.delta, run.model, run.optimizer

The programs are texts (programs.py), run by `exec`; the mistakes are a table (faults.toml). The model is S2 in
miniature: two linear layers, square because some of these mistakes hide in a square layer only. The new task adds a
rank-4 picture, the letter R, to the base's matrix; two adapters of rank 3 can draw it together and neither can alone.
"""

from __future__ import annotations

import copy
import json
import tempfile
import tomllib
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lora_lab.diagnosis.diagnose import diagnose
from lora_lab.subjects.linear_task import tasks

from .programs import PROGRAMS, replaced

WIDTH, ROWS, STEPS = 35, 256, 150


def letter() -> Tensor:
    """What the new task adds: an R of ones on zeros, (35, 35), rank 4; `theory.shift_loss` of it is about 13."""
    return F.pad(tasks.letters("R", scale=5), (5, 5))


def new_base(seed: int = 0, tied: bool = False, count: int = 2) -> nn.Module:
    """The pretrained model: `count` orthogonal layers, blocks.0.fc, blocks.1.fc, ..., (35, 35) each, without bias.

    tied: both layers own one and the same Parameter, as the two embeddings of many language models do.
    """
    blocks = []
    for i in range(count):
        weight = torch.linalg.qr(tasks.normal(WIDTH, WIDTH, seed=20 + 2 * seed + i).double())[0].float()
        fc = nn.Linear(WIDTH, WIDTH, bias=False, device="meta").to_empty(device="cpu")  # draws nothing
        fc.weight.data.copy_(weight)
        blocks.append(nn.Sequential(OrderedDict(fc=fc)))
    if tied:
        blocks[1].fc.weight = blocks[0].fc.weight
    return nn.Sequential(OrderedDict(blocks=nn.Sequential(*blocks)))


@torch.no_grad()
def matrix(model: nn.Module) -> Tensor:
    """The (d_out, d_in) matrix that a linear model computes, whatever is inside: its outputs for the unit vectors."""
    dtype = next(model.parameters()).dtype
    return model(torch.eye(WIDTH, dtype=dtype)).float().T


def new_task(base: nn.Module) -> tuple[Tensor, Tensor]:
    """Inputs and outputs of the new task: y = (W + R) x, where W is the base's matrix. X (256, 35), y (256, 35)."""
    X = tasks.normal(ROWS, WIDTH, seed=3)
    return X, X @ (matrix(base) + letter()).T


@dataclass(frozen=True)
class Fault:
    """One mistake: `broken_line` stands where the correct program has `correct_line`. The rest: see faults.toml."""

    name: str
    symptom: str
    source: str
    correct_line: str
    broken_line: str
    cure: str
    code: str
    look: str = "diagnose(model, optimizer)"
    program: str = "shipped"
    start: bool = False

    @property
    def correct(self) -> str:
        return PROGRAMS[self.program]

    @property
    def broken(self) -> str:
        return replaced(self.correct, self.correct_line, self.broken_line)

    def run(self) -> SimpleNamespace:
        return run(self.broken)

    def run_correct(self) -> SimpleNamespace:
        return run(self.correct)

    def findings(self) -> list:
        """What `diagnose` says when it is called as `look` has it, at the moment that suits this mistake."""
        finished = run(self.broken, 0) if self.start else self.run()
        return eval(self.look, {"diagnose": diagnose, **vars(finished)})


@cache
def run(text: str, steps: int = STEPS, seed: int = 0) -> SimpleNamespace:
    """The variables of a program after it ran: model, optimizer, base, adapter, shipped, ..., and three more.

    losses: before each step. shipped_loss: of the model as it is shipped, on the same data. delta (35, 35): the matrix
    of the shipped model minus the base's, which should be the letter R. Kept, because it gives the same every time:
    every random number is from one seed, and the caller's state stays.
    """
    keeper = tempfile.TemporaryDirectory(prefix="gallery-")  # goes when nobody holds these names any more
    names: dict[str, object] = {
        "torch": torch, "nn": nn, "F": F, "copy": copy, "json": json, "save_file": save_file, "load_file": load_file,
        "new_base": new_base, "new_task": new_task, "steps": steps, "losses": [], "folder": Path(keeper.name),
        "keeper": keeper, "__name__": "gallery",
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.default_generator.manual_seed(seed)
        exec(compile(text, "<gallery>", "exec"), names)
        finished = SimpleNamespace(**names)
        with torch.no_grad():
            torch.default_generator.manual_seed(1)
            finished.shipped_loss = F.mse_loss(finished.shipped(finished.X), finished.y).item()
            finished.delta = matrix(finished.shipped) - matrix(finished.base)
    return finished


_table = tomllib.loads(Path(__file__).with_name("faults.toml").read_text(encoding="utf-8"))
FAULTS = {row["name"]: Fault(**row) for row in _table["fault"]}
