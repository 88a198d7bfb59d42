"""The record manager of LangChain's indexing, as a view of the index: it stores nothing of its own."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.indexing.base import RecordManager

from rag_chain.retrieval.opening import AnyIndex


class IndexRecordManager(RecordManager):
    """The chunks of the sources that are being indexed: those from before this run, and those written by it.

    The index itself knows the chunks of a source. LangChain only compares the time of a chunk with the start of the
    run, so the one thing to remember is whether a chunk was written in this run.

    Args:
        index: in a transaction; it does not show that transaction's additions yet.
        sources: indexed in this run.
    """

    def __init__(self, index: AnyIndex, sources: Sequence[str]) -> None:
        super().__init__(namespace=str(index.path))
        self._index = index
        self._before = set(index.ids_of_source(sources)) if sources else set()
        self._written: set[str] = set()

    def create_schema(self) -> None:
        """Do nothing: there is no schema."""

    async def acreate_schema(self) -> None:
        """Do nothing: there is no schema."""

    def get_time(self) -> float:
        """Of a clock that stands still: see ``list_keys``."""
        return 0.0

    async def aget_time(self) -> float:
        """See ``get_time``."""
        return self.get_time()

    def update(
        self, keys: Sequence[str], *, group_ids: Sequence[str | None] | None = None, time_at_least: float | None = None
    ) -> None:
        """These chunks were written in this run."""
        self._written.update(keys)

    async def aupdate(
        self, keys: Sequence[str], *, group_ids: Sequence[str | None] | None = None, time_at_least: float | None = None
    ) -> None:
        """See ``update``."""
        self.update(keys, group_ids=group_ids, time_at_least=time_at_least)

    def exists(self, keys: Sequence[str]) -> list[bool]:
        """Whether the chunks are in the index."""
        return [key in self._before or key in self._written for key in keys]

    async def aexists(self, keys: Sequence[str]) -> list[bool]:
        """See ``exists``."""
        return self.exists(keys)

    def list_keys(
        self,
        *,
        before: float | None = None,
        after: float | None = None,
        group_ids: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> list[str]:
        """The chunks of these sources that the run has not written (``before`` is always its begin)."""
        of_sources = self._index.ids_of_source(group_ids or [])
        stale = [key for key in of_sources if key in self._before and key not in self._written]
        return stale[:limit]

    async def alist_keys(
        self,
        *,
        before: float | None = None,
        after: float | None = None,
        group_ids: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> list[str]:
        """See ``list_keys``."""
        return self.list_keys(before=before, after=after, group_ids=group_ids, limit=limit)

    def delete_keys(self, keys: Sequence[str]) -> None:
        """These chunks are in the index no more."""
        self._before.difference_update(keys)

    async def adelete_keys(self, keys: Sequence[str]) -> None:
        """See ``delete_keys``."""
        self.delete_keys(keys)
