"""`claim`: a sentence on a page that the page itself checks; and the checks of exercises that ask for code."""

from __future__ import annotations

from collections.abc import Callable


class ClaimError(AssertionError):
    """A claim on a page does not hold."""


def claim(text: str, truth: object) -> None:
    """Print "✓ text" if `truth` is true; raise ClaimError if it is not.

    truth: True or False, also as a numpy or torch boolean of one element. A number, None or a whole tensor is
    refused (TypeError): `claim("the loss is small", loss)` would hold for every loss but 0.
    """
    if not isinstance(text, str) or not text.strip():
        raise TypeError(f"claim needs a sentence, got {text!r}.")
    if not isinstance(truth, bool):
        size = getattr(truth, "size", None)
        many = truth.numel() if hasattr(truth, "numel") else (size if isinstance(size, int) else 1)
        if "bool" not in str(getattr(truth, "dtype", "")) or many != 1:
            shown = repr(truth)
            raise TypeError(
                f"claim needs True or False, got {shown if len(shown) <= 60 else type(truth).__name__}: "
                "write a comparison, and .all() if it compares many numbers."
            )
        truth = bool(truth)
    if not truth:
        raise ClaimError(f"✗ {text}\n  This claim does not hold for the numbers above.")
    print(f"✓ {text}")


def check_conv_update(update: Callable) -> None:
    """Exercise 6.1: is update(B, A, shape) the low-rank change of a convolution's kernel?

    B (out, r), A (r, in * k * k), shape (out, in, k, k) -> a tensor of that shape. Compared with a layer that add_lora
    has adapted. An `update` that returns None has not been written yet: one line says so, and nothing fails.
    """
    import torch
    from torch import nn

    from . import add_lora, delta_weights

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(4, 10, kernel_size=3))
        add_lora(model, r=2, alpha=2)
        layer = model[0].parametrizations.weight[0]
        B, A = torch.randn(10, 2), torch.randn(2, 36)
    with torch.no_grad():
        layer.lora_A.copy_(A), layer.lora_B.copy_(B)
    found = update(B, A, torch.Size((10, 4, 3, 3)))
    if found is None:
        print("exercise 6.1 is waiting for your line")
        return
    shape = getattr(found, "shape", None)
    claim("the update has the kernel's shape, 10 x 4 x 3 x 3", shape == (10, 4, 3, 3))
    wanted = delta_weights(model)["0"].view(10, 4, 3, 3)
    claim("and is what add_lora trains in a convolution", torch.allclose(found, wanted, atol=1e-6))
