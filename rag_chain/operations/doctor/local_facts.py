"""Read the facts of this machine: the journal, its disk, the index, and whether the chat model answers."""

from __future__ import annotations

import os
import shutil
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from rag_chain.errors import DocumentIndexError, HistoryError, IndexNotFoundError, RagChainError
from rag_chain.models.providers import answering_model, embeddings
from rag_chain.retrieval.generations import read_current, verify
from rag_chain.retrieval.opening import embedding_model_of, open_place, place_of
from rag_chain.sessions.journal.journal import Journal
from rag_chain.sessions.redis.urls import RedisUrl
from rag_chain.sessions.values.turns import JournalSize, JournalStore
from rag_chain.settings import Settings


@dataclass(frozen=True, slots=True)
class JournalFacts:
    """The journal as it was read.

    Args:
        path: of its file; ``None``: there is no journal.
        size: of its contents; ``None``: it can't be read.
        stores: its contents by server.
        error: why it can't be read or written; empty: it can.
        disk_free: bytes left on its disk; ``None``: unknown.
    """

    path: Path | None
    size: JournalSize | None = None
    stores: tuple[JournalStore, ...] = ()
    error: str = ""
    disk_free: int | None = None


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """The index as it was read.

    Args:
        path: its folder, or the server and collection.
        exists: whether there is one.
        model: ``provider:model`` of its vectors.
        wanted: ``provider:model`` that the settings name.
        chunks: number of its chunks.
        age: seconds since it was last written; ``None``: unknown.
        error: why it can't be used; empty: it can.
    """

    path: Path | str
    exists: bool = True
    model: str = ""
    wanted: str = ""
    chunks: int = 0
    age: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Whether the chat model answered.

    Args:
        name: ``provider:model``.
        was_asked: whether a question was sent; a local model is only loaded.
        seconds: until the answer.
        error: why it did not answer; empty: it did.
    """

    name: str
    was_asked: bool
    seconds: float = 0.0
    error: str = ""


def read_journal(settings: Settings) -> JournalFacts:
    """Read the journal of the settings, without creating a file."""
    path = settings.journal_path
    if path is None:
        return JournalFacts(None)
    path = path.expanduser()
    url, limit = settings.redis_url.get_secret_value().strip(), int(settings.journal_max_mb * 1_000_000)
    folder = next((one for one in path.parents if one.exists()), Path("/"))
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        free = None
    target = path if path.exists() else folder
    error = "" if os.access(target, os.W_OK) else f"{target} can't be written by this user"
    journal = Journal(path, url, settings.key_prefix, limit)
    try:
        return JournalFacts(path, journal.measure(), tuple(journal.list_stores()), error, free)
    except HistoryError as failed:
        return JournalFacts(path, error=str(failed), disk_free=free)
    finally:
        journal.close()


def read_index(settings: Settings) -> IndexFacts:
    """Read how the index was built, and verify its files if it is a folder."""
    if settings.index_url:
        return _read_served_index(settings)
    path = settings.index_dir
    try:
        _, folder, manifest = read_current(path)
        verify(path, folder, manifest)
        age = time.time() - (folder / "manifest.json").stat().st_mtime
    except IndexNotFoundError:
        return IndexFacts(path, exists=False)
    except DocumentIndexError as error:
        return IndexFacts(path, error=str(error))
    except OSError as error:
        return IndexFacts(path, error=f"{path} can't be read ({error.strerror}).")
    wanted = settings.with_model_of(manifest.embedding_model).embedding_model_name
    return IndexFacts(path, True, manifest.embedding_model, wanted, manifest.chunks, age)


def _read_served_index(settings: Settings) -> IndexFacts:
    try:
        made_by = embedding_model_of(settings)
        chosen = settings.with_model_of(made_by)
        index = open_place(chosen, embeddings(chosen), None)
        return IndexFacts(place_of(settings), True, made_by, chosen.embedding_model_name, len(index))
    except IndexNotFoundError:
        return IndexFacts(place_of(settings), exists=False)
    except RagChainError as error:
        return IndexFacts("RAG_INDEX_URL", error=str(error))


def is_local_model(settings: Settings) -> bool:
    """Whether the chat model runs in this process."""
    return settings.chat_model_name.startswith("local:")


def ask_model(settings: Settings, *, ask: bool) -> ModelFacts:
    """Send one short question to the chat model; a local one, or with ``ask`` false, is only set up."""
    name, began = settings.chat_model_name, time.perf_counter()
    was_asked = ask and not is_local_model(settings)
    try:
        model = answering_model(_without_retries(settings))
        if was_asked:
            model.invoke("Answer with the word OK.")
    except RagChainError as error:
        return ModelFacts(name, was_asked, error=str(error))
    return ModelFacts(name, was_asked, time.perf_counter() - began)


async def aask_model(settings: Settings, *, ask: bool) -> ModelFacts:
    """Async version of ``ask_model``."""
    name, began = settings.chat_model_name, time.perf_counter()
    was_asked = ask and not is_local_model(settings)
    try:
        model = answering_model(_without_retries(settings))
        if was_asked:
            await model.ainvoke("Answer with the word OK.")
    except RagChainError as error:
        return ModelFacts(name, was_asked, error=str(error))
    return ModelFacts(name, was_asked, time.perf_counter() - began)


def resolve(url: RedisUrl) -> list[str]:
    """Return the IP addresses of a URL's hosts; for a unix socket this machine's; empty: unknown."""
    if not url.hosts:
        return ["127.0.0.1"]
    found = []
    for host, port in url.hosts:
        try:
            found += [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        except OSError:
            return []
    return found


def _without_retries(settings: Settings) -> Settings:
    """Return settings that call the chat model once, without a fallback, which would hide that it is unavailable."""
    return settings.model_copy(update={"model_retries": 0, "fallback_model": ""})
