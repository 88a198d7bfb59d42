"""The code that runs on the cluster's nodes, where this package must be installed."""

from __future__ import annotations

import errno
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from langchain_core.embeddings import Embeddings

from rag_chain import __version__, models
from rag_chain.errors import ConfigurationError
from rag_chain.ingestion import splitting
from rag_chain.ingestion.discovery import FoundFile
from rag_chain.ingestion.loading import Outcome, UnreadFile, read_outcome
from rag_chain.ingestion.worker import Limits
from rag_chain.retrieval.sparse import SparseEncoder, SparseVector
from rag_chain.settings import Settings
from rag_chain.workers import limit_cores

_PAUSES = (0.5, 2.0)
"""Seconds before each retry of a file whose storage failed."""

_PASSING = frozenset(
    os.strerror(code).lower()
    for code in (errno.EAGAIN, errno.EBUSY, errno.EIO, errno.ENFILE, errno.EMFILE, errno.ESTALE, errno.ETIMEDOUT)
)
"""Transient failures of shared storage."""

Version = tuple[str, int]


def version() -> Version:
    """Return the version of this package and of its splitting, which must be the same on all nodes."""
    return __version__, splitting.VERSION


def _check_version(wanted: Version) -> None:
    if version() != wanted:
        raise ConfigurationError(
            f"The Ray node {platform.node()} has rag_chain {_shown(version())}, this machine has {_shown(wanted)}: "
            "install the same version on all nodes."
        )


def _shown(known: Version) -> str:
    return f"{known[0]} (splitting {known[1]})"


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of reading a file on a node.

    Args:
        outcome: the same as of the local engine.
        node: its host name.
        is_absent: the node has no such file.
    """

    outcome: Outcome
    node: str
    is_absent: bool


def read_file(
    file: FoundFile,
    limits: Limits,
    splitting: str,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Answer:
    """Read a file and split it; retry twice if its storage fails.

    Args:
        file: with an absolute path.
        limits: of reading it.
        splitting: how chunks are made, as stored in the records.
        sleep: waits for a number of seconds.
    """
    outcome = read_outcome(file, limits, splitting)
    for pause in _PAUSES:
        if not isinstance(outcome, UnreadFile) or outcome.reason not in _PASSING:
            break
        sleep(pause)
        outcome = read_outcome(file, limits, splitting)
    is_absent = isinstance(outcome, UnreadFile) and not os.path.lexists(file.path)
    return Answer(outcome, platform.node(), is_absent)


class Reader:
    """An actor that reads files.

    An actor and not tasks, because Ray ends workers that are idle for a second, and to start one takes two.
    """

    def load(self, limits: Limits, splitting: str, wanted: Version) -> None:
        """Set what is the same for all files; see ``read_file``.

        Raises:
            ConfigurationError: this node has another version than ``wanted``, the driver's.
        """
        _check_version(wanted)
        self._limits, self._splitting = limits, splitting

    def work(self, file: FoundFile) -> Answer:
        """Read a file."""
        return read_file(file, self._limits, self._splitting)


class Embedder:
    """An actor with one core: an embedding model and, if the index has learned weights, the model of these."""

    def __init__(self) -> None:
        # Ray reports an error of a constructor only as text, so a method loads the models.
        self._model: Embeddings | None = None
        self._encoder: SparseEncoder | None = None

    def load(self, settings: Settings, embeddings: Embeddings | None, has_weights: bool, wanted: Version) -> None:
        """Load the models.

        Args:
            settings: name the models, with their keys.
            embeddings: in place of the embedding model that the settings name.
            has_weights: compute learned weights too.
            wanted: the driver's version.

        Raises:
            ConfigurationError: a key or a package is missing on this node, or it has another version.
        """
        _check_version(wanted)
        limit_cores(1)
        self._model = embeddings or models.embeddings(settings)
        self._encoder = models.sparse_encoder(settings) if has_weights else None
        if has_weights and self._encoder is None:
            raise ConfigurationError(
                f"The Ray node {platform.node()} has no local:splade, whose weights the index has: install it there."
            )

    def work(
        self, texts: Sequence[str], weighed: Sequence[str]
    ) -> tuple[npt.NDArray[np.float32], Sequence[SparseVector]]:
        """Return the vectors of ``texts``, ``float32[texts, dimension]``, and the learned weights of ``weighed``."""
        assert self._model is not None  # noqa: S101 - the pool calls load first
        vectors = (
            np.asarray(self._model.embed_documents(list(texts)), np.float32) if texts else np.empty((0, 0), np.float32)
        )
        return vectors, self._encoder.encode(weighed) if self._encoder is not None and weighed else []
