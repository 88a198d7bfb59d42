"""The one place that maps redis-py's errors into this package's.

*Away* (``HistoryUnavailableError``) means that the turn goes on without the server. Anything else is an error
that a person must mend, and says what.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from redis import exceptions as foreign

from rag_chain.errors import (
    HistoryAuthError,
    HistoryDataError,
    HistoryError,
    HistoryUnavailableError,
)

FOREIGN = (foreign.RedisError, foreign.RedisClusterException, OSError)
"""What a call to the server can raise."""

_AUTH = (
    foreign.AuthenticationError,
    foreign.AuthorizationError,
    foreign.AuthenticationWrongNumberOfArgsError,
    foreign.NoPermissionError,
)
_AWAY = (
    foreign.ConnectionError,
    foreign.TimeoutError,
    foreign.ReadOnlyError,
    foreign.OutOfMemoryError,
    foreign.ClusterError,
    foreign.RedisClusterException,
    foreign.TryAgainError,
    foreign.InvalidResponse,
    OSError,
)
_AUTH_WORDS = ("NOAUTH", "WRONGPASS", "NOPERM")
_REFUSES_WRITES = ("READONLY", "OOM", "MISCONF", "NOREPLICAS")
_AWAY_WORDS = (*_REFUSES_WRITES, "LOADING", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "TRYAGAIN")


def translate(error: BaseException, address: str, key: str) -> HistoryError:
    """The error of this package that a foreign one means; chain it with ``raise ... from error``.

    Args:
        error: redis-py's or the operating system's.
        address: the server without credentials.
        key: the messages key of the session that was asked for.
    """
    text = str(error)
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _chain(error)):
        return HistoryAuthError(
            f"The certificate of Redis at {address} was refused; check REDIS_URL and its ssl_ options."
        )
    if any(isinstance(cause, ssl.SSLError) and _not_tls(cause) for cause in _chain(error)):
        return HistoryAuthError(f"Redis at {address} does not speak TLS there; use redis:// in REDIS_URL.")
    if isinstance(error, _AUTH) or _has(text, _AUTH_WORDS):
        return HistoryAuthError(
            f"Redis at {address} refused the login; check the user and password in REDIS_URL and their rights."
        )
    if isinstance(error, _AWAY) or _has(text, _AWAY_WORDS):
        return HistoryUnavailableError(f"Redis at {address} is away ({type(error).__name__}).")
    if _has(text, ("WRONGTYPE",)):
        return HistoryDataError(
            f"The Redis key {key!r} holds no list of messages; rename it, or set another RAG_KEY_PREFIX."
        )
    return HistoryError(f"Redis at {address} refused a call for the session under {key!r}: {text[:200]}")


def refuses_writes(error: BaseException | None) -> bool:
    """Whether the server still reads: read-only, out of memory, disk failing, replicas missing."""
    return isinstance(error, foreign.ReadOnlyError | foreign.OutOfMemoryError) or _has(str(error), _REFUSES_WRITES)


def _has(text: str, words: tuple[str, ...]) -> bool:
    """Whether a reply starts with an error code; a script's own error may stand before it."""
    return any(text.startswith(word) or f": {word} " in text or f"-{word} " in text for word in words)


def _not_tls(error: ssl.SSLError) -> bool:
    return error.reason in {"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"}


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
