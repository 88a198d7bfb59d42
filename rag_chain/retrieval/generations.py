"""The folder of an index: complete generations next to each other, one of them current.

::

    INDEX_DIR/
      current              "000007 <sha256 of its manifest>"; replaced atomically, this is the swap
      write.lock           held by the only writer
      000007/
        manifest.json      see Manifest
        vectors.faiss      dense index
        lexical/           tantivy: text, metadata and inverted index
        sparse/            learned weights of words, see rag_chain.retrieval.sparse; not in every index
        sources.json       a record for each ingested file

A generation is never modified once it is current. A writer builds the next one separately, shares unchanged files by
hard links, and swaps it in. If the writer is stopped before, ``current`` is unchanged. Nothing here is a pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rag_chain.errors import (
    DocumentIndexError,
    IndexDamagedError,
    IndexFormatError,
    IndexLockedError,
    IndexNotFoundError,
)

FORMAT = 2
"""2: terms by language, and learned weights."""

LOCK_SECONDS = 30.0
"""Seconds that a second writer waits for the first."""

VERIFY_BYTES = 256 * 2**20
"""Up to this size all checksums are verified when an index is opened; above it, only sizes (``verify`` checks all)."""

_CURRENT, _LOCK, _MANIFEST = "current", "write.lock", "manifest.json"


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Size and sha256 of one file of a generation."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The contents of a generation.

    Args:
        embedding_model: ``provider:model`` of the vectors.
        dimension: of the vectors; 0 while there is none.
        sparse_model: ``provider:model`` of the learned sparse weights; empty: there are none.
        chunking: how the documents were split, as recorded by the ingestion.
        chunks, sources: their numbers.
        next_row: the row number of the next chunk; numbers are never reused.
        files: path inside the generation -> size and checksum.
    """

    embedding_model: str
    dimension: int = 0
    sparse_model: str = ""
    chunking: Mapping[str, Any] = field(default_factory=dict)
    chunks: int = 0
    sources: int = 0
    next_row: int = 0
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    format: int = FORMAT


def current_name(root: Path) -> str | None:
    """Return the line in ``current`` (name and checksum of a generation), or None if there is no index."""
    try:
        return (root / _CURRENT).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise _forbidden(root / _CURRENT) from error
    except (OSError, UnicodeDecodeError) as error:
        raise IndexDamagedError(f"{root / _CURRENT} can't be read: {_mend(root)}") from error


def read_current(root: Path) -> tuple[str, Path, Manifest]:
    """Return the current generation: its line in ``current``, its folder and its manifest.

    Raises:
        IndexNotFoundError: there is no index.
        IndexDamagedError: the manifest, or a file that it lists, is missing, truncated or modified.
        IndexFormatError: another version wrote it.
    """
    line = current_name(root)
    if line is None:
        raise IndexNotFoundError(
            f"There is no index in {root}: make one with `rag-chain ingest PATH...`, or set RAG_INDEX_DIR."
        )
    name, _, checksum = line.partition(" ")
    folder = root / name
    try:
        content = (folder / _MANIFEST).read_bytes()
    except PermissionError as error:
        raise _forbidden(folder / _MANIFEST) from error
    except OSError as error:
        if current_name(root) != line:  # a writer replaced and removed it between our two reads
            return read_current(root)
        raise IndexDamagedError(f"{folder / _MANIFEST} is missing: {_mend(root)}") from error
    if hashlib.sha256(content).hexdigest() != checksum:
        raise IndexDamagedError(f"{folder / _MANIFEST} was altered: {_mend(root)}")
    values = json.loads(content)
    if values["format"] > FORMAT:
        raise IndexFormatError(
            f"The index in {root} has format {values['format']}, this version reads up to {FORMAT}: "
            "update rag_chain, or ingest again with --rebuild."
        )
    if values["format"] < FORMAT:
        raise IndexFormatError(
            f"The index in {root} has format {values['format']} of an earlier version, this one reads {FORMAT}: "
            "ingest again with --rebuild."
        )
    files = {path: FileRecord(**record) for path, record in values.pop("files").items()}
    return line, folder, Manifest(**values, files=files)


def embedding_model_of(root: Path) -> str:
    """Return ``provider:model`` of the vectors of the index in ``root``; empty if it can't be read."""
    try:
        return read_current(root)[2].embedding_model
    except DocumentIndexError:
        return ""


def verify(root: Path, folder: Path, manifest: Manifest, *, limit: float = float("inf")) -> None:
    """Check every file of a generation: its size, and its checksum if all files together are smaller than ``limit``.

    Raises:
        IndexDamagedError: names the file.
    """
    contents = sum(record.bytes for record in manifest.files.values()) <= limit
    for path, record in manifest.files.items():
        file = folder / path
        try:
            size = file.stat().st_size
            intact = size == record.bytes and (not contents or _sha256(file) == record.sha256)
        except PermissionError as error:
            raise _forbidden(file) from error
        except OSError as error:
            raise IndexDamagedError(f"{file} is missing: {_mend(root)}") from error
        if not intact:
            what = "was altered" if size == record.bytes else f"has {size} bytes instead of {record.bytes}"
            raise IndexDamagedError(f"{file} {what}: {_mend(root)}")


@contextmanager
def writer_lock(root: Path, *, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock of the only writer. The operating system releases the lock when its holder dies.

    Raises:
        IndexLockedError: another writer still holds it after ``seconds``.
        DocumentIndexError: this user may not write there.
    """
    lock = FileLock(root / _LOCK, timeout=seconds)
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise IndexLockedError(
            f"Another process has been writing the index in {root} for over {seconds:.0f} s: "
            "wait for it, or stop it, and try again."
        ) from None
    except OSError as error:
        raise DocumentIndexError(
            f"The index in {root} can't be written ({error.strerror}): set RAG_INDEX_DIR to a folder of your own."
        ) from error
    try:
        yield
    finally:
        lock.release()


def stage(root: Path, base: Path | None) -> Path:
    """Create a folder for the next generation that shares the lexical files of ``base``. Only under ``writer_lock``."""
    line = current_name(root)
    keep = line.partition(" ")[0] if line else None
    for leftover in root.glob("[0-9]*"):
        if leftover.name != keep:
            shutil.rmtree(leftover, ignore_errors=True)
    folder = root / f"{int(keep or 0) + 1:06d}"
    (folder / "lexical").mkdir(parents=True)
    if base is not None:
        for file in (base / "lexical").iterdir():
            if file.suffix != ".lock":
                _link(file, folder / "lexical" / file.name)
    return folder


def swap(root: Path, folder: Path, manifest: Manifest, previous: Manifest) -> tuple[str, Manifest]:
    """Make ``folder`` the current generation, durably: everything is on the disk before ``current`` names it.

    Files that ``previous`` lists under the same name and size in ``lexical/`` are shared and keep their checksum.

    Returns:
        The new line of ``current`` and the manifest with all files listed.
    """
    files: dict[str, FileRecord] = {}
    for file in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"):
        path = file.relative_to(folder).as_posix()
        known = previous.files.get(path)
        # tantivy never modifies a segment file; only its two JSON files keep their name when they change.
        if known and path.startswith("lexical/") and file.suffix != ".json" and file.stat().st_size == known.bytes:
            files[path] = known
        else:
            files[path] = FileRecord(file.stat().st_size, _sha256(file))
            _sync(file)
    manifest = replace(manifest, files=files)
    content = json.dumps(asdict(manifest), indent=1, sort_keys=True).encode()
    (folder / _MANIFEST).write_bytes(content)
    readable = (folder / _MANIFEST).stat().st_mode & 0o666
    for file in (folder / "lexical").glob("*.json"):
        file.chmod(readable)  # tantivy creates files that only this user may read, unlike the other files
    for place in (folder / _MANIFEST, folder / "lexical", folder, root):
        _sync(place)
    line = f"{folder.name} {hashlib.sha256(content).hexdigest()}"
    aside = root / f"{_CURRENT}.next"
    aside.write_text(line, encoding="ascii")
    _sync(aside)
    aside.replace(root / _CURRENT)
    _sync(root)
    for old in root.glob("[0-9]*"):
        if old.name != folder.name:
            shutil.rmtree(old, ignore_errors=True)
    return line, manifest


def _forbidden(file: Path) -> DocumentIndexError:
    return DocumentIndexError(f"{file} may not be read by this user: change its owner or its permissions.")


def _mend(root: Path) -> str:
    return f"ingest again with --rebuild to build the index in {root} again."


def _link(source: Path, target: Path) -> None:
    if source.suffix == ".json":  # tantivy rewrites these two in place
        shutil.copy2(source, target)
        return
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
