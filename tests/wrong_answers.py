"""Plausible wrong answers to every exercise, as learners write them, each with a piece of what they must be told.

{number: [(code that makes `answer`, piece of the message)]}
"""

PRELUDE = "import torch\nfrom torch import nn\nfrom lora_lab import tasks\n"


def fn(arguments: str, body: str) -> str:
    """A function answer. body: an expression, or statements."""
    lines = body if "\n" in body or body.startswith(("for ", "return ")) else f"return {body}"
    return f"def answer({arguments}):\n" + "\n".join("    " + line for line in lines.split("\n"))


_ab = "A, B, alpha, r"
_fw = "x, base, A, B, scaling"
_nums = "d_out, d_in, r"
_obj = "theta0, delta, X, y"

WRONG = {
    "0.1": [
        (fn(_nums, "d_out * d_in"), "whole matrix"),
        (fn(_nums, "d_out + d_in"), "one piece"),
        (fn(_nums, "r * d_in"), "columns are missing"),
        (fn(_nums, "r * d_out"), "rows are missing"),
        (fn(_nums, "d_out * r * d_in"), "d_out + d_in"),
        (fn(_nums, "2 * d_out * r"), "not right"),
    ],
    "0.2": [
        ("answer = 'LoRA'", "rank"),
        ("answer = 'LL'", "three or more"),
        ("answer = 'XYZ'", "letters"),
        ("answer = 7", "in quotes"),
        ("answer = 'LIL'", "rank 3"),
        ("answer = ''", "letters"),
    ],
    "0.3": [
        ("answer = 6", "12 006"),
        ("answer = 4", "room"),
        ("answer = 10", "column"),
        ("answer = 0.01 * 1000 * 1001 / 2001", "whole number"),
        ("answer = 50", "10 %"),
        ("answer = 100", "not right"),
    ],
    "1.1": [
        (fn(_obj, "((theta0 @ X.T).T - y).square().mean()"), "ΔΘ is missing"),
        (fn(_obj, "((X @ delta.T - y) ** 2).mean()"), "Θ₀ is missing"),
        (fn(_obj, "torch.sum((X @ (theta0 + delta).T - y) ** 2)"), "sum"),
        (fn(_obj, "((X @ (theta0 - delta).T - y) ** 2).mean()"), "subtracted"),
        (fn(_obj, "torch.nn.functional.l1_loss(X @ (theta0 + delta).T, y)"), "absolute"),
        (fn(_obj, "((X @ (theta0 + delta).T - y) ** 2).mean(dim=1)"), "each example"),
        (fn(_obj, "((X @ (theta0 + delta) - y) ** 2).mean()"), "raised RuntimeError"),
    ],
    "1.2": [
        (fn("delta", "(delta ** 2).mean()"), "mean squared entry"),
        (fn("delta", "(delta ** 2).sum()"), "sum over all outputs"),
        (fn("delta", "(delta ** 2).sum() / delta.shape[1]"), "divided by d_in"),
        (fn("delta", "delta.norm() / delta.shape[0]"), "not squared"),
        (fn("delta", "delta.sum(dim=1).pow(2).mean()"), "row sums"),
        (fn("delta", "(delta ** 2).sum(1)"), "shape"),
    ],
    "1.3": [
        (fn("trained, frozen", "16 * trained"), "frozen weights are missing"),
        (fn("trained, frozen", "16 * (trained + frozen)"), "no gradient and no moments"),
        (fn("trained, frozen", "4 * trained + frozen"), "4 bytes"),
        (fn("trained, frozen", "12 * trained + 4 * frozen"), "moment"),
        (fn("trained, frozen", "8 * trained + 4 * frozen"), "two moments are missing"),
        (fn("trained, frozen", "20 * trained + 4 * frozen"), "not right"),
    ],
    "2.1": [
        ("answer = torch.zeros(100, 101)\nanswer[:50] = tasks.normal(1, 101, seed=1)", "rank is 1"),
        ("answer = torch.zeros(100, 101)\nanswer[:50] = tasks.normal(50, 101, seed=1)", "rank is 50"),
        ("answer = torch.zeros(100, 101)", "all zero"),
        ("answer = tasks.normal(101, 2, seed=1) @ tasks.normal(2, 100, seed=2)", "transposed"),
        ("answer = torch.ones(2, 101)", "shape"),
        ("answer = 2", "wanted is shape (100, 101)"),
    ],
    "2.2": [
        ("answer = 819", "still stores fewer"),
        ("answer = 4096 * 1024 / (4096 + 1024)", "whole number"),
        ("answer = 1024", "largest possible"),
        ("answer = 512", "square layer"),
        ("answer = 821", "not right"),
    ],
    "2.3": [
        (fn("delta, r", "torch.linalg.svdvals(delta)[r + 1:].square().sum() / len(delta)"), "too many"),
        (fn("delta, r", "torch.linalg.svdvals(delta)[max(r - 1, 0):].square().sum() / len(delta)"), "too few"),
        (fn("delta, r", "torch.linalg.svdvals(delta)[:r].square().sum() / len(delta)"), "explains"),
        (fn("delta, r", "torch.linalg.svdvals(delta)[r:].sum() / len(delta)"), "not squared"),
        (fn("delta, r", "torch.linalg.svdvals(delta)[r:].square().mean()"), "not right"),
        (fn("delta, r", "(torch.linalg.svdvals(delta) ** 2)[r:].sum() / delta.shape[1]"), "d_in"),
        (fn("delta, r", "torch.linalg.svdvals(delta)[r:]"), "shape"),
    ],
    "3.1": [
        (fn(_ab, "B @ A"), "α/r is missing"),
        (fn(_ab, "alpha * B @ A"), "scaling is α"),
        (fn(_ab, "(alpha / r) * (alpha / r) * B @ A"), "twice"),
        (fn(_ab, "alpha / r * A.T @ B.T"), "transposed"),
        (fn(_ab, "alpha / r * A @ B"), "raised RuntimeError"),
        (fn(_ab, "alpha / r ** 0.5 * B @ A"), "√r"),
        (fn(_ab, "r / alpha * B @ A"), "not right"),
    ],
    "3.2": [
        (fn(_fw, "scaling * x @ A.T @ B.T"), "base's output is missing"),
        (fn(_fw, "base(x) + x @ A.T @ B.T"), "scaling is missing"),
        (fn(_fw, "base(x) + scaling * scaling * x @ A.T @ B.T"), "twice"),
        (fn(_fw, "scaling * (base(x) + x @ A.T @ B.T)"), "base's output too"),
        (fn(_fw, "x @ base.weight.T + scaling * (x @ A.T) @ B.T"), "bias"),
        (fn(_fw, "base(x) - scaling * (x @ A.T) @ B.T"), "subtracted"),
        (fn(_fw, "base(x) + scaling * x @ A @ B"), "raised RuntimeError"),
    ],
    "3.3": [
        (fn("layer", "torch.optim.Adam([layer.lora_A, layer.lora_B])"), "not frozen"),
        (fn("layer", "torch.optim.Adam(layer.parameters())"), "would move it"),
        (fn("layer", "layer.requires_grad_(False)\nreturn torch.optim.Adam([layer.lora_A, layer.lora_B])"), "longer"),
        (fn("layer", "layer.base.requires_grad_(False)\nreturn torch.optim.Adam([layer.lora_B])"), "hold lora_A"),
        (fn("layer", "layer.base.requires_grad_(False)\ntorch.optim.Adam([layer.lora_A])"), "return"),
        (fn("layer", "layer.base.weight.requires_grad_(False)\n"
            "return torch.optim.Adam([p for p in layer.parameters() if p.requires_grad])"), "not frozen"),
    ],
    "4.1": [
        ("answer = (2e-4 / 4, 0.5)", "SGD"),
        ("answer = (1e-4, 1.0)", "start must change"),
        ("answer = (2e-4, 0.5)", "learning rate must change"),
        ("answer = (4e-4, 2)", "other way round"),
        ("answer = (1e-4, 0.25)", "square root is missing in A"),
        ("answer = 1e-4", "shape"),
    ],
    "4.2": [
        (fn("sigmas, d_out, limit", "for r in range(len(sigmas) + 1):\n"
            "    if sigmas[r:].sum() / d_out <= limit:\n        return r"), "squared"),
        (fn("sigmas, d_out, limit", "for r in range(len(sigmas) + 1):\n"
            "    if sigmas[r:].square().sum() / d_out <= limit:\n        return r + 1"), "too many"),
        (fn("sigmas, d_out, limit", "for r in range(len(sigmas) + 1):\n"
            "    if sigmas[r:].square().sum() <= limit:\n        return r"), "d_out is missing"),
        (fn("sigmas, d_out, limit", "int((sigmas ** 2 / d_out > limit).sum())"), "single"),
        (fn("sigmas, d_out, limit", "sigmas[0]"), "not right"),
        (fn("sigmas, d_out, limit", "for r in range(len(sigmas) + 1):\n"
            "    if sigmas[r:].square().sum() / d_out < -1:\n        return r"), "return"),
    ],
    "4.3": [
        (fn("r_new, r_old, alpha_old, rule", "alpha_old * r_new / r_old"), "alpha/r only"),
        (fn("r_new, r_old, alpha_old, rule", "alpha_old * (r_new / r_old) ** 0.5"), "alpha/sqrt(r) only"),
        (fn("r_new, r_old, alpha_old, rule", "alpha_old"), "unchanged"),
        (fn("r_new, r_old, alpha_old, rule",
            "return alpha_old * (r_old / r_new) ** (1 if rule == 'alpha/r' else 0.5)"), "upside down"),
        (fn("r_new, r_old, alpha_old, rule",
            "return alpha_old / (r_old if rule == 'alpha/r' else r_old ** 0.5)"), "scaling, not α"),
    ],
    "5.1": [
        (fn("W0, A, B, scaling, lam", "W0 + scaling * B @ A"), "λ is missing"),
        (fn("W0, A, B, scaling, lam", "W0 + lam * B @ A"), "scaling is missing"),
        (fn("W0, A, B, scaling, lam", "scaling * lam * B @ A"), "W₀ is missing"),
        (fn("W0, A, B, scaling, lam", "W0 - lam * scaling * B @ A"), "subtracted"),
        (fn("W0, A, B, scaling, lam", "W0 += lam * scaling * B @ A\nreturn W0"), "itself was changed"),
        (fn("W0, A, B, scaling, lam", "W0 + lam * scaling * A @ B"), "raised RuntimeError"),
    ],
    "5.2": [
        (fn("A1, B1, A2, B2", "A1 + A2, B1 + B2"), "raised RuntimeError"),
        (fn("A1, B1, A2, B2", "torch.cat((A1, A2)), torch.cat((B1, B2))"), "raised RuntimeError: Sizes"),
        (fn("A1, B1, A2, B2", "torch.cat((A1, A2)) / 2, torch.cat((B1, B2), dim=1)"), "half"),
        (fn("A1, B1, A2, B2", "B1 @ A1 + B2 @ A2"), "pair"),
        (fn("A1, B1, A2, B2", "torch.cat((A1, A2)), B1"), "same r"),
        (fn("A1, B1, A2, B2", "torch.cat((A1, A2)), torch.cat((B2, B1), dim=1)"), "not B₁A₁"),
    ],
    "5.3": [
        ("answer = 0", "one merge"),
        ("answer = 4004", "not by 2"),
        ("answer = 1", "mean squared entry"),
        ("answer = 1000", "d_in"),
        ("answer = 2002", "twice"),
    ],
    "6.1": [
        (fn("A, B, scaling, shape", "(B @ A).view(shape)"), "scaling is missing"),
        (fn("A, B, scaling, shape", "scaling * B @ A"), "still a matrix"),
        (fn("A, B, scaling, shape", "(scaling * (B @ A).T).reshape(shape)"), "column by column"),
        (fn("A, B, scaling, shape", "(scaling * A @ B).view(shape)"), "raised RuntimeError"),
        (fn("A, B, scaling, shape", "(scaling * B @ A).view(shape).transpose(0, 1)"), "shape"),
    ],
    "6.2": [
        (fn("W1, D1, W2, D2", "W2 @ D1 + D2 @ W1"), "D₂D₁ is missing"),
        (fn("W1, D1, W2, D2", "D2 @ D1"), "only D₂D₁"),
        (fn("W1, D1, W2, D2", "(W2 + D2) @ (W1 + D1)"), "subtract the old one"),
        (fn("W1, D1, W2, D2", "(W1 + D1) @ (W2 + D2) - W1 @ W2"), "raised RuntimeError"),
        (fn("W1, D1, W2, D2", "D1 + D2"), "raised RuntimeError"),
        (fn("W1, D1, W2, D2", "W2 @ D1"), "only the first"),
    ],
    "6.3": [
        (fn("names, ending", "[n for n in names if n.endswith(ending)]"), "myfc"),
        (fn("names, ending", "[n for n in names if ending in n]"), "among them"),
        (fn("names, ending", "[n for n in names if n == ending]"), "missing"),
        (fn("names, ending", "[n for n in names if n.split('.')[-1] == ending]"), "blocks.0.fc"),
        (fn("names, ending", "len([n for n in names if n.endswith(ending)])"), "list of names"),
    ],
    "7.1": [
        (fn("scores, y", "[int(((scores.argmax(1) == y) & (y == d)).sum()) for d in range(10)]"), "right ones"),
        (fn("scores, y", "p = scores.argmax(1)\nreturn torch.bincount(p[p != y], minlength=10)"), "by the answer"),
        (fn("scores, y", "torch.bincount(y, minlength=10)"), "how many images"),
        (fn("scores, y", "int((scores.argmax(1) != y).sum())"), "one number for all"),
        (fn("scores, y", "(scores.argmax(1) != y)"), "shape"),
    ],
    "7.2": [
        (fn("scores, push", "s = scores.clone()\ns[:, 9] += push\nreturn s.argmax(1) == 9"), "before"),
        (fn("scores, push", "((scores + push).argmax(1) == 9) & (scores.argmax(1) != 9)"), "alone"),
        (fn("scores, push", "s = scores.clone()\ns[:, 9] *= push\n"
            "return (s.argmax(1) == 9) & (scores.argmax(1) != 9)"), "multiplied"),
        (fn("scores, push", "s = scores.clone()\ns[:, 9] -= push\n"
            "return (s.argmax(1) == 9) & (scores.argmax(1) != 9)"), "added, and to nine"),
        (fn("scores, push", "s = scores.clone()\ns[:, 9] += push\nreturn (s.argmax(1) == 9).sum()"), "shape"),
    ],
    "7.3": [
        (fn("errors_at", "min(errors_at, key=errors_at.get)"), "first in the dictionary|largest"),
        (fn("errors_at", "min(errors_at.values())"), "number of errors"),
        (fn("errors_at", "max(errors_at, key=errors_at.get)"), "not right|most"),
        (fn("errors_at", "max(errors_at)"), "largest λ"),
        (fn("errors_at", "min(errors_at)"), "no adapter"),
    ],
    "8.1": [
        (fn("layers, d, matrices, r", "layers * d * r * matrices"), "one of the two factors"),
        (fn("layers, d, matrices, r", "2 * layers * d * r"), "one matrix"),
        (fn("layers, d, matrices, r", "2 * d * r * matrices"), "one layer"),
        (fn("layers, d, matrices, r", "layers * d * d * matrices"), "full fine-tuning"),
        (fn("layers, d, matrices, r", "2 * layers * d * d * r"), "not right"),
    ],
    "8.2": [
        (fn("U1, U2, i, j", "(U1[:i] @ U2[:j].T).square().sum() / max(i, j)"), "max(i, j)"),
        (fn("U1, U2, i, j", "(U1[:i] @ U2[:j].T).square().sum()"), "not divided"),
        (fn("U1, U2, i, j", "(U1[:i] @ U2[:j].T).sum() / min(i, j)"), "not squared"),
        (fn("U1, U2, i, j", "(U1[:i] @ U2[:j].T).square().mean()"), "i·j"),
        (fn("U1, U2, i, j", "(U1[:, :i] @ U2[:, :j].T).square().sum() / min(i, j)"), "raised RuntimeError"),
    ],
    "8.3": [
        (fn("i, j, d", "0"), "not 0"),
        (fn("i, j, d", "min(i, j) / d"), "i = j only"),
        (fn("i, j, d", "i * j / d"), "missing"),
        (fn("i, j, d", "1 / d"), "one direction each"),
        (fn("i, j, d", "(i + j) / d"), "not right"),
    ],
    "9.1": [
        ("import json\n" + fn("raw", "n = int.from_bytes(raw[:8], 'big')\nreturn json.loads(raw[8:8 + n])"),
         "JSON|large"),
        ("import json\n" + fn("raw", "json.loads(raw)"), "JSON|raised UnicodeDecodeError"),
        (fn("raw", "int.from_bytes(raw[:8], 'little')"), "size of the header"),
        (fn("raw", "raw[8:8 + int.from_bytes(raw[:8], 'little')]"), "text"),
        ("import json\n" + fn("raw", "n = int.from_bytes(raw[:8], 'little')\nreturn json.loads(raw[8:n])"), "JSON"),
    ],
    "9.2": [
        (fn("layers, d, r", "2 * layers * d * r"), "one of the two"),
        (fn("layers, d, r", "4 * d * r"), "one layer"),
        (fn("layers, d, r", "8 * layers * d * r"), "two of them"),
        (fn("layers, d, r", "2 * layers * d * d"), "full fine-tuning"),
        (fn("layers, d, r", "4 * layers * d * d * r"), "not right"),
    ],
    "9.3": [
        ("answer = 4", "other way round"),
        ("answer = 1 / 16", "√r"),
        ("answer = 1.0", "r = 1 only"),
        ("answer = 0.5", "α/√r is 4"),
        ("answer = 25", "not right"),
    ],
}
