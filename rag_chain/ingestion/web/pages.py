"""Fetch pages, and plan what to do with each of them in the index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from rag_chain.errors import DocumentLoadError, UsageError
from rag_chain.ingestion.discovery import FoundFile, Plan, SourceRecord
from rag_chain.ingestion.loaders import FileStat
from rag_chain.ingestion.progress import PageProgress
from rag_chain.ingestion.report import Reported
from rag_chain.ingestion.web.addresses import file_name, is_same_site, read_address
from rag_chain.ingestion.web.fetching import Bounds, Fetched, Fetcher, PageForbiddenError, PageGoneError
from rag_chain.ingestion.web.sitemap import Sitemap, read_sitemap

_AT_ONCE = 4
"""Pages fetched in parallel."""

_MOST_SITEMAPS = 100
"""Maximum number of sitemaps that one named sitemap may lead to."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page that was requested.

    Args:
        address: the ``source`` of its chunks.
        sitemap: the named sitemap that led to it; empty: it was named itself.
        fetched: the response; None: see ``error``.
        file: the file with its content, if it has changed.
        error: why it could not be read.
    """

    address: str
    sitemap: str = ""
    fetched: Fetched | None = None
    file: Path | None = None
    error: DocumentLoadError | None = None


@dataclass(slots=True)
class Pages:
    """The pages that a run fetched.

    Args:
        found: pages by address.
        failed: sitemaps that could not be read, or list too many pages.
        skipped: addresses in sitemaps that are not followed.
        whole: named sitemaps that were read completely: pages that they no longer list are gone.
    """

    found: dict[str, Page] = field(default_factory=dict)
    failed: list[Reported] = field(default_factory=list)
    skipped: list[Reported] = field(default_factory=list)
    whole: set[str] = field(default_factory=set)


def fetch_pages(
    addresses: Sequence[str],
    known: Mapping[str, SourceRecord],
    folder: Path,
    bounds: Bounds,
    most_pages: int,
    *,
    progress: bool | None = None,
) -> Pages:
    """Fetch pages; of sitemaps among them, the pages that they list.

    Args:
        addresses: of pages and sitemaps.
        known: records of pages that are only fetched if they changed.
        folder: for the content of the pages.
        bounds: limits of one page.
        most_pages: maximum number of pages of one sitemap.
        progress: see ``ingest``.

    Raises:
        UsageError: an address is malformed.
    """
    named = list(dict.fromkeys(map(read_address, addresses)))
    run = _Fetching(known, folder, Fetcher(bounds), most_pages, PageProgress(shown=progress))
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="rag_chain-fetch")
    try:
        for page, sitemap in pool.map(run.fetch_named, named):
            if sitemap is None:
                run.pages.found[page.address] = page
            else:
                listed = run.list_pages(page.address, sitemap)
                run.bar.expect(len(listed))
                for further in pool.map(lambda address, root=page.address: run.fetch(address, root), listed):
                    run.pages.found.setdefault(further.address, further)
    finally:
        # After an interrupt: cancel waiting requests, end running ones by closing their connections.
        pool.shutdown(wait=False, cancel_futures=True)
        run.fetcher.close()
        pool.shutdown()
        run.bar.close()
    return run.pages


class _Fetching:
    """One run of ``fetch_pages``."""

    def __init__(
        self, known: Mapping[str, SourceRecord], folder: Path, fetcher: Fetcher, most_pages: int, bar: PageProgress
    ) -> None:
        self.known, self.folder, self.fetcher, self.most_pages, self.bar = known, folder, fetcher, most_pages, bar
        self.pages = Pages()
        self.numbers = count()

    def fetch_named(self, address: str) -> tuple[Page, Sitemap | None]:
        """Fetch a named address; return the page, and the sitemap if it is one."""
        self.bar.expect(1)
        page, content = self._fetch(address, "")
        if content is not None:
            try:
                sitemap = read_sitemap(content)
            except DocumentLoadError as error:
                return Page(address, error=error), None
            if sitemap is not None:
                return page, sitemap
        return page, None

    def fetch(self, address: str, sitemap: str) -> Page:
        """Fetch a page that a sitemap lists."""
        return self._fetch(address, sitemap)[0]

    def _fetch(self, address: str, sitemap: str) -> tuple[Page, bytes | None]:
        record = self.known.get(address)
        validators = {"etag": record.etag, "modified": record.modified} if record else None
        try:
            fetched = self.fetcher.fetch(address, validators)
        except DocumentLoadError as error:
            return Page(address, sitemap, error=error), None
        finally:
            self.bar.advance()
        content = fetched.content
        if content is None:
            return Page(address, sitemap, fetched), None
        file = self.folder / str(next(self.numbers))
        file.write_bytes(content)
        # The content is on the disk now: memory need not hold thousands of pages.
        return Page(address, sitemap, Fetched(b"", fetched.media_type, fetched.etag, fetched.modified), file), content

    def list_pages(self, root: str, sitemap: Sitemap) -> list[str]:
        """Return the addresses of the pages of a sitemap and of the sitemaps that it lists."""
        listed: dict[str, None] = {}
        waiting, seen, is_whole = [(root, sitemap)], {root}, True
        while waiting:
            here, sitemap = waiting.pop(0)
            listed |= dict.fromkeys(self._of_site(root, here, sitemap.pages))
            for address in self._of_site(root, here, sitemap.sitemaps):
                if address in seen:
                    continue
                seen.add(address)
                try:
                    if len(seen) > _MOST_SITEMAPS:
                        raise DocumentLoadError(f"more than {_MOST_SITEMAPS} sitemaps: ingest its parts one by one")
                    further = read_sitemap(self.fetcher.fetch(address).content or b"")
                    if further is None:
                        raise DocumentLoadError("it is not a sitemap")
                except DocumentLoadError as error:
                    is_whole = False
                    self.pages.failed.append(Reported(address, error.reason))
                    if len(seen) > _MOST_SITEMAPS:
                        break
                else:
                    waiting.append((address, further))
        if len(listed) > self.most_pages:
            is_whole = False
            self.pages.failed.append(
                Reported(root, f"it lists {len(listed)} pages, of which {self.most_pages} are read (RAG_WEB_MAX_PAGES)")
            )
        if is_whole:
            self.pages.whole.add(root)
        return list(listed)[: self.most_pages]

    def _of_site(self, root: str, here: str, addresses: Sequence[str]) -> list[str]:
        found = []
        for text in addresses:
            try:
                address = read_address(text, here)
            except UsageError:
                self.pages.skipped.append(Reported(text, "a sitemap lists it, but it is not a web address"))
                continue
            if is_same_site(root, address):
                found.append(address)
            else:
                self.pages.skipped.append(Reported(address, "a sitemap of another site lists it"))
        return found


def sort_pages_in(
    pages: Pages,
    known: Mapping[str, SourceRecord],
    found: Plan,
    tags: Mapping[str, tuple[str, ...]],
) -> None:
    """Add the pages to the plan.

    Args:
        pages: that were requested.
        known: records of the index.
        found: the plan.
        tags: access tags by address.
    """
    found.failed += pages.failed
    found.skipped += pages.skipped
    for address, page in pages.found.items():
        record, given = known.get(address), tags.get(address, ())
        if page.error is not None:
            has_other_tags = record is not None and tuple(record.access) != given
            _sort_failure_in(page, page.error, record, found, has_other_tags=has_other_tags)
        elif page.file is None:
            found.unchanged += 1
            if record and record.omissions:
                found.partial.append(Reported(address, "; ".join(record.omissions)))
        else:
            fetched = page.fetched or Fetched(None)
            found.read.append(
                FoundFile(
                    page.file,
                    address,
                    FileStat(page.file.stat().st_size, 0),
                    address,
                    record,
                    given,
                    given,
                    name=file_name(address, fetched.media_type),
                    etag=fetched.etag,
                    modified=fetched.modified,
                    sitemap=page.sitemap,
                )
            )
    found.removed += [
        source for source, record in known.items() if record.sitemap in pages.whole and source not in pages.found
    ]


def _sort_failure_in(
    page: Page, error: DocumentLoadError, record: SourceRecord | None, found: Plan, *, has_other_tags: bool
) -> None:
    if isinstance(error, PageGoneError) and record:
        found.removed.append(page.address)
        return
    is_skipped = isinstance(error, PageForbiddenError) and page.sitemap
    (found.skipped if is_skipped else found.failed).append(Reported(page.address, error.reason))
    if has_other_tags:  # the old chunks may be open to people who may no longer read them
        found.removed.append(page.address)
