"""What a layer keeps for its backward pass, measured: every tensor that autograd saves, each storage once."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from lora_lab import add_lora

from .models import TARGETS, Shape


def saved_bytes(forward: Callable[[], Tensor], known: Iterable[Tensor]) -> int:
    """Bytes that autograd keeps of this forward pass, without the storages of `known` (the parameters)."""
    kept = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # the tensor, too: a freed address may come again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    for tensor in known:
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    del result
    return sum(size for size, _ in kept.values())


def layer_bytes(shape: Shape, targets: str | None, checkpointing: bool = False) -> float:
    """Bytes per token that one more layer of transformers' Llama keeps, random in bfloat16: three layers less one,
    halved. targets: LoRA on these matrices (a key of TARGETS), or everything trains (None).
    """
    import transformers

    tokens = 1024

    def kept(layers: int) -> int:
        config = transformers.LlamaConfig(
            hidden_size=shape.d, intermediate_size=shape.ff, num_hidden_layers=layers, vocab_size=shape.vocab,
            num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads,
        )  # fmt: skip
        model = transformers.LlamaModel(config).bfloat16()
        if targets is not None:
            add_lora(model, r=8, target_modules=[f"{role}_proj" for role in TARGETS[targets]])
        if checkpointing:
            newer = getattr(model, "activation_checkpointing_enable", None)  # its name in later transformers
            (newer or model.gradient_checkpointing_enable)()
            model.train()
        x = torch.randn(1, tokens, shape.d, dtype=torch.bfloat16, requires_grad=True)
        known = [*model.parameters(), *model.buffers()]
        return saved_bytes(lambda: model(inputs_embeds=x, use_cache=False).last_hidden_state, known)

    return (kept(3) - kept(1)) / 2 / tokens
