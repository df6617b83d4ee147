"""What is wrong with this LoRA model, in sentences, each with its cure (page 11).

    from lora_lab import diagnose
    print(diagnose(model, optimizer))

The way through the files: `reading` finds the adapters, `probing` asks hand-written layers what they compute,
`evidence` holds that and the optimizers, two files of rules look at the evidence, `findings` has the words.
"""

import os
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from . import adapter_rules, model_rules
from .evidence import Evidence
from .findings import Finding, finding, one_of_each_code


@torch.no_grad()
def diagnose(
    model: nn.Module,
    optimizer: object | None = None,
    *,
    base: nn.Module | Mapping[str, Tensor] | None = None,
    adapter: str | os.PathLike | Mapping[str, Tensor] | None = None,
) -> list[Finding]:
    """Look for known LoRA mistakes in `model`; a list of findings. Changes nothing.

    An empty list means that none of the mistakes in findings.toml was seen, not that there is none.

    optimizer: the one that trains the model (or a list of several); without it nothing is said about training.
    base: the model as it was before LoRA was attached, or its state_dict; finds a base that is another one, was
    trained along, or has the update in it already. adapter: what was to be loaded, an adapter folder or a dictionary
    of tensors; finds a load that did nothing and a wrong scaling.

    Raises TypeError for arguments that are none of these, and nothing else, whatever the model is.
    """
    evidence = Evidence(model, optimizer, base, adapter)
    if not evidence.adapters:
        return one_of_each_code([finding("no-adapter", kind=type(model).__name__)])
    found = list(evidence.answers)
    for one in evidence.adapters:
        for rule in adapter_rules.RULES:
            found += rule(evidence, one)
    for rule in model_rules.RULES:
        found += rule(evidence)
    return one_of_each_code(found)
