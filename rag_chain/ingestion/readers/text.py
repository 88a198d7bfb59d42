"""Plain text, Markdown, reStructuredText and source code: one Document with the line numbers of the file."""

from __future__ import annotations

from langchain_core.documents import Document

from rag_chain.ingestion.encodings import decode
from rag_chain.ingestion.markup.markdown import markdown_title, visible_markdown
from rag_chain.ingestion.markup.restructured import rst_sections, visible_rst
from rag_chain.ingestion.reading import Reading


def read_text(data: bytes) -> Reading:
    """Return the decoded text, from line 1 on."""
    return _reading(decode(data))


def read_markdown(data: bytes) -> Reading:
    """Read as ``read_text``, without HTML comments; the title is the front matter's or the first heading of level 1."""
    text = visible_markdown(decode(data))
    return _reading(text, markdown_title(text))


def read_mdx(data: bytes) -> Reading:
    """Read as ``read_markdown``, without imports, exports and comments of MDX."""
    text = visible_markdown(decode(data), mdx=True)
    return _reading(text, markdown_title(text))


def read_rst(data: bytes) -> Reading:
    """Read as ``read_text``, without comments; the title is the first heading."""
    text = visible_rst(decode(data))
    headings = [section.heading for section in rst_sections(text) if section.heading]
    return _reading(text, headings[0][0] if headings else "")


def _reading(text: str, title: str = "") -> Reading:
    return Reading([Document(page_content=text, metadata={"start_line": 1} | ({"title": title} if title else {}))])
