"""The only place that maps redis-py's errors to those of this package.

*Away* (``HistoryUnavailableError``) means that waiting helps: the turn continues without the server. Any other error
must be fixed by a person; the message names the setting, key or right, and what to do.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator

from redis import exceptions as foreign

from rag_chain.errors import (
    HistoryAuthError,
    HistoryDataError,
    HistoryError,
    HistoryUnavailableError,
)
from rag_chain.sessions.redis.confirmation import CannotConfirmError, NotConfirmedError
from rag_chain.sessions.redis.connect import SentinelMistakeError

FOREIGN = (foreign.RedisError, foreign.RedisClusterException, OSError)
"""Exceptions that a call to the server can raise."""

_LOGIN = (foreign.AuthenticationError, foreign.AuthorizationError, foreign.AuthenticationWrongNumberOfArgsError)
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
_REFUSES_WRITES = ("READONLY", "OOM", "MISCONF", "NOREPLICAS")
_AWAY_WORDS = (*_REFUSES_WRITES, "LOADING", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "TRYAGAIN")
_REASONS = (
    ("max number of clients", "it has too many clients"),
    ("MasterNotFoundError", "no sentinel names a master"),
    ("ReadOnlyError", "it takes no writes, because it is a replica"),
    ("READONLY", "it takes no writes, because it is a replica"),
    ("OutOfMemoryError", "its memory is full"),
    ("BusyLoadingError", "it is still loading its data"),
    ("MISCONF", "it can't write to its disk"),
    ("NOREPLICAS", "it has too few replicas to take writes"),
    ("ClusterDownError", "its cluster is down"),
)
_NETWORK_SSL = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError, ssl.SSLWantReadError)
_MAY_NOT_RUN = re.compile(r"no permissions to run the '([\w|-]+)' command")


def translate(error: BaseException, address: str, key: str) -> HistoryError:
    """Return this package's error for a foreign one; chain it with ``raise ... from error``.

    Args:
        error: redis-py's or the operating system's.
        address: the server without credentials.
        key: the messages key of the session of the call.
    """
    if isinstance(error, NotConfirmedError):
        return HistoryUnavailableError(f"Redis at {address} did not confirm a write: RAG_REDIS_WAIT={error}.")
    mistake = _tls_mistake(error, address) or _mistake(error, address, key)
    if mistake is not None:
        return mistake
    if isinstance(error, _AWAY) or _has(str(error), _AWAY_WORDS):
        return HistoryUnavailableError(
            f"Redis at {address} is away ({_reason(error, secure=address.startswith('rediss'))})."
        )
    return HistoryError(f"Redis at {address} refused a call for the session under {key!r}: {str(error)[:200]}")


def refuses_writes(error: BaseException | None) -> bool:
    """Whether the server still reads: read-only, out of memory, disk failing, replicas missing."""
    return isinstance(error, foreign.ReadOnlyError | foreign.OutOfMemoryError | NotConfirmedError) or _has(
        str(error), _REFUSES_WRITES
    )


def _mistake(error: BaseException, address: str, key: str) -> HistoryError | None:
    """Return the error if waiting does not help, except for TLS."""
    text = str(error)
    causes = list(_chain(error, implicit=False))
    if isinstance(error, CannotConfirmError):
        return HistoryError(
            f"Redis at {address} can't confirm what RAG_REDIS_WAIT asks for ({text[:120]}); fsync needs Redis 7.2 or "
            "newer with appendonly yes. Set one or the other."
        )
    if isinstance(error, SentinelMistakeError):
        return HistoryAuthError(f"The sentinels at {address} answer, but {text}.")
    if (
        any(isinstance(one, foreign.NoPermissionError) for one in causes)
        or _has(text, ("NOPERM",))
        or "ACL fail" in text
    ):
        command = _MAY_NOT_RUN.search(text)
        lack = f"the command {command[1]}" if command else f"one of the keys {key!r}, 'meta:{{{key}}}' and 'index:...'"
        return HistoryAuthError(
            f"The user of Redis at {address} lacks the right to {lack}; grant it with ACL SETUSER: the keys "
            "~PREFIX* ~meta:* ~index:*, PREFIX being RAG_KEY_PREFIX, and the commands +@read +@write +@scripting "
            "+@connection +time."
        )
    if any(isinstance(one, _LOGIN) for one in causes) or _has(text, ("NOAUTH", "WRONGPASS")):
        return HistoryAuthError(f"Redis at {address} refused the login; check the user and password in REDIS_URL.")
    is_plain = address.startswith(("redis://", "rediss://", "unix://"))
    in_cluster = foreign.ClusterDownError | foreign.AskError | foreign.ClusterCrossSlotError
    if is_plain and isinstance(error, in_cluster) and not isinstance(error, foreign.MasterDownError):
        return HistoryError(f"Redis at {address} is a node of a cluster; begin REDIS_URL with redis+cluster://.")
    if isinstance(error, foreign.ClusterCrossSlotError):
        return HistoryError(f"Redis at {address} is a node of a cluster; pass a redis.RedisCluster instead.")
    if "Cluster mode is not enabled" in text or "cluster support disabled" in text:
        return HistoryError(f"Redis at {address} is not a cluster; begin REDIS_URL with redis:// instead.")
    if "DB index is out of range" in text or "invalid DB index" in text:
        return HistoryError(f"Redis at {address} has no database of that number; change the last part of REDIS_URL.")
    if "unknown command" in text:
        return HistoryError(
            f"The server at {address} does not know a command that sessions need ({text[:60]}); REDIS_URL must name a "
            "Redis or Valkey server, with redis+sentinel:// where it names sentinels."
        )
    if _has(text, ("WRONGTYPE",)):
        return HistoryDataError(
            f"The Redis key {key!r} does not hold a list of messages; rename it, or set another RAG_KEY_PREFIX."
        )
    return None


def _tls_mistake(error: BaseException, address: str) -> HistoryError | None:
    secure = address.startswith("rediss")
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return HistoryAuthError(
                f"The certificate of Redis at {address} was refused; check REDIS_URL and its options ssl_ca_certs and "
                "ssl_cert_reqs."
            )
        if isinstance(cause, ssl.SSLError) and _not_tls(cause):
            return tls_error(address, expects_tls=False)
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, _NETWORK_SSL) and cause.reason:
            return HistoryAuthError(
                f"Redis at {address} refused TLS ({cause.reason.replace('_', ' ').lower()}); check the options ssl_ in "
                "REDIS_URL, such as ssl_certfile and ssl_keyfile."
            )
        if secure and isinstance(cause, FileNotFoundError | PermissionError | IsADirectoryError):
            return HistoryAuthError(
                f"A file that an option ssl_ of REDIS_URL names can't be read ({cause.strerror}); check it and its "
                "rights."
            )
    if isinstance(error, foreign.InvalidResponse) and not secure:
        return HistoryError(
            f"The server at {address} is not a Redis server, or expects TLS; check REDIS_URL, or use rediss://."
        )
    return None


def _reason(error: BaseException, *, secure: bool) -> str:
    """Return why a server is away, without any text from the server or the library."""
    text = str(error)
    causes = list(_chain(error))
    if isinstance(error, foreign.MaxConnectionsError):
        return text[0].lower() + text[1:] if text.startswith("All ") else "all connections of the client are in use"
    if any(isinstance(one, socket.gaierror) for one in causes):
        return "its host name can't be resolved"
    if any(isinstance(one, ConnectionRefusedError) for one in causes):
        return "connection refused"
    if any(isinstance(one, FileNotFoundError) for one in causes):
        return "there is no such socket"
    if any(isinstance(one, foreign.TimeoutError | TimeoutError) for one in causes):
        return "no reply to the TLS handshake in time" if "connecting" in text and secure else "no reply in time"
    for word, reason in _REASONS:
        if word in text or word == type(error).__name__:
            return reason
    return type(error).__name__


def _has(text: str, words: tuple[str, ...]) -> bool:
    """Whether a reply starts with an error code, perhaps after the prefix of a script's error."""
    return any(text.startswith(word) or f": {word} " in text or f"-{word} " in text for word in words)


def may_be_about_tls(error: BaseException | None, address: str) -> bool:
    """Whether a server might seem away only because one side uses TLS and the other does not.

    A server that gets TLS and has none is silent; one that expects it closes the connection.
    """
    causes = list(_chain(error))
    if any(isinstance(one, ConnectionRefusedError | socket.gaierror | FileNotFoundError) for one in causes):
        return False
    is_silent = any(isinstance(one, foreign.TimeoutError | TimeoutError) for one in causes)
    return isinstance(error, _AWAY) and (address.startswith("rediss") or not is_silent)


def tls_error(address: str, *, expects_tls: bool) -> HistoryAuthError:
    """Return the error for a server that was called with TLS but has none, or vice versa."""
    if expects_tls:
        return HistoryAuthError(f"Redis at {address} expects TLS; begin REDIS_URL with rediss instead of redis.")
    return HistoryAuthError(f"Redis at {address} does not use TLS on this port; use redis:// in REDIS_URL.")


def _not_tls(error: ssl.SSLError) -> bool:
    return error.reason in {"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"}


def _chain(error: BaseException | None, *, implicit: bool = True) -> Iterator[BaseException]:
    """Yield an error and its causes; ``implicit``: also errors that were being handled when it was raised."""
    while error is not None:
        yield error
        error = error.__cause__ or (error.__context__ if implicit else None)
