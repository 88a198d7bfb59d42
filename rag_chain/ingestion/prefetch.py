"""Produce items in a thread ahead of their consumer, within a memory bound."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_JOIN_SECONDS = 5.0


class Prefetch(Generic[T]):
    """Iterate over ``items`` in a thread, ahead of the consumer of this iterator. A context manager.

    Args:
        items: an exception in it ends the iteration, and is raised to the consumer.
        weight: returns the weight of one item.
        limit: total weight of the items that wait for the consumer; a single item may weigh more.
    """

    def __init__(self, items: Iterable[T], weight: Callable[[T], int], limit: int) -> None:
        self._items, self._weight, self._limit = items, weight, limit
        self._ready: deque[T] = deque()
        self._waiting = 0
        self._ended = self._stopped = False
        self._error: Exception | None = None
        self._changed = threading.Condition()
        # A daemon: a parser that hangs must not keep an interrupted program alive.
        self._thread = threading.Thread(target=self._run, name="rag_chain-load", daemon=True)

    def __enter__(self) -> Prefetch[T]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(_JOIN_SECONDS)

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._ended)
                if not self._ready:
                    if self._error is not None:
                        raise self._error
                    return
                item = self._ready.popleft()
                self._waiting -= self._weight(item)
                self._changed.notify_all()
            yield item

    def _run(self) -> None:
        try:
            for item in self._items:
                with self._changed:
                    weight = self._weight(item)
                    self._changed.wait_for(
                        lambda: self._stopped or not self._ready or self._waiting + weight <= self._limit  # noqa: B023
                    )
                    if self._stopped:
                        return
                    self._ready.append(item)
                    self._waiting += weight
                    self._changed.notify_all()
        except Exception as error:  # noqa: BLE001 - it is raised to the consumer
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
