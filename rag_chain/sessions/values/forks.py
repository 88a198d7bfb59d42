"""Renew state after a fork that must not be shared with the parent: held locks, sockets, event loops."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """An object with state that is not valid in a forked process."""

    def after_fork(self) -> None:
        """Replace that state; called in the child, which then has one thread."""


_alive: WeakSet[Forkable] = WeakSet()


def renew_after_fork(owner: Forkable) -> None:
    """Call ``owner.after_fork()`` in every process that is forked from this one while ``owner`` exists."""
    _alive.add(owner)


def _renew_all() -> None:
    for owner in list(_alive):
        owner.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
