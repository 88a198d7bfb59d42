"""Web pages as sources of an ingestion."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from rag_chain.ingestion.discovery import Plan, Records, SourceRecord
from rag_chain.ingestion.web.addresses import is_address
from rag_chain.ingestion.web.fetching import Bounds
from rag_chain.ingestion.web.pages import Pages, fetch_pages, sort_pages_in
from rag_chain.settings import Settings

Given = Mapping[str, Sequence[str]]
"""Access tags that earlier calls set, by the records' ``path``."""


class WebSources:
    """The addresses of one ingestion, and their fetched pages.

    Args:
        addresses: of pages and sitemaps.
        settings: ``web_timeout``, ``web_max_pages``, ``max_file_mb`` and ``max_file_seconds`` are used.
    """

    def __init__(self, addresses: Sequence[str], settings: Settings) -> None:
        self._addresses, self._settings = addresses, settings
        self._folder = tempfile.TemporaryDirectory(prefix="rag_chain-")
        self._pages = Pages()

    def fetch(
        self, records: Records, splitting: str, access: Sequence[str] | None, given: Given, *, progress: bool | None
    ) -> None:
        """Fetch the pages that have changed since the records.

        Args:
            records: of the index.
            splitting: how chunks are made now: a page that was split differently is fetched again.
            access: tags of this call; None: as before.
            given: earlier tags, for a rebuild, which has no records.
            progress: see ``ingest``.

        Raises:
            UsageError: an address is malformed.
        """
        known = _of_pages(records)
        self._pages = fetch_pages(
            self._addresses,
            {
                address: record
                for address, record in known.items()
                if record.splitting == splitting and _tags(address, known, access, given) == tuple(record.access)
            },
            Path(self._folder.name),
            Bounds(self._settings.web_timeout, self._settings.max_file_seconds, self._settings.max_file_mb),
            self._settings.web_max_pages,
            progress=progress,
        )

    def sort_in(self, found: Plan, records: Records, access: Sequence[str] | None, given: Given) -> None:
        """Add the pages to a plan; arguments as of ``fetch``."""
        known = _of_pages(records)
        tags = {address: _tags(address, known, access, given) for address in self._pages.found}
        sort_pages_in(self._pages, known, found, tags)

    def close(self) -> None:
        """Remove the fetched files."""
        self._folder.cleanup()


def _of_pages(records: Records) -> dict[str, SourceRecord]:
    return {source: SourceRecord(**record) for source, record in records.items() if is_address(record["path"])}


def _tags(
    address: str, known: Mapping[str, SourceRecord], access: Sequence[str] | None, given: Given
) -> tuple[str, ...]:
    if access is not None:
        return tuple(access)
    return tuple(known[address].given if address in known else given.get(address, ()))
