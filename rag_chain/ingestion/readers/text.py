"""Plain text, Markdown, reStructuredText and source code: one Document, whose lines are the file's."""

from __future__ import annotations

from langchain_core.documents import Document

from rag_chain.ingestion.encodings import decode
from rag_chain.ingestion.headings import markdown_title, rst_sections


def read_text(data: bytes) -> list[Document]:
    """The decoded text, from line 1 on."""
    return [Document(page_content=decode(data), metadata={"start_line": 1})]


def read_markdown(data: bytes) -> list[Document]:
    """As ``read_text``; the title is the front matter's or the first heading of level one."""
    documents = read_text(data)
    return _titled(documents, markdown_title(documents[0].page_content))


def read_rst(data: bytes) -> list[Document]:
    """As ``read_text``; the title is the first heading."""
    documents = read_text(data)
    headings = [section.heading for section in rst_sections(documents[0].page_content) if section.heading]
    return _titled(documents, headings[0][0] if headings else "")


def _titled(documents: list[Document], title: str) -> list[Document]:
    if title:
        documents[0].metadata["title"] = title
    return documents
