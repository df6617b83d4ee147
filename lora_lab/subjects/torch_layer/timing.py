"""Races between ways to compute the same training step: interleaved, and medians."""

import statistics
import time
from collections.abc import Callable, Mapping


def race(steps: Mapping[str, Callable[[], None]], rounds: int = 9) -> dict[str, float]:
    """Median seconds of each step. The contestants take turns, so that a busy moment of the machine hits all alike."""
    for step in steps.values():
        step()  # warm up: the first step allocates
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}
