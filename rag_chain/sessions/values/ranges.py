"""Lists of numbers as ranges: ``0-199,203`` is 0 to 199 and 203.

A number from ``NEW`` on stands for one that is yet to be given, and is written ``+0``, ``+1``, ...

A list of a thread's items (messages) is stored as ``=0-199,203;5f3c2a10``: the numbers of its items, and a checksum of
what these hold, which stays where the items get other numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Ranges = tuple[tuple[int, int], ...]
"""First and last number of each range, in the order of the list."""
NEW = 1 << 52


def parse_ranges(text: str) -> Ranges:
    """Return the ranges that a text names.

    Raises:
        ValueError: it is none.
    """
    found = []
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        found.append((_parse(first), _parse(last or first)))
    return tuple(found)


def _parse(text: str) -> int:
    return int(text[1:]) + NEW if text.startswith("+") else int(text)


def dump_ranges(ranges: Iterable[tuple[int, int]]) -> str:
    """Return ranges as text."""
    return ",".join(_dump(first) if first == last else f"{_dump(first)}-{_dump(last)}" for first, last in ranges)


def _dump(number: int) -> str:
    return str(number) if number < NEW else f"+{number - NEW}"


def resolve(ranges: Ranges, first: int) -> Ranges:
    """Return ranges with the numbers that were given to new ones, from ``first`` on."""
    moved = [(one, last) if one < NEW else (one - NEW + first, last - NEW + first) for one, last in ranges]
    return join_ranges(moved)


def join_ranges(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return ranges that list the same numbers, those joined that follow on each other."""
    joined: list[tuple[int, int]] = []
    for first, last in ranges:
        if joined and joined[-1][1] + 1 == first:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return tuple(joined)


def unite(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return the numbers of ranges, each once, in ascending order."""
    united: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if united and first <= united[-1][1] + 1:
            united[-1] = (united[-1][0], max(last, united[-1][1]))
        else:
            united.append((first, last))
    return tuple(united)


def iterate(ranges: Ranges) -> Iterator[int]:
    """The numbers of ranges, in the order of the list."""
    for first, last in ranges:
        yield from range(first, last + 1)


def is_list(value: bytes) -> bool:
    """Whether a stored value is a list of items."""
    return value.startswith(b"=")


def parse_list(value: bytes) -> tuple[Ranges, bytes]:
    """Return the numbers of a list's items, and the checksum.

    Raises:
        ValueError: it is no list.
    """
    numbers, mark, check = value[1:].partition(b";")
    if not is_list(value) or not mark:
        raise ValueError("no list of items")
    return parse_ranges(numbers.decode()), check


def dump_list(ranges: Iterable[tuple[int, int]], check: bytes) -> bytes:
    """Return a list of items as it is stored."""
    return b"=%b;%b" % (dump_ranges(ranges).encode(), check)
