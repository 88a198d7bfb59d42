"""Write to an index in Milvus: passages, and the ingestion's records."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from rag_chain.errors import DocumentIndexError, IndexFormatError, IndexMismatchError, UsageError
from rag_chain.retrieval.analysis import analyze
from rag_chain.retrieval.dense import unit
from rag_chain.retrieval.index import identify
from rag_chain.retrieval.languages import languages_of
from rag_chain.retrieval.milvus.server import LONGEST, MilvusServer
from rag_chain.retrieval.milvus.state import INFO, Counts, Info
from rag_chain.retrieval.milvus.terms import encode_all, expression_of_values, facets_of
from rag_chain.retrieval.sparse import SparseEncoder, SparseVector
from rag_chain.retrieval.writer import content_hash

_HASHES = 500


class MilvusWriting:
    """The half of ``MilvusIndex`` that changes the index.

    Args:
        server: of the index.
        embeddings: the embedding model.
        sparse: the model of learned sparse weights; None: the index has none.
        name: of its collection; None: it is not created yet.
    """

    info: Info

    def __init__(
        self, server: MilvusServer, embeddings: Embeddings, sparse: SparseEncoder | None, name: str | None
    ) -> None:
        self._server = server
        self._embeddings = embeddings
        self._encoder = sparse
        self._name = name
        self._is_public = name is not None
        self._counts = Counts()
        self._writing = threading.RLock()
        self._noted: dict[str, str | None] | None = None
        """Records that the open transaction will write; None: there is no transaction."""

    @property
    def path(self) -> str:
        """Server and collection, for messages."""
        return str(self._server.address)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write the records of sources at the end of the block; a new index becomes visible then.

        Passages that are added to an existing index are visible at once. If the block fails, the records are unchanged,
        so that the next ingestion repeats what is not recorded.
        """
        with self._writing:
            if self._noted is not None:
                yield
                return
            self._noted = {}
            try:
                yield
                self._commit(self._noted)
            except BaseException:
                if self._name is not None and not self._is_public:
                    self._server.drop(self._name)
                    self._name = None
                raise
            finally:
                self._noted = None

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts with their metadata; see ``add_documents``."""
        listed = list(texts)
        metadatas = metadatas or [{} for _ in listed]
        documents = [Document(page_content=t, metadata=m) for t, m in zip(listed, metadatas, strict=True)]
        return self.add_documents(documents, ids=ids)

    def add_documents(self, documents: list[Document], ids: list[str] | None = None, **kwargs: Any) -> list[str]:
        """Add passages, or replace those with the same id. A text that is in the index is not embedded again.

        Args:
            documents: metadata must be JSON.
            ids: one per document; else the documents' own, else new ones.
            **kwargs: ignored; part of LangChain's signature.

        Returns:
            The ids, in the order of the documents.

        Raises:
            UsageError: a text or its metadata is too long for Milvus, or not JSON.
        """
        keys, chunks = identify(documents, ids)
        if not chunks:
            return keys
        languages = dict(zip(chunks, languages_of(list(chunks.values())), strict=True))
        entities = {key: _entity(key, chunk, languages[key]) for key, chunk in chunks.items()}
        with self.transaction():
            vectors = self._vectors({entity["hash"]: entity["text"] for entity in entities.values()})
            for entity in entities.values():
                entity |= vectors[entity["hash"]]
            assert self._name is not None  # noqa: S101 - _vectors created it
            words = sum(entity["terms"].count(" ") + 1 for entity in entities.values())
            if not self._server.has_bm25:
                for entity in entities.values():
                    del entity["terms"]
            self._server.upsert(self._name, list(entities.values()))
            self.info = self.info.with_added(set(languages.values()), words, len(entities))
            self._counts.forget()
        return keys

    def new_texts(self, documents: list[Document]) -> list[str]:
        """Return the texts that ``add_documents`` would embed, because they have no vector yet; each once.

        Raises:
            UsageError: as ``add_documents``.
        """
        _, chunks = identify(documents, None)
        texts = {content_hash(chunk.page_content): chunk.page_content for chunk in chunks.values()}
        known = self._rows_of_hashes(list(texts), ["hash"])
        return [text for key, text in texts.items() if key not in known]

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Delete the passages of these ids; unknown ids are ignored. Without ids, delete every passage."""
        with self.transaction():
            if self._name is not None:
                if ids is None:
                    ids = [str(row["id"]) for row in self._server.pages(self._name, "", ["id"])]
                self._server.delete(self._name, ids)
                self._counts.forget()
        return True

    @property
    def sources(self) -> dict[str, dict[str, Any]]:
        """Return a copy of the ingestion's records: source -> record."""
        return read_source_records(self._server, self._name, self._noted or {})

    def set_source(self, source: str, record: Mapping[str, Any]) -> None:
        """Set the record of a source, in the open transaction."""
        self._note(_key(source), json.dumps({"source": source, "record": dict(record)}))

    def drop_source(self, source: str) -> None:
        """Delete the record of a source, in the open transaction. Its passages stay."""
        self._note(_key(source), None)

    def set_chunking(self, chunking: Mapping[str, Any]) -> None:
        """Record how documents are split from now on, in the open transaction."""
        self.info = replace(self.info, chunking=dict(chunking))

    def ids_of_source(self, sources: Sequence[str]) -> list[str]:
        """Return the ids of all passages whose ``metadata["source"]`` is one of ``sources``."""
        if self._name is None or not sources:
            return []
        found: list[str] = []
        for start in range(0, len(sources), _HASHES):
            expression = expression_of_values("source", sources[start : start + _HASHES])
            found += [str(row["id"]) for row in self._server.pages(self._name, expression, ["id"])]
        return found

    def _note(self, key: str, text: str | None) -> None:
        if self._noted is None:
            raise DocumentIndexError("This call must be inside `with index.transaction():`.")
        self._noted[key] = text

    def _commit(self, noted: Mapping[str, str | None]) -> None:
        if self._name is None:
            if not noted:
                return
            self._name = self._make(len(self._embeddings.embed_documents(["."])[0]))  # no passages
        self._server.flush(self._name)
        self._server.write_records(self._name, {**noted, INFO: self.info.dump()})
        if not self._is_public:
            self._server.publish(self._name)
            self._is_public = True
        self._counts.forget()

    def _make(self, dimension: int) -> str:
        if self.info.sparse_model and not self._server.has_bm25:
            raise IndexFormatError(
                f"Milvus at {self.path} is older than 2.5 and can't hold learned weights: use a newer one, or set "
                "RAG_SPARSE=bm25."
            )
        self.info = replace(self.info, dimension=dimension)
        return self._server.create(dimension, sparse=bool(self.info.sparse_model))

    def _vectors(self, texts: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """Return the fields of the vectors by hash of the text: existing ones, else new ones."""
        fields = ["dense", "sparse"] if self.info.sparse_model else ["dense"]
        if self.info.sparse_model and self._encoder is None:
            raise IndexMismatchError(
                f"The index in {self.path} has the weights of {self.info.sparse_model}, which is not in use: set "
                "RAG_SPARSE=splade, or ingest with --rebuild."
            )
        rows = self._rows_of_hashes(list(texts), ["hash", *fields])
        found = {key: {field: row[field] for field in fields} for key, row in rows.items()}
        new = [key for key in texts if key not in found]
        if new:
            given = self._embeddings.embed_documents([texts[key] for key in new])
            dimension = len(given[0])
            if self._name is None:
                self._name = self._make(dimension)
            elif dimension != self.info.dimension:
                raise IndexMismatchError(
                    f"The index in {self.path} holds vectors of {self.info.dimension} components, the embedding model "
                    f"returns {dimension}: set RAG_EMBEDDING_MODEL, or ingest with --rebuild."
                )
            found |= {key: {"dense": vector} for key, vector in zip(new, unit(given).tolist(), strict=True)}
            if self.info.sparse_model and self._encoder is not None:
                encoded = self._encoder.encode([texts[key] for key in new])
                for key, vector in zip(new, encoded, strict=True):
                    found[key]["sparse"] = _weights(vector)
        return found

    def _rows_of_hashes(self, hashes: Sequence[str], fields: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Return hash -> fields of a passage with that hash, for existing ones."""
        found: dict[str, Mapping[str, Any]] = {}
        for start in range(0, len(hashes) if self._name else 0, _HASHES):
            assert self._name is not None  # noqa: S101 - see the range
            expression = f"hash in {json.dumps(list(hashes[start : start + _HASHES]))}"
            for row in self._server.pages(self._name, expression, fields):
                found.setdefault(str(row["hash"]), row)
        return found


def read_source_records(
    server: MilvusServer, name: str | None, noted: Mapping[str, str | None] | None = None
) -> dict[str, dict[str, Any]]:
    """Return the ingestion's records: source -> record.

    Args:
        server: of the index.
        name: of its collection; None: there is none yet.
        noted: records that are not written yet, by id; None: deleted.
    """
    records: dict[str, str | None] = dict(server.read_records(name)) if name is not None else {}
    records |= noted or {}
    loaded = [json.loads(text) for key, text in records.items() if key != INFO and text is not None]
    return {record["source"]: record["record"] for record in loaded}


def _entity(key: str, chunk: Document, language: str) -> dict[str, Any]:
    """Return the fields of a passage, without those of its vectors.

    Raises:
        UsageError: it is too long for Milvus, or its metadata is not JSON.
    """
    try:
        metadata = json.dumps(chunk.metadata)
    except TypeError as error:
        raise UsageError(f"The metadata of chunk {key} must be JSON: {error}.") from error
    terms = encode_all(analyze(chunk.page_content, language))
    if max(len(chunk.page_content.encode()), len(terms)) > LONGEST:
        raise UsageError(
            f"Chunk {key} has {len(chunk.page_content):,} characters, more than Milvus can hold: set "
            "RAG_CHUNK_SIZE to 3000 or less."
        )
    if len(metadata.encode()) > LONGEST:
        raise UsageError(f"The metadata of chunk {key} has more than the {LONGEST:,} bytes that Milvus can hold.")
    return {
        "id": key,
        "text": chunk.page_content,
        "metadata": metadata,
        "hash": content_hash(chunk.page_content),
        "language": language,
        "terms": terms,
        "facets": facets_of(chunk.metadata),
    }


def _weights(vector: SparseVector) -> dict[int, float]:
    return dict(zip(vector[0].tolist(), vector[1].tolist(), strict=True))


def _key(source: str) -> str:
    return hashlib.sha256(source.encode("utf-8", "surrogateescape")).hexdigest()
