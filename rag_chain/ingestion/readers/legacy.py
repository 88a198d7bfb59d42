"""Old binary office files and Outlook's messages: what kreuzberg reads of them."""

from __future__ import annotations

import re

import kreuzberg
from langchain_core.documents import Document

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.encodings import clean
from rag_chain.ingestion.reading import MARKUP, Reading

_FIELD = re.compile(r"(subject|from|date): (.*)\Z", re.IGNORECASE)
_FIELDS_OF_MAIL = 12
_RULE = re.compile(r"^-{5}$\n*", re.MULTILINE)


def read_doc(data: bytes) -> Reading:
    """The text of a Word 97-2003 document, a line a paragraph; headings are not known."""
    return _reading(*_extracted(data, "application/msword"))


def read_ppt(data: bytes) -> Reading:
    """The text of a PowerPoint 97-2003 presentation with its notes; slides are not known."""
    return _reading(*_extracted(data, "application/vnd.ms-powerpoint"))


def read_msg(data: bytes) -> Reading:
    """The text of an Outlook message below its subject, sender and receivers, which are metadata too."""
    text, title = _extracted(data, "application/vnd.ms-outlook")
    known = {}
    for line in text.split("\n")[:_FIELDS_OF_MAIL]:
        field = _FIELD.match(line)
        if field and field.group(1).lower() not in known:
            known[field.group(1).lower()] = field.group(2).strip()
    return _reading(text, known.get("subject", title), **known)


def _reading(text: str, title: str, **position: str) -> Reading:
    known: dict[str, object] = {**position, **({"title": title} if title else {})}
    if MARKUP not in position:
        known["start_line"] = 1
    return Reading([Document(page_content=clean(text).strip("\n"), metadata=known)])


def _extracted(data: bytes, media_type: str, output_format: str = "plain") -> tuple[str, str]:
    config = kreuzberg.ExtractionConfig(
        use_cache=False, enable_quality_processing=False, output_format=output_format, ocr=None
    )
    try:
        result = kreuzberg.extract_bytes_sync(data, media_type, config=config)
    except kreuzberg.KreuzbergError as error:
        if "encrypt" in str(error).lower() or "password" in str(error).lower():
            raise DocumentLoadError("the document is encrypted: save it without a password") from error
        raise DocumentLoadError(f"damaged, or not the kind of file that its name says: {_short(error)}") from error
    title = result.metadata.get("title") or ""
    return result.content, " ".join(clean(str(title)).split())


def _short(error: Exception) -> str:
    return str(error).split("\n", 1)[0].split("(context:")[0].strip()[:160]
