"""EPUB: the pages of a book, each read as HTML."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote

from rag_chain.errors import DocumentEmptyError, DocumentLoadError
from rag_chain.ingestion.encodings import clean
from rag_chain.ingestion.readers.package import Package
from rag_chain.ingestion.readers.page import read_html
from rag_chain.ingestion.reading import LINES, Reading

_OPF = "{http://www.idpf.org/2007/opf}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_CONTAINER = "{urn:oasis:names:tc:opendocument:xmlns:container}"
_PAGES = ("application/xhtml+xml", "text/html", "text/x-oeb1-document")
_ENCRYPTION = "META-INF/encryption.xml"
_OF_FONTS = (b"obfuscation", b"idpf.org/2008/embedding")


def read_epub(data: bytes) -> Reading:
    """The sections of each page, in the order of the book; ``chapter`` counts the pages from 1.

    The table of contents is left out.

    Raises:
        DocumentLoadError: the book is protected, or not an EPUB.
    """
    package = Package(data, "EPUB")
    if _ENCRYPTION in package.names and not any(mark in package.read(_ENCRYPTION) for mark in _OF_FONTS):
        raise DocumentLoadError("the book is protected (DRM)")
    container = package.xml("META-INF/container.xml")
    root = next((file.get("full-path", "") for file in container.iter(f"{_CONTAINER}rootfile")), "")
    book = package.xml(root)
    folder = posixpath.dirname(root)
    items = {item.get("id"): item for item in book.iter(f"{_OPF}item")}
    title = " ".join(clean(book.findtext(f".//{_DC}title") or "").split())
    reading = Reading([], list(package.omissions))
    for number, entry in enumerate(book.iter(f"{_OPF}itemref"), 1):
        item = items.get(entry.get("idref"))
        if item is None or item.get("media-type") not in _PAGES or "nav" in item.get("properties", "").split():
            continue
        path = posixpath.normpath(posixpath.join(folder, unquote(item.get("href", ""))))
        try:
            documents = read_html(package.read(path)).documents
        except DocumentEmptyError:
            continue
        except DocumentLoadError as error:
            reading.omissions.append(f"chapter {number}: {error.reason}")
            continue
        for document in documents:
            for name in (LINES, "start_line", "end_line"):
                document.metadata.pop(name, None)
            document.metadata |= {"chapter": number} | ({"title": title} if title else {})
        reading.documents += documents
    return reading
