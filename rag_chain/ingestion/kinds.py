"""The kinds of files: their suffixes, their readers, what is read of each and what is not.

The table in ``docs/ingestion.md`` is generated from this module.
"""

from __future__ import annotations

from dataclasses import dataclass

from rag_chain.ingestion.languages import BY_NAME, BY_SUFFIX


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file.

    Args:
        name: as people call it.
        suffixes: in lower case, with their dots, separated by spaces.
        media_type: the chunks' ``media_type``.
        reader: module and function below ``rag_chain.ingestion.readers``.
        place: which position a chunk has in its metadata.
        read, unread: what is read, and what is not.
        extra: the extra of this package that the reader needs; empty: none.
    """

    name: str
    suffixes: str
    media_type: str
    reader: str
    place: str
    read: str
    unread: str = ""
    extra: str = "loaders"


_OFFICE = "application/vnd.openxmlformats-officedocument."
_OPEN_DOCUMENT = "application/vnd.oasis.opendocument."
_LINES = "headings, lines"

TEXT = Kind(
    "plain text", ".txt .text .log .asc", "text/plain", "text:read_text", "lines",
    "the text, in any common encoding; any other file that holds text", "terminal codes, base64", extra="",
)  # fmt: skip
SOURCE_CODE = Kind(
    "source code", "", "text/x-source", "text:read_text", "lines", "the text, cut at the definitions of its language",
    extra="",
)  # fmt: skip
HTML = Kind(
    "HTML, XHTML", ".html .htm .xhtml", "text/html", "page:read_html", _LINES, "visible text, lists, tables",
    "scripts, styles, menus, hidden and deleted text, pictures",
)  # fmt: skip
PDF = Kind(
    "PDF", ".pdf", "application/pdf", "pdf:read_pdf", "page, its label, heading by the outline",
    "text, tables, annotations, values of forms, attached files; running heads once",
    "pictures, scanned pages (named in the report)",
)  # fmt: skip
DOCX = Kind(
    "Word", ".docx .docm .dotx .dotm", _OFFICE + "wordprocessingml.document", "docx:read_docx", _LINES,
    "paragraphs, lists with their numbers, tables, text boxes, equations, charts, SmartArt, notes, comments, "
    "page headers and footers",
    "hidden and deleted text, pictures, embedded files",
)  # fmt: skip
SHEET = Kind(
    "spreadsheets", ".xlsx .xlsm .xlsb .xls .ods", _OFFICE + "spreadsheetml.sheet", "sheets:read_sheets",
    "sheet, cells, row", "values of cells, with the names of their columns; the last values of formulas; "
    "comments of Excel since 2007",
    "hidden sheets (named in the report), charts",
)  # fmt: skip
PPTX = Kind(
    "PowerPoint", ".pptx .pptm .ppsx .ppsm .potx", _OFFICE + "presentationml.presentation", "pptx:read_pptx",
    "slide, its title", "titles, texts, tables, equations, charts, SmartArt, notes, comments",
    "hidden slides (named in the report), pictures",
)  # fmt: skip
ODT = Kind(
    "OpenDocument text", ".odt .ott .fodt", _OPEN_DOCUMENT + "text", "odf:read_odt", _LINES,
    "paragraphs, lists, tables, text boxes, notes, comments", "deleted text, hidden sections, page headers, equations",
)  # fmt: skip
ODP = Kind(
    "OpenDocument presentation", ".odp .otp", _OPEN_DOCUMENT + "presentation", "odf:read_odp", "slide, its title",
    "titles, texts, tables, notes", "hidden slides (named in the report), charts",
)  # fmt: skip
TSV = Kind(
    "TSV", ".tsv .tab", "text/tab-separated-values", "records:read_tsv", "row", "as CSV", extra="",
)  # fmt: skip
EPUB = Kind(
    "EPUB", ".epub", "application/epub+zip", "epub:read_epub", "chapter, headings", "the pages of the book, as HTML",
    "the table of contents, pictures; protected books",
)  # fmt: skip
DOC = Kind(
    "Word 97-2003", ".doc .dot", "application/msword", "legacy:read_doc", "lines", "text", "headings, comments, notes"
)
PPT = Kind(
    "PowerPoint 97-2003", ".ppt .pps", "application/vnd.ms-powerpoint", "legacy:read_ppt", "slide",
    "text and notes", "pictures",
)  # fmt: skip
RTF = Kind(
    "RTF", ".rtf", "application/rtf", "rtf:read_rtf", _LINES,
    "paragraphs, lists, tables, text boxes, notes, comments, page headers and footers",
    "hidden and deleted text, pictures",
)  # fmt: skip
MSG = Kind(
    "Outlook message", ".msg", "application/vnd.ms-outlook", "outlook:read_msg", "sender, date, subject, attachment",
    "the message, and attachments of any kind in this table", "pictures; other attachments (named in the report)",
)  # fmt: skip
MAIL = Kind(
    "mail", ".eml", "message/rfc822", "mail:read_mail", "sender, date, subject, attachment",
    "the message, and attachments of any kind in this table", "pictures; other attachments (named in the report)",
)  # fmt: skip
XML = Kind("XML", ".xml .rss .atom .dita .docbook .dbk .fb2 .fods .fodp", "application/xml", "xml:read_xml", "lines",
     "text and attributes, with their names", "comments")  # fmt: skip
MAILBOX = Kind("mailbox", ".mbox .mbx", "application/mbox", "mail:read_mailbox", "message, sender, date, subject",
     "each message as mail")  # fmt: skip

KINDS = (
    TEXT,
    Kind("Markdown", ".md .markdown .mdown .mkd", "text/markdown", "text:read_markdown", _LINES, "the text",
         "comments", extra=""),
    Kind("MDX", ".mdx", "text/markdown", "text:read_mdx", _LINES, "the text", "imports, exports, comments", extra=""),
    Kind("reStructuredText", ".rst .rest", "text/x-rst", "text:read_rst", _LINES, "the text", "comments", extra=""),
    Kind("AsciiDoc", ".adoc .asciidoc", "text/asciidoc", "markup:read_asciidoc", _LINES, "the text",
         "comments, attributes, included files", extra=""),
    Kind("Org", ".org", "text/org", "markup:read_org", _LINES, "the text", "comments, drawers, tags", extra=""),
    Kind("LaTeX", ".tex .ltx .latex", "application/x-latex", "latex:read_latex", _LINES,
         "the text, common commands as they print", "the preamble, comments, included files", extra=""),
    HTML,
    Kind("saved web page", ".mhtml .mht", "multipart/related", "mail:read_web_archive", "headings", "as HTML",
         "pictures"),
    XML,
    PDF, DOCX, DOC, ODT, RTF, PPTX, PPT, ODP, SHEET,
    Kind("CSV", ".csv", "text/csv", "records:read_csv", "row", "rows, with the names of their columns", extra=""),
    TSV,
    EPUB,
    MAIL,
    MAILBOX,
    MSG,
    Kind("JSON", ".json .geojson .jsonc .json5 .webmanifest", "application/json", "json_records:read_json",
         "row, or the outer key", "values, with the paths of their keys", "comments, base64", extra=""),
    Kind("JSON Lines", ".jsonl .ndjson", "application/jsonl", "json_records:read_jsonl", "lines",
         "as JSON, a line a record", "lines that are not JSON (named in the report)", extra=""),
    Kind("Jupyter notebook", ".ipynb", "application/x-ipynb+json", "notebook:read_notebook", "cell, headings",
         "cells, and the text of their outputs", "errors, pictures", extra=""),
    Kind("subtitles", ".srt .vtt .sbv .ass .ssa", "text/vtt", "subtitles:read_subtitles", "time, lines", "what is said",
         "numbers, styles", extra=""),
    SOURCE_CODE,
)  # fmt: skip

BY_ENDING = {suffix: kind for kind in KINDS for suffix in kind.suffixes.split()}
"""Suffix in lower case, with its dot -> kind."""

# Names of files that are not documents.
_OTHER = """
    .png .jpg .jpeg .gif .bmp .tif .tiff .webp .ico .icns .svg .heic .avif .psd .ai .eps .raw .xcf .djvu
    .mp3 .wav .flac .ogg .oga .m4a .aac .opus .mp4 .m4v .mkv .mov .avi .webm .wmv .mpg .mpeg .mid
    .zip .tar .gz .tgz .bz2 .xz .zst .7z .rar .jar .war .whl .egg .deb .rpm .dmg .iso .apk .cab .lz4 .br
    .exe .dll .so .dylib .o .a .lib .obj .class .pyc .pyo .pyd .wasm .node
    .ttf .otf .woff .woff2 .eot .db .sqlite .sqlite3 .parquet .npy .npz .onnx .safetensors .gguf .pt .pth .h5
    .map .pack .idx .mo .pickle .pkl .pages .numbers .vsd .vsdx .mpp .accdb .mdb .pst .ost .dwg .dxf
"""
OTHER_SUFFIXES = frozenset(_OTHER.split())
"""Suffixes of files that are not documents: skipped."""

# Files that are usually empty on purpose.
_EMPTY_NAMES = frozenset({"__init__.py", "py.typed", ".gitkeep", ".keep"})
_OWNER_PREFIXES = ("~$", ".~lock.")


def why_skipped(name: str, size: int) -> str | None:
    """Return why a file's name shows that it is not a document, or None.

    Args:
        name: without its folder.
        size: bytes.
    """
    suffix = suffix_of(name)
    if name.startswith(_OWNER_PREFIXES):
        return "it marks that another file is open"
    if suffix in OTHER_SUFFIXES:
        return f"{suffix} is not a document"
    if size == 0 and name in _EMPTY_NAMES:
        return "empty on purpose"
    return None


def kind_of(name: str) -> tuple[Kind, str]:
    """Return the kind of a file by its name, and its programming language; empty: it is not source code."""
    language = BY_NAME.get(name.lower()) or BY_SUFFIX.get(suffix_of(name))
    if language:
        return SOURCE_CODE, language
    return BY_ENDING.get(suffix_of(name), TEXT), ""


def is_known(name: str) -> bool:
    """Whether the name determines the kind of file."""
    return suffix_of(name) in BY_ENDING or kind_of(name)[0] is SOURCE_CODE


def suffix_of(name: str) -> str:
    """Return the suffix in lower case with its dot, or an empty string."""
    stem, dot, ending = name.rpartition(".")
    return f".{ending.lower()}" if dot and stem and ending else ""
