"""The digits and their base, made once; no figure outlives its test."""

import matplotlib.pyplot as plt
import pytest

from lora_lab.subjects.digits import repair


@pytest.fixture(scope="session")
def digits():
    return repair.load(seed=0)


@pytest.fixture(scope="session")
def digits_base(digits):
    return repair.pretrain(digits, seed=0)


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close("all")
