"""What an ingestion did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple


class Reported(NamedTuple):
    """A file or folder, and why it was not ingested."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingestion did.

    Args:
        added, updated, unchanged, removed: counts of files. ``removed`` are those that were deleted or emptied.
        failed: files that could not be read. The index keeps the earlier version of such a file, unless the file is
            empty now.
        partial: files that are only partly in the index; the reason says what is missing. Each is also counted as
            added, updated or unchanged.
        skipped: files that are not documents, or of a kind that can't be read.
        chunks: total in the index.
        chunks_added, chunks_removed: by this ingestion. Unchanged chunks of a changed file count in neither.
        embedded: texts that the embedding model embedded.
        seconds: by stage: ``find`` files, ``load`` (and split, in parallel), ``embed``, ``write``; and ``total``.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: tuple[Reported, ...] = ()
    skipped: tuple[Reported, ...] = ()
    chunks: int = 0
    chunks_added: int = 0
    chunks_removed: int = 0
    embedded: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    partial: tuple[Reported, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no file failed."""
        return not self.failed

    def skipped_kinds(self) -> list[str]:
        """One line for each kind of skipped files: ``"12 files: .png is not a document"``."""
        counts = Counter(reason for _, reason in self.skipped)
        return [f"{count} {'file' if count == 1 else 'files'}: {reason}" for reason, count in sorted(counts.items())]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values; ``failed``, ``partial`` and ``skipped`` are lists of ``{"source", "reason"}``."""
        values = asdict(self)
        for name in ("failed", "partial", "skipped"):
            values[name] = [entry._asdict() for entry in getattr(self, name)]
        values["seconds"] = {stage: round(seconds, 3) for stage, seconds in self.seconds.items()}
        return values

    def __str__(self) -> str:
        counts = [f"{getattr(self, name)} {name}" for name in ("added", "updated", "unchanged", "removed")]
        text = f"{', '.join(counts)}, {len(self.failed)} failed"
        if self.partial:
            text += f", {len(self.partial)} read in part"
        return f"{text}; {self.chunks} chunks, {self.embedded} embedded"
