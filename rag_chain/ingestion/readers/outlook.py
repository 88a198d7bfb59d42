"""Outlook messages: the text of the message, then its attachments, each read by its kind."""

from __future__ import annotations

import io
import re
from typing import Any

import olefile
from langchain_core.documents import Document

from rag_chain.errors import DocumentEmptyError, DocumentLoadError
from rag_chain.ingestion.encodings import clean
from rag_chain.ingestion.readers.legacy import extract
from rag_chain.ingestion.readers.page import read_html
from rag_chain.ingestion.reading import LINES, Reading

_FIELD = re.compile(r"(subject|from|date): (.*)\Z", re.IGNORECASE)
_FIELDS_OF_MAIL = 12
_ATTACHMENT = "__attach_version1.0_"
_DATA, _MESSAGE = "37010102", "__substg1.0_3701000D"
_LONG_NAME, _SHORT_NAME, _DISPLAY_NAME, _TYPE = "3707", "3704", "3001", "370E"
_SUBJECT, _SENDER, _ADDRESS, _BODY, _HTML = "0037", "0C1A", "5D01", "1000", "10130102"
_WIDE, _NARROW = "001F", "001E"
_PICTURES = ("image/", "audio/", "video/")
_MOST_NESTED = 5


def read_msg(data: bytes) -> Reading:
    """Return the text of an Outlook message below its subject, sender and receivers; then the attachments.

    Subject and sender are metadata too; an attachment has ``attachment``, its file name. Pictures are left out.

    Raises:
        DocumentLoadError: it is not a message.
    """
    text, title = extract(data, "application/vnd.ms-outlook")
    known: dict[str, Any] = {}
    for line in text.split("\n")[:_FIELDS_OF_MAIL]:
        field = _FIELD.match(line)
        if field and field.group(1).lower() not in known:
            known[field.group(1).lower()] = clean(field.group(2)).strip()
    known["title"] = known.get("subject", title) or title
    known = {name: value for name, value in known.items() if value}
    reading = Reading([Document(page_content=clean(text).strip("\n"), metadata=dict(known))])
    try:
        with olefile.OleFileIO(io.BytesIO(data)) as file:
            _read_attachments(file, [], known, 0, reading)
    except (OSError, olefile.OleFileError) as error:
        reading.omissions.append(f"its attachments can't be read ({type(error).__name__})")
    return reading


def _read_attachments(file: Any, place: list[str], known: dict[str, Any], depth: int, reading: Reading) -> None:
    storages = {tuple(path[: len(place) + 1]) for path in file.listdir() if path[: len(place)] == place}
    for storage in sorted(path for path in storages if path[-1].startswith(_ATTACHMENT)):
        inner = list(storage)
        name = _value(file, inner, _LONG_NAME) or _value(file, inner, _SHORT_NAME) or _value(file, inner, _DISPLAY_NAME)
        kind = _value(file, inner, _TYPE)
        shown = f"the attachment {name or kind or inner[-1][-8:]}"
        if kind.startswith(_PICTURES):
            continue
        if depth >= _MOST_NESTED:
            reading.omissions.append(f"{shown} is nested too deep")
            continue
        try:
            if file.exists([*inner, _MESSAGE]):
                found = _message(file, [*inner, _MESSAGE], depth)
            else:
                found = _attached(_stream(file, inner, _DATA), name, kind)
        except DocumentEmptyError:
            continue
        except DocumentLoadError as error:
            reading.omissions.append(f"{shown}: {error.reason}")
            continue
        for document in found.documents:
            document.metadata = {**known, **document.metadata, "attachment": name or kind or "message"}
            for line in (LINES, "start_line", "end_line"):
                document.metadata.pop(line, None)
        reading.documents += found.documents
        reading.omissions += [f"{shown}: {omission}" for omission in found.omissions]


def _attached(content: bytes, name: str, kind: str) -> Reading:
    from rag_chain.ingestion import loaders
    from rag_chain.ingestion.readers.mail import name_by_type

    return loaders.interpret(content, name_by_type(name, kind))


def _message(file: Any, place: list[str], depth: int) -> Reading:
    """Return a message that is attached to another one."""
    subject, sender = _value(file, place, _SUBJECT), _value(file, place, _ADDRESS) or _value(file, place, _SENDER)
    body = _value(file, place, _BODY)
    if not body.strip() and (page := _stream(file, place, _HTML)):
        body = "\n\n".join(document.page_content for document in read_html(page).documents)
    head = [f"{field}: {value}" for field, value in (("Subject", subject), ("From", sender)) if value]
    text = "\n\n".join(filter(str.strip, ["\n".join(head), clean(body)]))
    known = {name: value for name, value in (("subject", subject), ("from", sender), ("title", subject)) if value}
    found = Reading([Document(page_content=text, metadata=known)] if text else [])
    _read_attachments(file, place, known, depth + 1, found)
    return found


def _value(file: Any, place: list[str], number: str) -> str:
    """Return a text property of a message or attachment."""
    if wide := _stream(file, place, number + _WIDE):
        return clean(wide.decode("utf-16-le", "replace")).strip("\0 \n")
    return clean(_stream(file, place, number + _NARROW).decode("cp1252", "replace")).strip("\0 \n")


def _stream(file: Any, place: list[str], number: str) -> bytes:
    path = [*place, f"__substg1.0_{number}"]
    return (
        bytes(file.openstream(path).read())
        if file.exists(path) and file.get_type(path) == olefile.STGTY_STREAM
        else b""
    )
