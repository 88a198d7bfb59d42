"""Sessions in Redis: what each script is asked, and what its reply means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rag_chain.sessions.codec import Item
from rag_chain.sessions.failures import FOREIGN, translate
from rag_chain.sessions.flow import Call, Flow
from rag_chain.sessions.keys import SessionRef
from rag_chain.sessions.memory import Copy, Memory
from rag_chain.sessions.turns import Pending, Saved, Turn, View, now_ms


@dataclass(frozen=True, slots=True)
class Limits:
    """What every store keeps to. ``ttl`` in seconds, ``None``: no expiry; the others in messages, 0: all."""

    ttl: int | None
    window: int
    maximum: int

    @property
    def ttl_ms(self) -> int:
        return -1 if self.ttl is None else self.ttl * 1000

    @property
    def lifetime(self) -> int:
        """How long this process may hold a session, in ms."""
        return (self.ttl or 30 * 86400) * 1000


class RedisStore:
    """Flows over one server. Reads are checked against the copy in memory and bring only what is newer.

    Args:
        address: the server without credentials, for messages.
        indexed: whether the scripts may touch the user's index too; false in a cluster.
    """

    def __init__(self, address: str, memory: Memory, limits: Limits, *, indexed: bool) -> None:
        self._address = address
        self._memory = memory
        self._limits = limits
        self._indexed = indexed

    def begin(self, ref: SessionRef, pending: Pending | None, *, alone: bool = False) -> Flow[View]:
        """Read the window; with ``pending`` also note the question, unless ``alone`` and another turn runs."""
        limits = self._limits
        held = self._memory.get(ref)
        total, count, digest = held.claim(limits.window) if held is not None else (0, 0, "")
        kept = held.items[-count:] if held is not None and count else []
        turn_id, question = (pending.turn_id, pending.dump()) if pending else ("", "")
        reply = yield from self._ask(
            "begin", ref,
            (limits.window, limits.ttl_ms, total, count, digest, turn_id, question, int(alone), ref.session_id),
        )  # fmt: skip
        began, now, created, deleted, new_total, matched, raw_items, raw_pending = reply
        items = [Item(raw) for raw in reversed(raw_items)]
        if matched:
            items = (kept + items)[-limits.window :] if limits.window else []
        view = View(
            items=items,
            total=new_total,
            created=int(created) if created else None,
            now=max(now, int(deleted) + 1) if deleted else now,
            pending=_pending(raw_pending),
            began=bool(began),
        )
        self._remember(ref, view)
        return view

    def commit(self, turn: Turn, items: Sequence[Item], status: str) -> Flow[Saved]:
        """Append the turn's messages, once."""
        limits = self._limits
        outcome, total, _ = yield from self._ask(
            "commit", turn.ref,
            (turn.turn_id, status, turn.begun, limits.ttl_ms, limits.maximum, turn.ref.session_id,
             *(item.raw for item in items)),
        )  # fmt: skip
        return self._saved(turn.ref, outcome, total, items)

    def append(self, ref: SessionRef, append_id: str, items: Sequence[Item], at: int | None = None) -> Flow[Saved]:
        """Append messages that are no turn, once. ``at``: when it was asked for (ms), if not now."""
        limits = self._limits
        outcome, total, _ = yield from self._ask(
            "append", ref,
            (append_id, "" if at is None else at, limits.ttl_ms, limits.maximum, ref.session_id,
             *(item.raw for item in items)),
        )  # fmt: skip
        return self._saved(ref, outcome, total, items)

    def settle(self, ref: SessionRef, dead: Sequence[tuple[str, Item]]) -> Flow[None]:
        """Put the questions of dead turns into the list."""
        args = [part for turn_id, item in dead for part in (turn_id, item.raw)]
        yield from self._ask("settle", ref, (self._limits.maximum, self._limits.ttl_ms, *args))

    def delete(self, ref: SessionRef, *, at: int | None = None, keep_session: bool = False) -> Flow[bool]:
        """Delete the session, or only its messages; whether there was anything."""
        existed = yield from self._ask(
            "delete", ref,
            ("" if at is None else at, self._limits.lifetime, int(keep_session), ref.session_id),
        )  # fmt: skip
        self._memory.drop(ref)
        return bool(existed)

    def _ask(self, script: str, ref: SessionRef, args: tuple[str | bytes | int, ...]) -> Flow[Any]:
        keys: tuple[str, ...] = (ref.messages_key, ref.meta_key)
        if self._indexed and script != "settle":
            keys += (ref.index_key,)
        try:
            return (yield Call(script, keys, args))
        except FOREIGN as error:
            raise translate(error, self._address, ref.messages_key) from error

    def _remember(self, ref: SessionRef, view: View) -> None:
        now = now_ms()
        self._memory.put(
            Copy(
                ref, items=list(view.items), total=view.total, created=view.created or view.now,
                active=now, expires=now + self._limits.lifetime,
            )
        )  # fmt: skip

    def _saved(self, ref: SessionRef, outcome: int, total: int, items: Sequence[Item]) -> Saved:
        with self._memory.lock:
            copy = self._memory.get(ref)
            # Where another writer came between, the next read brings what is missing.
            if outcome == 1 and copy is not None and copy.total + len(items) == total:
                copy.append(items, self._limits.window)
                copy.active = now_ms()
                copy.expires = copy.active + self._limits.lifetime
        return Saved("durable", {1: "saved", 0: "repeated", -1: "deleted"}[outcome])  # type: ignore[arg-type]


def _pending(raw: list[bytes]) -> list[Pending]:
    pairs = zip(raw[::2], raw[1::2], strict=True)
    found = (Pending.load(turn_id.decode(errors="replace"), value) for turn_id, value in pairs)
    return sorted((one for one in found if one), key=lambda one: one.at)
