"""What the tests of the core share: one seed before each, and PEFT where it is installed."""

import warnings

import pytest
import torch


@pytest.fixture(autouse=True)
def seed():
    torch.default_generator.manual_seed(0)


@pytest.fixture
def peft():
    module = pytest.importorskip("peft", reason="PEFT is optional: pip install 'peft==0.21.*' transformers")
    if not module.__version__.startswith("0.21."):
        pytest.skip(f"written for PEFT 0.21, this is {module.__version__}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield module
