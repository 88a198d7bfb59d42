"""Office files before 2007, read by kreuzberg."""

from __future__ import annotations

import re
from typing import Any

import kreuzberg
from langchain_core.documents import Document

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.encodings import clean
from rag_chain.ingestion.readers.sections import SectionWriter
from rag_chain.ingestion.reading import MARKUP, Reading

_RULE = re.compile(r"^-{5}$\n*", re.MULTILINE)


def read_doc(data: bytes) -> Reading:
    """Return the text of a Word 97-2003 document, one line per paragraph; headings are not known."""
    return _reading(*extract(data, "application/msword"))


def read_ppt(data: bytes) -> Reading:
    """Return the text of a PowerPoint 97-2003 presentation with its notes; ``slide`` counts from 1."""
    result = _result(data, "application/vnd.ms-powerpoint")
    text, title = _text_of(result)
    writer = SectionWriter(counts_lines=False)
    said = []
    for node in (result.document or {}).get("nodes", []):
        content = node.get("content") or {}
        if content.get("node_type") == "slide":
            writer.end_section()
            writer.position = {"slide": content.get("number")}
        elif line := str(content.get("text") or "").strip():
            writer.line(line)
            said += line.split()
    if not said or sorted(said) != sorted(_RULE.sub("", text).split()):
        return _reading(text, title)  # some text is on no slide
    return Reading(writer.documents(title))


def _reading(text: str, title: str, **position: str) -> Reading:
    known: dict[str, object] = {**position, **({"title": title} if title else {})}
    if MARKUP not in position:
        known["start_line"] = 1
    return Reading([Document(page_content=clean(text).strip("\n"), metadata=known)])


def extract(data: bytes, media_type: str) -> tuple[str, str]:
    """Return the text and the title of a file.

    Raises:
        DocumentLoadError: it is encrypted, damaged or of another kind.
    """
    return _text_of(_result(data, media_type))


def _text_of(result: Any) -> tuple[str, str]:
    title = result.metadata.get("title") or ""
    return str(result.content), " ".join(clean(str(title)).split())


def _result(data: bytes, media_type: str) -> Any:
    # kreuzberg's type stubs lack disable_ocr.
    config = kreuzberg.ExtractionConfig(  # type: ignore[call-arg]
        use_cache=False,
        enable_quality_processing=False,
        output_format="plain",
        disable_ocr=True,
        include_document_structure=True,
    )
    try:
        return kreuzberg.extract_bytes_sync(data, media_type, config=config)
    except kreuzberg.KreuzbergError as error:
        if "encrypt" in str(error).lower() or "password" in str(error).lower():
            raise DocumentLoadError("the document is encrypted: save it without a password") from error
        raise DocumentLoadError(f"damaged, or not the kind of file that its name shows: {_short(error)}") from error


def _short(error: Exception) -> str:
    return str(error).split("\n", 1)[0].split("(context:")[0].strip()[:160]
