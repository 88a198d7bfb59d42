"""Watch files: each saved file is ingested at once."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rag_chain import models
from rag_chain.errors import ConfigurationError, RagChainError, UsageError
from rag_chain.ingestion.web.addresses import is_address
from rag_chain.settings import Settings

if TYPE_CHECKING:
    from rag_chain.ingestion.report import IngestReport

_POLL_MILLISECONDS = 200
_QUIET_MILLISECONDS, _LONGEST_WAIT_MILLISECONDS = 50, 400
"""Changes are processed after a pause of this length, or after the longest wait if there is no pause."""
_RULES = frozenset({".ragignore", ".ragaccess"})


def watch(
    paths: str | Path | Sequence[str | Path],
    settings: Settings | None = None,
    *,
    rebuild: bool = False,
    access: Collection[str] | None = None,
    stop: threading.Event | None = None,
) -> Iterator[IngestReport | RagChainError]:
    """Ingest files and folders, and again after each change; yield the report of each ingestion.

    Only changed files are read. If the first ingestion fails, its error is raised; if a later one fails, its error is
    yielded, and the next change tries again. A change during an ingestion is not missed.

    Args:
        paths, settings, rebuild, access: see ``rag_chain.ingestion.ingest``; ``rebuild`` is for the first ingestion.
        stop: ends the watching when it is set, within half a second; by default only an interrupt does.

    Raises:
        UsageError: no path, one that does not exist, or an address, which can't be watched.
        ConfigurationError: the package watchfiles is missing.
        RagChainError: the first ingestion failed.
    """
    from rag_chain.ingestion.pipeline import ingest
    from rag_chain.retrieval.opening import embedding_model_of

    try:
        import watchfiles
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"Watching needs the package {error.name}: pip install 'rag_chain[watch]'.") from error
    found = [paths] if isinstance(paths, str | Path) else list(paths)
    if any(is_address(path) for path in found):
        raise UsageError("Addresses can't be watched: name only files and folders.")
    settings = settings or Settings()
    if not rebuild:
        settings = settings.with_model_of(embedding_model_of(settings))
    if missing := next((path for path in found if not Path(path).exists()), None):
        raise UsageError(f"{missing} does not exist.")
    stop = stop or threading.Event()
    roots = [Path(path).absolute() for path in found]
    folders = [root for root in roots if root.is_dir()]
    # Programs save a file by replacing it, so its folder is watched.
    parents = {root.parent for root in roots if not root.is_dir() and root.parent.is_dir()}
    index = settings.index_dir.absolute()
    watchers = [
        watchfiles.watch(
            *watched,
            watch_filter=lambda _, path: _counts(Path(path), roots, index),
            debounce=_LONGEST_WAIT_MILLISECONDS,
            step=_QUIET_MILLISECONDS,
            stop_event=stop,
            rust_timeout=_POLL_MILLISECONDS,
            yield_on_timeout=True,
            recursive=is_recursive,
        )
        for watched, is_recursive in ((folders, True), (parents, False))
        if watched
    ]
    for watcher in watchers:  # the first step of each starts the recording of changes
        next(watcher, None)
    try:
        yield ingest(found, settings, access=access, rebuild=rebuild)
        embeddings = models.embeddings(settings)  # loaded once: that takes longer than reading most files
        while not stop.is_set():
            if not [changes for watcher in watchers if (changes := next(watcher, None))]:
                continue
            try:
                yield ingest(found, settings, access=access, embeddings=embeddings)
            except RagChainError as error:
                yield error
    finally:
        for watcher in watchers:
            watcher.close()


def _counts(path: Path, roots: Sequence[Path], index: Path) -> bool:
    """Whether a change of this file may change the index; hidden files and the index itself may not."""
    if path == index or index in path.parents:
        return False
    for root in roots:
        if path == root:
            return True
        if root in path.parents:
            inner = path.relative_to(root).parts
            if inner[-1] in _RULES or not any(part.startswith(".") for part in inner):
                return True
    return False
