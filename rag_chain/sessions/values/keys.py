"""Session identities and every Redis key, in one place.

A session's messages live under langchain-community's own key, ``prefix + session_id``; what this package adds
lives beside it in a hash whose hash tag is the whole first key, so that a cluster keeps both in one slot.
A user's session has ``user_id/session_id`` where the anonymous one has ``session_id``. Neither id may hold a
slash, so no two pairs share a key; neither may hold a brace, so no id can move a key to another slot.

=========================================  ======  ======================================================
``message_store:s1``                       list    messages, newest first, JSON as langchain-community's
``meta:{message_store:s1}``                hash    times, counters, pending questions
``meta:{message_store:s1}:deleted``        string  the mark of the last deletion, which outlives the session
``meta:{message_store:s1}:erased``         zset    ids of turns that were taken back, by when; kept for 30 days
``meta:{message_store:s1}:wake``           list    wakes the turns that wait for another one to end
``meta:{message_store:s1}:events:t1``      stream  events of a turn that is served over HTTP; short-lived
``meta:{message_store:s1}:events``         set     the turns that have such a stream
``meta:{message_store:s1}:copy``           list    messages of a session that is being made; short-lived
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
    """``value`` if it can name a session, user or turn.

    Args:
        value: what the caller gave as an id.
        what: what the id is called in the error, such as ``"session_id"``.

    Raises:
        InvalidIdError: it is no text, empty, longer than 256 bytes, or holds characters that are not allowed.
    """
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    if not isinstance(value, str):
        raise InvalidIdError(f"{what} must be a string, not {type(value).__name__}.")
    if not value:
        raise InvalidIdError(f"{what} is empty; give each one an id such as 'support-42'.")
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
    """Whether ``value`` can name a session."""
    try:
        return bool(check_id(value, "session_id"))
    except InvalidIdError:
        return False


def check_prefix(value: str) -> str:
    """``value`` if it can prefix keys.

    Raises:
        ConfigurationError: it holds characters that would let two sessions share a key or split a slot.
    """
    if not value or not value.isprintable() or _FORBIDDEN.search(value):
        raise ConfigurationError(
            f"RAG_KEY_PREFIX: {value!a} must be printable characters without spaces, '/', '{{' and '}}'."
        )
    return value


def make_turn_id() -> str:
    """An id that no other turn has."""
    return os.urandom(16).hex()


class SessionRef(NamedTuple):
    """One session under one prefix, with the keys that it has in Redis. Make it with ``make_ref``."""

    prefix: str
    session_id: str
    user_id: str | None
    messages_key: str
    """The list of messages."""
    meta_key: str
    """The hash beside it, in the same slot."""
    index_key: str
    """The index of the sessions of this user."""
    deletion_key: str
    """The mark of the last deletion, in the same slot."""
    wake_key: str
    """What turns wait on that may not run at once, in the same slot."""
    erased_key: str
    """The ids of turns that were taken back, in the same slot."""

    def __str__(self) -> str:
        return repr(self.session_id) + (f" of user {self.user_id!r}" if self.user_id else "")


def make_ref(prefix: str, session_id: object, user_id: object = None) -> SessionRef:
    """The checked identity of a session.

    Raises:
        InvalidIdError: an id can't be used.
    """
    return make_known_ref(
        prefix, check_id(session_id, "session_id"), None if user_id is None else check_id(user_id, "user_id")
    )


def make_events_key(ref: SessionRef, turn_id: str) -> str:
    """The events of a turn, in the slot of its session."""
    return f"{ref.meta_key}:events:{turn_id}"


def make_run_key(prefix: str, run_id: str) -> str:
    """The threads in which a run has made checkpoints."""
    return f"{make_index_key(prefix, None)}:run:{run_id}"


def make_rate_key(prefix: str, caller: str) -> str:
    """The number of requests of a caller in this period."""
    return f"{make_index_key(prefix, None)}:rate:{caller}"


def make_runs_ref(prefix: str) -> SessionRef:
    """What removals of runs wait under for the server. No session can have that name."""
    return make_known_ref(prefix, "{runs}", None)


def make_user_ref(prefix: str, user_id: str) -> SessionRef:
    """What the erasure of a user waits under for the server. No session can have that name."""
    return make_known_ref(prefix, "{user}", user_id)


def make_erased_key(ref: SessionRef) -> str:
    """The mark of the last time when all sessions of the user of ``ref`` were erased."""
    return f"{ref.index_key}:erased"


def make_user_pattern(prefix: str, user_id: str) -> str:
    """A glob pattern of all keys of a user's sessions, the lists and what lies beside them, and of some others."""
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
    """The identity of a session whose ids were checked before."""
    owned = make_owner_prefix(prefix, user_id)
    key = owned + session_id
    meta = f"meta:{{{key}}}"
    index = f"index:{{{owned}}}"
    return SessionRef(
        prefix, session_id, user_id, key, meta, index, f"{meta}:deleted", f"{meta}:wake", f"{meta}:erased"
    )


def make_owner_prefix(prefix: str, user_id: str | None) -> str:
    """What the message keys of a user's sessions start with."""
    return f"{prefix}{user_id}/" if user_id else prefix


def make_index_key(prefix: str, user_id: str | None) -> str:
    """The index of a user's sessions; ``None``: of the sessions without a user."""
    return f"index:{{{make_owner_prefix(prefix, user_id)}}}"
