"""What is wrong with this LoRA model, in sentences, each with its cure (page 11).

    from lora_lab import diagnose
    print(diagnose(model, optimizer))

Works on this package's layers, PEFT's, loralib's and hand-written ones; changes nothing. An empty list means that none
of the mistakes in findings.toml was seen, not that there is none.

The way through the files: `reading` finds the adapters, `probing` asks hand-written layers what they compute,
`evidence` holds that and the optimizers, the rules below look at the evidence, `findings` has the words.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from . import comparison_rules, layer_rules, training_rules
from .evidence import Evidence, collect
from .findings import Finding, Findings, finding, one_of_each_code

OF_AN_ADAPTER = (
    layer_rules.numbers,
    layer_rules.scaling,
    layer_rules.stacked,
    training_rules.switched_off,
    training_rules.half_precision,
    training_rules.gradients,
    training_rules.never_moved,
    comparison_rules.scaling_of_the_file,
)
OF_THE_MODEL = (
    layer_rules.tied_weight,
    layer_rules.shared_factor,
    layer_rules.uneven_targets,
    layer_rules.weights_not_adapted,
    training_rules.held,
    training_rules.base_trains,
    training_rules.movement,
    comparison_rules.weights,
    comparison_rules.statistics,
    comparison_rules.loaded,
)


@torch.no_grad()
def diagnose(
    model: nn.Module,
    optimizer: object | None = None,
    *,
    base: nn.Module | Mapping[str, Tensor] | None = None,
    adapter: str | os.PathLike | Mapping[str, Tensor] | None = None,
) -> list[Finding]:
    """Look for known LoRA mistakes in `model`; a list of findings, empty if there are none. Changes nothing.

    optimizer: the one that trains the model (or a list of several); without it nothing is said about training.
    base: the model as it was before LoRA was attached, or its state_dict; finds a base that is another one, was
    trained along, or has the update in it already. adapter: what was to be loaded, an adapter folder or a dictionary
    of tensors; finds a load that did nothing and a wrong scaling.

    Raises TypeError for arguments that are none of these, and nothing else, whatever the model is.
    """
    evidence = collect(model, optimizer, base, adapter)
    if not evidence.adapters:
        return Findings([finding("no-adapter", kind=type(model).__name__)])
    return one_of_each_code(_all_findings(evidence))


def _all_findings(evidence: Evidence) -> Iterator[Finding]:
    yield from evidence.answers
    for adapter in evidence.adapters:
        for rule in OF_AN_ADAPTER:
            yield from rule(evidence, adapter)
    for rule in OF_THE_MODEL:
        yield from rule(evidence)
