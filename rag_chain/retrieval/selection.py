"""Which chunks a search may find: by metadata, and by access tags. Pure: no index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from rag_chain.access import ACCESS, read_tags, tags_of
from rag_chain.errors import UsageError

Scalar = str | int | float | bool | None
Condition = tuple[str, tuple[Scalar, ...]]
"""A key of the metadata, and the values of which a chunk must have one."""

MAX_VALUES = 1_000
"""Maximum number of values of one key."""

_SCALARS = (str, int, float, bool, type(None))


@dataclass(frozen=True, slots=True)
class Selection:
    """The condition for a chunk to be found.

    Args:
        where: conditions, all of which must hold. A list in the metadata matches by each of its items.
        access: tags of the caller: chunks without tags, or with one of these, are found. None: no restriction.
    """

    where: tuple[Condition, ...] = ()
    access: frozenset[str] | None = None

    @classmethod
    def of(cls, filter: object = None, access: object = None) -> Self:
        """Return the selection that a caller's ``filter`` and ``access`` describe.

        Args:
            filter: key -> value, or a list of values of which a chunk must have one; None: no conditions.
            access: list of tags; None: no restriction.

        Raises:
            UsageError: one of them is malformed; the message names the key.
        """
        tags = None if access is None else frozenset(read_tags(access, "access"))
        if filter is None:
            return cls((), tags)
        if not isinstance(filter, Mapping):
            raise UsageError(f'filter must be a dictionary such as {{"source": "a.md"}}, not {type(filter).__name__}.')
        return cls(tuple(_condition(key, value) for key, value in filter.items()), tags)

    @classmethod
    def of_call(cls, config: Mapping[str, Any] | None) -> Self:
        """Return the selection of one call of a chain: ``filter`` and ``access`` of ``config["configurable"]``.

        A call without ``access`` has no tags, and finds only what is open to all.
        """
        given = (config or {}).get("configurable") or {}
        access = given.get(ACCESS)
        return cls.of(given.get("filter"), () if access is None else access)

    def __bool__(self) -> bool:
        return bool(self.where) or self.access is not None

    def __and__(self, other: Selection) -> Selection:
        """Return the selection of what both allow: all conditions, and the tags that both have."""
        given = [one.access for one in (self, other) if one.access is not None]
        return Selection(self.where + other.where, frozenset.intersection(*given) if given else None)

    def allows(self, metadata: Mapping[str, Any]) -> bool:
        """Whether a chunk of this metadata may be found."""
        return self.may_read(metadata) and all(_has(metadata, key, values) for key, values in self.where)

    def may_read(self, metadata: Mapping[str, Any]) -> bool:
        """Whether the access tags allow a chunk of this metadata."""
        if self.access is None:
            return True
        tags = tags_of(metadata)
        return not tags or not self.access.isdisjoint(tags)


EVERYTHING = Selection()


def _condition(key: object, value: object) -> Condition:
    if not isinstance(key, str) or not key:
        raise UsageError(f"A key of filter must be a text, not {key!r}.")
    if key == ACCESS:
        raise UsageError('Access tags are not a filter: pass them as "access", next to "filter".')
    values = tuple(value) if isinstance(value, list | tuple | set | frozenset) else (value,)
    if not values or len(values) > MAX_VALUES:
        raise UsageError(f"filter[{key!r}] has {len(values):,} values: give 1 to {MAX_VALUES:,}.")
    for one in values:
        if not isinstance(one, _SCALARS):
            raise UsageError(
                f"filter[{key!r}] must be a text, a number, a boolean or a list of them, not {type(one).__name__}."
            )
    return key, values


def _has(metadata: Mapping[str, Any], key: str, values: tuple[Scalar, ...]) -> bool:
    if key not in metadata:
        return False
    found = metadata[key]
    items = found if isinstance(found, list | tuple) else [found]
    # True is not 1 here, as in the index.
    return any(type(item) is type(value) and item == value for item in items for value in values)
