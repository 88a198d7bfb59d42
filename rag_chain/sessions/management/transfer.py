"""Sessions as JSON Lines: a header, then each message as it is stored, oldest first.

The format is lossless: a message's line is its JSON as stored, with tool calls, ids, usage and content blocks, of any
size. Stored items that are not messages that LangChain can read, or not on one line, are exported as base64.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rag_chain.errors import UsageError
from rag_chain.sessions.values.codec import Item
from rag_chain.sessions.values.feedback import Feedback, make_feedback
from rag_chain.sessions.values.keys import SessionRef, check_id
from rag_chain.sessions.values.turns import SessionState

FORMAT, VERSION = "rag_chain.session", 1
MAX_IMPORTED_BYTES = 512_000_000
"""Of one message. Redis takes no larger value, so every export can be imported."""

BATCH_MESSAGES, BATCH_BYTES = 1_000, 8_000_000


def dump(ref: SessionRef, account: SessionState, feedback: Mapping[str, Feedback]) -> Iterator[str]:
    """Return the lines of a session, without line ends; ``feedback``: by turn id."""
    said = {turn_id: one.as_dict() for turn_id, one in feedback.items()}
    yield json.dumps(
        {
            "format": FORMAT, "version": VERSION, "session_id": ref.session_id, "user_id": ref.user_id,
            "created": account.created, "metadata": metadata_of(account), "messages": len(account.items),
            **({"feedback": said} if said else {}),
        }
    )  # fmt: skip
    for item in account.items:
        yield _line(item)


def load(lines: Iterable[str]) -> tuple[dict[str, Any], list[Item]]:
    """Return the header and the messages that ``dump`` wrote.

    Raises:
        UsageError: a line does not belong to an export, or lines are missing.
    """
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    header = next((_object(number, line) for number, line in numbered), None)
    if header is None or header.get("format") != FORMAT:
        raise UsageError("This is not an exported session: its first line is not a rag_chain.session header.")
    if header.get("version") != VERSION:
        raise UsageError(f"The export has version {header.get('version')!r}; this package reads version {VERSION}.")
    items = [_item(number, line) for number, line in numbered]
    if len(items) != header.get("messages"):
        raise UsageError(f"The export is cut off: it has {len(items)} of {header.get('messages')!r} messages.")
    return header, items


def feedback_of(header: Mapping[str, Any]) -> dict[str, Feedback]:
    """Return the feedback in an export, by turn id.

    Raises:
        UsageError: it is malformed.
    """
    try:
        return {
            check_id(turn_id, "turn_id"): make_feedback(one["thumb"], one["text"], int(one["at"]))
            for turn_id, one in (header.get("feedback") or {}).items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError("The header of the export has feedback that can't be read.") from error


def metadata_of(account: SessionState) -> dict[str, Any]:
    """Return the metadata that a session was created with."""
    try:
        value = json.loads(account.data) if account.data else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _line(item: Item) -> str:
    try:
        text = item.plain.decode()
    except UnicodeDecodeError:
        text = ""
    if item.message is not None and text == text.strip() and "\n" not in text and "\r" not in text:
        return text
    return json.dumps({"base64": base64.b64encode(item.plain).decode()})


def _item(number: int, line: str) -> Item:
    value = _object(number, line)
    if set(value) == {"base64"}:
        try:
            item = Item(base64.b64decode(value["base64"], validate=True))
        except (ValueError, TypeError, binascii.Error) as error:
            raise UsageError(f"Line {number} of the export holds damaged base64.") from error
    else:
        item = Item(line.strip().encode(errors="surrogatepass"))
        if item.outline is None:
            raise UsageError(
                f"Line {number} of the export is not a message that LangChain can read: it would be lost when the "
                "session is read."
            )
    if item.is_sealed:
        raise UsageError(f"Line {number} of the export is an encrypted message; export the session with its key.")
    if len(item.raw) > MAX_IMPORTED_BYTES:
        raise UsageError(f"Line {number} of the export is larger than the limit of {MAX_IMPORTED_BYTES:,} bytes.")
    return item


def batches(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Split messages into parts for one call: at most 1,000 messages and, if more than one, 8 MB."""
    batch: list[Item] = []
    size = 0
    for item in items:
        if batch and (len(batch) == BATCH_MESSAGES or size + len(item.raw) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += len(item.raw)
    if batch:
        yield batch


def _object(number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"Line {number} of the export is not JSON.") from error
    if not isinstance(value, dict):
        raise UsageError(f"Line {number} of the export is not a JSON object.")
    return value


def check_room(items: Sequence[Item], maximum: int) -> None:
    """Raise UsageError if a session may not hold so many messages."""
    if maximum and len(items) > maximum:
        raise UsageError(
            f"The export has {len(items)} messages, more than RAG_HISTORY_MAX ({maximum}); raise it to keep them all."
        )
