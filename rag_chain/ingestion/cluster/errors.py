"""Map Ray's errors to this package's."""

from __future__ import annotations

import re
from collections.abc import Callable

from ray.exceptions import RayActorError, RayTaskError

from rag_chain.errors import ClusterUnavailableError, RagChainError
from rag_chain.ingestion.cluster.connection import place

_MISSING = re.compile(r"No module named '([\w.]+)'")


def to_error(error: RayTaskError, otherwise: Callable[[BaseException], RagChainError]) -> RagChainError:
    """Return this package's error for an error that was raised on a worker.

    Args:
        error: as Ray raises it.
        otherwise: maps a foreign error.
    """
    cause = getattr(error, "cause", None)
    if isinstance(cause, RagChainError):
        return cause
    return missing_package(error) or otherwise(cause or error)


def missing_package(error: RayTaskError | RayActorError) -> ClusterUnavailableError | None:
    """Return the error for a package that a worker lacks; None: there is another cause.

    If a worker can't import a task or an actor, Ray reports the cause only as text.
    """
    found = _MISSING.search(str(error))
    return found and ClusterUnavailableError(
        f"A worker of {place()} has no package {found[1].partition('.')[0]}: install rag_chain on all nodes, with "
        "the same extras as here."
    )
