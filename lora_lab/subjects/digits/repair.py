"""S3's digit repair on scikit-learn's 8 x 8 digits: a network with one weak digit, and what adapters do to it.

The protocol: an over-sized MLP sees 270 batches of 10 images with hardly any nines, so that its nine is weak.
Then an adapter is trained on 100 batches of 10 images, nines only (S3) or nines mixed with replayed other digits.
An update is a dictionary {parameter's name: change}, so that LoRA and full fine-tuning are judged by one function.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lora_lab.adapters import add_lora, delta_weights
from lora_lab.training import train

SIZES = (64, 256, 512, 10)  # like S3's 784, 1000, 2000, 10: over-sized, and no layer square
LAYERS = ("first", "second", "last")
WEAK = 9
BATCH, PRETRAIN_STEPS, STEPS = 10, 270, 100

Update = Mapping[str, Tensor]


class Digits(NamedTuple):
    """Images X (n, 64) and labels y (n,), each digit split in two halves; seen: the rows that pretraining uses."""

    X: Tensor
    y: Tensor
    test_X: Tensor
    test_y: Tensor
    seen: Tensor

    @property
    def counts(self) -> list[int]:
        """Test images of each digit."""
        return torch.bincount(self.test_y, minlength=10).tolist()


def images() -> tuple[Tensor, Tensor]:
    """The digits that scikit-learn carries along: X (1797, 64), ink from 0 to 1, row by row of 8 x 8; y (1797,)."""
    from sklearn.datasets import load_digits  # here: it takes a second

    data = load_digits()
    return torch.tensor(data.data / 16, dtype=torch.float32), torch.tensor(data.target, dtype=torch.int64)


def load(seed: int = 0, keep: float = 0.1, weak: int = WEAK) -> Digits:
    """The digits, each shuffled by `seed` and halved; pretraining sees a share `keep` of the weak one."""
    X, y = images()
    generator = torch.Generator().manual_seed(seed)
    first, second, seen = [], [], []  # rows of each half; which places of the first one pretraining sees
    for digit in range(10):
        rows = (y == digit).nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows), generator=generator, device="cpu")].tolist()
        half = len(rows) // 2
        shown = round(keep * half) if digit == weak else half
        seen += range(len(first), len(first) + shown)
        first += rows[:half]
        second += rows[half:]
    return Digits(X[first], y[first], X[second], y[second], torch.tensor(seen))


def mlp(seed: int = 0) -> nn.Sequential:
    """64 -> 256 -> 512 -> 10 with ReLU; its linear layers are called first, second and last."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first, second, last = (nn.Linear(i, o) for i, o in zip(SIZES, SIZES[1:]))
    return nn.Sequential(OrderedDict(first=first, relu1=nn.ReLU(), second=second, relu2=nn.ReLU(), last=last))


def fit(model: nn.Module, X: Tensor, y: Tensor, *, steps: int, lr: float = 1e-3, seed: int = 0) -> None:
    """Adam on the cross-entropy in batches of 10, in place: the one way of training here."""
    train(model, X, y, steps=steps, lr=lr, batch_size=BATCH, loss=F.cross_entropy, seed=seed, progress=None)


def pretrain(digits: Digits, seed: int = 0) -> nn.Sequential:
    """The base: Adam on batches of 10 of the images that pretraining sees."""
    model = mlp(seed)
    fit(model, digits.X[digits.seen], digits.y[digits.seen], steps=PRETRAIN_STEPS, seed=seed)
    return model


def mixture(
    digits: Digits, replay: float = 0.0, *,
    weak: int = WEAK, only_seen: bool = False, kept: int | None = None, seed: int = 0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """1000 training images, a share `replay` of them other digits than the weak one. X (n, 64), y (n,).

    replay 0 is S3's data, weak digit only; 0.9 is the training half as it is. Images come in shuffled rounds, none
    twice before all came once. only_seen: take the weak digit from pretraining's few images. kept: replay from only so
    many different images of each other digit.
    """
    if not 0 <= replay <= 1:
        raise ValueError(f"replay={replay!r} is a share from 0 (weak digit only) to 1 (other digits only).")
    generator = torch.Generator().manual_seed(10_000 + seed)

    def draw(pool: Tensor, count: int) -> list[int]:
        rows = []
        while len(rows) < count:
            rows += pool[torch.randperm(len(pool), generator=generator, device="cpu")].tolist()
        return rows[:count]

    new = (digits.y == weak).nonzero()[:, 0]
    if only_seen:
        new = digits.seen[digits.y[digits.seen] == weak]
    old = torch.cat([(digits.y == d).nonzero()[:kept, 0] for d in range(10) if d != weak])
    replayed = round(replay * BATCH * STEPS)
    rows = draw(new, BATCH * STEPS - replayed) + draw(old, replayed)
    return digits.X[rows], digits.y[rows]


def adapt(
    base: nn.Module, data: tuple[Tensor, Tensor], r: int = 1, alpha: float = 1.0, *,
    layers: Sequence[str] = LAYERS, steps: int = STEPS, lr: float = 1e-3, seed: int = 0,
) -> nn.Module:  # fmt: skip
    """A copy of `base` with LoRA on `layers`, trained on (X, y) in batches of 10. The base itself stays as it is."""
    model = copy.deepcopy(base)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        add_lora(model, r=r, alpha=alpha, target_modules=list(layers))
    fit(model, *data, steps=steps, lr=lr, seed=seed)
    return model


def fine_tune(
    base: nn.Module, data: tuple[Tensor, Tensor], *, steps: int = STEPS, lr: float = 1e-3, seed: int = 0
) -> nn.Module:
    """A copy of `base`, every parameter trained on the same data in the same batches."""
    model = copy.deepcopy(base).requires_grad_(True)
    fit(model, *data, steps=steps, lr=lr, seed=seed)
    return model


def lora_update(model: nn.Module) -> Update:
    """{"first.weight": s B A, …} of an adapted model."""
    return {f"{name}.weight": delta for name, delta in delta_weights(model).items()}


@torch.no_grad()
def full_update(model: nn.Module, base: nn.Module) -> Update:
    """{name: trained minus base} for every parameter, biases too."""
    before = dict(base.named_parameters())
    return {name: p.detach() - before[name] for name, p in model.named_parameters()}


@torch.no_grad()
def logits(base: nn.Module, X: Tensor, update: Update | None = None, lam: float = 1.0) -> Tensor:
    """What base + lam * update answers: (n, 64) -> (n, 10). No model is changed."""
    moved = {name: p + lam * update[name] for name, p in base.named_parameters() if name in (update or {})}
    return torch.func.functional_call(base, moved, (X,))


def errors(scores: Tensor, y: Tensor) -> list[int]:
    """Wrong answers for each digit 0 to 9. scores (n, 10), y (n,)."""
    return torch.bincount(y[scores.argmax(1) != y], minlength=10).tolist()


def raised(scores: Tensor, by: float) -> Tensor:
    """The same scores with `by` added to nine's. (n, 10) -> (n, 10)."""
    return scores + by * F.one_hot(torch.tensor(WEAK), 10)


def fewest_errors(scores_at: Callable[[float], Tensor], values: Sequence[float], y: Tensor) -> float:
    """The value at which scores_at(value), (n, 10), has the fewest errors; the first of equals."""
    return min(values, key=lambda value: sum(errors(scores_at(value), y)))


class Push(NamedTuple):
    """For one digit, means over its images, in logits.

    lead: the digit's logit minus the weak one's, before. push: how much of that lead the update takes away.
    lost: the share of its images that are taken for the weak digit afterwards.
    """

    digit: int
    lead: float
    push: float
    lost: float


def pushed(before: Tensor, after: Tensor, y: Tensor, weak: int = WEAK) -> list[Push]:
    """Why a digit is lost: its lead over the weak one against the push towards it. before, after: (n, 10) scores."""
    rows = []
    for digit in range(10):
        if digit != weak:
            mine = y == digit
            lead = float((before[mine, digit] - before[mine, weak]).mean())
            left = float((after[mine, digit] - after[mine, weak]).mean())
            lost = float((after[mine].argmax(1) == weak).float().mean())
            rows.append(Push(digit, lead, lead - left, lost))
    return rows


def changed_images(before: Tensor, after: Tensor, y: Tensor) -> tuple[list[int], list[int]]:
    """(rows of nines that are right only afterwards, for each other digit a row that is taken for a nine only then).

    before, after: (n, 10) scores. Only clear cases: the first answer and the second each have a probability over 0.6.
    """
    p, q = before.softmax(1).max(1), after.softmax(1).max(1)
    to_nine = (p.values > 0.6) & (q.values > 0.6) & (p.indices != WEAK) & (q.indices == WEAK)
    repaired = (to_nine & (y == WEAK)).nonzero()[:, 0].tolist()
    broken = []
    for digit in range(9):
        rows = (to_nine & (y == digit) & (p.indices == digit)).nonzero()[:, 0].tolist()
        broken += rows[:1]
    return repaired, broken
