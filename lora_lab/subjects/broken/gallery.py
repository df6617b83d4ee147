"""The broken-LoRA gallery: one small correct program, and real mistakes that each change one line of it (page 09).

    fault = FAULTS["α is not divided by r"]
    print(fault.broken_line, "->", fault.correct_line, fault.source)
    run = fault.run()                     # the broken program, run from start to shipping
    run.losses, run.shipped_loss, run.delta

The programs are texts, run by `exec`, so that what the page shows is what was run. The model is S2 in miniature: two
square linear layers (square on purpose: some of these mistakes need a square layer to hide in). The new task adds a
rank-4 picture, the letter R, to the base's matrix; two adapters of rank 3 can draw it together and neither can alone.
"""

from __future__ import annotations

import copy
import json
import tempfile
import types
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lora_lab.subjects.linear_task import tasks

WIDTH, ROWS, STEPS = 35, 256, 150

# ------------------------------------------------------------------------------------------------------ the task


def letter() -> Tensor:
    """What the new task adds: an R of ones on zeros, (35, 35), rank 4; `theory.shift_loss` of it is about 13."""
    return F.pad(tasks.letters("R", scale=5), (5, 5))


def new_base(seed: int = 0, tied: bool = False) -> nn.Module:
    """The pretrained model: two orthogonal layers, blocks.0.fc and blocks.1.fc, (35, 35) each, without bias.

    tied: both layers own one and the same Parameter, as the two embeddings of many language models do.
    """
    blocks = []
    for i in range(2):
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


# --------------------------------------------------------------------------------------------- the correct programs

LAYER = '''
class LoRA(nn.Module):
    def __init__(self, base, r, alpha, rslora):
        super().__init__()
        self.base, self.r, self.alpha, self.merged = base, r, alpha, False
        self.in_features, self.out_features = base.in_features, base.out_features
        self.scaling = alpha / (r**0.5 if rslora else r)
        self.lora_A = nn.Parameter(torch.randn(r, base.in_features) / base.in_features**0.5)
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))

    @property
    def weight(self):
        return self.base.weight

    def forward(self, x):
        if self.merged:  # then the base holds the update
            return self.base(x)
        return self.base(x) + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)

    def delta(self):
        return self.scaling * (self.lora_B @ self.lora_A)

    @torch.no_grad()
    def merge(self):
        if self.merged:  # once is enough
            return
        self.base.weight.add_(self.delta())
        self.merged = True

    @torch.no_grad()
    def unmerge(self):
        self.base.weight.sub_(self.delta())
        self.merged = False


def inject(model, r=3, alpha=6, rslora=False):
    model.requires_grad_(False)
    for name, layer in list(model.named_modules()):
        if name.endswith("fc"):
            parent = model.get_submodule(name.rpartition(".")[0])
            parent.fc = LoRA(layer, r, alpha, rslora)
    return model


def each(model, what):
    for block in model.blocks:
        if isinstance(block.fc, LoRA):
            getattr(block.fc, what)()
'''

TRAIN = '''
base = new_base()
X, y = new_task(base)
dtype = torch.float32
model = inject(copy.deepcopy(base)).to(dtype)
trainable = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.Adam(trainable, lr=0.04)
schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
for step in range(steps):
    loss = F.mse_loss(model(X.to(dtype)).float(), y)
    losses.append(loss.item())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
'''

SHIP = '''
adapter = {k: v.clone() for k, v in model.state_dict().items() if "lora_" in k}
shipped = inject(copy.deepcopy(base))
shipped.load_state_dict(adapter, strict=False)
each(shipped, "merge")  # to test it
each(shipped, "merge")  # and again before the export: the second call must not matter
'''

SERVE = '''
shipped = copy.deepcopy(model)
shipped.eval()
'''

CHECKPOINT = '''
each(model, "merge")  # to look at the merged model
each(model, "unmerge")
checkpoint = copy.deepcopy(model.state_dict())
shipped = inject(copy.deepcopy(base))
shipped.load_state_dict(checkpoint)
'''

FOLDER = '''
adapter = {k: v.clone() for k, v in model.state_dict().items() if "lora_" in k}
save_file(adapter, folder / "adapter_model.safetensors")
config = {"peft_type": "LORA", "r": 3, "lora_alpha": 6, "use_rslora": True}
(folder / "adapter_config.json").write_text(json.dumps(config))
shipped = inject(copy.deepcopy(base), config["r"], config["lora_alpha"], config["use_rslora"])
shipped.load_state_dict(load_file(folder / "adapter_model.safetensors"), strict=False)
'''


def _changed(text: str, line: str, other: str) -> str:
    """`text` with its one line `line` (found without its indent) replaced."""
    lines = text.split("\n")
    where = [i for i, found in enumerate(lines) if found.strip() == line]
    if len(where) != 1:
        raise ValueError(f"the program has {len(where)} lines {line!r}; a fault replaces exactly one.")
    indent = lines[where[0]][: len(lines[where[0]]) - len(lines[where[0]].lstrip())]
    lines[where[0]] = indent + other
    return "\n".join(lines)


_UPDATE = "return self.base(x) + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)"
_DROPPED = "return self.base(x) + self.scaling * (F.dropout(x, {}) @ self.lora_A.T @ self.lora_B.T)"
PROGRAMS = {
    "shipped": LAYER + TRAIN + SHIP,  # trained, the adapter alone saved, loaded into the base, merged
    "dropout": _changed(LAYER, _UPDATE, _DROPPED.format("0.1, self.training")) + TRAIN + SERVE,  # served unmerged
    "checkpoint": LAYER + TRAIN + CHECKPOINT,  # the whole state is saved
    "rslora": LAYER + _changed(TRAIN, "model = inject(copy.deepcopy(base)).to(dtype)",
                               "model = inject(copy.deepcopy(base), rslora=True).to(dtype)") + FOLDER,
    "tied": LAYER + _changed(TRAIN, "base = new_base()", "base = new_base(tied=True)\n"
                             "base.blocks[1].fc.weight = nn.Parameter(base.blocks[1].fc.weight.clone())") + SHIP,
}  # fmt: skip


# ------------------------------------------------------------------------------------------------------ the faults


@dataclass(frozen=True)
class Fault:
    """One mistake: `broken_line` stands where the correct program has `correct_line`.

    symptom: what is seen first. source: where people made it. cure: one sentence. look: the call of `diagnose` that
    finds it, on the names of the program. code: of the finding. start: look before the first step, not at the end.
    """

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
        """The text of the correct program."""
        return PROGRAMS[self.program]

    @property
    def broken(self) -> str:
        """The text of the broken one: the same but for one line."""
        return _changed(self.correct, self.correct_line, self.broken_line)

    def run(self) -> Run:
        """The broken program, run; kept, because it gives the same every time."""
        return _run(self.broken, STEPS)

    def run_correct(self) -> Run:
        return _run(self.correct, STEPS)

    def names(self) -> types.SimpleNamespace:
        """The broken program's own variables, made anew: model, optimizer, base, adapter, shipped, ..."""
        return types.SimpleNamespace(**_execute(self.broken, 0 if self.start else STEPS))

    def findings(self) -> list:
        """What `diagnose` says of it: `look`, evaluated on the variables of the finished (or not yet begun) program."""
        from lora_lab.diagnosis.diagnose import diagnose

        return eval(self.look, {"diagnose": diagnose, **_kept(self.broken, 0 if self.start else STEPS)})


@dataclass(frozen=True)
class Run:
    """What one program left behind.

    losses: before each step, and after the last one. shipped_loss: of the model as it is shipped, on the same data.
    delta (35, 35): the matrix of the shipped model minus the base's, which should be the letter R.
    """

    losses: list[float]
    shipped_loss: float
    delta: Tensor


def _execute(text: str, steps: int, seed: int = 0) -> dict[str, object]:
    """The variables of a program after it ran, with every random number from one seed and the caller's state kept."""
    from safetensors.torch import load_file, save_file

    keeper = tempfile.TemporaryDirectory(prefix="gallery-")  # goes when nobody holds these names any more
    names: dict[str, object] = {
        **{"torch": torch, "nn": nn, "F": F, "copy": copy, "json": json, "__name__": "gallery"},
        **{"new_base": new_base, "new_task": new_task, "save_file": save_file, "load_file": load_file},
        **{"steps": steps, "losses": [], "folder": Path(keeper.name), "keeper": keeper},
    }
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.default_generator.manual_seed(seed)
        exec(compile(text, "<gallery>", "exec"), names)
    return names


@cache
def _kept(text: str, steps: int) -> dict[str, object]:
    return _execute(text, steps)


@cache
def _run(text: str, steps: int) -> Run:
    return outcome(_kept(text, steps))


def outcome(names: dict[str, object]) -> Run:
    """What a program's variables say at its end."""
    shipped = names["shipped"]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(1)
        loss = F.mse_loss(shipped(names["X"]), names["y"]).item()
        return Run(names["losses"], loss, matrix(shipped) - matrix(names["base"]))


# ---------------------------------------------------------------------------------------------------- the collection

_SCALING = "self.scaling = alpha / (r**0.5 if rslora else r)"
_A = "self.lora_A = nn.Parameter(torch.randn(r, base.in_features) / base.in_features**0.5)"
_B = "self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))"
_ADAM = "optimizer = torch.optim.Adam(trainable, lr=0.04)"
_SHIPPED = "shipped = inject(copy.deepcopy(base))"
_ADAPTER = 'adapter = {k: v.clone() for k, v in model.state_dict().items() if "lora_" in k}'
_FROM_FOLDER = 'shipped = inject(copy.deepcopy(base), config["r"], config["lora_alpha"]{})'
_BASE = {"look": "diagnose(shipped, base=base)"}

_ALL = (
    Fault(
        "α is not divided by r", "the loss falls, but from the first steps on at another pace than planned",
        "rasbt/LLMs-from-scratch#821", _SCALING, "self.scaling = alpha",
        "Divide by r: then the same α means the same at every rank.", "scaling-without-r",
    ),
    Fault(
        "the merge scales a second time", "training is perfect; the merged model is worse than the base",
        "two conventions in one code base, as in rasbt/LLMs-from-scratch#1079",
        "self.base.weight.add_(self.delta())", "self.base.weight.add_(self.scaling * self.delta())",
        "Scale in one place, and let the forward and the merge use it.", "merge-rescales",
    ),
    Fault(
        "A and B both start at zero", "a flat line: the loss never moves",
        "several threads in microsoft/LoRA ask which of the two is zero", _A,
        "self.lora_A = nn.Parameter(torch.zeros(r, base.in_features))",
        "A random, B zero: each one's gradient is a product with the other one.", "both-zero",
    ),
    Fault(
        "A and B both start at random", "the loss begins far above the base's and has to come down first",
        "several threads in microsoft/LoRA ask which of the two is zero", _B,
        "self.lora_B = nn.Parameter(torch.randn(base.out_features, r))",
        "Start one of them at zero: then B A = 0 and training starts from the base.", "start-is-not-base", start=True,
    ),
    Fault(
        "A and B change places in the merge", "training is perfect; the merged picture is noise",
        "in and out swapped, unnoticed on square layers: jingyaogong/minimind#787",
        "return self.scaling * (self.lora_B @ self.lora_A)", "return self.scaling * (self.lora_A.T @ self.lora_B.T)",
        "B @ A. Test on a layer that is not square: there the mistake raises.", "merge-transposed",
    ),
    Fault(
        "the base is not frozen", "the loss falls too well, and the shipped adapter has next to nothing in it",
        "S3's article trains all its parameters under the name of LoRA", "model.requires_grad_(False)",
        "model.requires_grad_(True)", "Freeze everything, then attach A and B.", "base-trains",
    ),
    Fault(
        "the optimizer was made of the model before the injection", "a flat line: the loss never moves",
        "a classic of every fine-tuning script", _ADAM, "optimizer = torch.optim.Adam(base.parameters(), lr=0.04)",
        "Make the optimizer after the injection, of what requires a gradient.", "optimizer-misses-adapter",
    ),
    Fault(
        "merged, and still added in the forward", "training is perfect; the merged model has the update twice",
        "S2: its adapter goes on wrapping the layer it was merged into",
        "if self.merged:  # then the base holds the update", "if False:  # then the base holds the update",
        "A merged layer must leave the update out of its forward.", "merged-and-added",
    ),
    Fault(
        "merged twice", "training is perfect; the exported model has the update twice",
        "microsoft/LoRA#34, huggingface/peft#1355", "if self.merged:  # once is enough", "if False:  # once is enough",
        "Keep a flag, and do nothing when it is set.", "merge-adds-again",
    ),
    Fault(
        "the checkpoint was taken while merged", "training is perfect; the reloaded model has the update twice",
        "loralib: state_dict() in eval mode", 'each(model, "unmerge")', "pass",
        "Unmerge before saving, or save A and B alone.", "base-contains-update", program="checkpoint", **_BASE,
    ),
    Fault(
        "the adapter's names do not match", "training is perfect; the loaded model computes what the base computes",
        "load_state_dict(strict=False) says nothing, it only returns the names", _ADAPTER,
        _ADAPTER.replace("{k: v", '{"model." + k: v'), "Look at the missing and unexpected names that it returns.",
        "adapter-not-loaded", "diagnose(shipped, adapter=adapter)",
    ),
    Fault(
        "the pattern matches one layer of two", "the loss stops at a floor, and a part of the picture is missing",
        "jingyaogong/minimind#570 (square layers only), huggingface/peft#1959", 'if name.endswith("fc"):',
        'if name.endswith("1.fc"):', "Print the names that were adapted, and count them.", "uneven-targets",
    ),
    Fault(
        "a second adapter on top of the first", "training is perfect; the loaded model has the update twice",
        "running the cell that attaches a second time", _SHIPPED, "shipped = inject(copy.deepcopy(model))",
        "Attach to a fresh base, or refuse where there is an adapter.", "stacked", "diagnose(shipped)",
    ),
    Fault(
        "a tied weight is merged", "training is perfect; the merged model is far worse than the base",
        "huggingface/peft#2018", "base.blocks[1].fc.weight = nn.Parameter(base.blocks[1].fc.weight.clone())", "pass",
        "Untie the weight first, or leave that layer alone.", "tied-weight", program="tied",
    ),
    Fault(
        "A and B are trained in bfloat16", "the loss falls, and levels off above the correct one",
        "the rounding of huggingface/peft#1388 and #2502, at every step", "dtype = torch.float32",
        "dtype = torch.bfloat16", "Keep the factors in float32, whatever the base is.", "half-precision-factors",
    ),
    Fault(
        "the learning rate of full fine-tuning", "an almost flat line",
        "too small a step, as in huggingface/lerobot#3551", _ADAM,
        "optimizer = torch.optim.Adam(trainable, lr=1e-5)", "Tune it anew for LoRA, usually upwards.", "hardly-moved",
    ),
    Fault(
        "α is far too large", "the loss shoots up and stays far above the base's",
        "the edge of the map on page 04", "def inject(model, r=3, alpha=6, rslora=False):",
        "def inject(model, r=3, alpha=6000, rslora=False):", "α acts like a learning rate: start with α = r or 2r.",
        "update-too-large",
    ),
    Fault(
        "dropout is still on in eval mode", "the shipped model is worse than it should be, and answers differ",
        "F.dropout(x, p) has training=True by default", _DROPPED.format("0.1, self.training"), _DROPPED.format("0.1"),
        "Pass self.training, or use nn.Dropout.", "random-in-eval", "diagnose(shipped)", "dropout",
    ),
    Fault(
        "B is detached in the forward", "a flat line: the loss never moves", "a .data or .detach() too many", _UPDATE,
        _UPDATE.replace("self.lora_B.T", "self.lora_B.detach().T"), "Use the parameter itself.", "no-gradient",
    ),
    Fault(
        "B does not require a gradient", "a flat line: the loss never moves",
        "freezing the base by a pattern of names that also means B", _B,
        "self.lora_B = nn.Parameter(torch.zeros(base.out_features, r), requires_grad=False)",
        "Freeze first, attach afterwards.", "factor-frozen",
    ),
    Fault(
        "the adapter meets another base", "training is perfect; the shipped picture is noise",
        "another checkpoint under the same name", _SHIPPED, "shipped = inject(new_base(seed=1))",
        "Keep a fingerprint of the base with the adapter.", "other-base", **_BASE,
    ),
    Fault(
        "an rsLoRA adapter is loaded with α/r", "training is perfect; the shipped picture is too pale",
        "vllm-project/vllm#6909", _FROM_FOLDER.format(', config["use_rslora"]'), _FROM_FOLDER.format(""),
        "Read use_rslora with r and lora_alpha.", "scaling-not-the-files", "diagnose(shipped, adapter=folder)",
        "rslora",
    ),
)  # fmt: skip
FAULTS: dict[str, Fault] = {fault.name: fault for fault in _ALL}
