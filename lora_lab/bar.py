"""A progress bar that leaves nothing behind."""

from __future__ import annotations

import os

from tqdm.auto import tqdm


class Bar(tqdm):
    """tqdm's bar, removed from the page's outputs at its end.

    In a notebook tqdm only closes its widget; the output that points to it stays, and a page that was saved and opened
    again shows "Error displaying widget: model not found" there.
    """

    _handle = None

    def display(self, *args, close: bool = False, check_delay: bool = True, **kwargs) -> None:
        container = getattr(self, "container", None)
        if container is None:  # in a terminal
            super().display(*args, **kwargs)
            return
        if check_delay and not self.displayed:
            from IPython.display import display

            self._handle, self.displayed = display(container, display_id=True), True
        super().display(*args, close=close, check_delay=check_delay, **kwargs)
        if close and self._handle:
            self._handle.update({}, raw=True)


def progress_bar(total: int, title: str | None) -> Bar:
    """A bar of `total` steps that appears after a second; None as title, or TQDM_DISABLE in the environment: never."""
    hidden = title is None or bool(os.environ.get("TQDM_DISABLE"))  # tqdm's notebook bar does not look at it itself
    return Bar(total=total, desc=title, unit="step", leave=False, delay=1.0, disable=hidden)
