"""A file -> LangChain Documents, by its suffix.

=====================  ===============================================  ==========================================
kind                   suffixes                                         a Document is
=====================  ===============================================  ==========================================
plain text             .txt .text .log .asc, none, any unknown          the file; ``start_line``
Markdown               .md .markdown .mdown .mkd .mdx                   the file; ``start_line``
reStructuredText       .rst .rest                                       the file; ``start_line``
HTML, XHTML            .html .htm .xhtml                                a section; ``heading`` and lines
PDF                    .pdf                                             a page; ``page`` from 1
tables                 .csv .tsv .tab                                   a row; ``row`` from 1 below the header
JSON, JSON Lines       .json .geojson, .jsonl .ndjson                   a record; ``row``, key or line
DOCX                   .docx .docm                                      a section; ``heading``, paragraphs as lines
Jupyter notebooks      .ipynb                                           a cell; ``cell`` from 1
source code            see ``rag_chain.ingestion.languages``            the file; ``language``, ``start_line``
=====================  ===============================================  ==========================================

Every Document also has ``source``, ``title`` (the document's own, else the file name) and ``media_type``.
"""

from __future__ import annotations

import importlib
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from langchain_core.documents import Document

from rag_chain.errors import DocumentEmptyError, DocumentLoadError
from rag_chain.ingestion.languages import BY_NAME, BY_SUFFIX

MEGABYTE = 1_000_000
_READERS = "rag_chain.ingestion.readers"
_TEXT = ("text/plain", "text:read_text")
# suffixes -> media type, the reader's module and function. Imported at first use: their packages are an extra.
_KINDS = {
    ".txt .text .log .asc": _TEXT,
    ".md .markdown .mdown .mkd .mdx": ("text/markdown", "text:read_markdown"),
    ".rst .rest": ("text/x-rst", "text:read_rst"),
    ".html .htm": ("text/html", "page:read_html"),
    ".xhtml": ("application/xhtml+xml", "page:read_html"),
    ".pdf": ("application/pdf", "pdf:read_pdf"),
    ".csv": ("text/csv", "records:read_csv"),
    ".tsv .tab": ("text/tab-separated-values", "records:read_tsv"),
    ".json .geojson": ("application/json", "records:read_json"),
    ".jsonl .ndjson": ("application/jsonl", "records:read_jsonl"),
    ".docx .docm": ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx:read_docx"),
    ".ipynb": ("application/x-ipynb+json", "notebook:read_notebook"),
}
_BY_SUFFIX = {suffix: kind for suffixes, kind in _KINDS.items() for suffix in suffixes.split()}
_SOURCE_CODE = "text/x-source"
_UNSUPPORTED = {
    ".doc": "save it as .docx", ".rtf": "save it as .docx", ".odt": "save it as .docx", ".pages": "save it as .docx",
    ".xls": "save it as .csv", ".xlsx": "save it as .csv", ".ods": "save it as .csv", ".numbers": "save it as .csv",
    ".ppt": "save it as .pdf", ".pptx": "save it as .pdf", ".odp": "save it as .pdf", ".epub": "save it as .html",
}  # fmt: skip
# What is no document by its own name: a folder walk passes it over, named by itself it is refused.
_OTHER = """
    .png .jpg .jpeg .gif .bmp .tif .tiff .webp .ico .svg .heic .avif .psd .ai .eps .raw
    .mp3 .wav .flac .ogg .oga .m4a .aac .opus .mp4 .m4v .mkv .mov .avi .webm .wmv .mpg .mpeg
    .zip .tar .gz .tgz .bz2 .xz .zst .7z .rar .jar .war .whl .egg .deb .rpm .dmg .iso .apk
    .exe .dll .so .dylib .o .a .lib .obj .class .pyc .pyo .pyd .wasm .node
    .ttf .otf .woff .woff2 .eot .db .sqlite .sqlite3 .parquet .npy .npz .onnx .safetensors .gguf .pt .pth .h5
    .map .pack .idx .mo .pickle .pkl
"""
_OTHER_SUFFIXES = frozenset(_OTHER.split())
# Files that are empty by custom.
_EMPTY_NAMES = frozenset({"__init__.py", "py.typed"})


@dataclass(frozen=True, slots=True)
class FileStat:
    """What the file system says of a file: bytes, and nanoseconds since 1970 of the last change."""

    size: int
    mtime_ns: int


def load(path: str | Path, *, source: str | None = None, max_file_mb: float = 50) -> list[Document]:
    """The Documents of one file.

    Args:
        path: a file.
        source: what the Documents' metadata calls it; by default ``path`` with forward slashes.
        max_file_mb: megabytes (of a million bytes); a larger file is refused.

    Raises:
        DocumentEmptyError: the file holds nothing.
        DocumentLoadError: it can't be read, or its content is not what its suffix says; carries the reason.
    """
    _, data = read(path, max_file_mb=max_file_mb)
    return parse(data, Path(path).as_posix() if source is None else source)


def why_skipped(path: Path, size: int) -> str | None:
    """Why a folder walk passes this file over, or None if it is to be loaded."""
    if path.suffix.lower() in _OTHER_SUFFIXES:
        return f"{path.suffix.lower()} is no document"
    if size == 0 and path.name in _EMPTY_NAMES:
        return "empty by custom"
    return None


def read(path: str | Path, *, max_file_mb: float = 50) -> tuple[FileStat, bytes]:
    """The bytes of a file, and what was known of it before they were read: a later change is found next time.

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
    """The Documents of a file's bytes, by the suffix of ``source``; raises as ``load``."""
    name = source.rpartition("/")[2]
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in _UNSUPPORTED:
        raise DocumentLoadError(f"{suffix} files can't be read: {_UNSUPPORTED[suffix]}")
    if suffix in _OTHER_SUFFIXES:
        raise DocumentLoadError(f"binary file: {suffix} is no document")
    language = BY_NAME.get(name.lower()) or BY_SUFFIX.get(suffix)
    media_type, reader = (_SOURCE_CODE, "text:read_text") if language else _BY_SUFFIX.get(suffix, _TEXT)
    try:
        documents = [document for document in _reader(reader)(data) if document.page_content.strip()]
    except (DocumentLoadError, MemoryError):
        raise
    except Exception as error:  # parsers raise anything at all on a broken file; the others must go on
        raise DocumentLoadError(f"damaged, or no {suffix or 'text'} file ({type(error).__name__})") from error
    if not documents:
        raise DocumentEmptyError("the file holds no text")
    for document in documents:
        added = {"source": source, "media_type": media_type} | ({"language": language} if language else {})
        document.metadata = {"title": name, **document.metadata, **added}
    return documents


def reason_of(error: OSError) -> str:
    """A failed system call in plain words."""
    match error:
        case FileNotFoundError():
            return "no such file: it was removed, or a link leads nowhere"
        case PermissionError():
            return "permission denied"
        case _:
            return (error.strerror or type(error).__name__).lower()


def _reader(name: str) -> Callable[[bytes], list[Document]]:
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(f"{_READERS}.{module}"), function)
    except ModuleNotFoundError as error:
        raise DocumentLoadError(
            f"the package {error.name} is needed to read it: pip install 'rag_chain[loaders]'"
        ) from error
    reader: Callable[[bytes], list[Document]] = found
    return reader
