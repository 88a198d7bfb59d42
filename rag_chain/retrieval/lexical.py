"""The lexical index: every chunk's text and metadata on disk, and BM25 over its terms (tantivy).

A query is built from analysed terms and never parsed, so nothing that a person types is query syntax.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tantivy
from langchain_core.documents import Document

from rag_chain.access import ACCESS, tags_of
from rag_chain.errors import IndexDamagedError
from rag_chain.retrieval.analysis import analyze, analyze_any
from rag_chain.retrieval.languages import LANGUAGES
from rag_chain.retrieval.selection import Selection

Rows = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]

POSTINGS = 600_000
"""Maximum number of postings that a search reads, stems of highest idf first. They determine its time: among a million
chunks, on a busy machine, all stems of a question took 20 ms, 800,000 postings 10 and 500,000 took 8. With 0.6 postings
per chunk, nDCG@5 of labelled conversations was that of all stems (0.438); with 0.3 it was 0.426."""

_SELECTIONS = 8
"""Filters whose rows are cached: a retriever mostly has one, and a million rows take 0.4 s to collect."""

_HEAP = 64_000_000
UNKNOWN = "und"
"""ISO 639's code for an undetermined language."""

_TERMS = "terms"

RARE = 5
"""A word is rare if at most so many chunks have it: as many as a retriever returns."""

MAIN_SHARE = 0.5
"""Share of a question's idf from which its rare words count as its subject. Below that they are accidents of wording,
which are frequent in small document sets: counting them cost 0.04 nDCG@5 over 60 passages, with this bound nothing."""

_LEAST_FUZZY, _LONG = 4, 8
"""A word that no chunk has counts as misspelt from so many letters on; from the second number on, with two errors."""


def _schema() -> Any:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("id", stored=True, tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field("row", indexed=True, fast=True)
    builder.add_bytes_field("text", stored=True)
    builder.add_text_field(_TERMS, tokenizer_name=_TERMS, index_option="freq")
    builder.add_text_field("language", tokenizer_name="raw", index_option="basic")
    builder.add_bytes_field("metadata", stored=True)
    builder.add_text_field("facet", tokenizer_name="raw", index_option="basic")
    builder.add_text_field("hash", tokenizer_name="raw", index_option="basic")
    return builder.build()


def _split_at_blanks() -> Any:
    """Return the analyzer of the field of terms, which are analysed already: it only splits at spaces."""
    return tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()


def facet(key: str, value: Any) -> str:
    """Return the term for ``metadata[key] == value``; it is short for any value."""
    term = json.dumps([key, value], sort_keys=True, default=str)
    return term if len(term) <= 200 else hashlib.sha256(term.encode()).hexdigest()


def presence(key: str) -> str:
    """Return the term for chunks whose metadata has ``key``."""
    return json.dumps([key])


class LexicalIndex:
    """A frozen view of the chunks in a folder. Instances are shared by readers and never modified."""

    def __init__(self, folder: Path | None) -> None:
        """Open the chunks in ``folder``; None: there are no chunks.

        Raises:
            IndexDamagedError: tantivy can't read them.
        """
        try:
            self._index, self._searcher = _opened(folder)
            self._index.register_tokenizer(_TERMS, _split_at_blanks())
        except (ValueError, OSError) as error:
            raise IndexDamagedError(f"{folder} can't be read: ingest again with --rebuild.") from error
        self._schema = self._index.schema
        self._selections: dict[tuple[frozenset[frozenset[str]], frozenset[str] | None], Rows] = {}
        self._is_open = not self.has_key(ACCESS)
        self.languages = self._count_languages()
        """ISO 639-1 code -> number of chunks in that language, most frequent first; "": unknown language."""

    def __len__(self) -> int:
        return int(self._searcher.num_docs)

    def analyze(self, text: str) -> list[str]:
        """Return the terms of ``text`` in all languages of the index, in order, each once."""
        return analyze_any(text, self.languages or ("en",))

    def search(
        self, query: str | Mapping[str, float], k: int, selection: Selection | None = None
    ) -> tuple[Rows, Scores]:
        """Return the ``k`` chunks of highest BM25, best first: rows and scores, (k',) each, k' at most ``k``.

        Args:
            query: a text, or weights of terms (see ``analyze``). A term that no chunk has matches words of similar
                spelling.
            k: maximum number of chunks.
            selection: the chunks to search.
        """
        weights = dict.fromkeys(self.analyze(query), 1.0) if isinstance(query, str) else query
        terms = [
            (tantivy.Occur.Should, tantivy.Query.boost_query(self._term(_TERMS, term, "freq"), weights[term]))
            for term in self._telling(weights)
        ]
        terms += [(tantivy.Occur.Should, near) for near in self._misspelt(weights)]
        if not terms or k < 1:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        text = tantivy.Query.boolean_query(terms)
        if selection:
            text = self._within(text, selection)
        hits = self._searcher.search(text, k, count=False).hits
        return self._rows([address for _, address in hits]), np.array([score for score, _ in hits], np.float32)

    def rare(self, terms: Collection[str], selection: Selection | None = None) -> tuple[Rows, Scores]:
        """Find the chunks with the rare words of a question, if these are its subject.

        Args:
            terms: of the question, without function words.
            selection: the chunks to search.

        Returns:
            Rows, and the share of the terms' idf that each of them has, ``MAIN_SHARE`` to 1; best first.
        """
        # Terms that no chunk has are ignored: mostly they are the stem of a word in another language of the index.
        counts = {term: n for term in terms if (n := self.doc_freq(term))}
        total = sum(self._idf(n) for n in counts.values())
        shares: dict[int, float] = {}
        for term, n in counts.items():
            if n <= RARE:
                hits = self._searcher.search(self._term(_TERMS, term, "freq"), RARE, count=False).hits
                for row in self._rows([address for _, address in hits]).tolist():
                    shares[row] = shares.get(row, 0.0) + self._idf(n) / total
        shares = {row: share for row, share in shares.items() if share >= MAIN_SHARE}
        rows = self.rows_where(selection) if selection and shares else None
        if rows is not None:
            allowed = set(rows.tolist())
            shares = {row: share for row, share in shares.items() if row in allowed}
        best = sorted(shares, key=lambda row: (-shares[row], row))
        return np.array(best, np.int64), np.array([shares[row] for row in best], np.float32)

    def _telling(self, weights: Mapping[str, float]) -> list[str]:
        """Return the terms of highest weight times idf, up to ``POSTINGS`` in total; at least one."""
        counts = {term: self.doc_freq(term) for term, weight in weights.items() if weight > 0}
        idf = {term: self._idf(n) for term, n in counts.items() if n}
        kept: list[str] = []
        room = POSTINGS
        for term in sorted(idf, key=lambda term: weights[term] * idf[term], reverse=True):
            if counts[term] <= room or not kept:
                kept.append(term)
                room -= counts[term]
        return kept

    def _misspelt(self, weights: Mapping[str, float]) -> Iterator[Any]:
        """Yield queries for words spelt similarly to those terms of ``weights`` that no chunk has."""
        for term, weight in weights.items():
            if weight <= 0 or len(term) < _LEAST_FUZZY or not term.isalpha() or self.doc_freq(term):
                continue
            near = tantivy.Query.fuzzy_term_query(self._schema, _TERMS, term, distance=1 if len(term) < _LONG else 2)
            found = int(self._searcher.search(near, 1, count=True).count or 0)
            if found:
                yield tantivy.Query.const_score_query(near, weight * self._idf(found))

    def _idf(self, n: int) -> float:
        """Return BM25's inverse document frequency of a term that ``n`` chunks have."""
        return math.log(1 + (len(self) - n + 0.5) / (n + 0.5))

    def doc_freq(self, term: str) -> int:
        """Return the number of chunks with a term."""
        return int(self._searcher.doc_freq(_TERMS, term))

    def _count_languages(self) -> dict[str, int]:
        counts = {code: int(self._searcher.doc_freq("language", code or UNKNOWN)) for code in ("", *LANGUAGES)}
        return dict(sorted(((c, n) for c, n in counts.items() if n), key=lambda pair: -pair[1]))

    def has_key(self, key: str) -> bool:
        """Whether the metadata of any chunk has ``key``."""
        return bool(self._searcher.doc_freq("facet", presence(key)))

    def rows_where(self, selection: Selection) -> Rows | None:
        """Return all rows that a selection allows; None: it allows every row."""
        access = None if self._is_open else selection.access
        if not selection.where and access is None:
            return None
        wanted = frozenset(frozenset(facet(key, value) for value in values) for key, values in selection.where), access
        rows = self._selections.get(wanted)
        if rows is None:
            rows = self._matching(self._within(tantivy.Query.all_query(), selection))
            if len(self._selections) >= _SELECTIONS:
                self._selections.clear()
            self._selections[wanted] = rows
        return rows

    def rows_between(self, first: int, end: int) -> Rows:
        """Return all existing rows from ``first`` to before ``end``, in order."""
        query = tantivy.Query.range_query(
            self._schema, "row", tantivy.FieldType.Unsigned, first, end, include_upper=False
        )
        return np.sort(self._matching(query))

    def rows_of_ids(self, ids: Sequence[str]) -> Rows:
        """Return the rows of the existing ones of these ids, in no particular order."""
        return self._matching(tantivy.Query.term_set_query(self._schema, "id", list(ids)))

    def rows_of_hashes(self, hashes: Sequence[str]) -> dict[str, int]:
        """Return content hash -> one row with that hash, for hashes in the index."""
        found = {}
        for content_hash in hashes:
            hits = self._searcher.search(self._term("hash", content_hash, "basic"), 1, count=False).hits
            if hits:
                found[content_hash] = int(self._rows([hits[0][1]])[0])
        return found

    def documents(self, rows: Sequence[int] | Rows) -> list[Document]:
        """Return the chunks of existing rows, in the order of ``rows``, with their ids and metadata."""
        query = tantivy.Query.term_set_query(self._schema, "row", [int(row) for row in rows])
        addresses = [address for _, address in self._searcher.search(query, max(len(rows), 1), count=False).hits]
        found = dict(zip(self._rows(addresses).tolist(), addresses, strict=True))
        return [self._document(found[int(row)]) for row in rows if int(row) in found]

    def all_documents(self) -> Iterator[tuple[int, Document]]:
        """Yield every row and its chunk, in no particular order."""
        hits = self._searcher.search(tantivy.Query.all_query(), max(len(self), 1), count=False).hits
        addresses = [address for _, address in hits]
        for row, address in zip(self._rows(addresses).tolist(), addresses, strict=True):
            yield row, self._document(address)

    def ids_where(self, key: str, values: Iterable[Any]) -> list[str]:
        """Return the ids of all chunks whose ``metadata[key]`` is one of ``values``."""
        query = tantivy.Query.term_set_query(self._schema, "facet", [facet(key, value) for value in values])
        hits = self._searcher.search(query, max(len(self), 1), count=False).hits
        return [str(self._searcher.doc(address).get_first("id")) for _, address in hits]

    def _document(self, address: Any) -> Document:
        stored: Any = self._searcher.doc(address)
        metadata = json.loads(bytes(stored.get_first("metadata")))
        return Document(
            id=stored.get_first("id"), page_content=bytes(stored.get_first("text")).decode(), metadata=metadata
        )

    def _term(self, field: str, value: str, option: str) -> Any:
        return tantivy.Query.term_query(self._schema, field, value, option)

    def _within(self, query: Any, selection: Selection) -> Any:
        """Restrict ``query`` to the chunks that a selection allows, without a change of scores."""
        clauses = [(tantivy.Occur.Must, query)]
        for key, values in selection.where:
            terms = tantivy.Query.term_set_query(self._schema, "facet", [facet(key, value) for value in values])
            clauses.append((tantivy.Occur.Must, tantivy.Query.const_score_query(terms, 0.0)))
        if selection.access is not None and not self._is_open:
            tags = tantivy.Query.term_set_query(
                self._schema, "facet", [facet(ACCESS, tag) for tag in sorted(selection.access)]
            )
            restricted = self._term("facet", presence(ACCESS), "basic")
            foreign = [(tantivy.Occur.Must, restricted), (tantivy.Occur.MustNot, tags)]
            clauses.append((tantivy.Occur.MustNot, tantivy.Query.boolean_query(foreign)))
        return tantivy.Query.boolean_query(clauses) if len(clauses) > 1 else query

    def _matching(self, query: Any) -> Rows:
        hits = self._searcher.search(query, max(len(self), 1), count=False).hits
        return self._rows([address for _, address in hits])

    def _rows(self, addresses: list[Any]) -> Rows:
        return np.array(self._searcher.fast_field_values("row", addresses), dtype=np.int64)


def _opened(folder: Path | None) -> tuple[Any, Any]:
    """Return index and searcher. tantivy creates lock files to open an index; in a read-only folder it opens links."""
    if folder is None:
        index = tantivy.Index(_schema())
        return index, index.searcher()
    try:
        index = tantivy.Index.open(str(folder))
        return index, index.searcher()
    except (ValueError, OSError):
        locks = [folder, *folder.glob("*.lock")]
        if all(os.access(path, os.W_OK) for path in locks):
            raise
    # Open files need no name any more; but a thread of tantivy may create a lock file while the folder is removed.
    with tempfile.TemporaryDirectory(prefix="rag_chain-", ignore_cleanup_errors=True) as links:
        for file in folder.iterdir():
            if file.suffix != ".lock":
                (Path(links) / file.name).symlink_to(file.absolute())
        index = tantivy.Index.open(links)
        return index, index.searcher()


class LexicalWriter:
    """Adds and deletes chunks in a folder that no reader uses yet."""

    def __init__(self, folder: Path) -> None:
        exists = tantivy.Index.exists(str(folder))
        self._index = tantivy.Index.open(str(folder)) if exists else tantivy.Index(_schema(), path=str(folder))
        self._index.register_tokenizer(_TERMS, _split_at_blanks())
        self._writer: Any = self._index.writer(_HEAP, 1)

    def add(self, row: int, chunk_id: str, document: Document, content_hash: str, language: str = "en") -> None:
        """Add one chunk.

        Args:
            language: ISO 639-1 code of its text; empty: unknown.

        Raises:
            TypeError: its metadata is not JSON.
        """
        stored = tantivy.Document()
        stored.add_text("id", chunk_id)
        stored.add_unsigned("row", row)
        stored.add_bytes("text", document.page_content.encode())
        stored.add_text(_TERMS, " ".join(analyze(document.page_content, language)))
        stored.add_text("language", language or UNKNOWN)
        stored.add_bytes("metadata", json.dumps(document.metadata).encode())
        stored.add_text("hash", content_hash)
        tags = tags_of(document.metadata)
        for key, value in document.metadata.items():
            if key != ACCESS or tags:  # a chunk without tags is open to all
                stored.add_text("facet", presence(key))
            for item in value if isinstance(value, list | tuple) else [value]:
                stored.add_text("facet", facet(key, item))
        self._writer.add_document(stored)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete the chunks of these ids that were added so far."""
        self._writer.delete_documents_by_query(tantivy.Query.term_set_query(self._index.schema, "id", list(ids)))

    def delete_all(self) -> None:
        """Delete every chunk."""
        # Not delete_all_documents(), which keeps what was added since the last commit.
        self._writer.delete_documents_by_query(tantivy.Query.all_query())

    def commit(self) -> None:
        """Write everything to the disk and end; before, the folder holds none of it."""
        self._writer.commit()
        self._end()

    def discard(self) -> None:
        """End without writing anything; does nothing after ``commit``."""
        if self._writer is not None:
            self._writer.rollback()
            self._end()

    def _end(self) -> None:
        # Its threads may still be writing files.
        self._writer.wait_merging_threads()
        self._writer = None
