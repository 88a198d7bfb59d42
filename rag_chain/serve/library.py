"""The documents of the service: uploaded files in a folder, and the index that is kept up to date with them.

Blocking; ``rag_chain.serve.documents`` calls it in threads.
"""

from __future__ import annotations

import heapq
import os
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from rag_chain.access import tags_of
from rag_chain.errors import DocumentIndexError, UsageError
from rag_chain.factory import open_or_create_index, refresh_index
from rag_chain.ingestion import IngestReport, ingest
from rag_chain.retrieval.opening import AnyIndex
from rag_chain.serve.auth import Caller
from rag_chain.serve.errors import RequestError
from rag_chain.settings import Settings

MAX_NAME_BYTES = 200
_LOCK_SECONDS = 60.0
_STALE_SECONDS = 24 * 3600.0
_MAX_OVERLAP = 2_000
"""Maximum overlap of two chunks that is looked for, in characters."""
_LOOKED_AT, _TAGS_KEPT = 1_000, 20_000
_NEW, _OLD = ".new-", ".old-"


@dataclass(frozen=True, slots=True)
class Upload:
    """An uploaded file: its future name, and where it waits."""

    name: str
    waiting: Path


class Library:
    """Lists, adds and deletes documents.

    Args:
        settings: ``documents_dir`` and those of the ingestion.
        index: the searched index; ``None``: the index of the settings, opened when it is needed.
    """

    def __init__(self, settings: Settings, index: AnyIndex | None = None) -> None:
        self._settings, self._index = settings, index
        self._folder = settings.documents_dir
        self._known_tags: dict[str, tuple[str, tuple[str, ...]]] = {}

    def list_documents(self, caller: Caller, after: str, limit: int) -> tuple[list[dict[str, Any]], str | None]:
        """Return documents of the index that the caller may read, by source, and the cursor of the next page.

        A page examines ``limit`` documents, or 1,000 if that is more, and so may have fewer than ``limit``.
        """
        index = self._open()
        records = index.sources
        looked_at = heapq.nsmallest(max(limit, _LOOKED_AT) + 1, (source for source in records if source > after))
        found: list[dict[str, Any]] = []
        last = ""
        for number, source in enumerate(looked_at, 1):
            if len(found) == limit or number > max(limit, _LOOKED_AT):
                return found, last
            last, record = source, records[source]
            tags = self._tags(index, source, record) if record["chunks"] else tuple(record.get("access", ()))
            if not _is_open(tags, caller):
                continue
            name = self._uploaded_name(record)
            size = {"bytes": record["size"], "chunks": record["chunks"]}
            found.append({"source": source, "name": name, **size, "access": list(tags)})
        return found, None

    def read_passage(self, chunk_id: str, caller: Caller) -> dict[str, Any] | None:
        """Return a passage with its neighbours; ``None``: there is none that the caller may read."""
        index = self._open()
        chunks = index.get_by_ids([chunk_id])
        if not chunks or not _is_open(tags_of(chunks[0].metadata), caller):
            return None
        source = str(chunks[0].metadata.get("source", ""))
        ids = index.ids_of_source([source])
        at = ids.index(chunk_id) if chunk_id in ids else 0
        around = {
            one.id: one.page_content for one in index.get_by_ids([*ids[max(0, at - 1) : at], *ids[at + 1 : at + 2]])
        }
        text = chunks[0].page_content
        before = around.get(ids[at - 1], "") if at else ""
        after = around.get(ids[at + 1], "") if at + 1 < len(ids) else ""
        shared, more = _overlap(before, text), _overlap(text, after)
        return {"source": source, "before": before[: len(before) - shared], "text": text, "after": after[more:]}

    def describe(self) -> str:
        """Report whether there are documents."""
        return "ready" if len(self._open()) else "no documents yet"

    def reserve(self, name: str, caller: Caller) -> Upload:
        """Return where a new document with this name is to be written.

        Raises:
            RequestError: the name is taken by a document that the caller may not read.
        """
        self._check_owner(name, caller)
        self._folder.mkdir(parents=True, exist_ok=True)
        return Upload(name, self._folder / f"{_NEW}{uuid4().hex}")

    def add(
        self, uploads: Sequence[Upload], access: Sequence[str], caller: Caller, on_progress: Callable[[int, int], None]
    ) -> tuple[list[dict[str, Any]], IngestReport]:
        """Ingest files; of those that can't be read nothing is kept, and the previous version stays.

        Args:
            uploads: completely written files.
            access: tags of the documents; empty: open to all.
            caller: who adds them.
            on_progress: see ``ingest``.

        Returns:
            ``name``, ``status`` (``ingested``, ``unchanged`` or ``failed``) and ``reason`` of each, and the report.
        """
        with self._lock():
            for upload in uploads:
                self._check_owner(upload.name, caller)
            given = self._tags_given({upload.name for upload in uploads})
            kept = {upload.name: self._put(upload) for upload in uploads}
            paths = {name: self._folder / name for name in kept}
            try:
                report = ingest(
                    list(paths.values()), self._settings, progress=False, access=access, on_progress=on_progress
                )
            except BaseException:
                for name, old in kept.items():
                    _put_back(paths[name], old)
                raise
            reasons = {PurePosixPath(one.source).name: one.reason for one in (*report.failed, *report.skipped)}
            partly = {PurePosixPath(one.source).name: one.reason for one in report.partial}
            told = []
            for name, old in kept.items():
                if name in reasons:
                    _put_back(paths[name], old)
                    if old is not None and name in given:
                        # A file that is empty, or has other tags now, was removed from the index.
                        ingest(paths[name], self._settings, progress=False, access=given[name])
                elif old is not None:
                    old.unlink(missing_ok=True)
                status = "failed" if name in reasons else "ingested"
                reason = reasons.get(name) or partly.get(name)
                told.append({"name": name, "status": status, **({"reason": reason} if reason else {})})
        refresh_index(self._open())
        return told, report

    def delete(self, name: str, caller: Caller) -> bool:
        """Delete an uploaded document; return whether there was one that the caller may read."""
        path = self._folder / name
        with self._lock():
            index = self._open()
            source = self._find(index, name)
            if source is None and not path.is_file():
                return False
            if source is not None and not _is_open(self._tags(index, source, index.sources[source]), caller):
                return False
            path.unlink(missing_ok=True)
            if source is not None:
                with suppress(UsageError):  # another server removed it meanwhile
                    ingest([path], self._settings, progress=False)
        refresh_index(index)
        return True

    def _open(self) -> AnyIndex:
        if self._index is None:
            self._index = open_or_create_index(self._settings)
        refresh_index(self._index)
        return self._index

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Let one process at a time change the folder."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self._folder / ".lock", timeout=_LOCK_SECONDS):
                self._remove_stale()
                yield
        except Timeout:
            raise DocumentIndexError("Other documents are being added; try again in a moment.") from None

    def _remove_stale(self) -> None:
        """Remove files that killed servers left behind."""
        for path in (*self._folder.glob(f"{_NEW}*"), *self._folder.glob(f"{_OLD}*")):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - _STALE_SECONDS:
                    path.unlink()

    def _put(self, upload: Upload) -> Path | None:
        """Move a file to its name; return where the previous one is kept."""
        path = self._folder / upload.name
        old = None
        if path.exists():
            old = self._folder / f"{_OLD}{uuid4().hex}"
            path.replace(old)
        upload.waiting.replace(path)
        return old

    def _check_owner(self, name: str, caller: Caller) -> None:
        index = self._open()
        source = self._find(index, name)
        if source is not None and not _is_open(self._tags(index, source, index.sources[source]), caller):
            raise RequestError(409, f"A document {name!a} already exists; choose another name.", "name_taken", "file")

    def _find(self, index: AnyIndex, name: str) -> str | None:
        """Return the source of an uploaded document."""
        return next((source for source, record in index.sources.items() if self._uploaded_name(record) == name), None)

    def _tags_given(self, names: set[str]) -> dict[str, Sequence[str]]:
        """Return the tags of uploads with these names, by name."""
        records = ((self._uploaded_name(record), record) for record in self._open().sources.values())
        return {name: record.get("given", ()) for name, record in records if name in names and name is not None}

    def _uploaded_name(self, record: Mapping[str, Any]) -> str | None:
        path = Path(os.path.normpath(self._settings.index_dir.absolute() / record["path"]))
        return path.name if path.parent == Path(os.path.normpath(self._folder.absolute())) else None

    def _tags(self, index: AnyIndex, source: str, record: Mapping[str, Any]) -> tuple[str, ...]:
        """Return a document's access tags from its chunks, which also have those of its front matter."""
        state = repr(record)  # another version of the document has another record
        known = self._known_tags.get(source)
        if known is not None and known[0] == state:
            return known[1]
        chunks = index.get_by_ids(index.ids_of_source([source])[:1])
        tags = tags_of(chunks[0].metadata) if chunks else tuple(record.get("access", ()))
        if len(self._known_tags) >= _TAGS_KEPT:
            self._known_tags.clear()
        self._known_tags[source] = (state, tags)
        return tags


def check_name(name: str | None) -> str:
    """Return a file's name in its normal form.

    Raises:
        RequestError: it is missing, names a folder, is hidden, too long, or can't be printed.
    """
    said = ""
    name = unicodedata.normalize("NFC", name or "").strip()
    if not name:
        said = "the file has no name"
    elif "/" in name or "\\" in name or ":" in name:
        said = "it names a folder: leave only the last part"
    elif name.startswith(".") or name.endswith("~"):
        said = "hidden files and backup files are not accepted"
    elif not name.isprintable():
        said = "it has characters that can't be printed"
    elif len(name.encode(errors="replace")) > MAX_NAME_BYTES:
        said = f"it is longer than {MAX_NAME_BYTES} bytes"
    if said:
        raise RequestError(400, f"The file name {name[:80]!a} can't be used: {said}.", "invalid_file_name", "file")
    return name


def _is_open(tags: Sequence[str], caller: Caller) -> bool:
    """Whether the caller may read a document with these tags: one of them is enough."""
    return not tags or caller.access is None or not caller.access.isdisjoint(tags)


def _overlap(first: str, second: str) -> int:
    """Return the number of characters at the end of the first text that begin the second."""
    most = min(len(first), len(second), _MAX_OVERLAP)
    return next((size for size in range(most, 0, -1) if first.endswith(second[:size])), 0)


def _put_back(path: Path, old: Path | None) -> None:
    if old is None:
        path.unlink(missing_ok=True)
    else:
        old.replace(path)
