"""LangChain's own suite for retrievers, over the index on disk."""

from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.retrievers import BaseRetriever
from langchain_tests.integration_tests import RetrieversIntegrationTests

from rag_chain.retrieval.index import HybridIndex
from rag_chain.retrieval.retriever import HybridRetriever


class TestHybridRetrieverStandard(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _index(self, tmp_path):
        self.index = HybridIndex.create(tmp_path / "i", DeterministicFakeEmbedding(size=8), embedding_model="fake:8")
        self.index.add_documents([Document(page_content=f"passage number {i}") for i in range(10)])

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return HybridRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"index": self.index}

    @property
    def retriever_query_example(self) -> str:
        return "passage"
