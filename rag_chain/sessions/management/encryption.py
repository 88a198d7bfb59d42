"""Encrypt stored sessions, or encrypt them again with the first of several keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rag_chain.errors import DecryptionError, HistoryDataError
from rag_chain.sessions.engine.resealing import Resealed, Resealer
from rag_chain.sessions.sessions import Sessions
from rag_chain.sessions.values.flow import Flow
from rag_chain.sessions.values.keys import SessionRef

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class EncryptionReport:
    """The result of encrypting sessions.

    Args:
        sessions: number of sessions read, in Redis and in this machine's journal.
        messages: number of their messages.
        encrypted: messages that were encrypted now, or would be.
        changed: messages that others changed meanwhile; a repeated run encrypts them.
        failed: sessions that could not be read, and why. They were not changed.
    """

    sessions: int = 0
    messages: int = 0
    encrypted: int = 0
    changed: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    dry_run: bool = False


def encrypt_sessions(
    sessions: Sessions, *, dry_run: bool = False, on_progress: Progress | None = None
) -> EncryptionReport:
    """Encrypt all messages and summaries with the first key, those of this machine's journal too.

    Sessions can be used meanwhile. LangGraph's checkpoints stay as they are.

    Args:
        sessions: opened with the keys.
        dry_run: only count.
        on_progress: called after each session with the number of sessions done, and their total.

    Raises:
        HistoryUnavailableError: Redis is away.
        UsageError: no key is configured.
    """
    return sessions.run(_encrypt(sessions, dry_run, on_progress))


async def aencrypt_sessions(
    sessions: Sessions, *, dry_run: bool = False, on_progress: Progress | None = None
) -> EncryptionReport:
    """Async version of ``encrypt_sessions``."""
    return await sessions.arun(_encrypt(sessions, dry_run, on_progress))


def _encrypt(sessions: Sessions, dry_run: bool, on_progress: Progress | None) -> Flow[EncryptionReport]:
    resealer = Resealer(sessions.engine, sessions.prefix)
    work: list[tuple[SessionRef, Callable[..., Flow[Resealed]]]] = []
    if not sessions.engine.alone:
        work += [(ref, resealer.reseal) for ref in (yield from resealer.list_sessions())]
    work += [(ref, resealer.reseal_journal) for ref in (yield from resealer.list_waiting())]
    found: list[Resealed] = []
    failed: dict[str, str] = {}
    for number, (ref, reseal) in enumerate(work, 1):
        try:
            found.append((yield from reseal(ref, dry_run=dry_run)))
        except (DecryptionError, HistoryDataError) as error:
            failed[str(ref)] = str(error)
        if on_progress is not None:
            on_progress(number, len(work))
    return EncryptionReport(
        sessions=len({ref.messages_key for ref, _ in work}),
        messages=sum(one.messages for one in found),
        encrypted=sum(one.encrypted for one in found),
        changed=sum(one.changed for one in found),
        failed=failed,
        dry_run=dry_run,
    )
