"""The names that pages, tests and other people's code rely on: importable from `lora_lab`, with these parameters.

A new parameter may come after those listed here; what is listed keeps its name, its place and its default.
"""
import inspect

import pytest

import lora_lab

SIGNATURES = {
    "adapter_state": "(model)",
    "adapters_disabled": "(model)",
    "AdapterSet": "(model)",
    "add_lora": "(model, r=8, alpha=8.0, *, target_modules=None, dropout=0.0, rslora=False)",
    "base_fingerprint": "(model)",
    "begin": "(page)",
    "catch_up": "(point, namespace=None)",
    "check": "(number, answer=Ellipsis)",
    "claim": "(text, truth)",
    "combine": "(states, weights=None)",
    "combine_deltas": "(deltas, weights=None)",
    "count_parameters": "(model)",
    "delta_weights": "(model)",
    "diagnose": "(model, optimizer=None, *, base=None, adapter=None)",
    "evaluate": "(model, X, y, loss=mse_loss)",
    "hint": "(number)",
    "load_adapter": "(model, folder, *, check_base=True)",
    "load_adapter_state": "(model, state)",
    "lora_parameters": "(model)",
    "LoRALinear": "(base, r=8, alpha=8.0, *, dropout=0.0, rslora=False)",
    "LoRAParametrization": "(weight, r=8, alpha=8.0, *, rslora=False, where='the weight', transposed=False)",
    "merge": "(model)",
    "predict": "(number)",
    "progress": "()",
    "rank_floor": "(delta, r, X=None)",
    "remove_lora": "(model, keep_delta=False)",
    "save_adapter": "(model, folder)",
    "set_scale": "(model, lam)",
    "solution": "(number)",
    "train": "(model, X, y, *, epochs=None, steps=None, lr=0.001, lr_ratio=1.0, batch_size=128, optimizer='adam', schedule='constant', loss=mse_loss, seed=0, cache_base=False, measure_every=None, snapshot_every=None, progress='training')",  # noqa: E501
    "truncate": "(delta, r)",
    "truncate_state": "(state, r)",
    "unmerge": "(model)",
}  # fmt: skip


def parameters(text):
    """{name: (kind, default)} of a signature written as above."""
    namespace = {"mse_loss": "mse_loss", "ellipsis": ...}
    exec(f"def f{text}: pass", namespace)  # the table above, nobody's input
    return {p.name: (p.kind, p.default) for p in inspect.signature(namespace["f"]).parameters.values()}


def plain(default):
    return getattr(default, "__name__", default)


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_public_name_keeps_its_parameters(name):
    there = inspect.signature(getattr(lora_lab, name)).parameters
    wanted = parameters(SIGNATURES[name])
    assert list(there)[: len(wanted)] == list(wanted)
    for key, (kind, default) in wanted.items():
        assert (there[key].kind, plain(there[key].default)) == (kind, plain(default)), key
    assert all(p.default is not p.empty for key, p in there.items() if key not in wanted)


def test_every_public_name_is_listed_by_dir():
    assert set(SIGNATURES) <= set(lora_lab.__all__) <= set(dir(lora_lab))
