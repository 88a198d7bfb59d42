"""Cache of computed vectors on the disk, until the index holds them.

LangChain's ``CacheBackedEmbeddings`` writes a JSON file for each vector (5,000 of 384 components: 2.1 s and 40 MB) and
does not report its progress. This cache is one SQLite file of floats, committed batch by batch: an ingestion that is
stopped loses at most one batch.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from langchain_core.embeddings import Embeddings

from rag_chain.errors import ModelError, RagChainError

T = TypeVar("T")
Vector = npt.NDArray[np.float32]

logger = logging.getLogger(__name__)

BATCH = 128
"""Texts per call of the model and per commit."""

_VARIABLES = 500
"""Bound variables per query; SQLite's lowest default limit is 999."""


class VectorCache(Embeddings):
    """Embeddings with a cache.

    Args:
        make: returns the model; called at the first use.
        folder: for the file; removed by ``clear``.
        model, server: name and server of the model. Each pair has a file of its own: two servers may use one name for
            two models.
    """

    def __init__(self, make: Callable[[], Embeddings], folder: Path, model: str, server: str = "") -> None:
        self._make, self._folder, self._name = make, folder, model
        self._file = folder / f"vectors-{hashlib.sha256(f'{model} {server}'.encode()).hexdigest()[:16]}.sqlite3"
        self._connection: sqlite3.Connection | None = None
        self._stored_dimension = 0
        self.on_batch: Callable[[float], None] = lambda share: None
        """Called with the share of ``embed_documents``'s texts that are done, 0 to 1."""
        self.embedded = 0
        """Texts that the model embedded."""
        self.seconds = 0.0
        """Time that the model took, in seconds."""

    @cached_property
    def model(self) -> Embeddings:
        """The wrapped model."""
        return self._make()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector per text, from the cache or the model; texts of similar length share a batch.

        Raises:
            ModelError: the model failed; what it computed before is kept.
        """
        keys = _keys(texts)
        vectors = self._read(keys)
        new = sorted(keys.keys() - vectors.keys(), key=lambda text: (len(text), text))
        for batch in _batches(new, BATCH):
            self.on_batch(len(vectors) / len(keys))
            computed = self._compute(batch)
            self._write({keys[text]: vector for text, vector in computed.items()})
            vectors |= computed
        # The model changed its dimension under the same name: only its new vectors are valid.
        dimension = len(vectors[new[-1]]) if new else 0
        stale = [text for text, vector in vectors.items() if new and len(vector) != dimension]
        for batch in _batches(stale, BATCH):
            vectors |= self._compute(batch)
        self.on_batch(1.0)
        return [vectors[text].tolist() for text in texts]

    def missing(self, texts: Collection[str]) -> list[str]:
        """Return the texts without a vector in the file, each once."""
        keys = _keys(texts)
        known = self._read(keys)
        return [text for text in keys if text not in known]

    def store(self, texts: Sequence[str], vectors: npt.NDArray[np.float32]) -> None:
        """Store vectors that another process computed, ``float32[texts, dimension]``.

        Stored vectors of another dimension are deleted: they are from another model of the same name.
        """
        if vectors.shape[1] != self._stored_dimension:
            with self._opened() as connection:
                connection.execute("DELETE FROM vectors WHERE length(vector) != ?", (vectors[0].nbytes,))
            self._stored_dimension = vectors.shape[1]
        self._write(dict(zip(_keys(texts).values(), vectors, strict=True)))
        self.embedded += len(texts)

    def embed_query(self, text: str) -> list[float]:
        """Return the model's vector, without the cache."""
        return self.model.embed_query(text)

    def close(self) -> None:
        """Close the file; it stays for the next run."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def clear(self) -> None:
        """Remove the folder: the index holds the vectors now."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _compute(self, batch: list[str]) -> dict[str, Vector]:
        start = time.perf_counter()
        try:
            vectors = self.model.embed_documents(batch)
        except RagChainError:
            raise
        except Exception as error:  # each provider has a tree of its own
            raise self.failure(error) from error
        self.seconds += time.perf_counter() - start
        self.embedded += len(batch)
        return {text: np.asarray(vector, np.float32) for text, vector in zip(batch, vectors, strict=True)}

    def failure(self, error: BaseException) -> ModelError:
        """Return the error to raise after the model raised ``error``."""
        return ModelError(
            f"The embedding model {self._name} failed ({type(error).__name__}): fix the cause and ingest again, "
            "which resumes from here."
        )

    def _read(self, keys: dict[str, bytes]) -> dict[str, Vector]:
        found: dict[bytes, Vector] = {}
        for batch in _batches(list(keys.values()), _VARIABLES):
            marks = ",".join("?" * len(batch))
            query = f"SELECT key, vector FROM vectors WHERE key IN ({marks})"  # noqa: S608 - question marks alone
            found |= {key: np.frombuffer(vector, np.float32) for key, vector in self._opened().execute(query, batch)}
        return {text: found[key] for text, key in keys.items() if key in found}

    def _write(self, vectors: dict[bytes, Vector]) -> None:
        connection = self._opened()
        with connection:
            connection.executemany(
                "INSERT OR REPLACE INTO vectors VALUES (?, ?)", [(k, v.tobytes()) for k, v in vectors.items()]
            )

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            try:
                self._connection = self._open()
            except sqlite3.DatabaseError:  # damaged, for example by a power cut; a cache may be lost
                logger.warning("%s is damaged and is created again.", self._file)
                shutil.rmtree(self._folder, ignore_errors=True)
                self._connection = self._open()
        return self._connection

    def _open(self) -> sqlite3.Connection:
        self._folder.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._file)
        try:
            # Each commit survives a crash of the process, without waiting for the disk.
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID")
            if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("damaged")
        except sqlite3.DatabaseError:
            connection.close()
            raise
        return connection


def _keys(texts: Collection[str]) -> dict[str, bytes]:
    """Return text -> key in the file, each text once."""
    return {text: hashlib.sha256(text.encode()).digest()[:16] for text in texts}


def _batches(items: Sequence[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
