"""RAG_INDEX_URL: documents are ingested into Milvus and asked about, with the same calls as for a folder."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import Embeddings
from passages import WordVectors

from rag_chain import Settings, build_chain, ingest, open_index
from rag_chain.errors import ConfigurationError, DocumentIndexError, IndexNotFoundError, UsageError
from rag_chain.operations.doctor.local_checks import check_index
from rag_chain.operations.doctor.local_facts import read_index
from rag_chain.retrieval.milvus.address import MilvusAddress
from rag_chain.retrieval.milvus.server import MilvusServer
from rag_chain.retrieval.opening import place_of

SECRET = "sesame-7"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "depth.md").write_text("# Sea\n\nThe sea is up to 11 kilometres deep.\n")
    (folder / "wall.md").write_text("# Wall\n\nThe Berlin wall was built by East Germany in 1961.\n")
    return folder


def settings(root: Path, **values: Any) -> Settings:
    given: dict[str, Any] = {
        "index_url": f"milvus+lite:{root / 'index.db'}", "index_dir": root / "work", "embedding_model": "local:minilm",
        "redis_url": "", "journal_path": None,
    }  # fmt: skip
    return Settings(**given | values)


def outcome(folder: Path, chosen: Settings, **options: Any) -> tuple[int, int, int, int, int]:
    report = ingest([folder], chosen, progress=False, **options)
    return report.added, report.updated, report.unchanged, report.removed, report.embedded


def test_documents_are_ingested_and_asked_about(folder: Path, tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    assert outcome(folder, chosen) == (2, 0, 0, 0, 2)
    assert outcome(folder, chosen) == (0, 0, 2, 0, 0)
    with closing(build_chain(chosen)) as chain:
        answer = chain.invoke({"input": "How deep is the sea?"}, {"configurable": {"session_id": "s"}})
        assert "11 kilometres" in answer["answer"]
        assert answer["citations"][0].source.endswith("depth.md")
        # What is ingested meanwhile is found by the same chain.
        (folder / "depth.md").write_text("# Sea\n\nThe sea is up to 10,984 metres deep.\n")
        (folder / "wall.md").unlink()
        assert outcome(folder, chosen) == (0, 1, 0, 1, 1)
        answer = chain.invoke({"input": "How deep is the sea?"}, {"configurable": {"session_id": "t"}})
        assert "10,984 metres" in answer["answer"]
    index = open_index(chosen)
    assert (index.stats()["chunks"], index.stats()["sources"]) == (1, 1)
    assert outcome(folder, chosen, rebuild=True)[0] == 1
    assert check_index(read_index(chosen)).level == "green"


def test_access_tags_hold(folder: Path, tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    outcome(folder, chosen, access=["sailors"])
    with closing(build_chain(chosen)) as chain:

        def ask(**configurable: Any) -> Any:
            return chain.invoke({"input": "How deep is the sea?"}, {"configurable": {"session_id": "s"} | configurable})

        assert "11 kilometres" not in ask()["answer"]
        assert "11 kilometres" in ask(access=["sailors"])["answer"]
        with pytest.raises(UsageError, match="'colour'"):
            ask(filter={"colour": "red"})
    outcome(folder, chosen, rebuild=True)
    assert {tuple(record["given"]) for record in open_index(chosen).sources.values()} == {("sailors",)}


def test_an_interrupted_ingestion_goes_on(folder: Path, tmp_path: Path) -> None:
    class Breaks(Embeddings):
        """Breaks off at the second batch."""

        calls = 0

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            self.calls += 1
            if self.calls > 1:
                raise KeyboardInterrupt
            return WordVectors().embed_documents(texts)

        def embed_query(self, text: str) -> list[float]:
            return WordVectors().embed_query(text)

    chosen = settings(tmp_path, embedding_model="openai:words", openai_api_key="k", chunk_size=100, chunk_overlap=0)
    (folder / "long.md").write_text("\n\n".join(f"Paragraph {n} says that {n} is a number. " * 2 for n in range(600)))
    with pytest.raises(KeyboardInterrupt):
        ingest([folder], chosen, embeddings=Breaks(), progress=False)
    with pytest.raises(IndexNotFoundError):
        open_index(chosen)
    report = ingest([folder], chosen, embeddings=WordVectors(), progress=False)
    assert report.ok
    assert 0 < report.embedded < report.chunks
    assert len(open_index(chosen)) == report.chunks


def test_a_collection_of_others_is_refused(folder: Path, tmp_path: Path) -> None:
    from pymilvus import MilvusClient

    client = MilvusClient(str(tmp_path / "index.db"))
    client.create_collection("rag_chain", dimension=4)
    with pytest.raises(DocumentIndexError, match="was not made by rag_chain: name another one"):
        ingest([folder], settings(tmp_path), progress=False)
    url = f"milvus+lite:{tmp_path / 'index.db'}?collection=documents"
    assert ingest([folder], settings(tmp_path, index_url=url), progress=False).added == 2
    assert "rag_chain" in client.list_collections()
    client.close()


def test_a_server_that_is_gone_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rag_chain.retrieval.milvus.server.SEARCH_SECONDS", 0.5)
    chosen = settings(tmp_path, index_url=f"http://root:{SECRET}@127.0.0.1:1/db")
    with pytest.raises(DocumentIndexError, match=r"http://127\.0\.0\.1:1/db/rag_chain can't be used") as failed:
        open_index(chosen)
    assert SECRET not in f"{failed.value} {caplog.text} {chosen!r} {place_of(chosen)}"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"postgres://root:{SECRET}@host/db", "can't be read"),
        (f"http://root:{SECRET}@host:port", "can't be read"),
        (f"http://root:{SECRET}@/", "can't be read"),
        ("milvus+lite:index", "must end with .db"),
        ("milvus+lite:index.db?collection=a-b", "letters, digits and _"),
        (f"http://{SECRET}@host/a/b", "can't be read"),
    ],
)
def test_an_address_that_can_not_be_read(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as failed:
        open_index(settings(tmp_path, index_url=url))
    assert SECRET not in str(failed.value)


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("http://milvus", ("http://milvus:19530", "rag_chain", "", "")),
        ("https://u:p%40@[::1]:443/db?collection=c", ("https://[::1]:443", "c", "db", "u:p@")),
        ("http://key@host:1", ("http://host:1", "rag_chain", "", "key")),
    ],
)
def test_addresses(url: str, read: tuple[str, ...]) -> None:
    address = MilvusAddress.parse(url)
    assert (address.uri, address.collection, address.database, address.token) == read


def test_a_damaged_record_is_named(folder: Path, tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    outcome(folder, chosen)
    server = MilvusServer(MilvusAddress.parse(f"milvus+lite:{tmp_path / 'index.db'}"))
    server.write_records(str(server.target()), {"index": "{}"})
    with pytest.raises(DocumentIndexError, match="damaged: ingest with --rebuild"):
        open_index(chosen)
    assert outcome(folder, chosen, rebuild=True)[0] == 2
    assert len(open_index(chosen)) == 2
