"""Mended programs of the page of broken ones, written in other ways; and cheats and wrong cures, with what is said."""

import torch

from lora_lab.subjects.broken.repairs import ACQUITTED, REPAIRS, as_function, replaced

SCALED, MEANS, WHILE = "alpha / r", "(model(X) - y).mean().square()", "while len(losses) < steps:"
ZERO = "        optimizer.zero_grad()\n"


def mended(name, *changes):
    """The correct program, changed further."""
    text = REPAIRS[name].mended
    for piece, other in changes:
        text = replaced(text, piece, other)
    return as_function(text, name)


def given(name, *changes):
    """The broken program, changed in another place or in another way."""
    text = REPAIRS[name].given
    for piece, other in changes:
        text = replaced(text, piece, other)
    return as_function(text, name)


def cheats(name):
    """What is wrong in every program, whatever its loss."""
    innocent = REPAIRS[name].innocent
    return [
        ("returns None", lambda base, X, y, steps: None),
        ("the shipped model is wanted", lambda base, X, y, steps: (None, [])),
        ("no layers `blocks.0.fc`", lambda base, X, y, steps: (torch.nn.Linear(35, 35), [])),
        ("a loss of nan", mended(name, (SCALED, f"{SCALED} * float('nan')"))),
        ("ZeroDivisionError", mended(name, (SCALED, "alpha / (r - r)"))),
        ("rank 3 was ordered|has a loss of|420 were ordered", mended(name, ("r=3", "r=4"))),
        (
            "rank 3 was ordered|the base's output|420 were ordered",
            mended(name, ("requires_grad_(False)", "requires_grad_(True)")),
        ),
        ("is wanted", "it is the learning rate") if innocent else ("has a loss of", f" {ACQUITTED.capitalize()}. "),
    ]


RIGHT = {name: [repair.reference] for name, repair in REPAIRS.items()}
RIGHT["stops_at_three"] += [
    given("stops_at_three", ("total_iters=15", "total_iters=len(range(steps))")),
    given("stops_at_three", ("LinearLR(optimizer, 1.0, 0.0, total_iters=15)", "CosineAnnealingLR(optimizer, steps)")),
]
RIGHT["climbs_back"] += [
    given("climbs_back", (WHILE, f"{WHILE}\n        model.zero_grad()")),
    given("climbs_back", ("cosine.step()", "cosine.step()\n        adam.zero_grad(set_to_none=False)")),
]
RIGHT["stops_at_twelve"] += [
    given(
        "stops_at_twelve", ("(inputs[0] @ layer.A.data.T @ layer.B.T)", "F.linear(F.linear(*inputs, layer.A), layer.B)")
    ),
    given("stops_at_twelve", ("inputs[0] @ layer.A.data.T @ layer.B.T", "inputs[0] @ (layer.B @ layer.A).T")),
]
RIGHT["nearly_there"] += [
    given("nearly_there", ("self.lora_A = A", "self.lora_A = nn.Parameter(A.detach().clone())")),
    given(
        "nearly_there",
        (", A=nn.Parameter(torch.randn(3, 35) / 35**0.5)", ""),
        ("= A  #", "= nn.Parameter(torch.empty(r, 35).normal_(std=35**-0.5))  #"),
    ),
]
RIGHT["perfect_curve"] += [
    given("perfect_curve", (MEANS, "F.mse_loss(model(X), y)")),
    given("perfect_curve", (MEANS, "((model(X) - y) ** 2).sum(1).mean() / 35")),
]
RIGHT["same_twice"] = [ACQUITTED, f"{ACQUITTED.capitalize()}.", f"  {ACQUITTED.upper()}  "]
RIGHT["in_parts"] += [
    given("in_parts", (f"    {ZERO}", ""), ("optimizer.step()", f"optimizer.step()\n{ZERO}")),
    given("in_parts", (f"    {ZERO}", "            if len(part) < 32 or part[0].equal(X[0]):\n        " + ZERO)),
]
RIGHT["small_batches"] += [
    given(
        "small_batches",
        ("for step in", "endless = (pair for _ in range(99) for pair in batches)\n    for step in"),
        ("iter(batches)", "endless"),
    ),
    given(
        "small_batches",
        ("x, target = next(iter(batches))", "i = torch.randint(256, (16,))\n        x, target = X[i], y[i]"),
    ),
]
RIGHT["half_then_full"] += [
    given(
        "half_then_full",
        ("            self.scaling = scaling\n", ""),
        ("            self.merged = True", "            self.merged, self.scaling = True, scaling"),
        ("self.base.weight += self.scaling", "self.base.weight += scaling"),
    ),
    given(
        "half_then_full",
        ("if self.merged:", "if not self.merged:\n                self.kept = self.base.weight.clone()"),
        ("    self.base.weight -= self.scaling * (self.lora_B @ self.lora_A)", "self.base.weight.copy_(self.kept)"),
    ),
]
RIGHT["second_customer"] += [
    given(
        "second_customer", ("model = copy.copy(base)", "import pickle\n    model = pickle.loads(pickle.dumps(base))")
    ),
    given(
        "second_customer",
        ("requires_grad_(False)", "requires_grad_(False)\n    model._modules = copy.deepcopy(base._modules)"),
    ),
]
RIGHT["eleven_blocks"] += [
    given(
        "eleven_blocks",
        (
            "    for place, name in zip(places, sorted(adapter)):\n        place.data.copy_(adapter[name])",
            "    shipped.load_state_dict(adapter, strict=False)",
        ),
    ),
    given("eleven_blocks", ("sorted(adapter)", "sorted(adapter, key=lambda n: (int(n.split('.')[1]), n))")),
]

WRONG = {name: cheats(name) for name in REPAIRS}
WRONG["stops_at_three"] += [
    ("has a loss of", given("stops_at_three", ("lr=0.04", "lr=0.02"))),
    ("1500 steps where", mended("stops_at_three", ("range(steps)", "range(10 * steps)"), ("=steps)", "=10 * steps)"))),
]
WRONG["climbs_back"] += [("has a loss of", given("climbs_back", ("lr=4e-2", "lr=4e-3")))]
WRONG["stops_at_twelve"] += [
    ("has a loss of", given("stops_at_twelve", ("layer.A.data.T", "layer.A.detach().T"))),
    ("has a loss of", given("stops_at_twelve", ("= 0.04 *", "= 0.2 *"))),
]
WRONG["nearly_there"] += [
    ("rank 4; rank 3|has a loss of", given("nearly_there", ("r=3", "r=4"), ("torch.randn(3", "torch.randn(4"))),
]
WRONG["perfect_curve"] += [("has a loss of", given("perfect_curve", (".mean().square()", ".mean().abs()")))]
WRONG["same_twice"] += [
    ("which symptom is gone", given("same_twice", ("torch.manual_seed(0)", "pass"))),
    ("has a loss of", given("same_twice", ("F.mse_loss(model(X), y)", "F.mse_loss(model(X[:16]), y[:16])"))),
]
WRONG["in_parts"] += [
    ("has a loss of", given("in_parts", (f"    {ZERO}", ""))),  # never
    ("32 fit into the memory", mended("in_parts", ("X.split(32), y.split(32)", "X.split(256), y.split(256)"))),
    ("the first step's gradient", given("in_parts", (".backward()", ".backward()\n            optimizer.step()"))),
]
WRONG["small_batches"] += [("has a loss of", given("small_batches", ("lr=0.04", "lr=0.01")))]
WRONG["half_then_full"] += [
    ("has a loss of", given("half_then_full", ("if self.merged:", "if False:"))),
    ("no method `serve`", mended("half_then_full", ("def serve(", "def merge("))),
    (
        "once more gives another",
        mended("half_then_full", ("if self.merged:", "if self.merged and scaling != self.scaling:")),
    ),
]
WRONG["second_customer"] += [
    ("customer", given("second_customer", ("LoRA(block.fc)", "LoRA(copy.deepcopy(block.fc))")))
]
WRONG["eleven_blocks"] += [
    (
        "has 2870 numbers",
        mended(
            "eleven_blocks",
            ("model.named_parameters() if p.requires_grad}", "model.state_dict().items()}"),
            ("zip(places, adapter)", "zip(places, [n for n in adapter if n[-6:] != 'weight'])"),
        ),
    ),
    ("the trained model itself", mended("eleven_blocks", ("return shipped,", "return model,"))),
    ("with 11 blocks", given("eleven_blocks", ("sorted(adapter)", "sorted(adapter, reverse=True)[::-1]"))),
]
