"""Sentence embeddings with an encoder on onnxruntime: windows of long texts, batches, mean pooling over tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from langchain_core.embeddings import Embeddings

from rag_chain.workers import cores, run_in_thread

if TYPE_CHECKING:
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]  # It ships no types.
    from tokenizers import Encoding, Tokenizer

MAX_WINDOWS = 8
"""Only the first windows of a text are read: about 8,000 characters of English with 256 tokens each."""

DIMENSION = 384
_MAX_CHARACTERS = 32_768  # So that a huge text is not tokenised to its end.
_BATCH_TOKENS = 256  # Above that, padding costs more than batching saves.


class SentenceEmbeddings(Embeddings):
    """Vectors of 384 floats of length 1: the mean over the tokens, then L2.

    A long text is cut into windows; its vector is the mean of theirs, each weighted by its tokens.

    Args:
        tokenizer: truncates to a window and returns the overflowing windows.
        session: inputs ``input_ids`` and ``attention_mask``, output the hidden states ``[batch, tokens, 384]``.
    """

    is_multilingual = False

    def __init__(self, tokenizer: Tokenizer, session: InferenceSession) -> None:
        self._tokenizer, self._session = tokenizer, session

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector of 384 floats per text, in the order of the texts."""
        vectors: list[list[float]] = self.embed(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of one text; questions and passages are embedded alike."""
        return self.embed_documents([text])[0]

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the vectors as one array ``float32[texts, 384]``."""
        encoded = [self._tokenizer.encode(_clean(text)) for text in texts]
        windows = [[encoding, *encoding.overflowing][:MAX_WINDOWS] for encoding in encoded]
        tokens = [window for parts in windows for window in parts]
        vectors = np.empty((len(tokens), DIMENSION), np.float32)
        batches = _batches([len(encoding.ids) for encoding in tokens])

        def run(batch: list[int]) -> None:
            vectors[batch] = self._run([tokens[i] for i in batch])

        # One core per batch: splitting one multiplication over cores costs more in waiting.
        if min(cores(), len(batches)) < 2:
            for batch in batches:
                run(batch)
        elif len(batches) <= cores():
            # A turn's few texts, the longest last.
            others = [run_in_thread(partial(run, batch)) for batch in batches[:-1]]
            run(batches[-1])
            for other in others:
                other.result()
        else:
            with ThreadPoolExecutor(cores(), thread_name_prefix="embed") as pool:
                list(pool.map(run, batches))
        return vectors if len(tokens) == len(texts) else _joined(vectors, windows)

    def token_cosines(self, one: str, other: str) -> npt.NDArray[np.float32]:
        """Return the cosines of each token of a text with each of another, ``float32[tokens, other tokens]``.

        Only the first window of each is read. The score of ColBERT (Khattab and Zaharia 2020, arXiv:2004.12832) is made
        of the best of these cosines; here the model is not trained for it.
        """
        first, second = map(self.token_vectors, (one, other))
        cosines: npt.NDArray[np.float32] = first @ second.T
        return cosines

    def token_vectors(self, text: str) -> npt.NDArray[np.float32]:
        """Return one unit vector per token of the first window of a text, ``float32[tokens, 384]``."""
        ids = np.array([self._tokenizer.encode(_clean(text)).ids], np.int64)
        hidden: Any = self._session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0, 1:-1]
        unit: npt.NDArray[np.float32] = hidden / np.linalg.norm(hidden, axis=1, keepdims=True)
        return unit

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
    """Return batches of places in ``lengths``, similar lengths together: little padding, and no idle core."""
    room = min(_BATCH_TOKENS, math.ceil(sum(lengths) / cores()))
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not batches or lengths[place] * (len(batches[-1]) + 1) > room:
            batches.append([])
        batches[-1].append(place)
    return batches


def _joined(vectors: npt.NDArray[np.float32], windows: Sequence[Sequence[Encoding]]) -> npt.NDArray[np.float32]:
    """Return one vector per text, from those of its windows."""
    weights = np.array([len(window.ids) for parts in windows for window in parts], np.float32)
    starts = np.cumsum([0, *(len(parts) for parts in windows[:-1])])
    sums = np.add.reduceat(vectors * weights[:, None], starts)
    unit: npt.NDArray[np.float32] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return unit


def _clean(text: str) -> str:
    # The tokenizer needs UTF-8, which lone surrogates do not have.
    return text[:_MAX_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
