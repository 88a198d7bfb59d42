"""Sessions as JSON Lines: a header, then each message as it is stored, oldest first.

Lossless: a message's line is its JSON as stored (tool calls, ids, usage, content blocks and all). What is stored
and is no JSON object is carried along as base64.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rag_chain.errors import UsageError
from rag_chain.sessions.values.codec import MAX_MESSAGE_BYTES, Item
from rag_chain.sessions.values.keys import SessionRef
from rag_chain.sessions.values.turns import SessionState

FORMAT, VERSION = "rag_chain.session", 1


def dump(ref: SessionRef, account: SessionState) -> Iterator[str]:
    """The lines of a session, without line ends."""
    yield json.dumps(
        {
            "format": FORMAT, "version": VERSION, "session_id": ref.session_id, "user_id": ref.user_id,
            "created": account.created, "metadata": metadata_of(account), "messages": len(account.items),
        }
    )  # fmt: skip
    for item in account.items:
        yield _line(item)


def load(lines: Iterable[str]) -> tuple[dict[str, Any], list[Item]]:
    """The header and the messages that ``dump`` wrote.

    Raises:
        UsageError: a line is none of an export, or lines are missing.
    """
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    header = next((_object(number, line) for number, line in numbered), None)
    if header is None or header.get("format") != FORMAT:
        raise UsageError("This is no exported session: its first line has no rag_chain.session header.")
    if header.get("version") != VERSION:
        raise UsageError(f"The export has version {header.get('version')!r}; this package reads version {VERSION}.")
    items = [_item(number, line) for number, line in numbered]
    if len(items) != header.get("messages"):
        raise UsageError(f"The export is cut off: it has {len(items)} of {header.get('messages')!r} messages.")
    return header, items


def metadata_of(account: SessionState) -> dict[str, Any]:
    """The metadata that a session was created with."""
    try:
        value = json.loads(account.data) if account.data else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _line(item: Item) -> str:
    try:
        text = item.raw.decode()
        whole = isinstance(json.loads(text), dict)
    except ValueError:
        whole = False
    if not whole:
        return json.dumps({"base64": base64.b64encode(item.raw).decode()})
    return text if "\n" not in text and "\r" not in text else json.dumps(json.loads(text))


def _item(number: int, line: str) -> Item:
    value = _object(number, line)
    if set(value) == {"base64"}:
        try:
            return Item(base64.b64decode(value["base64"], validate=True))
        except (ValueError, TypeError, binascii.Error) as error:
            raise UsageError(f"Line {number} of the export holds damaged base64.") from error
    item = Item(line.strip().encode(errors="surrogatepass"))
    if len(item.raw) > MAX_MESSAGE_BYTES:
        raise UsageError(f"Line {number} of the export is larger than the limit of {MAX_MESSAGE_BYTES} bytes.")
    return item


def _object(number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"Line {number} of the export is no JSON.") from error
    if not isinstance(value, dict):
        raise UsageError(f"Line {number} of the export is no JSON object.")
    return value


def check_room(items: Sequence[Item], maximum: int) -> None:
    """Raise UsageError if a session may not hold so many messages."""
    if maximum and len(items) > maximum:
        raise UsageError(
            f"The export has {len(items)} messages, more than RAG_HISTORY_MAX ({maximum}); raise it to keep them all."
        )
