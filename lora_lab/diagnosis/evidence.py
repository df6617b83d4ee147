"""What the rules look at: the adapters, what hand-written layers answered, the optimizers, what was given beside."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from .probing import Answer, probe
from .reading import Adapter, is_readable, read, size_of

FEW_STEPS = 10  # in a deep model whose layers start at zero, a gradient may need some steps to come through
LAYERS_ASKED = 4  # of each kind of hand-written layer: they share their code


class Optimizers:
    """One or several optimizers: what they hold, and what they kept of the gradients."""

    def __init__(self, optimizers: list) -> None:
        self.given = bool(optimizers)
        self.groups: list[dict] = []
        self._group: dict[int, dict] = {}
        self._owner: dict[int, object] = {}
        self._reached: dict[int, bool] = {}
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                self.groups.append(group)
                for p in group["params"]:
                    self._group[id(p)], self._owner[id(p)] = group, optimizer

    def holds(self, p: Tensor) -> bool:
        return id(p) in self._group

    def hold_strangers(self, model: nn.Module) -> bool:
        """Whether some of the tensors are not the model's."""
        return not set(self._group) <= {id(p) for p in model.parameters()}

    def is_adam(self, p: Tensor) -> bool:
        return "betas" in self._group[id(p)]

    def rate(self, p: Tensor) -> float:
        """The learning rate that a schedule, if there is one, started from."""
        group = self._group[id(p)]
        return float(group.get("initial_lr", group.get("lr", 0.0)))

    def rates(self, name: str = "initial_lr") -> str:
        """All groups' rates, as text; name="lr": of now, not of the schedule's start."""
        rates = {float(group.get(name, group.get("lr", 0.0))) for group in self.groups}
        return ", ".join(f"{rate:g}" for rate in sorted(rates))

    def state(self, p: Tensor) -> dict:
        """What is kept of this tensor; {} before its first gradient."""
        states = getattr(self._owner.get(id(p)), "state", None) or {}
        state = states.get(p) or {}
        if self.keeps_nothing(p) or state.get("step") == 0:  # Adagrad makes its state beforehand
            return {}
        return state if any(isinstance(t, Tensor) for t in state.values()) else {}

    def steps(self, p: Tensor) -> int:
        return int(self.state(p).get("step", 0))

    def has_stepped(self) -> bool:
        return any(any(states.values()) for states in (getattr(o, "state", None) or {} for o in self._owner.values()))

    def keeps_nothing(self, p: Tensor) -> bool:
        """Plain SGD, and L-BFGS of each tensor: no state tells what happened."""
        group = self._group.get(id(p), {})
        return group.get("momentum") == 0 and "nesterov" in group or "history_size" in group

    def gradient_came(self, p: Tensor) -> bool | None:
        """Whether a gradient other than zero has ever reached p; None where the state cannot tell (yet)."""
        state = self.state(p)
        if state:
            kept = [t for key, t in state.items() if key != "step" and isinstance(t, Tensor)]
            if any(t.any() for t in kept):
                return True
            return False if self.steps(p) >= FEW_STEPS else None
        waiting = self.keeps_nothing(p) or p.grad is not None
        return False if not waiting and self._others_were_reached(p) else None

    def _others_were_reached(self, p: Tensor) -> bool:
        """Whether this optimizer has trained on something else for a while."""
        optimizer = self._owner[id(p)]
        if id(optimizer) not in self._reached:
            others = [q for group in optimizer.param_groups for q in group["params"]]
            states = [state for state in map(self.state, others) if state]
            steps = [int(state["step"]) for state in states if "step" in state]
            self._reached[id(optimizer)] = max(steps) >= FEW_STEPS if steps else bool(states)
        return self._reached[id(optimizer)]


@dataclass
class Evidence:
    model: nn.Module
    adapters: list[Adapter]
    answers: dict[int, Answer]  # of hand-written layers, by id(adapter)
    optimizers: Optimizers
    base: Mapping[str, Tensor] | None
    adapter: Mapping[str, Tensor] | None
    config: Mapping | None  # of the adapter's folder

    def __post_init__(self) -> None:
        self.active = [a for a in self.adapters if a.active]

    def answer(self, a: Adapter) -> Answer:
        return self.answers.get(id(a), Answer())

    def scale(self, a: Adapter) -> float | None:
        """What the update is multiplied by: measured where that was possible, else what the layer says."""
        measured = self.answer(a).scale
        return measured if measured and not a.merged else a.scaling

    def relative_size(self, a: Adapter) -> float | None:
        """||update|| / ||W||, None where one of them cannot be computed."""
        norm = float(a.weight.float().norm()) if a.plain and is_readable(a.weight) else 0.0
        return abs(self.scale(a) or 1.0) * size_of(a) / norm if norm else None


def collect(model: object, optimizer: object, base: object, adapter: object) -> Evidence:
    """Everything read once. Raises TypeError, in a sentence, for arguments of another kind."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}; diagnose reads a torch.nn.Module.")
    optimizers = list(optimizer) if isinstance(optimizer, list | tuple) else [optimizer]
    optimizers = [one for one in optimizers if one is not None]
    for one in optimizers:
        if not isinstance(getattr(one, "param_groups", None), list):
            raise TypeError(
                f"optimizer is a {type(one).__name__}, which has no param_groups: give the torch.optim.Optimizer that "
                "trains the model, a list of several, or leave it out."
            )
    if isinstance(base, nn.Module):
        base = dict(base.named_parameters(remove_duplicate=False)) | base.state_dict()
    if base is not None and not isinstance(base, Mapping):
        raise TypeError(f"base is a {type(base).__name__}; give the model before LoRA was attached, or its state_dict.")
    tensors, config = (None, None) if adapter is None else _loaded(adapter)
    adapters = read(model)
    return Evidence(model, adapters, _ask(adapters), Optimizers(optimizers), base, tensors, config)


def _loaded(adapter: object) -> tuple[Mapping[str, Tensor], Mapping | None]:
    if isinstance(adapter, Mapping):
        return adapter, None
    if not isinstance(adapter, str | os.PathLike):
        raise TypeError(f"adapter is a {type(adapter).__name__}; give an adapter's folder or a dictionary of tensors.")
    folder = Path(adapter)
    try:
        from safetensors.torch import load_file

        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        return load_file(folder / "adapter_model.safetensors"), config
    except Exception as e:
        raise TypeError(
            f"adapter={str(adapter)!r} is no adapter folder: adapter_config.json and adapter_model.safetensors must be "
            f"in it ({e})."
        ) from None


def _ask(adapters: list[Adapter]) -> dict[int, Answer]:
    answers, asked = {}, {}
    for a in adapters:
        kind = (type(a.host), type(a.holder), a.r, a.alpha, a.scaling, a.merged, a.enabled, a.host.training)
        asked[kind] = asked.get(kind, 0) + 1
        if a.make == "own" and a.plain and asked[kind] <= LAYERS_ASKED:
            answer = probe(a)
            if answer:
                answers[id(a)] = answer
    return answers


def same(x: float | None, y: float | None) -> bool:
    return x is not None and y is not None and math.isclose(x, y, rel_tol=1e-3)
