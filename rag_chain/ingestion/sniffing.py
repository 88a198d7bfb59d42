"""Determine the kind of a file by its first bytes, where they are more reliable than its name."""

from __future__ import annotations

import io
import re
import zipfile

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion import kinds
from rag_chain.ingestion.encodings import is_binary
from rag_chain.ingestion.kinds import Kind

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP = b"PK\x03\x04"
_PDF_WITHIN = 1024
_HTML = re.compile(
    rb"\A(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*\?>\s*)?(?:<!--.*?-->\s*)*"
    rb"(?:<!doctype\s+html|<html[\s>]|<head[\s>]|<body[\s>])",
    re.IGNORECASE | re.DOTALL,
)
_HTML_WITHIN = 4096
# Names of the streams in an OLE file, as UTF-16: they show which program wrote it.
_STREAMS = (
    ("EncryptedPackage", None), ("WordDocument", kinds.DOC), ("PowerPoint Document", kinds.PPT),
    ("Workbook", kinds.SHEET), ("__properties_version1.0", kinds.MSG), ("Book", kinds.SHEET),
)  # fmt: skip
# Excel: the record after the first one; PowerPoint: a mark in place of another one.
_ENCRYPTED = {
    kinds.SHEET.name: re.compile(rb"\x09\x08\x10\x00\x00\x06\x05\x00[\x00-\xff]{12}\x2f\x00"),
    kinds.PPT.name: re.compile(rb"\xdf\xc4\xd1\xf3"),
}
_SECTOR, _WORD_MARK, _WORD_FLAGS = 512, b"\xec\xa5", 11
_PARTS = (("word/", kinds.DOCX), ("xl/", kinds.SHEET), ("ppt/", kinds.PPTX), ("META-INF/container.xml", kinds.EPUB))
_MIMETYPES = (
    (b"application/epub+zip", kinds.EPUB), (b"application/vnd.oasis.opendocument.text", kinds.ODT),
    (b"application/vnd.oasis.opendocument.spreadsheet", kinds.SHEET),
    (b"application/vnd.oasis.opendocument.presentation", kinds.ODP),
)  # fmt: skip
_BINARY = {kind.media_type for kind in (kinds.DOC, kinds.DOCX, kinds.PPT, kinds.SHEET, kinds.MSG)}
_PLAIN = {kinds.TEXT.media_type}
# Login pages and error pages of servers are saved under the name of the requested file.
_ASKED_FOR = {kind.media_type for kind in (kinds.PDF, kinds.PPT, kinds.PPTX, kinds.ODT, kinds.ODP, kinds.EPUB)}
_FIELD = rb"(?:[!-9;-~]+:[^\n]*\n(?:[ \t][^\n]*\n)*)"
_MAIL = re.compile(rb"\A(?:" + _FIELD + rb"){0,60}?(?:received|message-id|mime-version):[^\n]*\n", re.IGNORECASE)
_MAILBOX = re.compile(rb"\AFrom \S+.*\d\d:\d\d.*\n" + _FIELD + rb"{2}")
_XML = re.compile(rb"\A(?:\xef\xbb\xbf)?\s*<\?xml\s[^>]*\?>\s*(?:<[!?][^>]*>\s*)*<[A-Za-z]")
_MAIL_WITHIN = 16_384
# Programs save HTML and RTF under the names of office files.
_OFFICE = {kind.media_type for kind in (kinds.DOC, kinds.DOCX, kinds.SHEET, kinds.RTF)}


def sniffed(data: bytes, named: Kind) -> Kind:
    """Return the kind that the content shows, else ``named``, the kind by the file's name.

    Raises:
        DocumentLoadError: the content is encrypted.
    """
    if data.startswith(_OLE):
        return _ole(data) or named
    if data.startswith(_ZIP):
        return _zip(data) or named
    if b"%PDF-" in data[:_PDF_WITHIN] and (named.media_type in _PLAIN or data.startswith(b"%PDF-")):
        return kinds.PDF
    if data.startswith(b"{\\rtf"):
        return kinds.RTF
    if named.media_type in _PLAIN | _OFFICE | _ASKED_FOR and _HTML.match(data[:_HTML_WITHIN]):
        return kinds.HTML
    if named.media_type in _PLAIN | _OFFICE and _XML.match(data[:_HTML_WITHIN]):
        return kinds.XML
    if named.media_type in _PLAIN:
        head = data[:_MAIL_WITHIN].replace(b"\r\n", b"\n")
        if _MAILBOX.match(head):
            return kinds.MAILBOX
        if _MAIL.match(head):
            return kinds.MAIL
    if named.media_type in _BINARY and not is_binary(data):
        # Programs export text tables as .xls, and .msg is also a suffix of translation catalogues.
        return kinds.TSV if named is kinds.SHEET and b"\t" in data.split(b"\n", 1)[0] else kinds.TEXT
    return named


def _ole(data: bytes) -> Kind | None:
    for stream, kind in _STREAMS:
        if stream.encode("utf-16-le") in data:
            if kind is None or _is_encrypted(data, kind):
                raise DocumentLoadError("the document is encrypted: save it without a password")
            return kind
    return None


def _is_encrypted(data: bytes, kind: Kind) -> bool:
    """Whether an old office file needs a password."""
    if kind is kinds.DOC:
        starts = range(_SECTOR, len(data) - _SECTOR, _SECTOR)
        first = next((start for start in starts if data.startswith(_WORD_MARK, start)), None)
        return first is not None and bool(data[first + _WORD_FLAGS] & 1)
    mark = _ENCRYPTED.get(kind.name)
    return mark is not None and bool(mark.search(data))


def _zip(data: bytes) -> Kind | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if "mimetype" in names:
                with archive.open("mimetype") as file:
                    declared = file.read(100)
                return next((kind for prefix, kind in _MIMETYPES if declared.startswith(prefix)), None)
            return next((kind for part, kind in _PARTS if any(name.startswith(part) for name in names)), None)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError, ValueError):
        return None
