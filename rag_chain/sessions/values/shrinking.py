"""Values in fewer bytes: deflate with a dictionary of what messages and checkpoints have in common.

A short message is a third of text and two thirds of names of its class and fields; those are in the dictionary.
Deflate: RFC 1951. The dictionary is never changed, because what is stored needs it; another one would get another mark.
"""

from __future__ import annotations

import zlib

MARK = b"~"
SMALL = 4_000
"""Bytes up to which a small window and little memory are used, which takes a tenth of the time."""
_MESSAGES = b"".join(
    b"langchain_core.messages.%b%bMessage\x86\xa7content" % pair
    for pair in ((b"system\xad", b"System"), (b"tool\xab", b"Tool"), (b"human\xac", b"Human"), (b"ai\xa9", b"AI"))
)
_DICTIONARY = (
    b"tool_call_id\xa8artifact\xa6status\xa7success\xa4args\xa9tool_call\xacinput_tokens\xadoutput_tokens\xactotal_tokens"
    b"\xb3input_token_details\xb4output_token_details\xa5model\xaafinish_reason\xa4stop\xaamodel_name\xa7run_id"
    b"\xa8messages\xa9__start__\xa9__input__\xb0branch:to:\xa5agent\xa5tools\xa6answer"
    b"+\n\x83\xa6source\xa5input\xa6source\xa4loop\xa6update\xa4fork\xa4step\xa7parents\x80"
    b"+\n\x84\xa1v\x04\xa2ts\xd9 2026-11-27T00:00:00.000000+00:00\xadversions_seen\x83\xa9__input__\x80\xa9__start__"
    b"\x81\xa9__start__\xcb@\xb0branch:to:\xb0updated_channels\x91\xa9__start__\xa8messages"
    + _MESSAGES
    + b"+\n\x91\xc7\x05\x94\xbalangchain_core.messages.ai\xa9AIMessage\x89\xa7content\xb1additional_kwargs\x80"
    b"\xb1response_metadata\x80\xa4type\xa5human\xa2ai\xa4name\xc0\xa2id\xd9$\xaatool_calls\x90\xb2invalid_tool_calls\x90"
    b"\xaeusage_metadata\xc0\xb3model_validate_json"
)


def shrink(raw: bytes) -> bytes:
    """Return a value in fewer bytes, or as it is where that saves none."""
    window, memory = (-12, 1) if len(raw) <= SMALL else (-15, 8)
    packer = zlib.compressobj(1, zlib.DEFLATED, window, memory, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY)
    packed = MARK + packer.compress(raw) + packer.flush()
    return packed if len(packed) < len(raw) else raw


def expand(stored: bytes, limit: int) -> bytes:
    """Return the value that ``shrink`` was given.

    Args:
        stored: what it returned.
        limit: bytes that the value may have.

    Raises:
        ValueError: it is damaged, or larger than the limit.
    """
    if not stored.startswith(MARK):
        return stored
    unpacker = zlib.decompressobj(-15, _DICTIONARY)
    try:
        raw = unpacker.decompress(stored[1:], limit)
    except zlib.error as error:
        raise ValueError("damaged") from error
    if not unpacker.eof:
        raise ValueError("cut off, or too large")
    return raw
