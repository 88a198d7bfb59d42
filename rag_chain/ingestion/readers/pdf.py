"""PDF: one Document a page, counted from 1."""

from __future__ import annotations

import io

from langchain_core.documents import Document
from pypdf import PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError, WrongPasswordError

from rag_chain.errors import DocumentLoadError
from rag_chain.ingestion.encodings import clean

# Typesetters' joined letters, which no one types into a question.
_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})


def read_pdf(data: bytes) -> list[Document]:
    """The text of each page that has some.

    Raises:
        DocumentLoadError: the PDF needs a password, or has no text (a scan).
    """
    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise DocumentLoadError("the PDF is encrypted: save it without a password")
        pages = [clean(page.extract_text()).translate(_LIGATURES) for page in reader.pages]
        title = str((reader.metadata and reader.metadata.title) or "").strip()
    except (FileNotDecryptedError, WrongPasswordError, DependencyError) as error:
        raise DocumentLoadError("the PDF is encrypted: save it without a password") from error
    if not pages:
        raise DocumentLoadError("the PDF has no pages")
    if not any(text.strip() for text in pages):
        raise DocumentLoadError("the PDF has no text: recognise its scanned pages (OCR) first")
    known = {"title": clean(title)} if title else {}
    return [
        Document(page_content=text, metadata={**known, "page": number})
        for number, text in enumerate(pages, 1)
        if text.strip()
    ]
