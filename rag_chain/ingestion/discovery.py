"""Find the files below the given paths, and which of them changed since the last ingestion."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pathspec

from rag_chain.errors import UsageError
from rag_chain.ingestion.access_rules import AccessRules
from rag_chain.ingestion.failures import Failures
from rag_chain.ingestion.kinds import why_skipped
from rag_chain.ingestion.loaders import FileStat, reason_of
from rag_chain.ingestion.report import Reported
from rag_chain.ingestion.web.addresses import is_address

IGNORE_FILE = ".ragignore"
"""Files and folders that match its patterns are not ingested."""

_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", "site-packages"})
_CLOCK_TICK_NS = 100_000_000
"""A file that changed this shortly before it was read may have changed again without a new time."""

Records = Mapping[str, Mapping[str, Any]]
"""What the index stores about its sources: source -> record, see ``SourceRecord``."""


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """What the index stores about a file.

    Args:
        path: relative to the index's folder, so that both can be moved together; of a web page, its address.
        size, mtime_ns: size in bytes and modification time in nanoseconds, when the file was read.
        read_ns: when it was read.
        sha256: of its bytes.
        splitting: how it was split.
        chunks: number of its chunks.
        omissions: what is missing in the chunks.
        access: tags of its chunks, without those of its front matter.
        given: tags set by a call; they stay until another call sets others.
        etag, modified: of a web page: the validators of this version, for conditional requests.
        sitemap: the address of the sitemap that lists the page; empty: the page was named itself.
    """

    path: str
    size: int
    mtime_ns: int
    read_ns: int
    sha256: str
    splitting: str
    chunks: int
    omissions: Sequence[str] = ()
    access: Sequence[str] = ()
    given: Sequence[str] = ()
    etag: str = ""
    modified: str = ""
    sitemap: str = ""

    def is_unchanged(self, found: FileStat, splitting: str) -> bool:
        """Whether the file has not changed, judged by its size and modification time."""
        return (
            (self.size, self.mtime_ns, self.splitting) == (found.size, found.mtime_ns, splitting)
            and self.mtime_ns + _CLOCK_TICK_NS < self.read_ns
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file to ingest, and what the index stores about it."""

    path: Path
    source: str
    stat: FileStat
    place: str
    """The record's ``path``."""
    record: SourceRecord | None
    access: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    name: str = ""
    """The file name that determines its kind, where ``source`` does not."""
    etag: str = ""
    modified: str = ""
    sitemap: str = ""

    @property
    def is_page(self) -> bool:
        """Whether it was fetched from the web."""
        return is_address(self.place)

    @property
    def has_other_tags(self) -> bool:
        """Whether its chunks in the index have other tags than they should have."""
        return self.record is not None and tuple(self.record.access) != self.access

    @property
    def is_tagged_anew(self) -> bool:
        """Whether its record in the index has other tags than it should have."""
        return self.has_other_tags or (self.record is not None and tuple(self.record.given) != self.given)


@dataclass(slots=True)
class Plan:
    """What the ingestion has to do, source by source."""

    read: list[FoundFile] = field(default_factory=list)
    unchanged: int = 0
    removed: list[str] = field(default_factory=list)
    failed: list[Reported] = field(default_factory=list)
    skipped: list[Reported] = field(default_factory=list)
    partial: list[Reported] = field(default_factory=list)
    """Unchanged sources that are only partly in the index."""

    @property
    def is_idle(self) -> bool:
        """Whether the index needs no change."""
        return not self.read and not self.removed


def plan(
    paths: Sequence[str | Path],
    index_dir: Path,
    records: Records,
    splitting: str,
    failures: Failures | None = None,
    access: Sequence[str] | None = None,
    given: Mapping[str, Sequence[str]] | None = None,
) -> Plan:
    """Compare the files below ``paths`` with the records.

    A walk through a folder ignores hidden files and folders, virtual environments, ``__pycache__``, ``node_modules``,
    ``site-packages``, the index, backup files (``~``), links to folders and what matches a ``.ragignore``. Files whose
    suffix shows that they are not documents (pictures, archives, programs) are listed as skipped. A file that is named
    itself is always read. A known file below the paths that no longer exists is removed.

    Args:
        paths, index_dir, records, splitting, failures: what to compare with what.
        access: tags for files that have none of their own, see ``rag_chain.ingestion.access_rules``. None: the tags
            that an earlier call set.
        given: the tags that earlier calls set, by the records' ``path``, where there are no records.

    Raises:
        UsageError: no path, or a path that neither exists nor was ingested before; a ``.ragaccess`` that can't be
            used.
    """
    if not paths:
        raise UsageError("No path to ingest: name files or folders.")
    known = {s: SourceRecord(**record) for s, record in records.items() if not is_address(record["path"])}
    places = {record.path: source for source, record in known.items()}
    found = Plan()
    rules = AccessRules()
    earlier = {**(given or {}), **{record.path: record.given for record in known.values()}}
    seen: set[str] = set()
    missing = []
    for root in map(Path, paths):
        base = _absolute(root)
        below = [s for s, r in known.items() if _is_below(_file_of(r.path, index_dir), base)]
        if os.path.lexists(root):
            files = _walk(root, index_dir, found) if root.is_dir() else [root]
        elif below:
            files = []
        else:
            missing.append(_shown(root))
            continue
        for path in files:
            place = _place_of(path, index_dir)
            if place not in seen:
                seen.add(place)
                source = places.get(place) or _name(path, known, index_dir)
                tags = tuple(earlier.get(place, ()) if access is None else access)
                own = rules.tags_of(_absolute(path))
                file = (known.get(source), tags if own is None else own, tags)
                _sort_in(path, source, place, file, splitting, found, failures)
        found.removed += [
            s for s in below if known[s].path not in seen and _is_gone(_file_of(known[s].path, index_dir))
        ]
    if missing:
        raise UsageError(f"No such file or folder: {', '.join(missing)}.")
    found.removed = sorted(set(found.removed))
    return found


def _sort_in(
    path: Path,
    source: str,
    place: str,
    noted: tuple[SourceRecord | None, tuple[str, ...], tuple[str, ...]],
    splitting: str,
    found: Plan,
    failures: Failures | None,
) -> None:
    """Add a file to the plan; ``noted`` is its record, its tags and those that a call set."""
    record, access, given = noted
    try:
        status = path.stat()
    except OSError as error:
        found.failed.append(Reported(source, reason_of(error)))
        if record and tuple(record.access) != access:  # its earlier chunks may be open to others
            found.removed.append(source)
        return
    now = FileStat(status.st_size, status.st_mtime_ns)
    file = FoundFile(path, source, now, place, record, access, given)
    reason = why_skipped(path.name, now.size)
    if reason:
        found.skipped.append(Reported(source, reason))
        if record:
            found.removed.append(source)
    elif record and record.is_unchanged(now, splitting) and not file.is_tagged_anew:
        found.unchanged += 1
        if record.omissions:
            found.partial.append(Reported(source, "; ".join(record.omissions)))
    elif failures and (known_failure := failures.reason(place, now)):
        found.failed.append(Reported(source, known_failure))
        if file.has_other_tags:
            found.removed.append(source)
    else:
        found.read.append(file)


def _walk(root: Path, index_dir: Path, found: Plan) -> Iterable[Path]:
    index = _absolute(index_dir)

    def failed(error: OSError) -> None:
        found.failed.append(Reported(_shown(Path(error.filename)), reason_of(error)))

    ignored = _Ignored(root)
    for folder, folders, files in os.walk(root, onerror=failed):
        here = Path(folder)
        ignored.read(here)
        folders[:] = sorted(
            name for name in folders if not _is_passed_over(here / name, index) and not ignored.holds(here / name, "/")
        )
        for name in sorted(files):
            path = here / name
            if (
                not name.startswith(".") and not name.endswith("~") and _may_be_read(path) and not ignored.holds(path)
            ):  # fmt: skip
                yield path


class _Ignored:
    """The patterns of the ``.ragignore`` files at and below a folder, written as in ``.gitignore``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._rules: dict[Path, pathspec.GitIgnoreSpec] = {}

    def read(self, folder: Path) -> None:
        """Read the patterns of a folder; they apply below it."""
        with suppress(OSError, ValueError):
            lines = (folder / IGNORE_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
            self._rules[folder] = pathspec.GitIgnoreSpec.from_lines(lines)

    def holds(self, path: Path, ending: str = "") -> bool:
        """Whether a file, or a folder (``ending`` is a slash), is ignored; the nearest patterns decide."""
        if not self._rules:
            return False
        for folder in path.parents:
            if folder in self._rules:
                found = self._rules[folder].check_file(path.relative_to(folder).as_posix() + ending).include
                if found is not None:
                    return found
            if folder == self._root:
                break
        return False


def _may_be_read(path: Path) -> bool:
    """Whether it is a regular file, or a broken link, which is reported as a failure. A pipe is neither."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def _is_passed_over(folder: Path, index: Path) -> bool:
    return (
        folder.name.startswith(".")
        or folder.name in _SKIPPED_FOLDERS
        or folder.name.endswith(".egg-info")
        or os.path.exists(folder / "pyvenv.cfg")  # noqa: PTH110 - no error without permission
        or _absolute(folder) == index
    )


def _name(path: Path, known: Mapping[str, SourceRecord], index_dir: Path) -> str:
    """Return the source of a new file: its path as it was given, unless another existing file has that source."""
    given = _shown(Path(os.path.normpath(path)))
    if given in known and not _is_gone(_file_of(known[given].path, index_dir)):
        return _shown(_absolute(path))
    return given


def _shown(path: Path) -> str:
    """Return the path as text that can be stored and printed: bytes that are not UTF-8 become U+FFFD."""
    return os.fsencode(path.as_posix()).decode("utf-8", "replace")


def _absolute(path: Path) -> Path:
    """Return the absolute path, without resolving links: a link is a source under its own name."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute() keeps ".."


def _place_of(path: Path, index_dir: Path) -> str:
    try:
        return Path(os.path.relpath(path, index_dir)).as_posix()
    except ValueError:  # another drive
        return _absolute(path).as_posix()


def _file_of(place: str, index_dir: Path) -> Path:
    return _absolute(index_dir / place)


def _is_below(file: Path, base: Path) -> bool:
    return file == base or base in file.parents


def _is_gone(file: Path) -> bool:
    """Whether the file does not exist; one that is hidden by missing permissions does exist."""
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return file.is_dir()
