"""``benchmark.py retrieval``: the cost of retrieval per turn, with this package and with stock parts, in one run.

The corpus is generated, see ``generated_corpus.py``. The questions are embedded by the real model; then their vectors
are replaced by generated ones near to passages. The ways alternate at every question, so that other load on the machine
affects all equally; ratios are ratios of medians, over ten parts of the run. The stock recipe is langchain-community's
FAISS and BM25Retriever (rank_bm25) in an EnsembleRetriever; it gets only the question, as it does not use the history.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer
from generated_corpus import BLOCK, Corpus, Question, Vectors
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.messages import AIMessage, HumanMessage
from rich.console import Console
from rich.table import Table

from rag_chain.models.local.minilm import MiniLMEmbeddings
from rag_chain.retrieval.index import HybridIndex
from rag_chain.retrieval.retriever import HistoryAwareRetriever
from rag_chain.retrieval.store import Snapshot

MODEL, PARTS, RECALL_AT = "generated:384", 10, 10
TURN, FIRST, EMBEDDING, STOCK = "rag_chain, a follow-up", "rag_chain, a first question", "of it embedding", "stock"
STEPS = ("dense search", "lexical search", "5 documents")
LIMIT_MS = {10_000: 12.0, 1_000_000: 25.0}
STOCK_LIMIT = 100_000
"""Up to so many passages the stock recipe is built: rank_bm25 alone takes 146 MB for 25,000."""


class GeneratedEmbeddings(Embeddings):
    """Returns the vectors of the corpus; embedding a question takes as long as with the real model."""

    def __init__(self) -> None:
        self.model = MiniLMEmbeddings()
        self.passages: dict[str, Vectors] = {}
        self.question: Vectors = np.empty(0, np.float32)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return known vectors of passages, or the question's."""
        if texts[0] in self.passages:
            return [self.passages[text].tolist() for text in texts]
        self.model.embed_documents(texts)
        return [self.question.tolist()] * len(texts)

    def embed_query(self, text: str) -> list[float]:
        """Return the question's vector."""
        return self.embed_documents([text])[0]


def retrieval(
    sizes: Annotated[str, typer.Option(help="Numbers of passages, separated by commas.")] = "10000,100000,1000000",
    turns: Annotated[int, typer.Option(help="Timed questions of each kind.", min=PARTS)] = 100,
    quick: Annotated[bool, typer.Option("--quick", help="2,000 and 10,000 passages, 20 questions.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the report to this file.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Folder for the indexes; a million passages take 4 GB.")] = None,
) -> None:
    """Retrieval of a turn: time, recall and memory at several sizes, compared with the stock recipe."""
    if quick:
        sizes, turns = "2000,10000", 20
    try:
        counts = [int(size) for size in sizes.split(",")]
    except ValueError:
        raise typer.BadParameter("give whole numbers separated by commas", param_hint="--sizes") from None
    report = {}
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for size in counts:
            report[size] = measure(size, turns, Path(scratch) / str(size))
            shutil.rmtree(Path(scratch) / str(size))
            show(size, report[size])
    if json_file:
        json_file.write_text(json.dumps(report, indent=1), encoding="utf-8")


def measure(size: int, turns: int, folder: Path) -> dict[str, Any]:
    """Return all measurements for one size."""
    corpus, embeddings = Corpus(size), GeneratedEmbeddings()
    with memory_peak() as peak:
        begun = time.perf_counter()
        generating = build(corpus, embeddings, folder)
        seconds = time.perf_counter() - begun
    index = HybridIndex.open(folder, embeddings, embedding_model=MODEL)
    questions = corpus.questions(turns)
    found: dict[str, Any] = {
        "build_seconds": round(seconds - generating, 1),
        "build_peak_mb": peak(),
        "disk_mb": round(index.stats()["bytes"] / 1e6),
        "recall_at_10": recall(index, corpus, questions),
        **opened(folder),
    }
    stock = build_stock(corpus, embeddings) if size <= STOCK_LIMIT else None
    times = timed(index, embeddings, questions, stock)
    found["ms"] = {way: spread(one) for way, one in times.items()}
    if stock:
        found["stock_against_rag_chain"] = {way: ratio(times[STOCK], times[way]) for way in (TURN, FIRST)}
    return found


def build(corpus: Corpus, embeddings: GeneratedEmbeddings, folder: Path) -> float:
    """Build the index in one transaction; return the seconds that the generator took."""
    index = HybridIndex.create(folder, embeddings, embedding_model=MODEL)
    generating, start, begun = 0.0, 0, time.perf_counter()
    with index.transaction():
        for texts, vectors in corpus.blocks():
            generating += time.perf_counter() - begun
            for at in range(0, len(texts), BLOCK // 8):
                part = texts[at : at + BLOCK // 8]
                embeddings.passages = dict(zip(part, vectors[at:], strict=False))
                documents = [
                    Document(page_content=text, metadata={"source": f"docs/{number // 8}.md", "start_line": number % 8})
                    for number, text in enumerate(part, start + at)
                ]
                index.add_documents(
                    documents, ids=[f"{number:032x}" for number in range(start + at, start + at + len(part))]
                )
            embeddings.passages = {}
            start += len(texts)
            begun = time.perf_counter()
    return generating


def build_stock(corpus: Corpus, embeddings: GeneratedEmbeddings) -> Any:
    """Build LangChain's usual hybrid: an ensemble of FAISS and BM25 with equal weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from langchain_classic.retrievers import EnsembleRetriever
        from langchain_community.retrievers import BM25Retriever
        from langchain_community.vectorstores import FAISS
    texts, blocks = [], []
    for part, vectors in corpus.blocks():
        texts += part
        blocks.append(vectors)
    store = FAISS.from_embeddings(zip(texts, np.concatenate(blocks).tolist(), strict=True), embeddings)
    bm25 = BM25Retriever.from_texts(texts, preprocess_func=lambda text: text.lower().split(), k=5)
    return EnsembleRetriever(retrievers=[store.as_retriever(search_kwargs={"k": 5}), bm25], weights=[0.5, 0.5])


def recall(index: HybridIndex, corpus: Corpus, questions: list[Question]) -> float:
    """Return the share of the exact ten nearest passages that the dense search finds."""
    queries = np.stack([question.vector for question in questions])
    rows = np.empty((len(queries), 0), np.int64)
    scores = np.empty((len(queries), 0), np.float32)
    start = 0
    for vectors in corpus.vectors():
        here = np.broadcast_to(np.arange(start, start + len(vectors)), (len(queries), len(vectors)))
        rows, scores = np.hstack([rows, here]), np.hstack([scores, queries @ vectors.T])
        best = np.argsort(-scores, axis=1)[:, :RECALL_AT]
        rows, scores = np.take_along_axis(rows, best, axis=1), np.take_along_axis(scores, best, axis=1)
        start += len(vectors)
    found, _ = index.dense_search(queries, RECALL_AT)  # a row is a passage's number: they were added in order
    hits = [len(set(a) & set(b)) for a, b in zip(rows.tolist(), found.tolist(), strict=True)]
    return round(float(np.mean(hits)) / RECALL_AT, 4)


def timed(
    index: HybridIndex, embeddings: GeneratedEmbeddings, questions: list[Question], stock: Any
) -> dict[str, list[float]]:
    """Return the seconds of each question, by way and by step."""
    retriever = HistoryAwareRetriever(index, k=5)

    def first(question: Question) -> Any:
        return retriever.invoke({"input": question.text, "chat_history": []})

    def turn(question: Question) -> Any:
        history = [HumanMessage(question.earlier), AIMessage(question.answer)]
        return retriever.invoke({"input": question.text, "chat_history": history})

    def query(question: Question) -> Any:
        return retriever.query(
            {"input": question.text, "chat_history": [HumanMessage(question.earlier), AIMessage(question.answer)]}
        )

    rows = np.random.default_rng(8).integers(0, len(index), (len(questions), 5))
    ways: dict[str, Callable[[int, Question], Any]] = {
        TURN: lambda _, question: turn(question),
        FIRST: lambda _, question: first(question),
        EMBEDDING: lambda _, question: embeddings.embed_documents(list(query(question).texts)),
        STEPS[0]: lambda _, question: index.dense_search(question.vector, 200),
        STEPS[1]: lambda _, question: index.lexical_search(query(question).terms, 500),
        STEPS[2]: lambda number, _: index.documents(rows[number]),
    }
    if stock:
        ways[STOCK] = lambda _, question: stock.invoke(question.text)
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(-3, len(questions)):
        embeddings.question = questions[number].vector
        for way, one in ways.items():
            begun = time.perf_counter()
            one(number, questions[number])
            if number >= 0:
                times[way].append(time.perf_counter() - begun)
    return times


def spread(seconds: list[float]) -> dict[str, float]:
    """Return median, 10th and 90th percentile in milliseconds."""
    low, middle, high = (round(float(value) * 1000, 2) for value in np.percentile(seconds, [10, 50, 90]))
    return {"median": middle, "p10": low, "p90": high}


def ratio(over: list[float], under: list[float]) -> dict[str, float]:
    """Return the ratio of the medians, and the smallest and greatest ratio of the parts of the run."""
    size = max(1, len(over) // PARTS)
    parts = [median(over[at : at + size]) / median(under[at : at + size]) for at in range(0, size * PARTS, size)]
    return {
        "ratio": round(median(over) / median(under), 2),
        "least": round(min(parts), 2),
        "greatest": round(max(parts), 2),
    }


def opened(folder: Path) -> dict[str, float]:
    """Return seconds and megabytes of memory for opening in a new process, and megabytes of the vectors alone."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found: dict[str, float] = pool.apply(_open_alone, (str(folder),))
    return found


def _open_alone(folder: str) -> dict[str, float]:
    before, begun = resident_mb(), time.perf_counter()
    snapshot = Snapshot.open(Path(folder), MODEL)
    seconds, after = time.perf_counter() - begun, resident_mb()
    lexical = snapshot.lexical
    for number in range(50):
        lexical.documents([number * (len(lexical) // 50)])
    return {
        "open_seconds": round(seconds, 2),
        "open_mb": round(after - before),
        "open_and_read_50_mb": round(resident_mb() - before),
    }


def resident_mb(own: bool = False) -> float:
    """Return resident megabytes of this process; ``own``: without mapped file pages, which the system can drop."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(fields["RssAnon" if own else "VmRSS"].split()[0]) / 1000


@contextmanager
def memory_peak() -> Iterator[Callable[[], float]]:
    """Measure the peak of the process's own memory inside the block, over that before, in megabytes."""
    before, most, done = resident_mb(own=True), 0.0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.1):
            most = max(most, resident_mb(own=True))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: round(most - before)
    finally:
        done.set()
        watcher.join()


def show(size: int, found: dict[str, Any]) -> None:
    """Print one size as a table."""
    console = Console()
    table = Table("", "median ms", "p10", "p90", title=f"{size:,} passages", title_justify="left")
    for way, one in found["ms"].items():
        limit = LIMIT_MS.get(size) if way == TURN else None
        mark = f" (promised {limit:g})" if limit else ""
        table.add_row(way + mark, f"{one['median']:g}", f"{one['p10']:g}", f"{one['p90']:g}")
    console.print(table)
    for way, one in found.get("stock_against_rag_chain", {}).items():
        console.print(f"stock takes {one['ratio']} times as long as {way} ({one['least']} to {one['greatest']})")
    console.print(
        f"recall@10 {found['recall_at_10']}; opened in {found['open_seconds']} s and {found['open_mb']} MB "
        f"({found['open_and_read_50_mb']} MB after reading 50 passages); built in {found['build_seconds']} s with "
        f"{found['build_peak_mb']} MB at most; {found['disk_mb']} MB on disk\n"
    )
