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
}
