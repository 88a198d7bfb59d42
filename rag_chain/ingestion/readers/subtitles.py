"""Subtitles: one Document per cue, with its time."""

from __future__ import annotations

import re
from html import unescape

from langchain_core.documents import Document

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.encodings import decode
from rag_chain.ingestion.reading import RECORD, Reading

_TIME = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{1,2})[.,]\d{1,3}"
_CUE = re.compile(rf"\s*{_TIME}\s*(?:-->|,)\s*{_TIME}.*\Z")
_CLOCK = re.compile(r"(\d+):(\d{2}):(\d{2})")
_FIELDS = ["layer", "start", "end", "style", "name", "marginl", "marginr", "marginv", "effect", "text"]
_BREAK = re.compile(r"\\[Nnh]")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<\d[\d:.]*>|\{\\[^{}]*\}")


def read_subtitles(data: bytes) -> Reading:
    """Return the cues of a SubRip, WebVTT, SubViewer or SubStation file, with ``start_time`` and ``end_time``.

    Times are written ``0:00:01``. Numbers, notes, styles and tags are left out. Consecutive cues are joined in chunks.

    Raises:
        DocumentLoadError: it has no cue.
    """
    documents: list[Document] = []
    lines = decode(data).split("\n")
    if any(line.startswith("Dialogue:") for line in lines):
        return Reading(_dialogues(lines))
    ends_at_blank = lines[0].startswith("WEBVTT")
    for number, line in enumerate(lines):
        times = _CUE.match(line)
        if not times:
            continue
        words = []
        for last in range(number + 1, len(lines)):
            if _CUE.match(lines[last]) or (not lines[last].strip() and (ends_at_blank or _ends(lines, last))):
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


def _ends(lines: list[str], blank: int) -> bool:
    """Whether the cue ends at this blank line: the next cue, with its number, or the end of the file follows."""
    following = [line for line in lines[blank + 1 : blank + 4] if line.strip()][:2]
    return not following or any(_CUE.match(line) for line in following)


def _dialogues(lines: list[str]) -> list[Document]:
    """Return the events of a SubStation file: fields separated by commas, the text last."""
    documents, in_events, fields = [], False, _FIELDS
    for number, line in enumerate(lines, 1):
        name, _, values = line.partition(":")
        if line.startswith("["):
            in_events = line.strip().lower() == "[events]"
        elif name == "Format" and in_events:
            fields = [field.strip().lower() for field in values.split(",")]
        elif name == "Dialogue":
            found = dict(zip(fields, values.split(",", len(fields) - 1), strict=False))
            text = " ".join(_TAG.sub("", _BREAK.sub(" ", found.get("text", ""))).split())
            start, end = (_CLOCK.match(found.get(key, "").strip()) for key in ("start", "end"))
            if text and start and end:
                position = {"start_line": number, "end_line": number, "start_time": _shown(*start.groups()),
                            "end_time": _shown(*end.groups()), RECORD: " "}  # fmt: skip
                documents.append(Document(page_content=text, metadata=position))
    return documents


def _shown(hours: str | None, minutes: str, seconds: str) -> str:
    return f"{int(hours or 0)}:{int(minutes):02d}:{int(seconds):02d}"
