"""Broken programs, mended in other ways than the solution; cheats and wrong cures, with what is said of them."""

import torch

from lora_lab.subjects.broken.repairs import ACQUITTED, REPAIRS, as_function, replaced

SCALED, MEANS, WHILE = "alpha / r", "(model(X) - y).mean().square()", "while len(losses) < steps:"
ZERO = "        optimizer.zero_grad()\n"
BATCH, PLACED = "x, target = next(iter(batches))", "    for place, name in zip(places, sorted(adapter)):\n        "
TAKEN_OUT = "    self.base.weight -= self.scaling * (self.lora_B @ self.lora_A)"


def changed(name, text, *changes):
    for piece, other in changes:
        text = replaced(text, piece, other)
    return as_function(text, name)


CURES = {  # changes of the given program, in another way than the solution
    "stops_at_three": [
        [("total_iters=15", "total_iters=len(range(steps))")],
        [("LinearLR(optimizer, 1.0, 0.0, total_iters=15)", "CosineAnnealingLR(optimizer, steps)")],
    ],
    "climbs_back": [
        [(WHILE, f"{WHILE}\n        model.zero_grad()")],
        [("cosine.step()", "cosine.step()\n        adam.zero_grad(set_to_none=False)")],
    ],
    "stops_at_twelve": [
        [("(inputs[0] @ layer.A.data.T @ layer.B.T)", "F.linear(F.linear(*inputs, layer.A), layer.B)")],
        [("inputs[0] @ layer.A.data.T @ layer.B.T", "inputs[0] @ (layer.B @ layer.A).T")],
    ],
    "nearly_there": [
        [("self.lora_A = A", "self.lora_A = nn.Parameter(A.detach().clone())")],
        [(", A=nn.Parameter(torch.randn(3, 35) / 35**0.5)", ""),
         ("= A  #", "= nn.Parameter(torch.empty(r, 35).normal_(std=35**-0.5))  #")],
    ],
    "perfect_curve": [[(MEANS, "F.mse_loss(model(X), y)")], [(MEANS, "((model(X) - y) ** 2).sum(1).mean() / 35")]],
    "in_parts": [
        [(f"    {ZERO}", ""), ("optimizer.step()", f"optimizer.step()\n{ZERO}")],
        [(f"    {ZERO}", f"            if part[0].equal(X[0]):\n        {ZERO}")],
    ],
    "small_batches": [
        [("for step in", "endless = (pair for _ in range(99) for pair in batches)\n    for step in"),
         ("iter(batches)", "endless")],
        [(BATCH, "i = torch.randint(256, (16,))\n        x, target = X[i], y[i]")],
    ],
    "half_then_full": [
        [("            self.scaling = scaling\n", ""), ("weight += self.scaling", "weight += scaling"),
         ("            self.merged = True", "            self.merged, self.scaling = True, scaling")],
        [("if self.merged:", "if not self.merged:\n                self.kept = self.base.weight.clone()"),
         (TAKEN_OUT, "self.base.weight.copy_(self.kept)")],
    ],
    "second_customer": [
        [("model = copy.copy(base)", "import pickle\n    model = pickle.loads(pickle.dumps(base))")],
        [("requires_grad_(False)", "requires_grad_(False)\n    model._modules = copy.deepcopy(base._modules)")],
    ],
    "eleven_blocks": [
        [(f"{PLACED}place.data.copy_(adapter[name])", "    shipped.load_state_dict(adapter, strict=False)")],
        [("sorted(adapter)", "sorted(adapter, key=lambda n: (int(n.split('.')[1]), n))")],
    ],
}
NO_CURES = {  # of the given program
    "stops_at_three": [("has a loss of", ("lr=0.04", "lr=0.02"))],
    "climbs_back": [("has a loss of", ("lr=4e-2", "lr=4e-3"))],
    "stops_at_twelve": [("a loss of", ("layer.A.data.T", "layer.A.detach().T")), ("a loss of", ("= 0.04", "= 0.2"))],
    "nearly_there": [("rank 4; rank 3|has a loss of", ("r=3", "r=4"), ("torch.randn(3", "torch.randn(4"))],
    "perfect_curve": [("has a loss of", (".mean().square()", ".mean().abs()"))],
    "same_twice": [
        ("which symptom is gone", ("torch.manual_seed(0)", "pass")),
        ("has a loss of", ("F.mse_loss(model(X), y)", "F.mse_loss(model(X[:16]), y[:16])")),
    ],
    "in_parts": [
        ("has a loss of", (f"    {ZERO}", "")),  # never
        ("more than the 150 steps", (".backward()", ".backward()\n            optimizer.step()")),
    ],
    "small_batches": [("has a loss of", ("lr=0.04", "lr=0.01"))],
    "half_then_full": [("has a loss of", ("if self.merged:", "if False:"))],
    "second_customer": [("customer", ("LoRA(block.fc)", "LoRA(copy.deepcopy(block.fc))"))],
    "eleven_blocks": [("with 11 blocks", ("sorted(adapter)", "sorted(adapter, reverse=True)[::-1]"))],
}
CHEATS = {  # of the mended program
    "stops_at_three": [("more than the 150 steps", ("range(steps)", "range(10 * steps)"), ("=steps)", "=10 * steps)"))],
    "in_parts": [
        ("32 fit into the memory", ("X.split(32), y.split(32)", "X.split(256), y.split(256)")),
        ("the first step's gradient", ("X.split(32), y.split(32)", "X.split(32)[1:], y.split(32)[1:]")),
    ],
    "half_then_full": [
        ("no method `serve`", ("def serve(", "def merge(")),
        ("once more gives another", ("if self.merged:", "if self.merged and scaling != self.scaling:")),
    ],
    "eleven_blocks": [
        ("has 2870 numbers", ("model.named_parameters() if p.requires_grad}", "model.state_dict().items()}"),
         ("zip(places, adapter)", "zip(places, [n for n in adapter if n[-6:] != 'weight'])")),
        ("the trained model itself", ("return shipped,", "return model,")),
    ],
}
ANYWHERE = [
    ("a loss of nan", (SCALED, f"{SCALED} * float('nan')")),
    ("ZeroDivisionError", (SCALED, "alpha / (r - r)")),
    ("rank 3 was ordered|has a loss of|420 were ordered", ("r=3", "r=4")),
    ("rank 3 was ordered|the base's output|420 were ordered", ("requires_grad_(False)", "requires_grad_(True)")),
]
NO_PROGRAMS = [
    ("returns None", lambda base, X, y, steps: None),
    ("the shipped model is wanted", lambda base, X, y, steps: (None, [])),
    ("no layers `blocks.0.fc`", lambda base, X, y, steps: (torch.nn.Linear(35, 35), [])),
    ("is wanted", "it is the learning rate"),
]

RIGHT, WRONG = {"same_twice": [ACQUITTED, f"{ACQUITTED.capitalize()}.", f"  {ACQUITTED.upper()}  "]}, {}
for name, repair in REPAIRS.items():
    if not repair.innocent:
        RIGHT[name] = [repair.reference, *(changed(name, repair.given, *cure) for cure in CURES[name])]
    cheats = [(piece, changed(name, repair.mended, *how)) for piece, *how in [*ANYWHERE, *CHEATS.get(name, [])]]
    no_cures = [(piece, changed(name, repair.given, *how)) for piece, *how in NO_CURES[name]]
    acquitted = [] if repair.innocent else [("has a loss of", f" {ACQUITTED.capitalize()}. ")]
    WRONG[name] = [*NO_PROGRAMS, *cheats, *no_cures, *acquitted]
