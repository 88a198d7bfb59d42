"""What a caller gives the checkpointer, checked before anything is stored or looked up. Errors name the thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from langchain_core.runnables import RunnableConfig

from rag_chain.errors import UsageError
from rag_chain.langgraph.versions import check_version
from rag_chain.sessions.values.keys import SessionRef, check_id

NEWEST_FORMAT = 4
"""Of a checkpoint: the ``v`` that LangGraph writes."""
MAX_NAME = 10_000
"""Characters of an id, a namespace, a channel or a path within a thread."""
_COUNTERS = "counters_since_delta_snapshot"
"""Part of the metadata: the channels that LangGraph rebuilds from the writes of older checkpoints."""
_FORM = "pass {'configurable': {'thread_id': 'support-42'}} to the graph"


def configurable_of(config: RunnableConfig) -> dict[str, Any]:
    """Return the part of a config that names a checkpoint.

    Raises:
        UsageError: it is none.
    """
    parts = config.get("configurable") if isinstance(config, dict) else config
    if parts is None and isinstance(config, dict):
        return {}
    if not isinstance(parts, dict):
        raise UsageError(f"The config names no thread, because it holds a {type(parts).__name__}: {_FORM}.")
    return parts


def check_thread_id(value: object) -> str:
    """Return a thread id as text.

    Raises:
        InvalidIdError: it can't be used.
        UsageError: there is none.
    """
    if value is None:
        raise UsageError(f"The config names no thread: {_FORM}.")
    if isinstance(value, UUID) or (isinstance(value, int) and not isinstance(value, bool)):
        value = str(value)
    return check_id(value, "thread_id")


def split_thread_id(value: object) -> tuple[str | None, str]:
    """Return the user, or ``None``, and the thread of a thread id; of a user's thread it is ``user_id/thread_id``.

    Raises:
        InvalidIdError: an id can't be used.
        UsageError: there is none.
    """
    if isinstance(value, str) and "/" in value:
        user_id, _, own_id = value.partition("/")
        return check_id(user_id, "user_id"), check_id(own_id, "thread_id")
    return None, check_thread_id(value)


def check_name(value: object, what: str, ref: SessionRef) -> str:
    """Return ``value`` if it can be a part of a name within a thread.

    Args:
        value: what the caller gave.
        what: what it is, for the error, such as ``"checkpoint_id"``.
        ref: the thread.

    Raises:
        UsageError: it is no text, too long, or holds what can't be stored.
    """
    return _check_text(value, f"{what} of thread {ref}")


def check_run_id(value: object) -> str:
    """Return the id of a run as text.

    Raises:
        UsageError: it is no text, too long, or holds what can't be stored.
    """
    return _check_text(str(value) if isinstance(value, UUID) else value, "run_id")


def check_checkpoint(checkpoint: object, metadata: object, new_versions: object, ref: SessionRef) -> None:
    """Check a checkpoint that is to be stored.

    Raises:
        UsageError: it is not of LangGraph's form, or of a newer one than is known here.
    """
    if not isinstance(checkpoint, dict):
        raise UsageError(f"The checkpoint for thread {ref} must be a dict, not {type(checkpoint).__name__}.")
    for key, kind in (("id", str), ("channel_values", Mapping), ("channel_versions", Mapping)):
        if not isinstance(checkpoint.get(key), kind):
            raise UsageError(
                f"The checkpoint for thread {ref} has no {key} of LangGraph's form; make it with empty_checkpoint() or"
                " take it from get_tuple."
            )
    if not check_name(checkpoint["id"], "checkpoint_id", ref):
        raise UsageError(f"The checkpoint for thread {ref} has an empty id; make one with empty_checkpoint().")
    if not is_known_format(checkpoint.get("v")):
        raise UsageError(
            f"The checkpoint for thread {ref} has the format {str(checkpoint.get('v'))[:20]!a}, and the newest that is"
            f" known here is {NEWEST_FORMAT}; upgrade rag_chain. Nothing was stored."
        )
    for part, what in ((metadata, "metadata"), (new_versions, "new versions")):
        if not isinstance(part, Mapping):
            raise UsageError(f"The {what} of a checkpoint of thread {ref} must be a dict, not {type(part).__name__}.")
    versions: list[Any] = [checkpoint["channel_versions"], new_versions]
    for channel, version in [pair for one in versions for pair in one.items()]:
        check_version(version, check_name(channel, "channel", ref), ref)


def rebuilt_of(metadata: Mapping[str, Any], ref: SessionRef) -> tuple[str, ...]:
    """Return the channels that are rebuilt from the writes of older checkpoints.

    Raises:
        UsageError: the metadata does not name them in LangGraph's form.
    """
    counters = metadata.get(_COUNTERS) or {}
    if not isinstance(counters, Mapping):
        raise UsageError(f"The metadata of thread {ref} must hold a dict as {_COUNTERS}, not {str(counters)[:40]!a}.")
    return tuple(check_name(channel, "channel", ref) for channel in counters)


def is_known_format(version: object) -> bool:
    """Whether the ``v`` of a checkpoint is one that LangGraph reads here."""
    return isinstance(version, int) and not isinstance(version, bool) and 1 <= version <= NEWEST_FORMAT


def check_writes(writes: Sequence[tuple[str, Any]], task_id: str, task_path: str, ref: SessionRef) -> None:
    """Check pending writes that are to be stored.

    Raises:
        UsageError: they are not of LangGraph's form.
    """
    check_name(task_id, "task_id", ref)
    check_name(task_path, "task_path", ref)
    if not isinstance(writes, Sequence) or not all(isinstance(one, tuple | list) and len(one) == 2 for one in writes):
        raise UsageError(f"The writes of a task of thread {ref} must be a list of pairs: channel and value.")
    for channel, _ in writes:
        check_name(channel, "channel of a write", ref)


def check_listing(wanted: object, limit: object, before: RunnableConfig | None, ref: SessionRef | None) -> str:
    """Check what a list of checkpoints is restricted to; return the id that all are older than, or empty.

    Args:
        wanted: metadata.
        limit: how many.
        before: names a checkpoint.
        ref: the thread; ``None``: all.

    Raises:
        UsageError: one is of another type.
    """
    where = "all threads" if ref is None else f"thread {ref}"
    if wanted is not None and not isinstance(wanted, Mapping):
        raise UsageError(f"The filter for the checkpoints of {where} must be a dict, not {type(wanted).__name__}.")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool)):
        raise UsageError(f"The limit for the checkpoints of {where} must be a whole number, not {str(limit)[:20]!a}.")
    newer = None if before is None else configurable_of(before).get("checkpoint_id")
    return "" if newer is None else _check_text(newer, f"checkpoint_id of 'before' for {where}")


def _check_text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"The {what} must be a string, not {type(value).__name__}.")
    if len(value) > MAX_NAME:
        raise UsageError(
            f"The {what} is longer than {MAX_NAME:,} characters (starts with {value[:20]!a}); give it a shorter one."
        )
    if "\n" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise UsageError(f"The {what}, {value[:40]!a}, holds a line feed or half a character; rename it.")
    return value
