"""The output of a chain: a dictionary that streams in parts, adds up, and displays itself in a notebook."""

from __future__ import annotations

from html import escape
from typing import Any

from langchain_core.runnables.utils import AddableDict


class Answer(AddableDict):
    """The output of a turn; see ``rag_chain.chain.pipeline`` for its keys.

    The chunks of a stream are answers too. Their sum is the whole answer.
    """

    def __add__(self, other: dict[str, Any]) -> Answer:
        """Return the sum of both: values of keys that both have are added."""
        return Answer(super().__add__(AddableDict(other)))

    def __str__(self) -> str:
        """Return the answer's text."""
        return str(self.get("answer", ""))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Print the answer's text, for notebooks and IPython prompts without HTML."""
        printer.text(str(self))

    def _repr_html_(self) -> str:
        """Return the answer and the sources that it cites as HTML, for a notebook. All text is escaped."""
        rows = "".join(
            f"<li value='{c.number}'><code>{escape(c.source)}</code> {escape(c.position)}"
            f"<br><small>{escape(c.snippet)}</small></li>"
            for c in self.get("citations", [])
        )
        facts = [f"{name.replace('_', ' ')}: {self[name]}" for name in ("persistence", "turn_id") if name in self]
        paragraphs = "".join(f"<p>{escape(line)}</p>" for line in str(self).split("\n") if line.strip())
        sources = f"<ol style='margin-top:.3em'>{rows}</ol>" if rows else ""
        footer = f"<small style='opacity:.6'>{escape(' · '.join(facts))}</small>" if facts else ""
        return f"<div>{paragraphs}{sources}{footer}</div>"
