"""The progress bar of an ingestion: it counts the bytes of the changed files."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import TracebackType

from tqdm.auto import tqdm

# Importing the notebook's bar to compare with it would import ipywidgets in every terminal.
_IN_NOTEBOOK = any(kind.__module__ == "tqdm.notebook" for kind in tqdm.__mro__)


class PageProgress:
    """A bar of the pages that are fetched.

    Args:
        shown: see ``Progress``.
    """

    def __init__(self, *, shown: bool | None) -> None:
        self._lock = threading.Lock()
        self._bar = tqdm(total=0, desc="Fetching", unit="page") if _is_shown(shown) else None

    def expect(self, pages: int) -> None:
        """Raise the total by so many pages."""
        if self._bar is not None:
            with self._lock:
                self._bar.total = (self._bar.total or 0) + pages
                self._bar.refresh()

    def advance(self) -> None:
        """Count a page as done, fetched or failed."""
        if self._bar is not None:
            with self._lock:
                self._bar.update()

    def close(self) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()


class Progress:
    """A bar on standard error or in a notebook. A context manager.

    The index takes chunks window by window: they are collected, then embedded together.

    Args:
        total: bytes of all files.
        shown: whether the bar is shown; None: in a notebook, or if standard error is a terminal.
        report: called with the bytes done and ``total``, whenever the bytes done grow.
    """

    def __init__(self, total: int, *, shown: bool | None, report: Callable[[int, int], None] | None = None) -> None:
        shown = _is_shown(shown) and total > 0
        self._total, self._reported, self._report = total, 0, report
        self._bar = tqdm(total=total, desc="Ingesting", unit="B", unit_scale=True) if shown else None
        self._embedded = 0.0
        self._window = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def handed_over(self, size: float) -> None:
        """Add a chunk of ``size`` bytes to the window."""
        self._window += size

    def within_window(self, share: float) -> None:
        """Set the share of the window that is embedded, 0 to 1."""
        if share >= 1:
            self._embedded += self._window
            self._window = share = 0
        self._show(self._embedded + share * self._window)

    def done(self, size: float) -> None:
        """Count a file of ``size`` bytes, which needs no embedding, as done."""
        self._embedded += size
        self._show(self._embedded)

    def _show(self, size: float) -> None:
        if self._report is not None and int(size) > self._reported:
            self._reported = int(size)
            self._report(min(self._reported, self._total), self._total)
        if self._bar is not None:
            self._bar.update(int(size) - self._bar.n)


def _is_shown(shown: bool | None) -> bool:
    return _IN_NOTEBOOK or sys.stderr.isatty() if shown is None else shown
