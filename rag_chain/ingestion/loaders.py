"""A file -> LangChain Documents, by its content and its name.

Every Document has ``source``, ``title`` (the document's own, else the file name) and ``media_type``; what else it says
of its place depends on the kind of file, see ``rag_chain.ingestion.kinds``.
"""

from __future__ import annotations

import importlib
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from langchain_core.documents import Document

from rag_chain.errors import DocumentEmptyError, DocumentLoadError, DocumentUnsupportedError
from rag_chain.ingestion import kinds
from rag_chain.ingestion.encodings import is_binary
from rag_chain.ingestion.reading import Reading
from rag_chain.ingestion.sniffing import sniffed

MEGABYTE = 1_000_000
_READERS = "rag_chain.ingestion.readers"


@dataclass(frozen=True, slots=True)
class FileStat:
    """What the file system says of a file: bytes, and nanoseconds since 1970 of the last change."""

    size: int
    mtime_ns: int


def load(path: str | Path, *, source: str | None = None, max_file_mb: float = 50) -> list[Document]:
    """Return the Documents of one file.

    Args:
        path: a file.
        source: what the Documents' metadata calls it; by default ``path`` with forward slashes.
        max_file_mb: megabytes (of a million bytes); a larger file is refused.

    Raises:
        DocumentEmptyError: the file holds nothing.
        DocumentUnsupportedError: files of its kind can't be read.
        DocumentLoadError: it can't be read, or its content is not what its suffix says; carries the reason.
    """
    _, data = read(path, max_file_mb=max_file_mb)
    return parse(data, Path(path).as_posix() if source is None else source)


def read(path: str | Path, *, max_file_mb: float = 50) -> tuple[FileStat, bytes]:
    """Return the bytes of a file, and what was known of it before they were read: a later change is found next time.

    Raises:
        DocumentEmptyError: the file is empty.
        DocumentLoadError: it is away, not permitted, no file, a loop of links or too large.
    """
    try:
        found = Path(path).stat()
        if not stat.S_ISREG(found.st_mode):  # before it is opened: a pipe would wait for ever
            raise DocumentLoadError("a folder, not a file" if stat.S_ISDIR(found.st_mode) else "not a regular file")
        if found.st_size > max_file_mb * MEGABYTE:
            raise DocumentLoadError(
                f"{found.st_size / MEGABYTE:.1f} MB is more than the limit of {max_file_mb:g} MB (RAG_MAX_FILE_MB)"
            )
        data = Path(path).read_bytes()
    except OSError as error:
        raise DocumentLoadError(reason_of(error)) from error
    if not data:
        raise DocumentEmptyError("the file is empty")
    return FileStat(found.st_size, found.st_mtime_ns), data


def parse(data: bytes, source: str) -> list[Document]:
    """Return the Documents of a file's bytes, by the content and the name of ``source``; raises as ``load``."""
    return interpret(data, source).documents


def interpret(data: bytes, source: str, name: str = "") -> Reading:
    """Return the Documents of a file's bytes and what is missing in them.

    Args:
        data: the file.
        source: its path or address; its ending says what kind of file it is where the content does not.
        name: whose ending says so in place of that of ``source``.

    Raises:
        DocumentEmptyError: the file holds no text.
        DocumentUnsupportedError: files of its kind can't be read.
        DocumentLoadError: it is damaged, encrypted or not what it says; carries the reason.
    """
    name = name or source.rpartition("/")[2]
    reason = kinds.why_skipped(name, len(data))
    if reason:
        raise DocumentUnsupportedError(reason)
    named, language = kinds.kind_of(name)
    kind = sniffed(data, named)
    if kind is kinds.TEXT and not kinds.is_known(name) and is_binary(data):
        raise DocumentUnsupportedError(f"{kinds.suffix_of(name) or name} is no document: binary file")
    try:
        reading = _reader(kind)(data)
    except (DocumentLoadError, MemoryError):
        raise
    except Exception as error:  # parsers raise anything at all on a broken file; the others must go on
        raise DocumentLoadError(f"damaged, or no {kind.name} file ({type(error).__name__})") from error
    reading.documents = [document for document in reading.documents if document.page_content.strip()]
    if not reading.documents:
        if reading.omissions:
            raise DocumentLoadError("; ".join(reading.omissions))
        raise DocumentEmptyError("the file holds no text")
    language = language if kind is kinds.SOURCE_CODE else ""
    for document in reading.documents:
        added = {"source": source, "media_type": kind.media_type} | ({"language": language} if language else {})
        document.metadata = {"title": name, **document.metadata, **added}
    return reading


def reason_of(error: OSError) -> str:
    """A failed system call in plain words."""
    match error:
        case FileNotFoundError():
            return "no such file: it was removed, or a link leads nowhere"
        case PermissionError():
            return "permission denied"
        case _:
            return (error.strerror or type(error).__name__).lower()


def _reader(kind: kinds.Kind) -> Callable[[bytes], Reading]:
    module, _, function = kind.reader.partition(":")
    try:
        found = getattr(importlib.import_module(f"{_READERS}.{module}"), function)
    except ModuleNotFoundError as error:
        raise DocumentLoadError(
            f"the package {error.name} is needed to read it: pip install 'rag_chain[{kind.extra}]'"
        ) from error
    reader: Callable[[bytes], Reading] = found
    return reader
