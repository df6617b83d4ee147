"""The two ways to attach a low-rank update BA to a frozen weight W0 (LoRA, Hu et al. 2021, section 4.1).

    W = W0 + lam * s * B A        W0 (d_out, d_in)   B (d_out, r)   A (r, d_in)   s = alpha / r

`LoRALinear` wraps a linear layer and never forms BA: it multiplies x by A, then by B.
`LoRAParametrization` forms W0 + BA and hands it to any layer that reads its weight: embeddings,
convolutions, LSTMs, attention. Neither ever writes into W0, so "disable" and "unmerge" are exact.
"""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Of lam, too: alpha * lam must stay far inside float32, or 0 * infinity puts NaN into the model.
MAX_ALPHA = 1e15
SAMPLE = 256  # numbers of W0 that are compared to see whether a merged copy is still the sum of its parts

HOOKS = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")
_LINEAR_FORWARD = nn.Linear.forward  # to recognise a patch of the class


def is_scale(value: object) -> bool:
    """A finite number of usable size, as alpha and lam must be."""
    return isinstance(value, Real) and not isinstance(value, bool) and abs(value) <= MAX_ALPHA  # false for NaN


def check_rank(r: int, shape: Sequence[int] | None, where: str, least: int = 1) -> None:
    """Raise a ValueError in words unless r is a rank that `where`, a (d_out, d_in) matrix, can have.

    A rank above the smaller side is a mistake when one chooses it, but a file may hold such factors: shape None.
    """
    limit = min(shape) if shape else math.inf
    if isinstance(r, bool) or not isinstance(r, Integral) or not least <= r <= limit:
        what, bound = (f", {shape[0]} x {shape[1]}", f" <= {limit}") if shape else ("", "")
        raise ValueError(f"r={r!r} does not fit {where}{what}: a rank is a whole number, {least} <= r{bound}.")


def check_hyperparameters(r: int, alpha: float, dropout: float, shape: Sequence[int] | None, where: str) -> None:
    """Raise a ValueError in words unless r, alpha and dropout fit `where`, a weight of `shape` (see check_rank)."""
    check_rank(r, shape, where)
    if not is_scale(alpha):
        raise ValueError(
            f"alpha={alpha!r} is not a finite number of at most {MAX_ALPHA:g} in size: "
            "alpha scales the update, for example alpha=r."
        )
    if isinstance(dropout, bool) or not isinstance(dropout, Real) or not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout={dropout!r} is not a probability in [0, 1): 0.0 switches it off.")


def is_finite(t: Tensor) -> bool:
    return bool(torch.isfinite(t if t.element_size() > 1 else t.float()).all())  # torch asks no float8


def factor_dtype(weight: Tensor) -> torch.dtype:
    """float32 for every weight below 32 bits: an optimizer step of 1e-4 would vanish in bf16 (page 05)."""
    return weight.dtype if weight.element_size() >= 4 else torch.float32


def _look(t: Tensor) -> tuple[int, int | None, Tensor, Tensor]:
    """What shows a change of t: where its numbers lie, how often torch saw them change, and some of them, as a view
    (which sees `.data.copy_`, too, that torch does not count) and as a copy."""
    sample = t.detach().view(-1)[:: t.numel() // SAMPLE + 1] if t.is_contiguous() else t.detach()
    return t.data_ptr(), None if t.is_inference() else t._version, sample, sample.clone()


def _changed(t: Tensor, seen: tuple[int, int | None, Tensor, Tensor]) -> bool:
    """Whether t is another one than `_look` saw."""
    memory, version, view, copy = seen
    return t.data_ptr() != memory or (version is not None and t._version != version) or not torch.equal(view, copy)


class LowRankUpdate(nn.Module):
    """What both forms share: the factors A and B, their scaling, and the state "enabled" and "merged".

    Shapes: lora_A (r, cols), lora_B (rows, r), where rows x cols is the weight seen as a matrix
    (a convolution's (out, in/groups, k, k) is out x in/groups*k*k).
    """

    transposed = False  # the weight is stored as (cols, rows), see LoRAParametrization

    def __init__(self, weight: Tensor, r: int, alpha: float, dropout: float, rslora: bool, where: str) -> None:
        rows, cols = weight.shape[0], weight.shape[1:].numel()
        check_hyperparameters(r, alpha, dropout, (rows, cols), where)
        super().__init__()
        self.r, self.alpha, self.rslora = int(r), float(alpha), bool(rslora)
        self.scaling = self.alpha / (math.sqrt(r) if rslora else r)
        self.lam = 1.0  # W0 + lam * delta, see set_scale
        self.enabled = True
        dtype = factor_dtype(weight)
        self.lora_A = nn.Parameter(torch.empty(r, cols, dtype=dtype, device=weight.device))  # (r, cols)
        self.lora_B = nn.Parameter(torch.empty(rows, r, dtype=dtype, device=weight.device))  # (rows, r)
        # W0 + lam * delta while merged. Not part of state_dict(): a state saved while merged is the same state.
        self.register_buffer("kept_sum", None, persistent=False)
        self.merged_parts: tuple | None = None  # what it was made of, see merge_onto
        self.reset_lora()

    @torch.no_grad()
    def reset_lora(self, std: float | None = None, generator: torch.Generator | None = None) -> None:
        """Start again: A ~ N(0, std^2) with std = 1/sqrt(d_in) unless given, B = 0, hence delta = 0.

        The paper says "Gaussian" and leaves std open; 1/sqrt(d_in) keeps Ax as large as x (page 03).
        Drawn in float64 on the CPU and cast, which gives the same numbers on every device.
        """
        self.unmerge()
        std = 1.0 / math.sqrt(self.lora_A.shape[1]) if std is None else std
        start = std * torch.randn(self.lora_A.shape, generator=generator, dtype=torch.float64, device="cpu")
        self.lora_A.copy_(start.to(self.lora_A.dtype))
        self.lora_B.zero_()

    @torch.no_grad()
    def set_factors(self, A: Tensor, B: Tensor, alpha: float | None = None) -> None:
        """Put other factors in, of any rank: A (r, cols), B (rows, r). Without alpha the scaling stays."""
        self.unmerge()
        for p, t in ((self.lora_A, A), (self.lora_B, B)):
            p.grad = None
            if p.shape == t.shape:
                p.copy_(t)
            else:
                p.data = t.to(p.device, p.dtype, copy=True)
        changed, self.r = self.r != A.shape[0], A.shape[0]
        divisor = math.sqrt(self.r) if self.rslora else self.r
        if alpha is not None:
            self.alpha, self.scaling = alpha, alpha / divisor
        elif changed:
            self.alpha = self.scaling * divisor

    def _full_precision(self) -> torch.autocast:
        """Under autocast the products below would round W0 + BA, even a merged one, to bfloat16."""
        return torch.autocast(self.lora_B.device.type, enabled=False)

    def delta_weight(self) -> Tensor:
        """The update s * B A as a (rows, cols) matrix, in the factors' dtype; without lam. Differentiable."""
        with self._full_precision():
            return (self.scaling * self.lora_B) @ self.lora_A  # scaling the small factor saves a pass over the product

    def effective(self, weight: Tensor) -> Tensor:
        """W0 + lam * delta in W0's shape and dtype: added in the factors' precision, rounded once."""
        A, B = self.lora_A, (self.lam * self.scaling) * self.lora_B
        left, right = (A.T, B.T) if self.transposed else (B, A)
        with self._full_precision():
            total = torch.addmm(weight.flatten(1).to(A.dtype), left, right)  # (rows, cols), or as it is stored
        return total.view(weight.shape).to(weight.dtype)

    @property
    def merged(self) -> bool:
        return self.merged_parts is not None

    @torch.no_grad()
    def checked_sum(self, weight: Tensor) -> Tensor:
        """`effective`, or a ValueError if it is not finite where W0 is."""
        total = self.effective(weight)
        if not is_finite(total) and is_finite(weight):
            raise ValueError(
                "merging would put NaN or infinity into the weight: lora_A or lora_B is not finite "
                f"(or the sum overflows {weight.dtype}). The model is unchanged; look at the training run first."
            )
        return total

    @torch.inference_mode(False)  # a sum made under inference_mode could not be used in training code later
    def merge_onto(self, weight: Tensor) -> None:
        """Keep W0 + lam * delta ready. W0 itself is not touched, so merging twice is merging once."""
        self.kept_sum = self.checked_sum(weight)
        self.merged_parts = self.lam * self.scaling, *map(_look, (self.lora_A, self.lora_B, weight))

    def fresh_merged(self, weight: Tensor) -> Tensor:
        """The merged weight; made anew if A, B, W0 or lam changed since, by whatever means.

        While torch.compile traces, the kept sum is used as it is: there, call merge again after a change.
        """
        if not torch.compiler.is_compiling():
            scale, *parts = self.merged_parts
            if scale != self.lam * self.scaling or any(map(_changed, (self.lora_A, self.lora_B, weight), parts)):
                self.merge_onto(weight)
        return self.kept_sum

    def unmerge(self) -> None:
        """Back to W0 and the separate update: exact, because W0 was never overwritten."""
        self.kept_sum = self.merged_parts = None

    def extra_repr(self) -> str:
        rule = "alpha/sqrt(r)" if self.rslora else "alpha/r"
        state = "" if self.enabled else ", disabled"
        return f"r={self.r}, alpha={self.alpha:g}, {rule}={self.scaling:g}{', merged' if self.merged else ''}{state}"


class LoRALinear(LowRankUpdate):
    """A frozen `nn.Linear` plus a trainable low-rank update: h = W0 x + b + s B (A x) (paper, eq. 3).

    base: nn.Linear, frozen in place. lora_A: (r, in_features). lora_B: (out_features, r), zero at the start.
    Input (..., in_features) -> output (..., out_features). Factored forward: 2 (d_in + d_out) r
    multiply-adds per token on top of the base's 2 d_in d_out; the d_out x d_in product is never formed.

    `weight` and `bias` read like a linear layer's (weight is the adapted one), because torch's own
    TransformerEncoderLayer takes them directly in eval mode and would otherwise skip the adapter silently.

    ValueError for an impossible r, alpha or dropout, TypeError for a base that is not a plain nn.Linear.
    """

    def __init__(
        self, base: nn.Linear, r: int = 8, alpha: float = 8.0, *, dropout: float = 0.0, rslora: bool = False
    ) -> None:
        if not isinstance(base, nn.Linear):
            kind = type(base).__name__
            raise TypeError(f"base is a {kind}; LoRALinear adapts a plain nn.Linear, add_lora other layers, too.")
        reason = why_not(base, "weight")
        if reason:
            raise TypeError(f"base cannot be adapted: {reason}.")
        super().__init__(base.weight, r, alpha, dropout, rslora, "this Linear")
        self.base = base.requires_grad_(False)
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.in_features, self.out_features = base.in_features, base.out_features

    def low_rank(self, x: Tensor) -> Tensor:
        """B (A x), without its scale: (..., in_features) -> (..., out_features), in the input's dtype.

        In half precision A and B are cast and not x: backward would keep a float32 copy of every layer's input.
        """
        if self.dropout is not None:
            x = self.dropout(x)
        A, B = self.lora_A, self.lora_B
        if A.dtype != x.dtype:
            A, B = A.to(x.dtype), B.to(x.dtype)
        return F.linear(F.linear(x, A), B)  # (..., r), then (..., out_features)

    def forward(self, x: Tensor) -> Tensor:
        if not self.enabled:
            return self.base(x)
        if self.merged:
            return F.linear(x, self.merged_weight, self.base.bias)
        return torch.add(self.base(x), self.low_rank(x), alpha=self.lam * self.scaling)  # W0 x + b + lam s B A x

    def merge(self) -> None:
        """Use W0 + lam * delta as one matrix: no extra work per forward. Twice is once.

        The base is not called then: ValueError, and nothing changes, for a base whose call does more than W0 x + b.
        """
        reason = why_not_merge(self.base)
        if reason:
            raise ValueError(f"it cannot be merged: {reason}. The model is unchanged.")
        self.merge_onto(self.base.weight)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        if name in ("weight", "bias"):
            refuse_replacement("Linear", name)
        super().register_parameter(name, param)

    @property
    def weight(self) -> Tensor:
        if not self.enabled:
            return self.base.weight
        return self.merged_weight if self.merged else self.effective(self.base.weight)

    @property
    def merged_weight(self) -> Tensor:
        """W0 + lam * delta as merge() made it, or made anew if its parts changed since; only while merged."""
        return self.fresh_merged(self.base.weight)

    @property
    def bias(self) -> Tensor | None:
        return self.base.bias


class LoRAParametrization(LowRankUpdate):
    """W0 -> W0 + lam * s * B A for any weight, through `torch.nn.utils.parametrize`.

    The layer's attribute (say `embedding.weight` or `lstm.weight_hh_l0`) becomes the adapted weight, so every
    code path that reads it gets the update: cuDNN-style LSTMs, attention's fast path, tied look-ups.
    The price is that BA is formed at every forward; merge() forms it once.

    weight: (rows, ...); seen as a rows x cols matrix. There is no input here, hence no dropout.
    transposed: the layer stores its matrix as (d_in, d_out), as GPT-2's Conv1D does ("fan in, fan out"). The factors
    are those of the (d_out, d_in) matrix all the same: A (r, d_in) random, B (d_out, r) zero.
    """

    def __init__(
        self,
        weight: Tensor,
        r: int = 8,
        alpha: float = 8.0,
        *,
        rslora: bool = False,
        where: str = "the weight",
        transposed: bool = False,
    ) -> None:
        super().__init__(weight.T if transposed else weight, r, alpha, 0.0, rslora, where)
        self.transposed = transposed

    def forward(self, weight: Tensor) -> Tensor:
        if not self.enabled:
            return weight
        return self.fresh_merged(weight) if self.merged else self.effective(weight)


def refuse_replacement(kind: str, name: str) -> NoReturn:
    raise ValueError(
        f"the {name} of an adapted {kind} cannot be replaced (transformers' tie_weights() tries to): tie the layers "
        "before add_lora and leave both out of target_modules, or call remove_lora first."
    )


def is_conv1d(module: nn.Module) -> bool:
    """transformers' `Conv1D`, the linear layer of GPT-2, whose weight is stored (d_in, d_out): y = x W + b.

    Told by its class's name and attributes, so that transformers need not be installed. torch's nn.Conv1d is not it.
    """
    return any(c.__name__ == "Conv1D" for c in type(module).__mro__) and hasattr(module, "nf")


def matrix_shape(module: nn.Module, weight: Tensor) -> torch.Size:
    """The shape of a weight as the course reads it: (d_out, d_in, ...), turned round for a Conv1D."""
    return weight.shape[::-1] if is_conv1d(module) else weight.shape


def why_not_merge(base: nn.Module) -> str | None:
    """The reason why calling `base` is more than W0 x + b, so that a merged matrix cannot stand for it; or None."""
    kind = type(base).__name__
    if not isinstance(base, nn.Linear) or type(base).forward is not _LINEAR_FORWARD or "forward" in vars(base):
        return f"its base, a {kind}, has a forward of its own, which a merged weight would skip"
    if any(getattr(base, f"_{hooks}") for hooks in HOOKS):
        return f"its base, a {kind}, carries hooks, which a merged weight would skip; take them off first"
    return why_not_fold(base, "weight")


def why_not_fold(module: nn.Module, tensor: str) -> str | None:
    """The reason why a number written into `module.<tensor>` would not be the one that is read, or None."""
    if isinstance(module._parameters.get(tensor), nn.Parameter):  # a parametrized one lies elsewhere
        return None
    return f"its {tensor} is computed by something else (pruning, weight_norm, spectral_norm?); take that off first"


def why_not(module: nn.Module, tensor: str) -> str | None:
    """The reason, in words, why `module.<tensor>` cannot carry a low-rank update, or None."""
    weight = getattr(module, tensor)
    if nn.parameter.is_lazy(weight):
        return "it is a lazy layer whose shape is not known yet; run one batch through the model first"
    if computed := why_not_fold(module, tensor):
        return computed
    if weight.is_meta:
        return "its weight is on the meta device and holds no numbers; load the model first"
    if not weight.numel():
        return f"its {tensor} is empty ({' x '.join(map(str, weight.shape))})"
    if not weight.is_floating_point():
        return f"its {tensor} has dtype {weight.dtype}; a low-rank update needs a floating-point weight"
    if isinstance(module, nn.Linear) and type(module).forward is not nn.Linear.forward:
        return f"{type(module).__name__} overrides nn.Linear's forward, which a wrapper would not reproduce"
    if isinstance(module, nn.Embedding) and module.max_norm is not None:
        return "max_norm makes the embedding rewrite its own weight at every look-up"
    if isinstance(module, nn.Embedding) and module.sparse:
        return "sparse=True gives sparse gradients, which do not pass through B A"
    return None
