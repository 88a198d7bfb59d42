"""``--record``: save the terminal session in asciinema's format (.cast), as HTML or as SVG."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.terminal_theme import MONOKAI

from rag_chain.errors import UsageError

KINDS = (".cast", ".html", ".svg")


class Recording:
    """A console whose output is shown and recorded; ``save`` writes it in the format of the file's suffix.

    Args:
        file: ``None``: nothing is recorded.
        out: stream for the output.
        width: columns, ``None``: those of the terminal.

    Raises:
        UsageError: the file's suffix is none of the formats.
    """

    def __init__(self, file: Path | None, out: TextIO, width: int | None) -> None:
        if file is not None and file.suffix not in KINDS:
            raise UsageError(f"--record {file}: the name must end in {', '.join(KINDS)}.")
        self._file = file
        self._events: list[tuple[float, str]] = []
        self._begun = time.monotonic()
        self._out = out
        kept = file is not None
        self.console = Console(
            file=self if kept else out,  # type: ignore[arg-type]  # rich needs only write, flush and isatty
            record=kept, force_terminal=kept or None, color_system="truecolor" if kept else "auto", width=width,
        )  # fmt: skip

    def write(self, text: str) -> int:
        """Show a piece and record it with its time."""
        self._events.append((time.monotonic() - self._begun, text))
        return self._out.write(text)

    def flush(self) -> None:
        """Behave as a file."""
        self._out.flush()

    def isatty(self) -> bool:
        """Behave as a file."""
        return self._out.isatty()

    def save(self) -> None:
        """Write the file."""
        if self._file is None:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        if self._file.suffix == ".html":
            self.console.save_html(str(self._file), theme=MONOKAI, inline_styles=True)
        elif self._file.suffix == ".svg":
            self.console.save_svg(str(self._file), title="demo_before_after.py", theme=MONOKAI)
        else:
            # https://docs.asciinema.org/manual/asciicast/v2/
            header = {"version": 2, "width": self.console.width, "height": 40, "env": {"TERM": "xterm-256color"}}
            lines = [header, *([at, "o", text.replace("\n", "\r\n")] for at, text in self._events)]
            self._file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
