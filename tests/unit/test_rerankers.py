"""Rerankers by name: which LangChain class is made, and what is said where it can't be."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
from langchain_community.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document

from rag_chain.errors import ConfigurationError
from rag_chain.models import reranker
from rag_chain.models.rerankers import _load
from rag_chain.settings import Settings


class Overlap(BaseCrossEncoder):
    """Scores a pair by the words that it shares."""

    def __init__(self, model_name: str = "") -> None:
        self.model_name = model_name

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        return [float(len(set(a.lower().split()) & set(b.lower().split()))) for a, b in text_pairs]


def made(name: str, k: int = 2) -> Any:
    return reranker(Settings(reranker=name, retrieval_k=k, _env_file=None))


def test_no_name_makes_none():
    assert made("") is None


def test_huggingface_is_a_cross_encoder(monkeypatch: pytest.MonkeyPatch):
    module = _load("langchain_community.cross_encoders")
    monkeypatch.setattr(module, "HuggingFaceCrossEncoder", Overlap, raising=False)
    model = made("huggingface:BAAI/bge-reranker-base")
    assert isinstance(model, CrossEncoderReranker)
    assert model.model.model_name == "BAAI/bge-reranker-base"
    documents = [Document("bread"), Document("the height of the tower"), Document("height")]
    assert [d.page_content for d in model.compress_documents(documents, "height of the tower")] == [
        "the height of the tower",
        "height",
    ]


@pytest.mark.parametrize(
    ("name", "module", "kind"),
    [
        ("flashrank:ms-marco-MiniLM-L-12-v2", "langchain_community.document_compressors", "FlashrankRerank"),
        ("cohere:rerank-v3.5", "langchain_cohere", "CohereRerank"),
    ],
)
def test_others_are_made_with_their_model_and_k(monkeypatch: pytest.MonkeyPatch, name: str, module: str, kind: str):
    monkeypatch.setitem(sys.modules, "flashrank", SimpleNamespace())
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{kind: lambda **options: options}))
    assert made(name, k=7) == {"model": name.partition(":")[2], "top_n": 7}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("jina:x", "no provider 'jina'; known are cohere, flashrank, huggingface"),
        ("cohere:rerank-v3.5", "pip install langchain-cohere"),
        ("flashrank:x", "pip install flashrank"),
        ("huggingface:x", "pip install sentence-transformers"),
    ],
)
def test_what_is_missing_is_named(name: str, said: str):
    with pytest.raises(ConfigurationError, match=said):
        made(name)


def test_a_name_needs_a_provider_and_a_model():
    with pytest.raises(ConfigurationError, match="RAG_RERANKER"):
        Settings(reranker="flashrank", _env_file=None)
