"""A few passages, and vectors of their words: what tests of retrieval search."""

from __future__ import annotations

import hashlib
import re

import numpy as np
from langchain_core.embeddings import Embeddings

PASSAGES = {
    "wall": "The Berlin wall was built by East Germany in 1961.",
    "fall": "The wall in Berlin fell on the 9th of November 1989.",
    "sea": "The sea is up to 11 kilometres deep.",
    "rome": "Rome fell in the year 476.",
    "code": "Error E4711 is raised when the disk is full.",
}


class WordVectors(Embeddings):
    """Each word adds a direction of its own: texts are near to each other by the words that they share."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        vector = np.full(256, 1e-3)
        for word in re.findall(r"\w+", text.lower()):
            vector[int(hashlib.sha256(word.encode()).hexdigest(), 16) % 256] += 1
        return vector.tolist()
