"""Values of a thread as they are stored: in fewer bytes, with a checksum, encrypted where there is a key."""

from __future__ import annotations

import zlib

from rag_chain.sessions.values.sealing import Box
from rag_chain.sessions.values.shrinking import expand, shrink

_MARK = b"!"
"""What a value begins with; behind it are the checksum, and the value with a ``+`` before it, or shrunk."""


def pack_value(box: Box, raw: bytes, place: str, *, shrinks: bool = True) -> bytes:
    """Return a value as it is stored.

    Args:
        box: encrypts for the thread.
        raw: the value.
        place: what the checksum covers besides: bytes that were moved elsewhere are found, too.
        shrinks: whether it can be shrunk.
    """
    packed = shrink(raw) if shrinks else raw
    return box.wrap(_MARK + checksum(place.encode(), packed) + packed, "checkpoint")


def unpack_value(box: Box, stored: bytes, what: str, place: str, limit: int) -> bytes:
    """Return what ``pack_value`` was given.

    Args:
        box: decrypts.
        stored: what it returned.
        what: the value, for messages.
        place: as there.
        limit: bytes that the value may have.

    Raises:
        ValueError: it is damaged, or larger than the limit.
        DecryptionError: it can't be decrypted.
    """
    stored = box.unwrap(stored, "checkpoint", what=what)
    check, packed = stored[1:5], stored[5:]
    if not stored.startswith(_MARK) or check != checksum(place.encode(errors="replace"), packed):
        raise ValueError("damaged")
    return expand(packed, limit)


def hex_checksum(*parts: bytes) -> bytes:
    """Return ``checksum`` as 8 hexadecimal digits, where it stands in a line of text."""
    return checksum(*parts).hex().encode()


def checksum(*parts: bytes) -> bytes:
    """Return a checksum (CRC-32) of 4 bytes."""
    check = 0
    for part in parts:
        check = zlib.crc32(part, check)
    return check.to_bytes(4, "big")
