"""What LangChain's indexing needs to know of the chunks in the index: a view of the index, nothing stored."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.indexing.base import RecordManager

from rag_chain.retrieval.opening import AnyIndex


class IndexRecordManager(RecordManager):
    """The chunks of the sources under way, as they were before this run, and what the run has written since.

    The index itself knows which chunks a source has; the time of a chunk is only ever compared with the begin of the
    run, so "written in this run" is all that is kept of it.

    Args:
        index: in a transaction, whose earlier additions it does not show yet.
        sources: that are indexed in this run.
    """

    def __init__(self, index: AnyIndex, sources: Sequence[str]) -> None:
        super().__init__(namespace=str(index.path))
        self._index = index
        self._before = set(index.ids_of_source(sources)) if sources else set()
        self._written: set[str] = set()

    def create_schema(self) -> None:
        """Nothing is stored."""

    async def acreate_schema(self) -> None:
        """Nothing is stored."""

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
