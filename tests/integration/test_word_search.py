"""Searching by words: rare ones, misspelt ones, learned weights, other languages, and what is stored of a text."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from rag_chain.errors import IndexFormatError, IndexMismatchError
from rag_chain.retrieval import generations
from rag_chain.retrieval.index import HybridIndex
from rag_chain.retrieval.retriever import HybridRetriever
from rag_chain.retrieval.sparse import SparseVector

SUBJECTS = ("session", "index", "window", "journal", "replay", "lease", "chunk", "query", "citation", "pool")


class Misleading(Embeddings):
    """Every text is near to every question, but for those that name a command: dense search puts them last."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[1.0, 0.0, zlib.crc32(t.encode()) % 97 / 970] if t.islower() else [0.0, 1.0, 0.0] for t in texts]

    def embed_query(self, text: str) -> list[float]:
        return [1.0, 0.0, 0.05]


class WordWeights:
    """A sparse encoder without a model: each word weighs 1, and a session is a conversation too."""

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str]) -> list[SparseVector]:
        self.encoded += texts
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> SparseVector:
        words = set(text.lower().replace("?", "").replace(".", "").split())
        words |= {"conversation"} if "session" in words else set()
        numbers = sorted({zlib.crc32(word.encode()) % 30_000 for word in words})
        return np.array(numbers, np.uint16), np.ones(len(numbers), np.float32)


def chunk(key: str, text: str, source: str = "a.md") -> Document:
    return Document(id=key, page_content=text, metadata={"source": source})


def found(index: HybridIndex, question: str, k: int = 5) -> list[str | None]:
    return [document.id for document in HybridRetriever(index=index, k=k).invoke(question)]


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory) -> HybridIndex:
    """400 chunks in which the words of any question stand often, and one that names a command."""
    index = HybridIndex.create(
        tmp_path_factory.mktemp("words") / "i", Misleading(), embedding_model="test:misleading", sparse=WordWeights()
    )
    texts = [
        f"what is the {SUBJECTS[n % 10]} number {n} and how do people use the {SUBJECTS[n // 10 % 10]} of it"
        for n in range(400)
    ]
    index.add_documents([chunk(str(n), text) for n, text in enumerate(texts)])
    index.add_documents(
        [
            chunk("command", "GETDEL removes a key and returns its value."),
            chunk("setting", "Set proxy_read_timeout in seconds."),
            chunk("other", "Set A timeout to read."),
        ]
    )
    return index


@pytest.mark.parametrize(
    "question",
    [
        "GETDEL",
        "What is GETDEL?",
        "How do people use GETDEL with the session index?",
        "getdel number session",
        "Can you tell me what the documents say about GETDEL?",
        "Is GETDEL unheardof among people?",
    ],
)
def test_a_word_that_one_chunk_holds_brings_it_forward(manual: HybridIndex, question: str) -> None:
    assert "command" in found(manual, question)


def test_a_name_with_signs_in_it_is_found_as_a_whole(manual: HybridIndex) -> None:
    assert found(manual, "What is proxy_read_timeout?")[0] == "setting"


def test_a_rare_word_keeps_to_the_filter(manual: HybridIndex) -> None:
    retriever = HybridRetriever(index=manual, k=5, options={"filter": {"source": "b.md"}})
    assert retriever.invoke("GETDEL") == []


def test_a_common_word_is_no_rare_one(manual: HybridIndex) -> None:
    rows, shares = manual.rare_search(["getdel", "session"])
    assert [document.id for document in manual.documents(rows)] == ["command"]
    assert 0.5 < shares[0] < 1
    assert len(manual.rare_search(["session"])[0]) == 0
    # Among much else it is an accident of wording.
    assert len(manual.rare_search(["getdel", "session", "index", "window", "journal", "replay", "lease"])[0]) == 0


def test_a_misspelt_word_finds_the_word_that_was_meant(manual: HybridIndex) -> None:
    rows, _ = manual.lexical_search("GETDLE", 5)
    assert [document.id for document in manual.documents(rows)] == ["command"]
    rows, _ = manual.lexical_search("proxy_read_timout", 1)
    assert len(rows) == 1
    assert len(manual.lexical_search("xyzzy", 5)[0]) == 0


def test_learned_weights_find_what_shares_no_word(tmp_path: Path) -> None:
    index = HybridIndex.create(tmp_path / "i", Misleading(), embedding_model="test:m", sparse=WordWeights())
    index.add_documents([chunk("s", "a session lasts"), chunk("t", "a table stands"), chunk("u", "a unit counts")])
    assert found(index, "conversation", 1) == ["s"]
    without = HybridIndex.open(index.path, Misleading(), embedding_model="test:m")
    assert without.sparse is None
    assert len(found(without, "conversation", 3)) == 3


def test_learned_weights_follow_every_change(tmp_path: Path) -> None:
    encoder = WordWeights()
    index = HybridIndex.create(tmp_path / "i", Misleading(), embedding_model="test:m", sparse=encoder)
    index.add_documents([chunk("a", "red apple"), chunk("b", "blue berry"), chunk("c", "green citrus")])
    reader = HybridIndex.open(index.path, Misleading(), embedding_model="test:m", sparse=WordWeights())
    index.delete(["b"])
    encoder.encoded.clear()
    # The text of "a" is known: it moves to another id without being encoded again.
    index.add_documents([chunk("d", "blue date"), chunk("c", "green cherry"), chunk("e", "red apple")])
    assert sorted(encoder.encoded) == ["blue date", "green cherry"]
    assert reader.refresh()

    def rows_with(word: str) -> set[str | None]:
        rows, scores = reader.sparse_search(WordWeights().encode([word])[0], 9)
        assert (scores > 0.9).all()
        return {document.id for document in reader.documents(rows)}

    assert rows_with("red") == {"a", "e"}
    assert rows_with("blue") == {"d"}
    assert rows_with("green") == {"c"}
    assert rows_with("citrus") == rows_with("berry") == set()
    index.delete()
    index.add_documents([chunk("f", "red fig")])
    reader.refresh()
    assert rows_with("red") == {"f"}


def test_nothing_is_added_to_learned_weights_without_their_model(tmp_path: Path) -> None:
    HybridIndex.create(tmp_path / "i", Misleading(), embedding_model="test:m", sparse=WordWeights())
    index = HybridIndex.open(tmp_path / "i", Misleading(), embedding_model="test:m")
    with pytest.raises(IndexMismatchError, match=r"RAG_SPARSE=splade, or ingest with --rebuild"):
        index.add_documents([chunk("a", "red apple")])


def test_languages_are_told_and_searched_in_their_own_terms(tmp_path: Path) -> None:
    index = HybridIndex.create(tmp_path / "i", Misleading(), embedding_model="test:m")
    index.add_documents(
        [
            chunk("de", "In dieser Straße stehen viele alte Häuser, die um 1900 gebaut wurden.", "de.md"),
            chunk("zh", "长江是中国最长的河流，全长约六千三百公里，流入东海。", "zh.md"),
            chunk("en", "The houses of this street were built around 1900, and many of them are old.", "en.md"),
        ]
    )
    assert set(index.languages) == {"de", "zh", "en"}
    assert index.stats()["languages"] == {"de": 1, "zh": 1, "en": 1}
    for question, key in (("altes Haus", "de"), ("长江有多长？", "zh"), ("old house", "en")):
        rows, _ = index.lexical_search(question, 1)
        assert [document.id for document in index.documents(rows)] == [key]


def test_what_steers_a_terminal_is_not_stored(tmp_path: Path) -> None:
    index = HybridIndex.create(tmp_path / "i", Misleading(), embedding_model="test:m")
    text = "plain \x1b[31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07 \u202eturned\u202c \u2066kept\u2069\x00\x07"
    text += " tab\tline\nend"
    index.add_documents([Document(text, id="a", metadata={"heading": "\x1b[2Jtitle", "source": "a.md", "page": 1})])
    [stored] = index.get_by_ids(["a"])
    assert stored.page_content == "plain red link turned kept tab\tline\nend"
    assert stored.metadata == {"heading": "title", "source": "a.md", "page": 1}


def test_an_index_of_an_earlier_version_asks_for_a_rebuild(tmp_path: Path) -> None:
    index = HybridIndex.create(tmp_path / "i", Misleading(), embedding_model="test:m")
    line, folder, _ = generations.read_current(index.path)
    manifest = folder / "manifest.json"
    values = json.loads(manifest.read_text()) | {"format": 1, "language": "English"}
    manifest.write_text(json.dumps(values))
    (index.path / "current").write_text(f"{line.split()[0]} {hashlib.sha256(manifest.read_bytes()).hexdigest()}")
    with pytest.raises(IndexFormatError, match=r"format 1 of an earlier version.*--rebuild"):
        HybridIndex.open(index.path, Misleading(), embedding_model="test:m")
