"""One ingestion in a process that a test kills: cheap embeddings that take their time."""

from __future__ import annotations

from pathlib import Path

from files import CountingEmbeddings

from rag_chain.ingestion import ingest
from rag_chain.settings import Settings

MODEL = "test:counting"


def run(folder: str, index_dir: str, seconds_a_batch: float = 0.01) -> None:
    """Ingest ``folder`` into ``index_dir``."""
    settings = Settings(index_dir=Path(index_dir), embedding_model=MODEL, chunk_size=200, chunk_overlap=0)
    ingest([folder], settings, embeddings=CountingEmbeddings(seconds_a_batch=seconds_a_batch))
