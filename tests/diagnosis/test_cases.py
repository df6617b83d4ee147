"""Small trainings, faulty and healthy, that judge `lora_lab.diagnose`. They were written without knowing its rules, and
are not changed to fit them.

Each case is a function that trains a model as a person would and returns (model, optimizer), or with a third entry:
further arguments for diagnose, as {"base": ..., "adapter": ...}. Its docstring, or the line above it in the table,
says what is wrong, or what is unusual. A fault is judged right if one finding's text holds all the words beside it
("a|b": one of the two is enough), a healthy case if there is no finding.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR
from torch.utils.checkpoint import checkpoint

import lora_lab
from lora_lab import LoRALinear, add_lora

FAULTS: dict[str, tuple] = {}  # name: (the training, the words that a finding must hold)
HEALTHY: dict[str, Callable] = {}


def fault(*words: str) -> Callable:
    return lambda build: FAULTS.setdefault(build.__name__, (build, words))


def healthy(build: Callable) -> Callable:
    return HEALTHY.setdefault(build.__name__, build)


def findings_of(build: Callable) -> list:
    with torch.random.fork_rng(), warnings.catch_warnings():
        torch.manual_seed(0)
        warnings.simplefilter("ignore")
        model, optimizer, *rest = build()
    return lora_lab.diagnose(model, optimizer, **(rest[0] if rest else {}))


# ----------------------------------------------------------------------------------------- models, data, the loop


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.head = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.fc2(torch.relu(self.fc1(x)))))


class TwoPaths(nn.Module):
    """A main path and a side path, whose output is weighted by `weight`; 0 leaves it out."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.main, self.side, self.head, self.weight = nn.Linear(8, 16), nn.Linear(8, 16), nn.Linear(16, 4), weight

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.main(x))
        if self.weight:
            h = h + self.weight * torch.tanh(self.side(x))
        return self.head(h)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.relu(self.up(self.norm(x))))


class Blocks(nn.Module):
    """Three residual blocks and a head, with re-entrant checkpointing or without any."""

    def __init__(self, reentrant: bool = False) -> None:
        super().__init__()
        self.blocks, self.head, self.reentrant = nn.ModuleList(Block() for _ in range(3)), nn.Linear(8, 4), reentrant

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=True) if self.reentrant else block(x)
        return self.head(x)


def vectors() -> tuple[Tensor, Tensor]:
    X = torch.randn(64, 8)
    return X, torch.tanh(X @ torch.randn(8, 4))


def vectors_in_bfloat16() -> list[Tensor]:
    return [t.bfloat16() for t in vectors()]


def trainable(model: nn.Module) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def fit(model, optimizer, X, y, steps=60, schedule=None) -> tuple:
    scheduler = schedule and schedule(optimizer)
    for _ in range(steps):
        optimizer.zero_grad()
        F.mse_loss(model(X), y).backward()
        optimizer.step()
        if scheduler:
            scheduler.step()
    return model, optimizer


def trained(model, data=vectors, kind=AdamW, lr=1e-2, only="", **kwargs) -> tuple:
    """The model, and the optimizer that trained all of it that requires a gradient (and has `only` in its name)."""
    parameters = [p for name, p in model.named_parameters() if p.requires_grad and only in name]
    return fit(model, kind(parameters, lr=lr), *data(), **kwargs)


def adapted(model: nn.Module, r: int = 4, alpha: float = 8, **kwargs) -> nn.Module:
    add_lora(model, r=r, alpha=alpha, **kwargs)
    return model


def adapted_mlp(**kwargs) -> nn.Module:
    return adapted(MLP(), **kwargs)


# --------------------------------------------------------------------------------- faults: no gradient gets there


@fault("blocks.0")
def reentrant_checkpointing():
    """Re-entrant checkpointing of an input without gradient: no adapter in a block trains, only the head's."""
    return trained(adapted(Blocks(reentrant=True)))


@fault("fc1")
def detach():
    """A trained adapter is trained on, through a forward that detaches what fc1 gives: fc1 stays as it was loaded."""

    class Detached(MLP):
        def forward(self, x):
            return self.head(torch.relu(self.fc2(torch.relu(self.fc1(x)).detach())))

    first, _ = trained(adapted_mlp())
    model = adapted(Detached())
    model.load_state_dict(first.state_dict())
    return trained(model)


@fault("fc1", "lora_A")
def data_in_the_forward():
    """A layer of one's own reads lora_A.data: B trains, A never does."""

    class Mine(LoRALinear):
        def low_rank(self, x):
            return F.linear(F.linear(x, self.lora_A.data), self.lora_B)

    model = adapted_mlp(target_modules=["fc2", "head"])
    model.fc1 = Mine(model.fc1, r=4, alpha=8)
    return trained(model)


@fault("zero|moved|gradient")
def gradients_cleared_before_the_step():
    """backward, zero_grad, step: sixty steps of the optimizer with gradients of zero."""
    model, (X, y) = adapted_mlp(), vectors()
    optimizer = AdamW(trainable(model), lr=1e-2)
    for _ in range(60):
        F.mse_loss(model(X), y).backward()
        optimizer.zero_grad(set_to_none=False)
        optimizer.step()
    return model, optimizer


@fault("side")
def dead_branch_in_a_compiled_model():
    """The optimizer trains the model, torch.compile's wrapper is what one holds; the side path is never used."""
    model, optimizer = trained(adapted(TwoPaths(weight=0)))
    return torch.compile(model, backend="eager"), optimizer


# ------------------------------------------------------------------------------------- faults: frozen, not frozen


@fault("fc1", "frozen|freez|requires_grad")
def adapter_frozen_with_its_layer():
    """Everything called fc1 was to be frozen, and its lora_A and lora_B are called fc1, too."""
    model = adapted_mlp()
    model.fc1.requires_grad_(False)
    return trained(model)


@fault("1", "statistics|running|mean")
def running_statistics_moved():
    """Ordinary loop in train mode: the frozen BatchNorm's running mean follows the data, and no adapter file has it."""
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 4))
    base = copy.deepcopy(model)
    return *trained(adapted(model, r=2, alpha=4)), {"base": base}


# -------------------------------------------------------------------------------------- faults: the optimizer


@fault("optimizer", "adapter|lora|factor")
def optimizer_before_add_lora():
    """The optimizer was made first and holds the base's parameters only."""
    model = MLP()
    optimizer = AdamW(model.parameters(), lr=1e-2)
    add_lora(model, r=4, alpha=8)
    return fit(model, optimizer, *vectors())


@fault("optimizer", "lora_b|b is|every b|all b")
def optimizer_holds_A_only():
    """The filter of names asks for lora_A: B stays zero, so the model stays the base."""
    return trained(adapted_mlp(), only="lora_A")


@fault("optimizer", "blocks.0")
def optimizer_misses_a_block():
    """The list of parameters starts at the second block."""
    model = adapted(Blocks())
    parts = [*model.blocks[1:], model.head]
    return fit(model, AdamW([p for part in parts for p in trainable(part)], lr=1e-2), *vectors())


@fault("optimizer", "adapter|lora|factor")
def optimizer_of_a_copy():
    """The model in use is a deep copy, made after the optimizer: the optimizer trains the original."""
    original = adapted_mlp()
    optimizer = AdamW(trainable(original), lr=1e-2)
    return fit(copy.deepcopy(original), optimizer, *vectors())


@fault("lr|learning rate")
def warmup_by_whole_division():
    """step // 100 instead of step / 100: the learning rate is 0 for the whole run."""
    return trained(adapted_mlp(), schedule=lambda optimizer: LambdaLR(optimizer, lambda step: step // 100))


# -------------------------------------------------------------------------------- faults: factors, scaling, state


@fault("nan|finite|infinit")
def factors_are_nan():
    """A learning rate of 100 with SGD: the factors are NaN at the end."""
    return trained(adapted_mlp(), kind=SGD, lr=100)


@fault("scale|lam|λ")
def slider_left_at_zero():
    """set_scale(model, 0) from a look at the base; training then has no effect, all gradients are zero."""
    model = adapted_mlp()
    lora_lab.set_scale(model, 0)
    return trained(model)


@fault("merge")
def merged_while_training():
    """Merged for a measurement half-way and never unmerged: from there on only the head trains."""
    model, (X, y) = adapted_mlp(target_modules=["fc1", "fc2"]), vectors()
    model.head.requires_grad_(True)
    optimizer = AdamW(trainable(model), lr=1e-2)
    fit(model, optimizer, X, y, steps=30)
    lora_lab.merge(model)
    return fit(model, optimizer, X, y, steps=30)


# ------------------------------------------------------------------------------------------------ faults: PEFT


def peft_config(**kwargs):
    peft = pytest.importorskip("peft")
    return peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ["fc1", "fc2"]} | kwargs)


def with_peft(**kwargs) -> nn.Module:
    return pytest.importorskip("peft").get_peft_model(MLP(), peft_config(**kwargs))


@fault("frozen|freez|requires_grad|is_trainable")
def peft_loaded_for_inference():
    """PeftModel.from_pretrained without is_trainable=True: the adapters are frozen, the head trains alone."""
    first, _ = trained(with_peft())
    with tempfile.TemporaryDirectory() as folder:
        first.save_pretrained(folder)
        model = pytest.importorskip("peft").PeftModel.from_pretrained(MLP(), folder)
    model.base_model.model.head.requires_grad_(True)
    return fit(model, AdamW(model.parameters(), lr=1e-2), *vectors())


@fault("second")
def peft_other_adapter_active():
    """The optimizer holds the adapter "second", and the forward goes through "default"."""
    model = with_peft()
    model.add_adapter("second", peft_config())
    second = [p for name, p in model.named_parameters() if "second" in name]
    for p in second:
        p.requires_grad_(True)
    return fit(model, AdamW(second, lr=1e-2), *vectors())


@fault("disabled|enabled|switched off|requires_grad|frozen")
def peft_disabled_while_training():
    """disable_adapter_layers() for a measurement of the base, never enabled again; the head trains alone."""
    model = with_peft()
    model.base_model.model.head.requires_grad_(True)
    optimizer = AdamW(trainable(model), lr=1e-2)
    model.base_model.disable_adapter_layers()
    return fit(model, optimizer, *vectors())


# ---------------------------------------------------------------------- healthy, with an unusual argument

HEALTHY |= {
    # The base is in bfloat16 before add_lora, the factors are float32.
    "bfloat16_base": lambda: trained(adapted(MLP().bfloat16()), vectors_in_bfloat16),
    # r = 1, Adam at 1e-4, as is usual for large models: the update is small and grows.
    "rank_one_at_a_low_learning_rate": lambda: trained(adapted_mlp(r=1, alpha=1), lr=1e-4, steps=150),
    # r as large as the layer allows, alpha / sqrt(r).
    "full_rank_rslora": lambda: trained(adapted_mlp(r=16, alpha=16, rslora=True, target_modules="fc2"), lr=3e-3),
    # The side path counts a thousandth, with SGD: its adapter moves little beside the others.
    "branch_with_tiny_gradients": lambda: trained(adapted(TwoPaths(weight=1e-3)), kind=SGD, lr=0.1),
    # The schedule ended at a learning rate of 0, after a good run.
    "cosine_has_ended": lambda: trained(adapted_mlp(), schedule=lambda optimizer: CosineAnnealingLR(optimizer, 60)),
    # PEFT with dropout, and the head in modules_to_save.
    "peft_with_a_trained_head": lambda: trained(with_peft(modules_to_save=["head"], lora_dropout=0.1)),
}


@healthy
def mlp():
    """The ordinary case, with all of the model's parameters in the optimizer: the frozen ones have no gradient."""
    model = adapted_mlp()
    return fit(model, AdamW(model.parameters(), lr=1e-2), *vectors())


# ------------------------------------------------------------------------- healthy: numbers, ranks, sizes of updates


@healthy
def update_much_larger_than_the_base():
    """A nearly empty base learns a matrix of rank 2: the update is hundreds of times W0, and right on unseen rows."""
    base = nn.Linear(16, 12)
    with torch.no_grad():
        base.weight.mul_(0.02)
    model = LoRALinear(base, r=2, alpha=4)
    target = torch.randn(16, 2) @ torch.randn(2, 12)
    X, held_out = torch.randn(200, 16), torch.randn(50, 16)
    optimizer = AdamW(trainable(model), lr=3e-2, weight_decay=0)
    fit(model, optimizer, X, X @ target, steps=300)
    assert F.mse_loss(model(held_out), held_out @ target) < 0.05
    return model, optimizer


@healthy
def layers_that_start_at_zero():
    """Each block's last layer is zero in the base, as in ControlNet: W0 = 0, and no gradient passes at first."""
    model = Blocks()
    for block in model.blocks:
        nn.init.zeros_(block.down.weight)
    return trained(adapted(model))


# --------------------------------------------------------------------------------------- healthy: early and late


@healthy
def before_the_first_step():
    """Warm-up begins at a learning rate of 0, nothing has run yet."""
    model = adapted_mlp()
    optimizer = AdamW(trainable(model), lr=1e-2)
    LambdaLR(optimizer, lambda step: min(step / 10, 1))
    return model, optimizer


@healthy
def adagrad_before_the_first_step():
    """Adagrad keeps a state for every parameter before its first step."""
    model = adapted_mlp()
    return model, torch.optim.Adagrad(trainable(model), lr=1e-2)


# ----------------------------------------------------------------------------------------- healthy: ways to train


@healthy
def reentrant_checkpointing_of_an_input_with_gradient():
    """The input requires a gradient, as PEFT's enable_input_require_grads makes it."""
    model, (X, y) = adapted(Blocks(reentrant=True)), vectors()
    return fit(model, SGD(trainable(model), lr=0.05), X.requires_grad_(), y)


@healthy
def an_optimizer_for_each_half():
    """Two optimizers, one for the blocks and one for the head."""
    model, (X, y) = adapted(Blocks()), vectors()
    optimizers = [AdamW(trainable(model.blocks), lr=1e-2), SGD(trainable(model.head), lr=0.1)]
    for _ in range(60):
        model.zero_grad()
        F.mse_loss(model(X), y).backward()
        for optimizer in optimizers:
            optimizer.step()
    return model, optimizers


@healthy
def lbfgs():
    """L-BFGS keeps one state for all parameters, under the first of them."""
    model, (X, y) = adapted_mlp(), vectors()
    optimizer = torch.optim.LBFGS(trainable(model), lr=0.5)

    def closure():
        optimizer.zero_grad()
        value = F.mse_loss(model(X), y)
        value.backward()
        return value

    for _ in range(5):
        optimizer.step(closure)
    return model, optimizer


@healthy
def peft_second_adapter():
    """The adapter "second" is active and trained; "default", not in use, still has B = 0."""
    model = with_peft()
    model.add_adapter("second", peft_config(r=2, lora_alpha=2))
    model.set_adapter("second")
    return trained(model)


# -------------------------------------------------------------------------------------------------- the judgement


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_is_named(name):
    build, words = FAULTS[name]
    texts = [str(f).lower() for f in findings_of(build)]
    assert any(all(any(word.lower() in text for word in entry.split("|")) for entry in words) for text in texts)


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_training_meets_silence(name):
    assert findings_of(HEALTHY[name]) == []
