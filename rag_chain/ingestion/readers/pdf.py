"""PDF: one Document per page, or per section of a page that the outline names."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise

import pypdfium2
from langchain_core.documents import Document
from pypdfium2 import raw

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.encodings import clean
from rag_chain.ingestion.markup.sections import SEPARATOR, HeadingPath
from rag_chain.ingestion.readers.pdf_notes import read_annotations, read_attachments
from rag_chain.ingestion.readers.pdf_tables import Cell, Header, read_rows, with_tables
from rag_chain.ingestion.readers.running_heads import without_running_heads
from rag_chain.ingestion.reading import TABLES, Reading, listed

# Ligatures of typesetters, which no one types into a question.
_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})
_SOFT_HYPHEN = "\x02"
"""PDFium replaces a hyphen at a line's end by this mark and joins the two lines."""
_JOINT = "\ue0ff"
"""Replaces the soft hyphen until the words of the whole document are known."""
_CUT_WORD = re.compile(r"([^\W\d_]{2,})-\n([^\W\d_A-Z]{2,})")
_CUT = re.compile(rf"([^\W\d_]+){_JOINT}([^\W\d_]+)")
_COMPOUND = re.compile(r"\b[^\W\d_]+-[^\W\d_]+\b")
_FEWEST_LINES = 4
"""Lines of a page that may hold a table, at least."""
_FEW_WORDS = 40
"""A page with fewer letters holds little more than its number."""
_MOST_OF_A_PAGE = 0.5
_NO_CHARACTER = re.compile("[\ufffe\uffff\x00-\x08\x0b\x0e-\x1f]")
_UNMAPPED = re.compile("[\ufffd\ue000-\uf8ff]")
_GLYPH_NAME = re.compile(r"/g\d+|\(cid:\d+\)|/uni[0-9A-F]{4}")
_LEAST_LEGIBLE = 0.5
_MOST_TEXT = 20_000_000
_SAME_DISTANCE = 0.05
_SYNTHETIC_GAP = 0.35
"""Share of the font's size: a narrower gap is not a space, even where PDFium puts one."""
_UNTITLED = {"untitled", "(unspecified)", "unspecified", "(anonymous)"}


_STREAM = re.compile(rb"stream\r?\n")
_DICTIONARY_BYTES = 400
_FLATE = re.compile(rb"/Filter\s*\[?\s*/(?:FlateDecode|Fl)\b")
_PICTURE = re.compile(rb"/Subtype\s*/Image\b")
_SAMPLE = 8192
_SUSPICIOUS_RATIO = 150
_MOST_EXPANDED = 40_000_000


def _check_expansion(data: bytes) -> None:
    """Refuse a PDF with a stream, pictures excepted, that expands too much: PDFium would expand it.

    Raises:
        DocumentLoadError: a stream does.
    """
    for found in _STREAM.finditer(data):
        dictionary = data[max(0, found.start() - _DICTIONARY_BYTES) : found.start()]
        dictionary = dictionary[dictionary.rfind(b" obj") + 1 :]
        if not _FLATE.search(dictionary) or _PICTURE.search(dictionary):
            continue
        with suppress(zlib.error):
            expander = zlib.decompressobj()
            size = len(expander.decompress(data[found.end() : found.end() + _SAMPLE], _SAMPLE * _SUSPICIOUS_RATIO))
            if size < _SAMPLE * _SUSPICIOUS_RATIO:
                continue
            rest = expander.unconsumed_tail + data[found.end() + _SAMPLE : found.end() + _MOST_EXPANDED]
            while rest and size < _MOST_EXPANDED and not expander.eof:
                size += len(expander.decompress(rest, _SAMPLE * _SUSPICIOUS_RATIO))
                rest = expander.unconsumed_tail
            if size >= _MOST_EXPANDED:
                raise DocumentLoadError("it expands too much: a page of more than 40 MB")


def read_pdf(data: bytes) -> Reading:
    """Return the text of each page that has some, with its annotations and the values of its form.

    Metadata: ``page`` from 1; ``page_label`` where the document numbers its pages differently; ``heading``, the path
    in the outline. Words that are hyphenated at a line's end are joined. A line that most pages begin or end with is
    kept only on the first of them.

    Raises:
        DocumentLoadError: the PDF needs a password, or has no text (a scan).
    """
    _check_expansion(data)
    with _opened(data) as document:
        texts, notes, bad = [], [], _Bad()
        rows: list[dict[str, list[Cell]]] = []
        for number in range(len(document)):
            text, note = _page(document, number, bad, rows)
            texts.append(text)
            notes.append(note)
            if sum(map(len, texts)) > _MOST_TEXT:
                raise DocumentLoadError(f"its text expands to more than {_MOST_TEXT // 1_000_000} MB")
        if not texts:
            raise DocumentLoadError("the PDF has no pages")
        if not any(text.strip() or note for text, note in zip(texts, notes, strict=True)):
            raise DocumentLoadError(bad.reason_for_nothing())
        title = " ".join(clean(document.get_metadata_value("Title")).split())
        texts = _with_hyphens(texts)
        attached = read_attachments(document)
        outline = _outline(document)
        labels = [_label(document, number) for number in range(len(document))]
    known = {"title": title} if title and title.lower() not in _UNTITLED else {}
    documents = []
    path = HeadingPath()
    table: Header | None = None
    for number, text in enumerate(without_running_heads(texts)):
        position = {**known, "page": number + 1}
        if labels[number] not in ("", str(number + 1)):
            position["page_label"] = labels[number]
        body = "\n".join(filter(None, [text.strip("\n"), *notes[number]]))
        for heading, section in _sections(body, outline.get(number, []), path):
            if section.strip():
                section, tables, table = with_tables(section, rows[number], table)
                found = position | ({"heading": SEPARATOR.join(heading)} if heading else {})
                found |= {TABLES: tables} if tables else {}
                documents.append(Document(page_content=section, metadata=found))
    return Reading(documents + attached.documents, bad.omissions() + attached.omissions)


class _Bad:
    """The pages that could not be read, by their numbers."""

    def __init__(self) -> None:
        self.empty: list[int] = []
        self.pictures: list[int] = []
        self.broken: list[int] = []
        self.illegible: list[int] = []
        self.drawn: list[int] = []

    def omissions(self) -> list[str]:
        said = (
            (self.pictures, "a picture without text (a scan?)", "pictures without text (scans?)"),
            (self.empty, "no text could be read (blank, or damaged)", "no text could be read (blank, or damaged)"),
            (self.broken, "damaged", "damaged"),
            (self.illegible, "its text has no letters (a font without a mapping)",
             "their text has no letters (a font without a mapping)"),
            (self.drawn, "a picture with few words next to it (a scan?)",
             "pictures with few words next to them (scans?)"),
        )  # fmt: skip
        return [
            f"{listed(pages, 'page', 'pages')}: {one if len(pages) == 1 else many}"
            for pages, one, many in said
            if pages
        ]

    def reason_for_nothing(self) -> str:
        if self.illegible:
            return "its text has no letters: its fonts do not map glyphs to characters"
        if self.broken and not self.pictures:
            return "the PDF is damaged: no page can be read"
        if self.pictures:
            return "the PDF has no text: recognise its scanned pages (OCR) first"
        return "the PDF has no text: its pages are blank or drawings"


@contextmanager
def _opened(data: bytes) -> Iterator[pypdfium2.PdfDocument]:
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        match getattr(error, "err_code", None):
            case raw.FPDF_ERR_PASSWORD:
                reason = "the PDF is encrypted: save it without a password"
            case raw.FPDF_ERR_SECURITY:
                reason = "the PDF is encrypted in a way that is not supported"
            case _:
                reason = "not a valid PDF: it is damaged or cut off"
        raise DocumentLoadError(reason) from error
    try:
        document.init_forms()
        yield document
    finally:
        document.close()


def _page(
    document: pypdfium2.PdfDocument, number: int, bad: _Bad, rows: list[dict[str, list[Cell]]]
) -> tuple[str, list[str]]:
    """Return the text of a page and its annotations, one per line; add its lines of several cells to ``rows``."""
    rows.append({})
    try:
        page = document[number]
    except pypdfium2.PdfiumError:
        bad.broken.append(number + 1)
        return "", []
    try:
        text_page = page.get_textpage()
        text = _text(text_page)
        if text.count("\n") >= _FEWEST_LINES:
            rows[-1] = read_rows(text_page)
        text_page.close()
        notes = read_annotations(page, document.formenv)
        if not text.strip() and not notes:
            pictures = any(True for _ in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=3))
            (bad.pictures if pictures else bad.empty).append(number + 1)
        elif not _is_legible(text):
            bad.illegible.append(number + 1)
            text = ""
        elif len("".join(text.split())) < _FEW_WORDS and _is_drawn(page):
            bad.drawn.append(number + 1)
        return text, notes
    finally:
        page.close()


def _is_drawn(page: pypdfium2.PdfPage) -> bool:
    """Whether a picture covers most of the page."""
    width, height = page.get_size()
    for picture in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=3):
        with suppress(pypdfium2.PdfiumError):
            left, bottom, right, top = picture.get_bounds()
            if (right - left) * (top - bottom) > _MOST_OF_A_PAGE * width * height:
                return True
    return False


def _text(page: pypdfium2.PdfTextPage) -> str:
    count = page.count_chars()
    text = page.get_text_bounded()
    if _GENERATED_WORDS.search(text):
        text = _without_gaps(page, count, text)
    text = text.replace("\r\n", "\n")
    text = text.replace(_SOFT_HYPHEN, _JOINT)
    text = clean(_NO_CHARACTER.sub("", text)).translate(_LIGATURES)
    return _CUT_WORD.sub(rf"\1{_JOINT}\2", text)


_GENERATED_WORDS = re.compile(r"\b[A-Z]{2,} [A-Z]{1,3}\b")
"""Letters set at equal distances: PDFium may take the gap after a narrow one for a space."""


def _without_gaps(page: pypdfium2.PdfTextPage, count: int, text: str) -> str:
    """Remove the spaces that PDFium put into gaps that are narrower than a space."""
    found = []
    for index in range(count):
        code = raw.FPDFText_GetUnicode(page, index)
        if code == ord(" ") and raw.FPDFText_IsGenerated(page, index) == 1 and 0 < index < count - 1:
            size = raw.FPDFText_GetFontSize(page, index - 1)
            gap = page.get_charbox(index + 1)[0] - page.get_charbox(index - 1)[2]
            if 0 <= gap < _SYNTHETIC_GAP * size and _is_spaced_out(page, index):
                continue
        found.append(chr(code) if code else "")
    spaced = "".join(found)
    return spaced if spaced.replace(" ", "") == text.replace(" ", "") else text


def _is_spaced_out(page: pypdfium2.PdfTextPage, index: int) -> bool:
    """Whether the capitals around the gap are at equal distances, start to start.

    Capitals only: in running text, letters of one width are at equal distances too, and ``out the`` would be joined.
    """
    places = [place for place in (index - 2, index - 1, index + 1, index + 2) if 0 <= place < page.count_chars()]
    letters = [place for place in places if chr(raw.FPDFText_GetUnicode(page, place)).isupper()]
    if not {index - 1, index + 1} <= set(letters) or len(letters) < 3:
        return False
    starts = [page.get_charbox(place, loose=True)[0] for place in letters]
    steps = [behind - before for before, behind in pairwise(starts)]
    return steps[0] > 0 and all(abs(step - steps[0]) < _SAME_DISTANCE * steps[0] for step in steps)


def _with_hyphens(texts: list[str]) -> list[str]:
    """Join words that are cut at a line's end; keep the hyphen if the document writes them so elsewhere."""
    if not any(_JOINT in text for text in texts):
        return texts
    compounds = {word.lower() for text in texts for word in _COMPOUND.findall(text)}

    def joined(found: re.Match[str]) -> str:
        word = "-".join(found.groups())
        return word if word.lower() in compounds else "".join(found.groups())

    return [_CUT.sub(joined, text).replace(_JOINT, "") for text in texts]


def _is_legible(text: str) -> bool:
    """Whether most characters are known, not glyphs that the font does not map to Unicode."""
    solid = "".join(text.split())
    if not solid:
        return True
    if len(_GLYPH_NAME.findall(solid)) * 3 > len(solid) * _LEAST_LEGIBLE:
        return False
    return len(_UNMAPPED.findall(solid)) < len(solid) * _LEAST_LEGIBLE


def _label(document: pypdfium2.PdfDocument, number: int) -> str:
    try:
        return clean(document.get_page_label(number)).strip()
    except (pypdfium2.PdfiumError, UnicodeDecodeError):
        return ""


def _outline(document: pypdfium2.PdfDocument) -> dict[int, list[tuple[int, str]]]:
    """Return page from 0 -> level and title of the entries that lead to it."""
    found: dict[int, list[tuple[int, str]]] = {}
    try:
        for entry in document.get_toc(max_depth=8):
            target = entry.get_dest()
            page = None if target is None else target.get_index()
            title = " ".join(clean(entry.get_title()).split())
            if page is not None and title:
                found.setdefault(page, []).append((entry.level, title))
    except (pypdfium2.PdfiumError, UnicodeDecodeError):
        return {}
    return found


def _sections(text: str, entries: list[tuple[int, str]], path: HeadingPath) -> Iterator[tuple[tuple[str, ...], str]]:
    """Cut the text of a page at the lines that are titles of its outline entries."""
    lines = text.split("\n")
    plain = ["".join(line.lower().split()) for line in lines]
    start = 0
    for level, title in entries:
        wanted = "".join(title.lower().split())
        place = next((i for i in range(start, len(lines)) if plain[i] and plain[i].endswith(wanted)), None)
        if place is not None and place > start:
            yield path.current, "\n".join(lines[start:place])
            start = place
        path.enter(level, title)
    yield path.current, "\n".join(lines[start:])
