"""Load a file as LangChain Documents; its content and its name determine the reader.

Every Document has ``source``, ``title`` (the document's own, else the file name) and ``media_type``. The position in
its metadata depends on the kind of file, see ``rag_chain.ingestion.kinds``.
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
    """Size of a file in bytes, and its modification time in nanoseconds since 1970."""

    size: int
    mtime_ns: int


def load(path: str | Path, *, source: str | None = None, max_file_mb: float = 50) -> list[Document]:
    """Return the Documents of one file.

    Args:
        path: a file.
        source: the Documents' ``source``; by default ``path`` with forward slashes.
        max_file_mb: megabytes (of a million bytes); a larger file is refused.

    Raises:
        DocumentEmptyError: the file is empty, or has no text.
        DocumentUnsupportedError: files of its kind can't be read.
        DocumentLoadError: it can't be read, or its content does not match its suffix; carries the reason.
    """
    _, data = read(path, max_file_mb=max_file_mb)
    return parse(data, Path(path).as_posix() if source is None else source)


def read(path: str | Path, *, max_file_mb: float = 50) -> tuple[FileStat, bytes]:
    """Return the bytes of a file, and its size and time from before the read: later changes are found next time.

    Raises:
        DocumentEmptyError: the file is empty.
        DocumentLoadError: it does not exist, is not readable, not a regular file, a loop of links or too large.
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
    """Return the Documents of a file's bytes; content and ``source`` determine the reader. Raises as ``load``."""
    return interpret(data, source).documents


def interpret(data: bytes, source: str, name: str = "") -> Reading:
    """Return the Documents of a file's bytes and what is missing in them.

    Args:
        data: the file.
        source: its path or address; its suffix determines the kind of file where the content does not.
        name: a file name whose suffix is used instead of that of ``source``.

    Raises:
        DocumentEmptyError: the file holds no text.
        DocumentUnsupportedError: files of its kind can't be read.
        DocumentLoadError: it is damaged, encrypted or of another kind than its name shows; carries the reason.
    """
    name = name or source.rpartition("/")[2]
    reason = kinds.why_skipped(name, len(data))
    if reason:
        raise DocumentUnsupportedError(reason)
    named, language = kinds.kind_of(name)
    kind = sniffed(data, named)
    if kind is kinds.TEXT and not kinds.is_known(name) and is_binary(data):
        raise DocumentUnsupportedError(f"{kinds.suffix_of(name) or name} is not a document: binary file")
    try:
        reading = _reader(kind)(data)
    except (DocumentLoadError, MemoryError):
        raise
    except Exception as error:  # parsers raise any exception on a broken file; the other files must go on
        raise DocumentLoadError(f"damaged, or not a valid {kind.name} file ({type(error).__name__})") from error
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
    """Return the reason of a failed system call in plain words."""
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
