"""Subtitles: one Document a cue, with the time at which it is shown."""

from __future__ import annotations

import re
from html import unescape

from langchain_core.documents import Document

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.encodings import decode
from rag_chain.ingestion.reading import RECORD, Reading

_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{2})[.,]\d{1,3}"
_CUE = re.compile(rf"\s*{_TIME}\s*(?:-->|,)\s*{_TIME}.*\Z")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<\d[\d:.]*>|\{\\[^{}]*\}")


def read_subtitles(data: bytes) -> Reading:
    """The cues of a SubRip, WebVTT or SubViewer file; ``start_time`` and ``end_time`` are ``0:00:01``.

    Numbers, notes, styles and tags are left out. Cues that follow each other are put together.

    Raises:
        DocumentLoadError: it has no cue.
    """
    documents: list[Document] = []
    lines = decode(data).split("\n")
    for number, line in enumerate(lines):
        times = _CUE.match(line)
        if not times:
            continue
        words = []
        for last in range(number + 1, len(lines)):
            if not lines[last].strip() or _CUE.match(lines[last]):
                break
            words.append(_TAG.sub("", unescape(lines[last])).replace("[br]", " ").strip())
        text = " ".join(filter(None, words))
        metadata = {
            "start_line": number + 1,
            "end_line": number + 1 + len(words),
            "start_time": _shown(*times.groups()[:3]),
            "end_time": _shown(*times.groups()[3:]),
            RECORD: " ",
        }
        if text.strip():
            documents.append(Document(page_content=text, metadata=metadata))
    if not documents:
        raise DocumentLoadError("it has no subtitles: no line has the time of a cue")
    return Reading(documents)


def _shown(hours: str | None, minutes: str, seconds: str) -> str:
    return f"{int(hours or 0)}:{int(minutes):02d}:{seconds}"
