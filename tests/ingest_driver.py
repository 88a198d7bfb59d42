"""One ingestion in a process that a test kills: cheap embeddings that take their time."""

from __future__ import annotations

from pathlib import Path

from files import CountingEmbeddings

from rag_chain.ingestion import ingest
from rag_chain.settings import Settings

MODEL = "test:counting"
CHUNK_SIZE = 200


def run(folder: str, index_dir: str) -> None:
    """Ingest ``folder`` into ``index_dir``."""
    settings = Settings(index_dir=Path(index_dir), embedding_model=MODEL, chunk_size=CHUNK_SIZE, chunk_overlap=0)
    ingest([folder], settings, embeddings=CountingEmbeddings(seconds_a_batch=0.01))
