"""Mail: one Document per message or attachment, with sender, date and subject."""

from __future__ import annotations

import codecs
import mimetypes
import re
from collections.abc import Iterator
from contextlib import suppress
from email import policy
from email.message import EmailMessage, Message
from email.parser import BytesParser
from typing import Any

from langchain_core.documents import Document

from rag_chain.errors import DocumentEmptyError, DocumentLoadError
from rag_chain.ingestion.encodings import clean, codec_of, decode
from rag_chain.ingestion.readers.page import read_html
from rag_chain.ingestion.reading import LINES, Reading

_FROM_LINE = re.compile(rb"^From \S.*\d\d:\d\d.*\n", re.MULTILINE)
_HEADER = re.compile(rb"\A(?:[!-9;-~]+:[^\n]*\n(?:[ \t][^\n]*\n)*)")
_MOST_NESTED = 5
_QUOTED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)
_SAME_TEXT = {
    "text/plain",
    "text/html",
    "text/enriched",
    "text/richtext",
    "text/rtf",
    "text/x-amp-html",
    "text/watch-html",
}
_ENCRYPTED = {"multipart/encrypted"}
_PICTURES = ("image/", "audio/", "video/", "font/")
_SIGNATURES = {"application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"}


def read_mail(data: bytes) -> Reading:
    """Return the text of a message below its subject, sender, receivers and date; then the attachments.

    Metadata: ``from``, ``date`` (ISO 8601), ``subject`` and, of an attachment, ``attachment``, its file name. If the
    text is sent both as plain text and as HTML, the plain text is read.

    Raises:
        DocumentLoadError: it is not a message.
    """
    data = data.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n")
    if envelope := _FROM_LINE.match(data):
        data = data[envelope.end() :]
    if not _HEADER.match(data.replace(b"\r\n", b"\n")[:100_000] + b"\n"):
        raise DocumentLoadError("not a valid mail: it does not begin with header fields")
    return _reading(_parsed(data), {}, 0)


def read_mailbox(data: bytes) -> Reading:
    """Return the messages of an mbox file as ``read_mail`` does, with ``message``, the number from 1.

    Raises:
        DocumentLoadError: it is not a mailbox.
    """
    starts = [
        found.span()
        for found in _FROM_LINE.finditer(data)
        if not found.start() or data[max(0, found.start() - 4) : found.start()].endswith((b"\n\n", b"\r\n\r\n"))
    ]
    if not starts or data[: starts[0][0]].strip():
        raise DocumentLoadError("not a valid mailbox: it does not begin with a line 'From '")
    reading = Reading([])
    ends = [begin for begin, _ in starts[1:]] + [len(data)]
    for number, ((_, begin), end) in enumerate(zip(starts, ends, strict=True), 1):
        message = _parsed(_QUOTED_FROM.sub(rb"\1", data[begin:end]))
        found = _reading(message, {"message": number}, 0)
        reading.documents += found.documents
        reading.omissions += [f"message {number}: {omission}" for omission in found.omissions]
    return reading


def read_web_archive(data: bytes) -> Reading:
    """Return the page of an MHTML file as ``read_html`` does; its subject is the title."""
    message = _parsed(data.lstrip(b"\r\n"))
    pages = [part for part in message.walk() if part.get_content_type() in ("text/html", "application/xhtml+xml")]
    if not pages:
        raise DocumentLoadError("not a valid web archive: it holds no page")
    page, *frames = pages
    reading = read_html(_html_bytes(page))
    if not any(document.page_content.strip() for document in reading.documents):  # the page is made of frames
        reading.documents = [found for frame in frames for found in read_html(_html_bytes(frame)).documents]
    title = _field(message, "subject")
    address = _field(message, "snapshot-content-location") or _field(page, "content-location")
    for document in reading.documents:
        _drop_lines(document)
        document.metadata |= {"address": address} if address else {}
        document.metadata.setdefault("title", title or "page")
    return reading


def _parsed(data: bytes) -> EmailMessage:
    head, blank, body = data.partition(b"\r\n\r\n" if b"\r\n" in data[:1000] else b"\n\n")
    if not head.isascii():  # not allowed, but sent: headers in the sender's charset
        with suppress(DocumentLoadError):
            data = decode(head).encode() + blank + body
    message = BytesParser(policy=policy.default.clone(utf8=True)).parsebytes(data)
    if not isinstance(message, EmailMessage):
        raise DocumentLoadError("not a valid mail")
    return message


def _reading(message: EmailMessage, position: dict[str, Any], depth: int) -> Reading:
    known = dict(position)
    head = []
    for name in ("subject", "from", "to", "cc", "date"):
        value = _field(message, name)
        if value:
            head.append(f"{name.capitalize()}: {value}")
            if name in ("subject", "from", "date"):
                known[name] = value
    if known.get("subject"):
        known["title"] = known["subject"]
    date = getattr(message.get("date"), "datetime", None) if "date" in known else None
    if date is not None:
        known["date"] = date.isoformat()
    reading = Reading([])
    body = message.get_body(("plain", "html"))
    texts = []
    if message.get_content_type() in _ENCRYPTED or message.get_param("smime-type") == "enveloped-data":
        reading.omissions.append("the message is encrypted")
        body = None
    if isinstance(body, EmailMessage):
        texts = [_text(body, reading.omissions)]
        if not texts[0].strip() and (other := message.get_body(("html",))) is not None:
            texts = [_text(other, reading.omissions)]
    text = "\n\n".join(["\n".join(head), *texts]).strip()
    reading.documents.append(Document(page_content=text, metadata=known))
    for part in () if "the message is encrypted" in reading.omissions else _attachments(message, body):
        _read_attachment(part, known, depth, reading)
    return reading


def _attachments(message: EmailMessage, body: Any) -> Iterator[EmailMessage]:
    """Yield the parts of the message that are neither its text nor an alternative form of it."""
    alternatives: set[int] = set()
    for part in message.walk():
        if part.get_content_type() == "multipart/alternative":
            alternatives |= {id(other) for other in part.iter_parts()}
    stack: list[Any] = list(message.iter_parts()) if message.is_multipart() else []
    while stack:
        part = stack.pop(0)
        if part is body or (id(part) in alternatives and part.get_content_type() in _SAME_TEXT):
            continue
        if part.get_content_maintype() == "multipart":
            stack = [*part.iter_parts(), *stack]
        else:
            yield part


def _read_attachment(part: EmailMessage, known: dict[str, Any], depth: int, reading: Reading) -> None:
    from rag_chain.ingestion import loaders

    name = clean(part.get_filename() or "")
    kind = part.get_content_type()
    if kind.startswith(_PICTURES) or kind in _SIGNATURES:
        return
    shown = f"the attachment {name or kind}"
    if depth >= _MOST_NESTED:
        reading.omissions.append(f"{shown} is nested too deep")
        return
    try:
        if kind == "message/rfc822":
            inner = part.get_payload(0) if part.is_multipart() else None
            found = _reading(inner, {}, depth + 1) if isinstance(inner, EmailMessage) else Reading([])
        elif part.get_content_maintype() == "message":  # a delivery report: blocks of fields
            text = "\n\n".join(map(str, part.get_payload())) if part.is_multipart() else _text(part, reading.omissions)
            found = Reading([Document(page_content=clean(text).strip(), metadata={})] if text.strip() else [])
        elif kind in ("text/plain", "text/html") and not name:
            text = _text(part, reading.omissions)
            found = Reading([Document(page_content=text, metadata={})] if text.strip() else [])
        else:
            content = part.get_payload(decode=True)
            found = loaders.interpret(content if isinstance(content, bytes) else b"", name_by_type(name, kind))
    except DocumentEmptyError:
        return
    except DocumentLoadError as error:
        reading.omissions.append(f"{shown}: {error.reason}")
        return
    for document in found.documents:
        document.metadata = {
            **known,
            **document.metadata,
            "attachment": name or kind,
            "title": name or known.get("title", kind),
        }
        _drop_lines(document)
    reading.documents += found.documents
    reading.omissions += [f"{shown}: {omission}" for omission in found.omissions]


def name_by_type(name: str, kind: str) -> str:
    """Return the name of an attachment, with the suffix of its type if its own is missing or unknown."""
    from rag_chain.ingestion import kinds

    if kinds.is_known(name) or kinds.suffix_of(name) in kinds.OTHER_SUFFIXES:
        return name
    suffix = mimetypes.guess_extension(kind) or f".{kind.partition('/')[2]}"
    return (name or "part") + (suffix if suffix in kinds.BY_ENDING and kind != "text/plain" else "")


def _drop_lines(document: Document) -> None:
    """Remove line numbers: lines of a decoded part are not lines of the file."""
    for name in (LINES, "start_line", "end_line"):
        document.metadata.pop(name, None)


def _field(message: Message, name: str) -> str:
    try:
        return " ".join(clean(str(message.get(name) or "")).split())
    except (ValueError, IndexError, AttributeError, TypeError, LookupError):  # the parser on malformed fields
        return ""


def _text(part: Message, omissions: list[str]) -> str:
    if part.get_content_type() == "text/html":
        try:
            documents = read_html(_html_bytes(part)).documents
        except DocumentLoadError as error:
            omissions.append(f"its HTML: {error.reason}")
            return ""
        return "\n\n".join(document.page_content for document in documents)
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes) or not content.strip():
        return ""
    try:
        text = content.decode(codec_of(part.get_content_charset("utf-8")))
        return _unfolded(clean(text), part)
    except (UnicodeDecodeError, LookupError):
        try:
            return _unfolded(decode(content), part)
        except DocumentLoadError as error:
            omissions.append(f"its text: {error.reason}")
            return ""


def _unfolded(text: str, part: Message) -> str:
    """Join the lines of each paragraph that were folded for sending (RFC 3676)."""
    if str(part.get_param("format", "")).lower() != "flowed":
        return text
    joint = "" if str(part.get_param("delsp", "")).lower() == "yes" else " "
    lines: list[str] = []
    goes_on = False
    for line in text.split("\n"):
        quoted = len(line) - len(line.lstrip(">"))
        body = line[quoted:].removeprefix(" ")
        if goes_on and lines and quoted == len(lines[-1]) - len(lines[-1].lstrip(">")):
            lines[-1] += joint + body.rstrip(" ")
        else:
            lines.append(">" * quoted + (" " if quoted else "") + body.rstrip(" "))
        goes_on = body.endswith(" ") and body != "-- "
    return "\n".join(lines)


def _html_bytes(part: Message) -> bytes:
    """Return the page as UTF-8: the charset of the mail part takes precedence over the one that the page declares."""
    content = part.get_payload(decode=True)
    content = content if isinstance(content, bytes) else b""
    charset = codec_of(part.get_content_charset(""))
    if charset:
        try:
            return content.decode(charset).encode("utf-8")
        except (UnicodeDecodeError, LookupError):
            pass
    return content
