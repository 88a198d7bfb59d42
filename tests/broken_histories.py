"""Histories over Redis that are broken on purpose, each session in a way of its own, for the kit to find out.

``s0`` drops every 5th turn. ``s1`` stores every 5th turn twice. ``s2`` keeps every 5th turn back until the next one is
stored, so that the two are swapped. ``s3`` returns before it stores. The others keep all.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import BaseMessage

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from langchain_community.chat_message_histories import RedisChatMessageHistory

EVERY = 5
LATE_SECONDS = 0.5


class BrokenHistory(RedisChatMessageHistory):
    """See the module."""

    held: list[BaseMessage] = []  # noqa: RUF012 - of the process, as are the sessions of the test

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        store = super().add_messages
        chosen = int(self.redis_client.incr(f"turns:{self.session_id}")) % EVERY == 0
        if self.session_id == "s0" and chosen:
            return
        if self.session_id == "s3":
            threading.Timer(LATE_SECONDS, store, [messages]).start()
            return
        if self.session_id == "s2" and chosen:
            self.held[:] = messages
            return
        store(messages)
        if self.session_id == "s1" and chosen:
            store(messages)
        if self.session_id == "s2" and self.held:
            store(list(self.held))
            self.held.clear()


def open_history(url: str) -> Callable[[str], Any]:
    """A function from a session's id to its broken history."""
    return lambda session_id: BrokenHistory(session_id, url=url)
