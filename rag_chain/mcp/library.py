"""The data for a client: the sources of an index, their text, and passages, within one selection."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

from langchain_core.documents import Document

from rag_chain.chain.citations import position
from rag_chain.errors import UsageError
from rag_chain.retrieval.opening import AnyIndex
from rag_chain.retrieval.retriever import HistoryAwareRetriever
from rag_chain.retrieval.selection import Selection
from rag_chain.settings import Settings

MOST = 50
"""Maximum number of passages of one search."""

_ORDER = ("page", "start_line", "row", "cell")


class Library:
    """Reads an index on behalf of one client.

    Args:
        index: that holds the passages.
        settings: ``retrieval_k`` and ``query_strategy`` are used.
        selection: the passages that the client may read.
    """

    def __init__(self, index: AnyIndex, settings: Settings, selection: Selection) -> None:
        self._index = index
        self._k = settings.retrieval_k
        self._selection = selection

    async def search(self, query: str, k: int | None = None) -> list[dict[str, Any]]:
        """Return the best passages for a query, best first.

        Raises:
            UsageError: the query is empty or too long, or ``k`` is out of its range.
            DocumentIndexError: the index can't be used.
        """
        wanted = self._k if k is None else k
        if not 1 <= wanted <= MOST:
            raise UsageError(f"k is {wanted}: it must be from 1 to {MOST}.")
        await asyncio.to_thread(self._index.refresh)
        retriever = HistoryAwareRetriever(self._index, k=wanted)
        found = await retriever.ainvoke({"input": query, "selection": self._selection})
        return [_passage(number, document) for number, document in enumerate(found, 1)]

    async def sources(self) -> list[dict[str, Any]]:
        """Return the sources, by name: ``source``, ``uri``, ``passages`` and ``omissions``, what could not be read."""
        return await asyncio.to_thread(self._sources)

    async def text_of(self, source: str) -> str:
        """Return the passages of a source, in the order of its text.

        Raises:
            UsageError: there is no source of that name, or the client may not read it.
        """
        return await asyncio.to_thread(self._text_of, source)

    def _sources(self) -> list[dict[str, Any]]:
        self._index.refresh()
        listed = []
        for source, record in sorted(self._index.sources.items()):
            if self._readable(source, most=1):
                listed.append(
                    {
                        "source": source,
                        "uri": uri_of(source),
                        "passages": int(record.get("chunks", 0)),
                        "omissions": list(record.get("omissions", ())),
                    }
                )
        return listed

    def _text_of(self, source: str) -> str:
        self._index.refresh()
        documents = self._readable(source)
        if not documents:
            raise UsageError(f"There is no document {source!r}: list_sources lists the names.")
        documents.sort(key=lambda document: [int(document.metadata.get(name) or 0) for name in _ORDER])
        return "\n\n".join(document.page_content for document in documents)

    def _readable(self, source: str, most: int | None = None) -> list[Document]:
        documents = self._index.get_by_ids(self._index.ids_of_source([source])[:most])
        return [document for document in documents if self._selection.may_read(document.metadata)]


def uri_of(source: str) -> str:
    """Return the address of the text of a source."""
    return f"document://{quote(source, safe='/')}"


def _passage(number: int, document: Document) -> dict[str, Any]:
    return {
        "number": number,
        "source": str(document.metadata.get("source") or ""),
        "position": position(document),
        "text": document.page_content,
    }
