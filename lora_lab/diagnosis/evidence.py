"""What the rules look at: the adapters, what hand-written layers answered, the optimizers, what was given beside."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from .findings import Finding
from .probing import probe
from .reading import Adapter, is_readable, read

FEW_STEPS = 10  # in a deep model whose layers start at zero, a gradient may need some steps to come through
LAYERS_ASKED = 4  # of each kind of hand-written layer: they share their code


class Held:
    """A parameter in an optimizer, and what the optimizer kept of its gradients."""

    def __init__(self, p: Tensor, group: dict, state: dict) -> None:
        self.p = p
        self.rate = float(group.get("initial_lr", group.get("lr", 0.0)))  # that a schedule started from
        self.is_adam = "betas" in group
        # plain SGD, and L-BFGS of each tensor: no state tells what happened
        self.keeps_nothing = group.get("momentum") == 0 and "nesterov" in group or "history_size" in group
        kept = [t for key, t in state.items() if key != "step" and is_readable(t)]
        made_beforehand = state.get("step") == 0  # as Adagrad does
        self.begun = bool(kept) and not self.keeps_nothing and not made_beforehand
        self.moved = self.begun and any(bool(t.any()) for t in kept)
        self.steps = int(state.get("step", 0)) if self.begun else 0
        self.long_enough = self.begun and (self.steps >= FEW_STEPS or "step" not in state)
        self.others_long_enough = False  # whether its optimizer has trained on anything for a while

    @property
    def never_moved(self) -> bool:
        """Whether surely no gradient other than zero has ever reached it; False where the state cannot tell (yet)."""
        if self.begun:
            return not self.moved and self.steps >= FEW_STEPS
        return self.others_long_enough and not self.keeps_nothing and self.p.grad is None


class Optimizers(dict):
    """{id(parameter): Held} of one or several optimizers."""

    def __init__(self, optimizers: list) -> None:
        super().__init__()
        self.given = bool(optimizers)
        self.have_stepped = False
        for optimizer in optimizers:
            states = getattr(optimizer, "state", None) or {}
            self.have_stepped |= any(states.values())
            held = [Held(p, group, states.get(p) or {}) for group in optimizer.param_groups for p in group["params"]]
            long_enough = any(h.long_enough for h in held)
            for h in held:
                h.others_long_enough = long_enough
                self[id(h.p)] = h


class Evidence:
    """Everything, read once. Raises TypeError, in a sentence, for arguments of another kind.

    base, adapter: {name: tensor} of what was given, or None; config: of the adapter's folder, or empty.
    """

    def __init__(self, model: object, optimizer: object, base: object, adapter: object) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model is a {type(model).__name__}; diagnose reads a torch.nn.Module.")
        several = optimizer if isinstance(optimizer, list | tuple) else [optimizer]
        optimizers = [one for one in several if one is not None]
        for one in optimizers:
            if not isinstance(getattr(one, "param_groups", None), list):
                raise TypeError(
                    f"optimizer is a {type(one).__name__}, which has no param_groups: give the torch.optim.Optimizer "
                    "that trains the model, a list of several, or leave it out."
                )
        if isinstance(base, nn.Module):
            base = dict(base.named_parameters(remove_duplicate=False)) | base.state_dict()
        if base is not None and not isinstance(base, Mapping):
            kind = type(base).__name__
            raise TypeError(f"base is a {kind}; give the model before LoRA was attached, or its state_dict.")
        self.model, self.base, self.optimizers = model, base, Optimizers(optimizers)
        self.adapter, self.config = (None, {}) if adapter is None else _loaded(adapter)
        self.adapters = read(model)
        self.active = [a for a in self.adapters if a.active]
        self.answers = _ask(self.adapters)  # findings, of hand-written layers

    def held(self, a: Adapter) -> dict[str, Held]:
        """{name: Held} of the adapter's factors that are in an optimizer."""
        return {name: self.optimizers[id(p)] for name, p in zip(a.names, a.factors) if id(p) in self.optimizers}


def _loaded(adapter: object) -> tuple[Mapping[str, Tensor], Mapping]:
    """The tensors, and the configuration that an adapter's folder has beside them."""
    if isinstance(adapter, Mapping):
        return adapter, {}
    try:
        config = json.loads(Path(adapter, "adapter_config.json").read_text(encoding="utf-8"))
        return load_file(Path(adapter, "adapter_model.safetensors")), config
    except Exception as e:
        raise TypeError(
            f"adapter={adapter!r} is neither a dictionary of tensors nor the folder of an adapter, with "
            f"adapter_config.json and adapter_model.safetensors in it ({e})."
        ) from None


def _ask(adapters: list[Adapter]) -> list[Finding]:
    found, asked = [], Counter()
    for a in adapters:
        kind = (type(a.host).__name__, a.r, a.alpha, a.scaling, a.merged, a.enabled, a.host.training)
        asked[kind] += 1
        if a.make == "own" and asked[kind] <= LAYERS_ASKED:
            found += probe(a)
    return found
