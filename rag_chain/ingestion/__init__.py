"""Files to chunks in the index: loaders, splitting, and the pipeline that keeps the index up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag_chain.ingestion.pipeline import ingest
    from rag_chain.ingestion.report import IngestReport, Reported

__all__ = ["IngestReport", "Reported", "ingest"]


def __getattr__(name: str) -> Any:
    """Load a public name at its first use: the processes that read files need none of them."""
    if name == "ingest":
        from rag_chain.ingestion import pipeline

        return pipeline.ingest
    if name in __all__:
        from rag_chain.ingestion import report

        return getattr(report, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
