"""Load a local model once per process, and its tokenizer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from rag_chain.errors import ConfigurationError
from rag_chain.models.local.weights import INSTALL_LOCAL, DataFile

if TYPE_CHECKING:
    from tokenizers import Tokenizer

T = TypeVar("T")


class Once(Generic[T]):
    """Calls ``make`` at the first use and returns its value at every use; other threads wait for the first call."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: list[T] = []

    def __call__(self) -> T:
        """Return the value. An exception of ``make`` is raised to the caller, and the next use tries again."""
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]


def read_tokenizer(file: DataFile, max_tokens: int) -> Tokenizer:
    """Return the tokenizer in ``file``, set to cut a text into windows of ``max_tokens``.

    Raises:
        ConfigurationError: a package is missing, or holds another file.
    """
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"{file.model} needs the package {error.name}: {INSTALL_LOCAL}.") from error
    return cut_into_windows(Tokenizer.from_file(str(file.path())), max_tokens)


def cut_into_windows(tokenizer: Tokenizer, max_tokens: int) -> Tokenizer:
    """Set a tokenizer to cut a text into windows of ``max_tokens`` without padding, and return it."""
    tokenizer.enable_truncation(max_tokens)
    tokenizer.no_padding()
    return tokenizer
