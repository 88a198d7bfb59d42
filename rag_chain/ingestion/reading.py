"""The result of a reader, and its metadata for the splitting."""

from __future__ import annotations

from dataclasses import dataclass, field

from langchain_core.documents import Document

LINES = "lines"
"""Metadata only for the splitting: first and last line in the file of each line of the text, ``[[1, 1], ...]``."""

TABLES = "tables"
"""Metadata only for the splitting: the tables and the code of the text as offsets, ``[[start, end of the
header, end], ...]``."""

RECORD = "record"
"""Metadata only for the splitting: the Document is one record of many; the separator of records in a chunk."""

MARKUP = "markup"
"""Metadata only for the splitting: ``markdown`` or ``rst``; the text is split at its headings and tables."""

PARAGRAPHS = "\n\n"
"""``RECORD`` of most kinds: separated by a blank line."""


@dataclass(slots=True)
class Reading:
    """The Documents of a file, and what is missing in them.

    Args:
        documents: with their positions in the metadata.
        omissions: contents of the file that could not be read, one short clause each: ``"page 4 has no text"``.
    """

    documents: list[Document]
    omissions: list[str] = field(default_factory=list)


def listed(numbers: list[int], one: str, many: str) -> str:
    """Return numbers as text, runs as ranges: ``listed([1, 2, 3, 7], "page", "pages")`` is ``"pages 1-3, 7"``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    shown = ", ".join("-".join(map(str, run)) for run in runs)
    return f"{one if len(numbers) == 1 else many} {shown}"
