"""What a reader makes of a file."""

from __future__ import annotations

from dataclasses import dataclass, field

from langchain_core.documents import Document

LINES = "lines"
"""Metadata for the splitting alone: the first and last line in the file of each line of the text, ``[[1, 1], ...]``."""

TABLES = "tables"
"""Metadata for the splitting alone: the tables and the code of the text as offsets, ``[[start, end of the
header, end], ...]``."""

RECORD = "record"
"""Metadata for the splitting alone: the Document is one record of many; what stands between two of them in a chunk."""

MARKUP = "markup"
"""Metadata for the splitting alone: ``markdown`` or ``rst``, whose headings and tables the text is split at."""

PARAGRAPHS = "\n\n"
"""``RECORD`` of most kinds: a blank line."""


@dataclass(slots=True)
class Reading:
    """The Documents of a file, and what is missing in them.

    Args:
        documents: with their positions in the metadata.
        omissions: what the file holds and could not be read, one short clause each: ``"page 4 has no text"``.
    """

    documents: list[Document]
    omissions: list[str] = field(default_factory=list)


def listed(numbers: list[int], one: str, many: str) -> str:
    """Numbers in words, runs as ranges: ``listed([1, 2, 3, 7], "page", "pages")`` is ``"pages 1-3, 7"``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    shown = ", ".join("-".join(map(str, run)) for run in runs)
    return f"{one if len(numbers) == 1 else many} {shown}"
