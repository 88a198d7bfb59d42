"""LangChain's own suite for vector stores, over the index on disk."""

from pathlib import Path

import pytest
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from rag_chain.retrieval.index import HybridIndex


class TestHybridIndexStandard(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> VectorStore:
        return HybridIndex.create(tmp_path / "index", self.get_embeddings(), embedding_model="fake:six")
