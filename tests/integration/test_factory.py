"""What the composition root does with the parts that it is handed."""

from pathlib import Path

from langchain_core.embeddings import DeterministicFakeEmbedding

from rag_chain import Settings, build_chain
from rag_chain.retrieval.index import HybridIndex


def test_an_index_without_chunks_is_used_as_it_is(tmp_path: Path) -> None:
    index = HybridIndex.create(tmp_path / "empty", DeterministicFakeEmbedding(size=4), embedding_model="fake:four")
    settings = Settings(redis_url="", journal_path=None, index_dir=tmp_path / "none", chat_model="local:extractive")
    out = build_chain(settings, index=index).invoke({"input": "q?"}, {"configurable": {"session_id": "s"}})
    assert (out["context"], out["citations"]) == ([], [])
