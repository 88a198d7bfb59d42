"""Session identities and every Redis key, in one place.

A session's messages are under langchain-community's own key, ``prefix + session_id``. This package's own data is in a
hash whose hash tag is the whole first key, so that a cluster keeps both in one slot. The keys of a user's session have
``user_id/session_id`` instead of ``session_id``. Neither id may contain a slash, so no two pairs share a key; neither
may contain a brace, so no id can move a key to another slot.

=========================================  ======  ======================================================
``message_store:s1``                       list    messages, newest first, JSON as langchain-community's
``meta:{message_store:s1}``                hash    times, counters, pending questions
``meta:{message_store:s1}:deleted``        string  the mark of the last deletion, which survives the session
``meta:{message_store:s1}:erased``         zset    ids of deleted turns, by time; kept for 30 days
``meta:{message_store:s1}:wake``           list    wakes the turns that wait for the end of another one
``meta:{message_store:s1}:events:t1``      stream  events of a turn that is served over HTTP; short-lived
``meta:{message_store:s1}:events``         set     the turns that have such a stream
``meta:{message_store:s1}:copy``           list    messages of a session that is being created; short-lived
``meta:{message_store:s1}:checkpoints``    hash    LangGraph's checkpoints of the thread ``s1``, see checkpoints.lua
``meta:{message_store:s1}:order``          zset    their order, by namespace and by id
``index:{message_store:}``                 zset    the user's session ids by last activity (milliseconds)
``index:{message_store:}:run:r1``          set     the threads in which run ``r1`` has made checkpoints
``index:{message_store:u1/}:spent:20784``  string  millionths of a dollar that ``u1`` spent on a day; kept for 2 days
``index:{message_store:u1/}:erased``       string  when all sessions of user ``u1`` were erased; kept for 30 days
=========================================  ======  ======================================================
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from rag_chain.errors import ConfigurationError, InvalidIdError

MAX_ID_BYTES = 256
_FORBIDDEN = re.compile(r"[\s/{}]")
_PLAIN = re.compile(r"[A-Za-z0-9_.:@+=-]{1,256}")


def check_id(value: object, what: str) -> str:
    """Return ``value`` if it is a valid id of a session, user or turn.

    Args:
        value: the caller's id.
        what: name of the id for the error, such as ``"session_id"``.

    Raises:
        InvalidIdError: it is not a text, empty, longer than 256 bytes, or has characters that are not allowed.
    """
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    if not isinstance(value, str):
        raise InvalidIdError(f"{what} must be a string, not {type(value).__name__}.")
    if not value:
        raise InvalidIdError(f"{what} is empty; choose an id such as 'support-42'.")
    # Counted by characters first, so that a huge id is not encoded; isprintable() is false for surrogates.
    if len(value) > MAX_ID_BYTES or (value.isprintable() and len(value.encode()) > MAX_ID_BYTES):
        raise InvalidIdError(f"{what} is longer than {MAX_ID_BYTES} bytes (starts with {value[:20]!a}).")
    if not value.isprintable() or _FORBIDDEN.search(value):
        raise InvalidIdError(
            f"{what} {value[:40]!a} holds characters that are not allowed: "
            "use printable ones without spaces, '/', '{' and '}'."
        )
    return value


def is_id(value: str) -> bool:
    """Whether ``value`` is a valid id."""
    try:
        return bool(check_id(value, "session_id"))
    except InvalidIdError:
        return False


def check_prefix(value: str) -> str:
    """Return ``value`` if it is a valid prefix of keys.

    Raises:
        ConfigurationError: it has characters with which two sessions could share a key, or one be split over slots.
    """
    if not value or not value.isprintable() or _FORBIDDEN.search(value):
        raise ConfigurationError(
            f"RAG_KEY_PREFIX: {value!a} must be printable characters without spaces, '/', '{{' and '}}'."
        )
    return value


def make_turn_id() -> str:
    """Return a new unique id."""
    return os.urandom(16).hex()


class SessionRef(NamedTuple):
    """One session under one prefix, with the keys that it has in Redis. Make it with ``make_ref``."""

    prefix: str
    session_id: str
    user_id: str | None
    messages_key: str
    """The list of messages."""
    meta_key: str
    """The hash of the session, in the same slot."""
    index_key: str
    """The index of the sessions of this user."""
    deletion_key: str
    """The mark of the last deletion, in the same slot."""
    wake_key: str
    """The list on which turns wait for the end of another one, in the same slot."""
    erased_key: str
    """The ids of deleted turns, in the same slot."""

    def __str__(self) -> str:
        return repr(self.session_id) + (f" of user {self.user_id!r}" if self.user_id else "")


def make_ref(prefix: str, session_id: object, user_id: object = None) -> SessionRef:
    """Check the ids of a session and return its identity.

    Raises:
        InvalidIdError: an id can't be used.
    """
    return make_known_ref(
        prefix, check_id(session_id, "session_id"), None if user_id is None else check_id(user_id, "user_id")
    )


def make_events_key(ref: SessionRef, turn_id: str) -> str:
    """Return the key of a turn's events, in the slot of its session."""
    return f"{ref.meta_key}:events:{turn_id}"


def make_run_key(prefix: str, run_id: str) -> str:
    """Return the key of the threads in which a run has made checkpoints."""
    return f"{make_index_key(prefix, None)}:run:{run_id}"


def make_rate_key(prefix: str, caller: str) -> str:
    """Return the key of the number of requests of a caller in this period."""
    return f"{make_index_key(prefix, None)}:rate:{caller}"


def make_runs_ref(prefix: str) -> SessionRef:
    """Return the identity under which removals of runs wait for the server. No session can have that name."""
    return make_known_ref(prefix, "{runs}", None)


def make_user_ref(prefix: str, user_id: str) -> SessionRef:
    """Return the identity under which the erasure of a user waits for the server. No session can have that name."""
    return make_known_ref(prefix, "{user}", user_id)


def make_erased_key(ref: SessionRef) -> str:
    """Return the key of the last time at which all sessions of the user of ``ref`` were erased."""
    return f"{ref.index_key}:erased"


def make_user_pattern(prefix: str, user_id: str) -> str:
    """Return a glob pattern that matches all keys of a user's sessions, and some others."""
    owned = re.sub(r"([*?\[\]^\\-])", r"\\\1", make_owner_prefix(prefix, user_id))
    return f"*{owned}*"


def find_session_id(prefix: str, user_id: str, key: str) -> str | None:
    """Return the session that a key of a user belongs to; ``None``: none, or it only marks a deletion."""
    owned = make_owner_prefix(prefix, user_id)
    meta = f"meta:{{{owned}"
    if key.startswith(owned):
        session_id = key.removeprefix(owned)
    elif key.startswith(meta):
        session_id, _, rest = key.removeprefix(meta).partition("}")
        if rest == ":deleted":
            return None
    else:
        return None
    return session_id if is_id(session_id) else None


def make_known_ref(prefix: str, session_id: str, user_id: str | None) -> SessionRef:
    """Return the identity of a session whose ids were checked before."""
    owned = make_owner_prefix(prefix, user_id)
    key = owned + session_id
    meta = f"meta:{{{key}}}"
    index = f"index:{{{owned}}}"
    return SessionRef(
        prefix, session_id, user_id, key, meta, index, f"{meta}:deleted", f"{meta}:wake", f"{meta}:erased"
    )


def make_owner_prefix(prefix: str, user_id: str | None) -> str:
    """Return the prefix of the message keys of a user's sessions."""
    return f"{prefix}{user_id}/" if user_id else prefix


def make_index_key(prefix: str, user_id: str | None) -> str:
    """Return the key of the index of a user's sessions; ``None``: of the sessions without a user."""
    return f"index:{{{make_owner_prefix(prefix, user_id)}}}"
