"""The wire format of the scripts in ``lua/``: their arguments and replies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rag_chain.errors import HistoryDataError
from rag_chain.sessions.values.codec import Item
from rag_chain.sessions.values.flow import Args
from rag_chain.sessions.values.limits import Limits
from rag_chain.sessions.values.spending import Spent
from rag_chain.sessions.values.turns import Outcome, Pending, SessionState, SessionWindow, Summary
from rag_chain.sessions.values.window_cache import CachedWindow

_OUTCOMES: dict[int, Outcome] = {1: "saved", 0: "repeated", -1: "deleted", -2: "replaced"}


@dataclass(frozen=True, slots=True)
class Claim:
    """A reader's cached window, for the server to check. ``whole``: every message is checked."""

    cached: CachedWindow | None
    whole: bool


def pack_begin(limits: Limits, claim: Claim, pending: Pending | None, member: str, *, alone: bool, ttl_ms: int) -> Args:
    """Return the arguments of ``begin.lua``."""
    total, count, digest = claim.cached.make_claim(whole=claim.whole) if claim.cached is not None else (0, 0, "")
    turn_id, question = (pending.turn_id, pending.dump()) if pending else ("", b"")
    numbers = f"{limits.window} {ttl_ms} {total} {count} {int(claim.whole)} {int(alone)} {limits.listed_ms}"
    args: Args = (numbers, digest, turn_id, question, member)
    if limits.has_budget and pending is not None:
        return (*args, "summary" if limits.summaries else "", f"{limits.max_tokens} {limits.max_micros}")
    return (*args, "summary") if limits.summaries else args


def parse_spent(reply: Any) -> Spent | None:
    """Return the spending in the reply of ``begin.lua``; ``None``: it has none."""
    numbers = (reply if isinstance(reply, bytes) else reply[0]).split()
    return Spent(*map(int, numbers[9:11])) if len(numbers) > 9 else None


def parse_window(reply: Any, window: int, held: CachedWindow | None) -> tuple[SessionWindow, bool]:
    """Parse the reply of ``begin.lua``: the window, and whether the reader's cached window is valid."""
    line, raw_items, raw_pending, *summary = (reply, [], []) if isinstance(reply, bytes) else reply
    began, now, created, deletion, lost, total, matched, life, dropped = map(int, line.split()[:9])
    items = [Item(raw) for raw in reversed(raw_items)]
    if matched and held is not None:
        items = (held.items + items)[-window:]
    found = SessionWindow(
        items=items,
        total=total,
        created=created or None,
        now=now,
        deletion=deletion,
        life=life,
        trimmed=max(0, dropped - lost),
        pending=_parse_pending(raw_pending) if raw_pending else [],
        began=bool(began),
        knowledge="lost" if lost else "whole",
        summary=_parse_summary(summary[0]) if summary else None,
    )
    return found, bool(matched)


def parse_state(reply: Any) -> SessionState:
    """Parse the reply of ``inspect.lua``.

    Raises:
        HistoryDataError: another program has changed the hash of the session.
    """
    try:
        return _parse_state(reply)
    except ValueError as error:
        raise HistoryDataError(
            "The hash of a session holds values that rag_chain did not write; delete the session."
        ) from error


def _parse_state(reply: Any) -> SessionState:
    (
        created,
        active,
        deletion,
        lost,
        data,
        length,
        dropped,
        ttl,
        listed,
        under_way,
        raw,
        life,
        restored,
        taken_back,
        erased,
        checkpoints,
    ) = reply
    return SessionState(
        exists=bool(created) or length > 0,
        created=int(created) if created else None,
        active=int(active) if active else None,
        ttl_ms=ttl if ttl >= 0 else None,
        length=length,
        dropped=dropped,
        lost=int(lost or 0),
        under_way=under_way,
        listed=bool(listed),
        deletion=int(deletion or 0),
        life=int(life or 0),
        restored=int(restored or 0),
        taken_back=taken_back,
        erased=[one.decode(errors="replace") for one in erased],
        data=(data or b"").decode(errors="replace"),
        checkpoints=checkpoints,
        items=[Item(one) for one in reversed(raw)],
    )


def parse_outcome(reply: bytes) -> tuple[Outcome, int, int]:
    """Parse the reply of ``commit.lua`` and ``append.lua``: outcome, messages ever in the list, life."""
    outcome, total, life = map(int, reply.split())
    return _OUTCOMES[outcome], total, life


def parse_page(reply: Sequence[bytes]) -> list[tuple[str, int]]:
    """Parse the reply of ``list.lua``: session ids and when they were last active (ms)."""
    pairs = zip(reply[::2], reply[1::2], strict=True)
    return [(session.decode(), int(float(active))) for session, active in pairs]


def _parse_summary(raw: bytes) -> Summary:
    covers, _, text = raw.decode(errors="replace").partition(" ")
    return Summary(text, int(covers))


def _parse_pending(raw: Sequence[bytes]) -> list[Pending]:
    pairs: Iterable[tuple[bytes, bytes]] = zip(raw[::2], raw[1::2], strict=True)
    found = (Pending.load(turn_id.decode(errors="replace"), value) for turn_id, value in pairs)
    return sorted((one for one in found if one), key=lambda one: one.begun)
