"""Access tags: which documents a call may read.

The rule: a document without tags is open to all. A document with tags is open to a call that has at least one of them.
Tags are compared exactly, with upper and lower case.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from rag_chain.errors import UsageError

ACCESS = "access"
"""The key of a chunk's metadata, of a call's config and of a stored answer's note."""

MAX_TAGS = 1_000
"""Maximum number of tags of a document or of a call."""

_MAX_LENGTH = 200


def read_tags(value: object, where: str) -> tuple[str, ...]:
    """Return access tags in order, each once.

    Args:
        value: a list, tuple or set of texts.
        where: the name in the error, such as ``'config["configurable"]["access"]'``.

    Raises:
        UsageError: it is something else, or a tag is empty, too long or has spaces, commas or control characters.
    """
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Collection):
        raise UsageError(f'{where} must be a list of tags such as ["staff"], not {_shown(value)}.')
    if len(value) > MAX_TAGS:
        raise UsageError(f"{where} has {len(value):,} tags: at most {MAX_TAGS:,} are allowed.")
    for tag in value:
        if not isinstance(tag, str) or not tag or len(tag) > _MAX_LENGTH or not _is_plain(tag):
            raise UsageError(
                f"{where} holds {_shown(tag)}: a tag is a text of 1 to {_MAX_LENGTH} characters without spaces, commas "
                "and control characters."
            )
    return tuple(sorted(set(value)))


def tags_of(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the access tags of a chunk; none: it is open to all.

    Raises:
        UsageError: ``metadata["access"]`` is neither a list of tags nor a tag.
    """
    value = metadata.get(ACCESS)
    if value is None:
        return ()
    return read_tags([value] if isinstance(value, str) else value, 'metadata["access"]')


def _is_plain(tag: str) -> bool:
    return tag.isprintable() and "," not in tag and not any(map(str.isspace, tag))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"a {type(value).__name__}"
