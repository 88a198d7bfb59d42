"""The calls of an index to a Milvus server, with errors that say what to do."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rag_chain.errors import ConfigurationError, DocumentIndexError, IndexFormatError
from rag_chain.retrieval.milvus.address import MilvusAddress
from rag_chain.retrieval.milvus.terms import K1, B

SEARCH_SECONDS, WRITE_SECONDS = 10.0, 120.0
"""Timeouts of calls; without them, pymilvus retries calls to an unavailable server for minutes."""

LONGEST = 65_535
"""Maximum bytes of a text in Milvus."""

_PAGE = 1_000
_MOST_FACETS = 4_096
_OLDEST, _WITH_BM25 = (2, 3), (2, 5)
"""Lowest versions of the server with array filters, and with BM25."""


class MilvusServer:
    """A server and the collections of one index. Any number of threads may use it.

    Args:
        address: which server and which collection.

    Raises:
        ConfigurationError: the package ``pymilvus`` is missing.
        DocumentIndexError: the server can't be reached, or is too old.
    """

    def __init__(self, address: MilvusAddress) -> None:
        self.address = address
        self.consistency = address.consistency
        """Consistency of reads; this process always reads its own writes."""
        self._lock = threading.Lock()
        self._opened: tuple[int, Any] | None = None
        version = self.call("get_server_version", SEARCH_SECONDS).removeprefix("v")
        number = _WITH_BM25 if address.is_file else tuple(int(part) for part in version.split(".")[:2])
        if number < _OLDEST:
            raise IndexFormatError(f"Milvus at {address.uri} has version {version}: update it to 2.5 or newer.")
        self.has_bm25 = number >= _WITH_BM25
        """Whether it can search by terms and by learned sparse weights."""

    @property
    def _client(self) -> Any:
        """The client of this process: a connection does not outlive a fork."""
        opened = self._opened
        if opened is None or opened[0] != os.getpid():
            with self._lock:
                opened = self._opened
                if opened is None or opened[0] != os.getpid():
                    self._opened = opened = os.getpid(), self._connect()
        return opened[1]

    def _connect(self) -> Any:
        try:
            from pymilvus import MilvusClient
        except ModuleNotFoundError:
            raise ConfigurationError("RAG_INDEX_URL needs a package: pip install 'rag_chain[milvus]'.") from None
        # pymilvus logs each failed call with a traceback, in addition to our message. Its import sets the level.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
        address = self.address
        if address.is_file:
            Path(address.uri).parent.mkdir(parents=True, exist_ok=True)
        return MilvusClient(uri=address.uri, token=address.token, db_name=address.database, timeout=SEARCH_SECONDS)

    def close(self) -> None:
        """Close the connection; a later call opens another one."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None and opened[0] == os.getpid():
            opened[1].close()

    def call(self, name: str, seconds: float, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the client.

        Raises:
            DocumentIndexError: the server refused or did not answer within ``seconds``.
        """
        with self._translate():
            return getattr(self._client, name)(*args, timeout=seconds, **kwargs)

    @contextmanager
    def _translate(self) -> Iterator[None]:
        try:
            yield
        except (ConfigurationError, DocumentIndexError):
            raise
        except Exception as error:  # pymilvus raises its own, grpc's and Python's errors
            reason = str(getattr(error, "message", "") or error).partition("\n")[0][:300]
            if self.address.token:
                reason = reason.replace(self.address.token, "...")
            raise DocumentIndexError(
                f"The index in {self.address} can't be used ({type(error).__name__}: {reason}): check the server, or "
                "correct RAG_INDEX_URL."
            ) from error

    # Collections

    def has(self, name: str) -> bool:
        """Whether there is a collection or an alias of this name."""
        return bool(self.call("has_collection", SEARCH_SECONDS, name))

    def create(self, dimension: int, *, sparse: bool) -> str:
        """Create a collection, which is not visible before ``publish``, and return its name."""
        from pymilvus import DataType, Function, FunctionType

        name = f"{self.address.collection}_{secrets.token_hex(6)}"
        with self._translate():
            client = self._client
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=512)
            for field in ("text", "metadata"):
                schema.add_field(field, DataType.VARCHAR, max_length=LONGEST)
            for field in ("hash", "language"):
                schema.add_field(field, DataType.VARCHAR, max_length=64)
            schema.add_field(
                "facets", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=_MOST_FACETS, max_length=64
            )
            schema.add_field("dense", DataType.FLOAT_VECTOR, dim=dimension)
            indexes = client.prepare_index_params()
            indexes.add_index("dense", index_type="AUTOINDEX", metric_type="IP")
            if self.has_bm25:
                schema.add_field(
                    "terms",
                    DataType.VARCHAR,
                    max_length=LONGEST,
                    enable_analyzer=True,
                    analyzer_params={"tokenizer": "standard"},
                )
                schema.add_field("bm25", DataType.SPARSE_FLOAT_VECTOR)
                schema.add_function(
                    Function(
                        name="bm25",
                        input_field_names=["terms"],
                        output_field_names=["bm25"],
                        function_type=FunctionType.BM25,
                    )
                )
                indexes.add_index(
                    "bm25",
                    index_type="SPARSE_INVERTED_INDEX",
                    metric_type="BM25",
                    params={"bm25_k1": K1, "bm25_b": B},
                )
            if sparse:
                schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
                indexes.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
            self._make(name, schema, indexes)
            # Records of the sources and of the index itself. Milvus requires a vector in each collection.
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=64)
            schema.add_field("record", DataType.VARCHAR, max_length=LONGEST)
            schema.add_field("unused", DataType.FLOAT_VECTOR, dim=2)
            indexes = client.prepare_index_params()
            indexes.add_index("unused", index_type="FLAT", metric_type="IP")
            self._make(_records(name), schema, indexes)
        return name

    def _make(self, name: str, schema: Any, indexes: Any) -> None:
        client = self._client
        client.create_collection(name, schema=schema, timeout=WRITE_SECONDS)
        # The index of an empty collection is ready at once: not waiting for it saves half a second each.
        client.create_index(name, indexes, timeout=WRITE_SECONDS, sync=False)
        client.load_collection(name, timeout=WRITE_SECONDS)

    def publish(self, name: str) -> None:
        """Make a new collection the index; the previous one is dropped."""
        alias = self.address.collection
        before = self.target()
        for new, known in ((_records(name), _records(alias)), (name, alias)):
            self.call("alter_alias" if before else "create_alias", WRITE_SECONDS, new, known)
        if before:
            self.drop(before)

    def target(self) -> str | None:
        """Return the name of the collection that is the index; None: there is none.

        Raises:
            DocumentIndexError: a collection that is not ours has the name.
        """
        alias = self.address.collection
        if not self.has(alias):
            return None
        name = str(self.call("describe_collection", SEARCH_SECONDS, alias)["collection_name"])
        if name == alias or not self.has(_records(alias)):
            raise DocumentIndexError(
                f"The collection {alias} in {self.address.uri} was not made by rag_chain: name another one, "
                "RAG_INDEX_URL=...?collection=NAME."
            )
        return name

    def drop(self, name: str) -> None:
        """Drop a collection and its records."""
        for one in (name, _records(name)):
            self.call("drop_collection", WRITE_SECONDS, one)

    # Entities

    def search(
        self, name: str, field: str, queries: Sequence[Any], limit: int, expression: str, fields: Sequence[str] = ()
    ) -> list[list[dict[str, Any]]]:
        """Return the hits of each query, best first: ``id``, ``distance`` and the ``entity``."""
        found = self.call(
            "search",
            SEARCH_SECONDS,
            name,
            data=list(queries),
            anns_field=field,
            limit=limit,
            filter=expression,
            output_fields=list(fields),
            consistency_level=self.consistency,
        )
        return [list(hits) for hits in found]

    def count(self, name: str, expression: str = "") -> int:
        """Count the entities that match an expression."""
        rows = self.call(
            "query",
            SEARCH_SECONDS,
            name,
            filter=expression,
            output_fields=["count(*)"],
            consistency_level=self.consistency,
        )
        return int(rows[0]["count(*)"])

    def pages(
        self, name: str, expression: str, fields: Sequence[str], consistency: str = ""
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the entities that match an expression, in no particular order; empty: all."""
        if self.address.is_file:  # it has no iterator, and no limit
            yield from self.call("query", WRITE_SECONDS, name, filter=expression or 'id != ""', output_fields=[*fields])
            return
        iterator = self.call(
            "query_iterator",
            WRITE_SECONDS,
            name,
            batch_size=_PAGE,
            filter=expression,
            output_fields=list(fields),
            consistency_level=consistency or self.consistency,
        )
        try:
            while True:
                with self._translate():
                    page = iterator.next()
                if not page:
                    return
                yield from page
        finally:
            iterator.close()

    def get(
        self, name: str, ids: Sequence[str], fields: Sequence[str], consistency: str = ""
    ) -> dict[str, Mapping[str, Any]]:
        """Return the existing entities of these ids, by id."""
        found: dict[str, Mapping[str, Any]] = {}
        for start in range(0, len(ids), _PAGE):
            rows = self.call(
                "get",
                SEARCH_SECONDS,
                name,
                ids=list(ids[start : start + _PAGE]),
                output_fields=[*fields, "id"],
                consistency_level=consistency or self.consistency,
            )
            found |= {str(row["id"]): row for row in rows}
        return found

    def upsert(self, name: str, entities: Sequence[Mapping[str, Any]]) -> None:
        """Add entities, or replace those of the same id."""
        self.consistency = "Strong"
        for start in range(0, len(entities), _PAGE):
            self.call("upsert", WRITE_SECONDS, name, list(entities[start : start + _PAGE]))

    def delete(self, name: str, ids: Sequence[str]) -> None:
        """Delete the entities of these ids; unknown ids are ignored."""
        self.consistency = "Strong"
        for start in range(0, len(ids), _PAGE):
            self.call("delete", WRITE_SECONDS, name, ids=list(ids[start : start + _PAGE]))

    def flush(self, name: str) -> None:
        """Let the server index the added entities: until then, a search scans all of them."""
        self.call("flush", WRITE_SECONDS, name)

    # Records

    def read_records(self, name: str) -> dict[str, str]:
        """Return all records: id -> text."""
        return {
            str(row["id"]): str(row["record"]) for row in self.pages(_records(name), "", ["id", "record"], "Strong")
        }

    def read_record(self, name: str, key: str) -> str | None:
        """Return one record; None: it does not exist."""
        row = self.get(_records(name), [key], ["record"], "Strong").get(key)
        return None if row is None else str(row["record"])

    def write_records(self, name: str, records: Mapping[str, str | None]) -> None:
        """Add or replace records; None: delete them."""
        kept = [{"id": key, "record": text, "unused": [0.0, 0.0]} for key, text in records.items() if text is not None]
        if kept:
            self.upsert(_records(name), kept)
        if gone := [key for key, text in records.items() if text is None]:
            self.delete(_records(name), gone)


def _records(name: str) -> str:
    return f"{name}_records"
