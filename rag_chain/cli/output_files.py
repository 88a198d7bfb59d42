"""Files that a command writes at the end of long work: checked before it begins."""

from __future__ import annotations

import os
from pathlib import Path

from rag_chain.errors import ConfigurationError, UsageError


def check_writable(path: Path) -> None:
    """Check that a file can be written.

    Raises:
        UsageError: it can't.
    """
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"{path} can't be written: {'it is a folder' if path.is_dir() else 'its folder is missing'}.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{path} can't be written: permission denied.")


def write_text(path: Path, text: str) -> None:
    """Write a file.

    Raises:
        UsageError: it can't be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}.") from error


def check_matplotlib() -> None:
    """Check that charts can be drawn.

    Raises:
        ConfigurationError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError:
        raise ConfigurationError("--plot needs matplotlib: pip install 'rag_chain[plot]'.") from None


def check_chart(path: Path) -> None:
    """Check that a chart can be written in the format that the suffix names.

    Raises:
        ConfigurationError: matplotlib is not installed.
        UsageError: the file can't be written, or its suffix is not a picture's.
    """
    check_writable(path)
    check_matplotlib()
    from matplotlib.figure import Figure

    kinds = Figure().canvas.get_supported_filetypes()
    if path.suffix.removeprefix(".") not in kinds:
        raise UsageError(f"{path} can't be written: its suffix must be one of {', '.join(sorted(kinds))}.")
