"""Files to chunks in the index: loaders, splitting, and the pipeline that keeps the index up to date."""

from rag_chain.ingestion.pipeline import ingest
from rag_chain.ingestion.report import IngestReport, Reported

__all__ = ["IngestReport", "Reported", "ingest"]
